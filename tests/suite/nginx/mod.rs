//! nginx in front, with the configurations that we ship (`front`), while the gateway is reloaded and upgraded
//! (`operated`); and nginx as an upstream.
//!
//! Does not handle WebSockets through it (see `websocket`) or the recipe with TLS (see `documents`).

mod front;
mod operated;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, root};
use crate::support::{PATIENCE, chat};

/// A running nginx, ended with the test.
pub struct Nginx {
    child: Child,
    _folder: Folder,
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts nginx with what stands in its `http` section, given the port to listen on. What we ship for
    /// `/etc/nginx/snippets` can be included.
    pub fn start(program: &Path, http: impl Fn(u16) -> String) -> Self {
        // nginx takes no port 0, so another process may be faster: then another port is tried.
        for _ in 0..5 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            if let Some(nginx) = Self::try_start(program, address, &http(address.port())) {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }

    fn try_start(program: &Path, address: SocketAddr, http: &str) -> Option<Self> {
        let folder = Folder::new();
        let snippets = folder.0.join("snippets");
        std::fs::create_dir(&snippets).unwrap();
        let shipped = root().join("conf/nginx/snippets/tollgate.conf");
        std::fs::copy(shipped, snippets.join("tollgate.conf")).unwrap();
        let prefix = folder.0.display();
        let file = folder.write(
            "nginx.conf",
            format!(
                "daemon off; pid {prefix}/pid; error_log {prefix}/error.log;
                 worker_processes 1; events {{ worker_connections 256; }}
                 http {{ access_log off; client_body_temp_path {prefix}/body;
                 proxy_temp_path {prefix}/proxy; fastcgi_temp_path {prefix}/fastcgi;
                 uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;\n{http}\n}}"
            ),
        );
        let child = Command::new(program)
            .arg("-p")
            .arg(&folder.0)
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Self {
            child,
            _folder: folder,
            address,
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if nginx.child.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect(address).is_ok() {
                return Some(nginx);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its worker on SIGTERM, not when it is killed.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn nginx_is_asked_as_an_upstream_over_one_connection() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let far = Nginx::start(&program, |port| {
        format!(
            "server {{ listen 127.0.0.1:{port}; keepalive_requests 1000; client_max_body_size 64m;
               location /v1/ {{ default_type application/json; return 200 '{{\"conn\":$connection}}'; }} }}"
        )
    });
    let gateway = Gateway::start(&config(far.address, "", ""));
    let mut client = gateway.connect().await;
    let mut connections = std::collections::HashSet::new();
    for _ in 0..10 {
        let response = client.post("/v1/chat/completions", &chat("gpt-4o")).await;
        assert_eq!(response.status, 200);
        connections.insert(response.json()["conn"].to_string());
    }
    assert_eq!(connections.len(), 1, "the connection is reused");
}
