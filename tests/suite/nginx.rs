//! nginx in front, with the configuration that we ship; and nginx as an upstream.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::support::client::{Client, post};
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, root};
use crate::support::upstream::Upstream;
use crate::support::{DONE, PATIENCE, PROMPT, chat, delta, streamed_chat};

/// A running nginx, ended with the test.
pub struct Nginx {
    child: Child,
    _folder: Folder,
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts nginx with what stands in its `http` section, given the port to listen on.
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
async fn streams_pass_unbuffered_through_nginx_in_front() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let step = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&step);
    let upstream = Upstream::start(move |_, mut reply| {
        let held = Arc::clone(&held);
        async move {
            reply.begin_stream().await;
            for event in [&delta("one"), &delta("two"), &delta("three"), DONE] {
                reply.chunk(event).await;
                held.acquire().await.unwrap().forget();
            }
            reply.end_stream().await;
            reply
        }
    })
    .await;
    let yaml =
        config(upstream.address, "", "").replace("max_body: 64MiB", "trusted_proxies: [127.0.0.1]");
    let gateway = Gateway::start(&yaml);
    let shipped = std::fs::read_to_string(root().join("conf/nginx/tollgate.conf")).unwrap();
    let front = Nginx::start(&program, |port| {
        shipped
            .replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
            .replace(
                "server 127.0.0.1:8080;",
                &format!("server {};", gateway.address),
            )
    });
    let mut client = Client::connect(front.address).await;
    client
        .send(post("/v1/chat/completions", "", &streamed_chat("gpt-4o")))
        .await;
    assert_eq!(client.head().await.0, 200);
    for event in [&delta("one"), &delta("two"), &delta("three"), DONE] {
        // The upstream holds the next event back until this one has come through both.
        assert_eq!(client.chunk().await.as_deref(), Some(event));
        step.add_permits(1);
    }
    assert_eq!(client.chunk().await.as_deref(), Some(""));
    // A body that is larger than nginx's own default passes too.
    step.add_permits(4);
    let large = chat("gpt-4o").replace(PROMPT, &format!("{PROMPT}{}", "z".repeat(5 << 20)));
    let mut client = Client::connect(front.address).await;
    assert_eq!(
        client.post("/v1/chat/completions", &large).await.status,
        200
    );
    gateway.access_line("client=127.0.0.1");
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
