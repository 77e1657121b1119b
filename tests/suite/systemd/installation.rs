//! What `make install` puts where, and what systemd's own tools say of the units.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::gateway::{BINARY, Folder};
use crate::support::tools::{require, root, run};

const UNITS: [&str; 2] = ["tollgate.service", "tollgate.socket"];

fn make(target: &str, folder: &Folder, prefix: &str) -> String {
    run(Command::new("make")
        .args(["--no-print-directory", "-C"])
        .arg(root())
        .arg(target)
        .arg(format!("DESTDIR={}", folder.0.display()))
        .arg(format!("PREFIX={prefix}"))
        // Any program: it is not started.
        .arg(format!(
            "PROGRAM={}",
            root().join("tests/install.sh").display()
        )))
}

/// All files below a folder, with their modes.
fn files(folder: &Path) -> Vec<(String, u32)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            files.push((name, mode));
        }
    }
    files.sort();
    files
}

fn named(files: &[(&str, u32)]) -> Vec<(String, u32)> {
    let owned = files.iter().map(|(name, mode)| ((*name).to_owned(), *mode));
    owned.collect()
}

const CONFIGURATION: [(&str, u32); 2] = [
    ("etc/tollgate/environment", 0o640),
    ("etc/tollgate/tollgate.yaml", 0o640),
];

#[test]
fn an_installation_is_whole_and_leaves_what_is_the_operators() {
    if require(&["make"], "make").is_none() {
        return;
    }
    let folder = Folder::new();
    make("install", &folder, "/usr");
    let program = [
        ("usr/bin/tollgate", 0o755),
        ("usr/lib/systemd/system/tollgate.service", 0o644),
        ("usr/lib/systemd/system/tollgate.socket", 0o644),
        ("usr/lib/sysusers.d/tollgate.conf", 0o644),
    ];
    let all = [&CONFIGURATION[..], &program[..]].concat();
    assert_eq!(files(&folder.0), named(&all));
    let etc = folder.0.join("etc/tollgate");
    assert_eq!(etc.metadata().unwrap().permissions().mode() & 0o7777, 0o750);

    let ours = "# of the operator\n";
    for name in ["tollgate.yaml", "environment"] {
        std::fs::write(etc.join(name), ours).unwrap();
    }
    make("install", &folder, "/usr");
    make("uninstall", &folder, "/usr");
    assert_eq!(files(&folder.0), named(&CONFIGURATION));
    for name in ["tollgate.yaml", "environment"] {
        assert_eq!(std::fs::read_to_string(etc.join(name)).unwrap(), ours);
    }
}

#[test]
fn the_unit_runs_the_program_where_it_is_installed() {
    if require(&["make"], "make").is_none() {
        return;
    }
    for (prefix, unit) in [
        (
            "/usr/local",
            "usr/local/lib/systemd/system/tollgate.service",
        ),
        // No folder in which systemd looks for units.
        ("/opt/tollgate", "etc/systemd/system/tollgate.service"),
    ] {
        let folder = Folder::new();
        make("install", &folder, prefix);
        let unit = std::fs::read_to_string(folder.0.join(unit)).unwrap();
        for key in ["ExecStart", "ExecReload"] {
            let line = unit
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap();
            assert!(
                line.starts_with(&format!("={prefix}/bin/tollgate ")),
                "{line}"
            );
        }
        let executable = unit
            .lines()
            .find_map(|l| l.strip_prefix("ExecPaths="))
            .unwrap();
        assert!(
            executable.contains(&format!("{prefix}/bin")),
            "{executable}"
        );
        assert!(
            folder
                .0
                .join(prefix.trim_start_matches('/'))
                .join("bin/tollgate")
                .exists()
        );
    }
}

/// The shipped units in a folder, with a program that is there.
fn units(folder: &Folder) -> Vec<PathBuf> {
    let shipped = |name: &str| std::fs::read_to_string(root().join("systemd").join(name)).unwrap();
    let placed = |name| shipped(name).replace("/usr/local/bin/tollgate", BINARY);
    UNITS
        .iter()
        .map(|name| folder.write(name, placed(name)))
        .collect()
}

#[test]
fn systemd_finds_no_mistake_in_the_units() {
    let Some(analyze) = require(&["systemd-analyze"], "systemd") else {
        return;
    };
    let folder = Folder::new();
    let output = Command::new(analyze)
        .args(["verify", "--man=no"])
        .args(units(&folder))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // The machine's own units may have mistakes, which are told, too.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("tollgate"))
        .collect();
    assert!(ours.is_empty() && output.status.success(), "{said}");
}

#[test]
fn the_socket_unit_has_the_address_of_the_first_configuration() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let unit = read("systemd/tollgate.socket");
    let address = unit
        .lines()
        .find_map(|line| line.strip_prefix("ListenStream="));
    let listen = format!("listen: [\"{}\"]", address.unwrap());
    assert!(
        read("conf/examples/openai.yaml").contains(&listen),
        "{listen}"
    );
}

#[test]
fn the_service_is_hardly_exposed() {
    let Some(analyze) = require(&["systemd-analyze"], "systemd") else {
        return;
    };
    let folder = Folder::new();
    let unit = &units(&folder)[0];
    // In tenths: at most 2.0 of 10.
    run(Command::new(analyze)
        .args(["security", "--no-pager", "--offline=true", "--threshold=20"])
        .arg(unit));
}
