//! The Redis in which `tollgate, with a store` counts its limits.
//!
//! Owns its start and its end. Its CPU is no part of any figure. Fails where Debian's `redis-server` is missing.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Its socket, in the folder of the benchmark.
pub const SOCKET: &str = "store.sock";
/// Until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A Redis that is ended when dropped.
pub struct Store(Child);

impl Store {
    /// Starts one, and waits until it listens.
    pub fn start(directory: &Path) -> Result<Self, String> {
        let socket = directory.join(SOCKET);
        let mut server = Command::new("redis-server");
        server.args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            "0",
            "--unixsocket",
        ]);
        server.arg(&socket).current_dir(directory);
        server.stdin(Stdio::null()).stdout(Stdio::null());
        let child = server.spawn();
        let store = Self(child.map_err(|e| format!("redis-server: {e}"))?);
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            if Instant::now() > until {
                return Err("redis-server does not listen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
