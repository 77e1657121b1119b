//! A successor that cannot serve changes nothing: the process that was asked serves on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::upgrade::{Successor, serves};
use super::{FILE, order};
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::upstream::Upstream;
use crate::support::{chat, soon};

const PROGRAM: &str = "tollgate";

/// A gateway whose binary on disk can be replaced.
fn replaceable(yaml: &str) -> Gateway {
    let folder = Folder::new();
    let file = folder.write(FILE, yaml);
    let program = folder.0.join(PROGRAM);
    symlink(BINARY, &program).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "-c"]).arg(file);
    Gateway::spawn(command, folder)
}

fn replace_binary(gateway: &Gateway, script: &str) {
    let new = gateway.folder().write("new", script);
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, gateway.folder().0.join(PROGRAM)).unwrap();
}

/// The configuration, with a short time for an upgrade and nothing that is read when a file changes.
fn yaml(upstream: &Upstream) -> String {
    let yaml = config(upstream.address, "", "");
    yaml.replace(
        "server:\n",
        "server:\n  reload_on_change: false\n  upgrade_timeout: 500ms\n",
    )
}

async fn refuses(gateway: &mut Gateway, wanted: &str) {
    let answer = order(gateway, "/admin/upgrade").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains(wanted), "{}", answer.text());
    gateway.output().wait_for("upgrade: this process serves on");
    assert!(gateway.is_running());
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn one_that_crashes_or_cannot_be_started() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = replaceable(&yaml(&upstream));
    replace_binary(&gateway, "#!/bin/sh\nexit 3\n");
    refuses(&mut gateway, "ended before it was ready").await;
    // A shell would read it line by line.
    replace_binary(&gateway, "echo read by a shell > read\n");
    refuses(&mut gateway, "is not a program").await;
    assert!(!gateway.folder().0.join("read").exists());
    replace_binary(&gateway, "");
    refuses(&mut gateway, "is not a program").await;
    replace_binary(&gateway, "\u{7f}ELF but not a program");
    refuses(&mut gateway, "").await;
    fs::remove_file(gateway.folder().0.join(PROGRAM)).unwrap();
    refuses(&mut gateway, "cannot be started").await;
    // Nothing is left behind that stands in the way of a good one.
    symlink(BINARY, gateway.folder().0.join(PROGRAM)).unwrap();
    let mut pid = None;
    soon("an upgrade", async {
        while pid.is_none() {
            pid = order(&gateway, "/admin/upgrade").await.json()["pid"].as_u64();
        }
    })
    .await;
    let successor = Successor(u32::try_from(pid.unwrap()).unwrap());
    serves(&gateway, successor.0).await;
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn one_that_hangs_is_ended() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = replaceable(&yaml(&upstream));
    replace_binary(&gateway, "#!/bin/sh\necho $$ > hanging\nexec sleep 600\n");
    refuses(&mut gateway, "was not ready within 500ms").await;
    let pid = fs::read_to_string(gateway.folder().0.join("hanging")).unwrap();
    assert!(!fs::exists(format!("/proc/{}", pid.trim())).unwrap());
}

#[tokio::test]
async fn one_with_a_broken_configuration_says_what_is_wrong() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = replaceable(&yaml(&upstream).replace("500ms", "30s"));
    let broken = yaml(&upstream).replace("base_url", "basurl");
    gateway.folder().write(FILE, broken);
    refuses(&mut gateway, "basurl").await;
}

#[tokio::test]
async fn one_that_cannot_listen_says_where() {
    let upstream = Upstream::answering("{}").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let yaml = yaml(&upstream).replace("500ms", "30s");
    let mut gateway = replaceable(&yaml);
    gateway.folder().write(
        FILE,
        yaml.replace("listen: ['127.0.0.1:0']", &format!("listen: ['{taken}']")),
    );
    refuses(
        &mut gateway,
        &format!("cannot listen on {taken}: the port is in use"),
    )
    .await;
}

#[tokio::test]
async fn one_that_is_killed_in_the_middle_changes_nothing() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = replaceable(&yaml(&upstream).replace("500ms", "30s"));
    replace_binary(&gateway, "#!/bin/sh\nkill -9 $$\n");
    refuses(&mut gateway, "ended before it was ready").await;
}

#[tokio::test]
async fn one_that_says_that_it_serves_and_ends() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = replaceable(&yaml(&upstream).replace("500ms", "30s"));
    // Behind the sockets of clients and of the operator.
    replace_binary(&gateway, "#!/bin/sh\nprintf 'serving\\n' >&5\n");
    refuses(&mut gateway, "said that it serves, and ended").await;
}

#[tokio::test]
async fn a_signal_to_stop_ends_a_process_that_waits_for_its_successor() {
    let upstream = Upstream::answering("{}").await;
    let mut gateway = replaceable(&yaml(&upstream).replace("500ms", "600s"));
    replace_binary(&gateway, "#!/bin/sh\necho $$ > hanging\nexec sleep 600\n");
    gateway.signal("USR2");
    gateway.output().wait_for("upgrade (SIGUSR2)");
    let hanging = gateway.folder().0.join("hanging");
    crate::support::until("the successor runs", || {
        fs::read_to_string(&hanging).is_ok_and(|pid| pid.ends_with('\n'))
    })
    .await;
    let pid = fs::read_to_string(&hanging).unwrap();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    crate::support::until("the successor has ended", || {
        !fs::exists(format!("/proc/{}", pid.trim())).unwrap()
    })
    .await;
}
