//! What systemd is told, by its protocols, with a socket of the test's in its place.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};

use super::FILE;
use super::upgrade::{Successor, serves};
use crate::support::chat;
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::upstream::Upstream;

/// The socket that `NOTIFY_SOCKET` names.
struct Manager {
    folder: Folder,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.0.join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self { folder, socket }
    }

    fn start(&self, yaml: &str, more: impl FnOnce(&mut Command)) -> Gateway {
        Gateway::start_with(yaml, |command| {
            command.env("NOTIFY_SOCKET", self.folder.0.join("notify"));
            more(command);
        })
    }

    /// Waits for a message that begins like this, and returns it.
    fn hears(&self, wanted: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let mut message = [0; 4096];
            let length = self.socket.recv(&mut message).unwrap_or_else(|e| {
                panic!("`{wanted}` was not said, but {heard:?}: {e}");
            });
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            if message.starts_with(wanted) {
                return message;
            }
            heard.push(message);
        }
    }
}

#[tokio::test]
async fn it_is_told_of_the_start_a_reload_the_state_and_the_end() {
    let upstream = Upstream::answering("{}").await;
    let manager = Manager::new();
    let mut gateway = manager.start(&config(upstream.address, "", ""), |_| ());
    manager.hears("READY=1");
    let status = manager.hears("STATUS=");
    assert!(
        status.contains("0 requests in flight") && status.contains(FILE),
        "{status}"
    );
    gateway.signal("HUP");
    assert!(manager.hears("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.hears("READY=1");
    gateway.signal("TERM");
    manager.hears("STOPPING=1");
    assert!(gateway.wait().success());
}

#[tokio::test]
async fn the_watchdog_is_fed_while_requests_are_served() {
    let upstream = Upstream::answering("{}").await;
    let manager = Manager::new();
    let gateway = manager.start(&config(upstream.address, "", ""), |command| {
        command.env("WATCHDOG_USEC", "300000");
    });
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    // It was really asked.
    gateway.access_line("path=/health model=- sent=- upstream=- status=200");
}

#[tokio::test]
async fn after_an_upgrade_the_new_process_is_the_main_one() {
    let upstream = Upstream::answering("{}").await;
    let manager = Manager::new();
    let mut gateway = manager.start(&config(upstream.address, "", ""), |command| {
        command.env("WATCHDOG_USEC", "3000000");
    });
    gateway.signal("USR2");
    let main = manager.hears("MAINPID=");
    let pid = main.trim().strip_prefix("MAINPID=").unwrap();
    let successor = Successor(pid.parse().unwrap());
    assert!(gateway.wait().success());
    serves(&gateway, successor.0).await;
    // By the new process: the old one has ended.
    while manager.socket.set_nonblocking(true).is_ok()
        && manager.socket.recv(&mut [0; 4096]).is_ok()
    {}
    manager.socket.set_nonblocking(false).unwrap();
    manager.hears("WATCHDOG=1");
}

/// Hands listening sockets to a gateway, as systemd does.
fn activated(sockets: &[&TcpListener]) -> impl FnOnce(&mut Command) {
    let descriptors: Vec<OwnedFd> = sockets
        .iter()
        .map(|socket| OwnedFd::from(socket.try_clone().unwrap()))
        .collect();
    move |command| {
        command.env("LISTEN_FDS", descriptors.len().to_string());
        let mappings = (3..).zip(descriptors);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        command.fd_mappings(mappings.collect()).unwrap();
    }
}

#[tokio::test]
async fn sockets_that_are_handed_over_are_served_and_outlive_the_process() {
    let upstream = Upstream::answering("{}").await;
    let [clients, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [at, admin_at] = [&clients, &admin].map(|socket| socket.local_addr().unwrap());
    let yaml = config(upstream.address, "", "")
        .replace("listen: ['127.0.0.1:0']", &format!("listen: ['{at}']"))
        .replace("admin: '127.0.0.1:0'", &format!("admin: '{admin_at}'"));
    let mut gateway = Gateway::start_with(&yaml, activated(&[&admin, &clients]));
    assert_eq!((gateway.address, gateway.admin), (at, Some(admin_at)));
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    // A client that comes while the gateway is restarted waits, and is not refused.
    let mut waiting = gateway.connect().await;
    waiting
        .send(crate::support::client::post(
            "/v1/chat/completions",
            "",
            &chat("gpt-4o"),
        ))
        .await;
    let next = Gateway::start_with(&yaml, activated(&[&admin, &clients]));
    assert_eq!(waiting.response().await.status, 200);
    drop(next);
}

#[tokio::test]
async fn a_socket_that_the_configuration_does_not_name_is_a_mistake() {
    let upstream = Upstream::answering("{}").await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new();
    let yaml = config(upstream.address, "", "").replace("127.0.0.1:0", "127.0.0.2:0");
    let mut command = Command::new(BINARY);
    command.args(["run", "-c"]).arg(folder.write(FILE, yaml));
    activated(&[&other])(&mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    let address = other.local_addr().unwrap().to_string();
    assert!(
        text.contains(&address) && text.contains("server.listen"),
        "{text}"
    );
}

#[tokio::test]
async fn a_descriptor_that_is_no_socket_is_a_mistake() {
    let folder = Folder::new();
    let file = folder.write("file", "text");
    let mut command = Command::new(BINARY);
    command.args(["run", "--demo"]).env("LISTEN_FDS", "1");
    let mapping = FdMapping {
        parent_fd: std::fs::File::open(file).unwrap().into(),
        child_fd: 3,
    };
    command.fd_mappings(vec![mapping]).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("LISTEN_FDS") && text.contains("ListenStream="),
        "{text}"
    );
}
