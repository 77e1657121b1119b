//! Programs of others that tests use: found, or the test says why it is skipped.
//!
//! With `TOLLGATE_REQUIRE_ALL=1` a missing program is a failure.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The first of these programs that is there.
pub fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .collect();
    let mut candidates = names
        .iter()
        .flat_map(|name| folders.iter().map(move |f| f.join(name)));
    candidates.find(|candidate| candidate.is_file())
}

/// Says that a test is skipped, or fails where nothing may be.
pub fn skip(why: &str) {
    assert!(
        std::env::var("TOLLGATE_REQUIRE_ALL").as_deref() != Ok("1"),
        "a test would be skipped: {why}"
    );
    // The runner hides what a passing test says, so `make test` prints this file at its end.
    let note = test_environment().join("skipped");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(note);
    let _ = file.and_then(|mut file| writeln!(file, "SKIP {why}"));
}

/// A program that the test needs, or `None` when the test is to be skipped.
pub fn require(names: &[&str], package: &str) -> Option<PathBuf> {
    let found = program(names);
    if found.is_none() {
        skip(&format!("{} is missing (apt install {package})", names[0]));
    }
    found
}

/// The library that moves a program's clock, or `None` when the test is to be skipped.
pub fn faketime_library() -> Option<PathBuf> {
    require(&["faketime"], "faketime")?;
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let mut libraries =
        folders.map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|library| library.is_file());
    if library.is_none() {
        skip("libfaketimeMT.so.1 is missing (apt install faketime)");
    }
    library
}

/// Where `make test` installs what tests need.
pub fn test_environment() -> PathBuf {
    let named = std::env::var_os("TOLLGATE_TEST_ENV").map(PathBuf::from);
    named.unwrap_or_else(|| root().join("target/test-env"))
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command to its end and gives what it said; fails with both outputs when it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed with {}:\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// A port that no test has at the same time: below those that the system gives for port 0.
pub fn free_port() -> SocketAddr {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let first = usize::try_from(std::process::id()).unwrap() * 8 % 12_000;
    loop {
        let port = 20_000 + (first + COUNT.fetch_add(1, Ordering::SeqCst)) % 12_000;
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        if std::net::TcpListener::bind::<SocketAddr>(address).is_ok() {
            return address;
        }
    }
}
