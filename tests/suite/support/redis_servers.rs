//! Several real Redis servers of one test: a Cluster, or a master with a replica that Sentinels watch.
//!
//! They listen on ports, because they tell each other and their clients of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::tools::{free_port, require, run};

/// Servers that end with the test.
pub struct Servers {
    client: PathBuf,
    folder: tempfile::TempDir,
    children: Vec<Child>,
    pub addresses: Vec<SocketAddr>,
}

impl Servers {
    /// A Cluster of three masters; `None` where the test is to be skipped.
    pub fn cluster() -> Option<Self> {
        let mut servers = Self::none()?;
        for _ in 0..3 {
            let bus = free_port().port().to_string();
            servers.start(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
        }
        let addresses: Vec<String> = servers.addresses.iter().map(ToString::to_string).collect();
        let mut create = Command::new(&servers.client);
        create.args(["--cluster", "create"]).args(&addresses);
        run(create.args(["--cluster-yes"]));
        for address in servers.addresses.clone() {
            servers.say_until(address, &["cluster", "info"], "cluster_state:ok");
        }
        Some(servers)
    }

    /// A master, its replica, and three Sentinels that call it `mymaster`. Their addresses stand in this order.
    pub fn watched() -> Option<Self> {
        let mut servers = Self::none()?;
        let master = servers.start(&[]);
        let port = master.port().to_string();
        let replica = servers.start(&["--replicaof", "127.0.0.1", &port]);
        servers.say_until(replica, &["info", "replication"], "master_link_status:up");
        for number in 0..3 {
            let file = servers
                .folder
                .path()
                .join(format!("sentinel-{number}.conf"));
            let text = format!(
                "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds mymaster 500\n\
                 sentinel failover-timeout mymaster 2000\n"
            );
            std::fs::write(&file, text).unwrap();
            let sentinel = servers.start_with(Some(&file), &["--sentinel"]);
            servers.say_until(sentinel, &["sentinel", "master", "mymaster"], "mymaster");
        }
        let sentinel = servers.addresses[2];
        servers.say_until(sentinel, &["sentinel", "ckquorum", "mymaster"], "OK 3");
        servers.say_until(
            sentinel,
            &["sentinel", "replicas", "mymaster"],
            &replica.to_string(),
        );
        Some(servers)
    }

    fn none() -> Option<Self> {
        require(&["redis-server"], "redis-server")?;
        Some(Self {
            client: require(&["redis-cli"], "redis-tools")?,
            folder: tempfile::tempdir().unwrap(),
            children: Vec::new(),
            addresses: Vec::new(),
        })
    }

    fn start(&mut self, more: &[&str]) -> SocketAddr {
        self.start_with(None, more)
    }

    fn start_with(&mut self, file: Option<&Path>, more: &[&str]) -> SocketAddr {
        let address = free_port();
        let folder = self.folder.path().join(address.port().to_string());
        std::fs::create_dir(&folder).unwrap();
        let mut server = Command::new(require(&["redis-server"], "redis-server").unwrap());
        server.args(file);
        server.arg("--port").arg(address.port().to_string());
        server.args(["--bind", "127.0.0.1", "--dir"]).arg(folder);
        if file.is_none() {
            server.args(["--save", "", "--appendonly", "no"]);
        }
        server.args(more).stdin(Stdio::null()).stdout(Stdio::null());
        self.children.push(server.spawn().unwrap());
        self.addresses.push(address);
        self.say_until(address, &["ping"], "PONG");
        address
    }

    fn say_until(&self, to: SocketAddr, command: &[&str], wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut client = Command::new(&self.client);
            client.args(["-h", "127.0.0.1", "-p", &to.port().to_string()]);
            let said = client.args(command).output().unwrap();
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            // `redis-cli` says the members of a list on lines of their own.
            if said.contains(wanted) || said.replace('\n', ":").contains(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{command:?}: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends one of them at once, by its place.
    pub fn kill(&mut self, place: usize) {
        self.children[place].kill().unwrap();
        self.children[place].wait().unwrap();
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
