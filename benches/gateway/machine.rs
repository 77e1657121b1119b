//! What the figures were measured on.
//!
//! Owns a few facts without which they say nothing, and none that tell whose machine it was: no
//! host name, no path, no user.

use std::fs;
use std::process::Command;

use crate::servers::nginx_program;

/// The facts, one line each.
pub fn facts() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut facts = vec![
        format!("{cores} cores, {}", processor()),
        format!("Linux {}", line_of("/proc/sys/kernel/osrelease", "")),
        first_line(Command::new(nginx_program()).arg("-v")),
        format!(
            "Tollgate {}, Pingora {}, mimalloc, fat LTO, one codegen unit, {}",
            env!("CARGO_PKG_VERSION"),
            pingora_version(),
            match option_env!("RUSTFLAGS").is_some_and(|flags| flags.contains("profile-use")) {
                true => "by a profile",
                false => "without a profile",
            }
        ),
        first_line(Command::new("rustc").arg("--version")),
        jiff::Timestamp::now()
            .strftime("measured on %F")
            .to_string(),
    ];
    facts.retain(|fact| !fact.is_empty());
    facts
}

fn processor() -> String {
    let line = line_of("/proc/cpuinfo", "model name");
    let name = line.split_once(": ").map(|(_, name)| name.to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn line_of(path: &str, start: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(start));
    line.unwrap_or_default().to_owned()
}

/// What a program says first, on whichever stream.
fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return String::new();
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or_default().to_owned()
}

fn pingora_version() -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split_once("name = \"pingora\"\nversion = \"");
    let version = entry.and_then(|(_, rest)| rest.split('"').next());
    version.unwrap_or("of an unknown version")
}
