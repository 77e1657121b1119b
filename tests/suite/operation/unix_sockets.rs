//! Unix sockets outlive the process that has opened them: at an upgrade, and where systemd has made them.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use command_fds::{CommandFdExt, FdMapping};

use super::upgrade::{serves, upgrade};
use crate::support::client::post;
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;
use crate::support::{chat, until};
use crate::unix_sockets::{asked, socket, with_socket};

fn is_served(path: &std::path::Path) -> bool {
    let request = post("/v1/chat/completions", "", &chat("gpt-4o"));
    let answer = tokio::task::block_in_place(|| asked(path, &request));
    answer.starts_with("HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_the_socket_and_the_last_process_removes_its_file() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let mut gateway = Gateway::start(&with_socket(&upstream, &path, "", ""));
    assert!(is_served(&path));
    let successor = upgrade(&gateway).await;
    serves(&gateway, successor.0).await;
    assert!(gateway.wait().success());
    assert!(path.exists(), "the successor serves it");
    assert!(is_served(&path));
    // And once more: the name under which it is handed over stays.
    let second = upgrade(&gateway).await;
    serves(&gateway, second.0).await;
    assert!(is_served(&path));
    let pid = second.0.to_string();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-s", "TERM", &pid]).status().unwrap().success());
    until("the file is removed", || !path.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_systemd_is_served_and_stays() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let listener = UnixListener::bind(&path).unwrap();
    let theirs = std::fs::Permissions::from_mode(0o606);
    std::fs::set_permissions(&path, theirs).unwrap();
    let descriptor = OwnedFd::from(listener.try_clone().unwrap());
    let mut gateway = Gateway::start_with(&with_socket(&upstream, &path, "", ""), |command| {
        command.env("LISTEN_FDS", "1");
        let mapping = FdMapping {
            parent_fd: descriptor,
            child_fd: 3,
        };
        command.fd_mappings(vec![mapping]).unwrap();
    });
    assert!(is_served(&path));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o606);
    let successor = upgrade(&gateway).await;
    serves(&gateway, successor.0).await;
    assert!(gateway.wait().success());
    assert!(is_served(&path));
    let pid = successor.0.to_string();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-s", "TERM", &pid]).status().unwrap().success());
    until("the successor ends", || {
        std::net::TcpStream::connect(gateway.address).is_err()
    })
    .await;
    assert!(path.exists(), "it is systemd's to remove");
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_asks_it_where_it_comes_first() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = socket(&folder);
    let manager = std::os::unix::net::UnixDatagram::bind(folder.0.join("notify")).unwrap();
    let yaml = with_socket(&upstream, &path, "", "");
    let both = format!("'127.0.0.1:0', {{ address: 'unix:{}' }}", path.display());
    assert!(yaml.contains(&both), "{yaml}");
    let first = format!("{{ address: 'unix:{}' }}, '127.0.0.1:0'", path.display());
    let gateway = Gateway::start_with(&yaml.replace(&both, &first), |command| {
        command
            .env("NOTIFY_SOCKET", folder.0.join("notify"))
            .env("WATCHDOG_USEC", "300000");
    });
    gateway.access_line("client=- ");
    drop(manager);
}
