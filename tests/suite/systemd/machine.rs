//! A machine whose process 1 is the real systemd, for one test.
//!
//! Owns starting it (`tests/fixtures/systemd/machine.sh` has its namespaces), running commands in it, and ending it.
//! It has a file system of its own over that of the test, the journal, and no other unit. Its network is that of the
//! test. Does not handle Tollgate in it (see `service`). Where it cannot run, the test is skipped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::gateway::Folder;
use crate::support::tools::{program, require, root, run, skip};

/// Targets that units of a whole system refer to. Here they start nothing.
const TARGETS: [&str; 8] = [
    "sysinit",
    "multi-user",
    "sockets",
    "network-online",
    "nss-lookup",
    "shutdown",
    "umount",
    "final",
];
const SYSTEMD: &str = "/lib/systemd/systemd";
/// The only units of the system.
const UNITS: &str = "/lib/systemd/system";

/// A running machine, ended with the test.
pub struct Machine {
    child: Child,
    cgroup: PathBuf,
    pub folder: Folder,
}

impl Machine {
    /// Starts one, or says why the test is skipped.
    pub fn start() -> Option<Self> {
        for (name, package) in [
            ("systemctl", "systemd"),
            ("unshare", "util-linux"),
            ("nsenter", "util-linux"),
            ("setpriv", "util-linux"),
            ("make", "make"),
        ] {
            require(&[name], package)?;
        }
        let mut namespaces = Command::new(program(&["unshare"])?);
        namespaces.args(["--mount", "--pid", "--cgroup", "--fork", "true"]);
        let may = namespaces.stderr(Stdio::null()).status().unwrap().success();
        let (Some(cgroups), true) = (unified_cgroups(), may && Path::new(SYSTEMD).exists()) else {
            skip("systemd cannot run here (it needs root, namespaces and cgroups of version 2)");
            return None;
        };
        let folder = Folder::new();
        prepare(&folder);
        let name = folder.0.file_name().unwrap();
        let cgroup = cgroups.join(name);
        std::fs::create_dir(&cgroup).unwrap();
        let child = Command::new(root().join("tests/fixtures/systemd/machine.sh"))
            .arg(&folder.0)
            .arg(root())
            .arg(&cgroup)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut machine = Self {
            child,
            cgroup,
            folder,
        };
        machine.wait_until_started();
        Some(machine)
    }

    fn wait_until_started(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_up = self.init().is_some()
                && self
                    .run("systemctl is-active --quiet basic.target")
                    .status
                    .success();
            if is_up {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the machine has ended with {ended:?}");
            assert!(Instant::now() < deadline, "the machine does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process 1, as the test sees it, once it is systemd.
    fn init(&self) -> Option<u32> {
        let outer = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
        let init = children.ok()?.trim().parse().ok()?;
        let command = std::fs::read_to_string(format!("/proc/{init}/comm")).ok()?;
        (command.trim() == "systemd").then_some(init)
    }

    fn command(&self, script: &str) -> Command {
        let init = self.init().unwrap_or_default().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &init, "--all", "--", "/bin/sh", "-c", script]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line of the shell in it, whatever comes of it.
    pub fn run(&self, script: &str) -> Output {
        self.command(script).output().unwrap()
    }

    /// Runs a line of the shell that must succeed, and gives what it said.
    #[track_caller]
    pub fn expect(&self, script: &str) -> String {
        run(&mut self.command(script))
    }

    /// Writes a file in it.
    pub fn write(&self, path: &str, text: &str) {
        let init = self.init().unwrap();
        let file = format!("/proc/{init}/root{path}");
        std::fs::create_dir_all(Path::new(&file).parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let said = self.expect(&format!("systemctl show --value --property {name} {unit}"));
        said.trim().to_owned()
    }

    /// Waits until a property of a unit is as wanted, and gives it.
    #[track_caller]
    pub fn wait_for(&self, unit: &str, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.property(unit, name);
            if wanted(&value) {
                return value;
            }
            let journal = || self.journal();
            assert!(
                Instant::now() < deadline,
                "{name} of {unit} stays {value}:\n{}",
                journal()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything in its journal.
    pub fn journal(&self) -> String {
        let output = self.run("journalctl --no-pager --output cat");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "in the machine:\n{}", self.journal());
        }
        // Its process 1 ends with this one, and all of its processes with that.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Processes leave their cgroup a little after they have ended.
        let deadline = Instant::now() + PATIENCE;
        while self.cgroup.exists() && Instant::now() < deadline {
            remove_cgroups(&self.cgroup);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where cgroups of version 2 are mounted.
fn unified_cgroups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields.get(2) == Some(&"cgroup2"))?;
    Some(PathBuf::from(mount[1]))
}

/// The units of the machine: empty targets, and the journal.
fn prepare(folder: &Folder) {
    let units = folder.0.join("units");
    std::fs::create_dir(&units).unwrap();
    let target = |name: &str, more: &str| {
        let text = format!("[Unit]\nDescription={name}\nDefaultDependencies=no\n{more}");
        std::fs::write(units.join(format!("{name}.target")), text).unwrap();
    };
    TARGETS.iter().for_each(|name| target(name, ""));
    let journal = ["systemd-journald.service", "systemd-journald.socket"];
    target("basic", &format!("Wants={0}\nAfter={0}\n", journal[0]));
    for unit in journal {
        std::fs::copy(Path::new(UNITS).join(unit), units.join(unit)).unwrap();
    }
}

fn remove_cgroups(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    // Fails while it has processes.
    let _ = std::fs::remove_dir(folder);
}
