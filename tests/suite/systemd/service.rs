//! Tollgate as the service of a machine, and clients that ask it all the time.
//!
//! `make install` has run in the machine. Nothing of the units is changed but what a drop-in of an operator's would
//! change: ports, and times that a test cannot wait for. Does not handle what the tests do with it (see `running` and
//! `replacing`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::machine::Machine;
use crate::support::client::{Client, post};
use crate::support::gateway::{BINARY, assert_no_secret};
use crate::support::tools::free_port;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY, chat, soon};

pub const CHAT: &str = "/v1/chat/completions";
pub const INSTALL: &str =
    "make --no-print-directory -C /run/source install PROGRAM=/run/test/tollgate";
pub const UNINSTALL: &str = "make --no-print-directory -C /run/source uninstall";
pub const RELOAD: &str = "systemctl reload tollgate";
pub const UPGRADE: &str = "systemctl kill --signal USR2 --kill-whom main tollgate";

/// A machine with Tollgate as its service, which is not started yet.
pub struct Service {
    pub machine: Machine,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub yaml: String,
}

impl Service {
    pub fn install(upstream: &Upstream) -> Option<Self> {
        let machine = Machine::start()?;
        // Where it is on the same disk, this costs nothing.
        let program = machine.folder.0.join("tollgate");
        if std::fs::hard_link(BINARY, &program).is_err() {
            std::fs::copy(BINARY, &program).unwrap();
        }
        machine.expect(INSTALL);
        let (address, admin) = (free_port(), free_port());
        let yaml = format!(
            "server:
  listen: ['{address}']
  admin: '{admin}'
upstreams:
  far: {{ base_url: 'http://{}/v1', keys: ['${{FAR_KEY}}'] }}
models:
  - {{ match: gpt-4o, targets: [{{ upstream: far }}] }}
tenants:
  - {{ id: tester, keys: ['{CLIENT_KEY}'] }}
",
            upstream.address
        );
        let service = Self {
            machine,
            address,
            admin,
            yaml,
        };
        service.configure(&service.yaml);
        let variables = format!("FAR_KEY={PROVIDER_KEY}\nRUST_LOG=info\n");
        service
            .machine
            .write("/etc/tollgate/environment", &variables);
        Some(service)
    }

    pub fn configure(&self, yaml: &str) {
        self.machine.write("/etc/tollgate/tollgate.yaml", yaml);
    }

    /// Changes the unit as an operator would.
    pub fn drop_in(&self, unit: &str, lines: &str) {
        self.machine
            .write(&format!("/etc/systemd/system/{unit}.d/test.conf"), lines);
        self.machine.expect("systemctl daemon-reload");
    }

    pub fn start(&self) {
        // It returns when Tollgate has said that it serves.
        self.machine.expect("systemctl start tollgate");
    }

    pub fn property(&self, name: &str) -> String {
        self.machine.property("tollgate", name)
    }

    #[track_caller]
    pub fn wait_for(&self, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.machine.wait_for("tollgate", name, wanted)
    }

    /// Upgrades it, and gives the process id of the new main process.
    #[track_caller]
    pub fn upgrade(&self) -> String {
        let before = self.property("MainPID");
        self.machine.expect(UPGRADE);
        self.wait_for("MainPID", |pid| pid != before)
    }

    /// The processes of the service, as the machine counts them.
    pub fn processes(&self) -> usize {
        let group = self.property("ControlGroup");
        let said = self
            .machine
            .expect(&format!("cat /sys/fs/cgroup{group}/cgroup.procs"));
        said.lines().count()
    }

    #[track_caller]
    pub fn assert_told(&self, wanted: &str) {
        let journal = self.machine.journal();
        assert!(journal.contains(wanted), "`{wanted}` is not in\n{journal}");
    }

    pub async fn ask(&self, model: &str) -> u16 {
        let mut client = Client::connect(self.address).await;
        client.post(CHAT, &chat(model)).await.status
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_no_secret(&self.machine.journal());
        }
    }
}

/// Clients that connect anew for each request, all the time.
pub struct Steady {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Steady {
    pub fn against(address: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let client = || {
            let (ends, served) = (Arc::clone(&ends), Arc::clone(&served));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !ends.load(Ordering::SeqCst) {
                    match ask_once(address).await {
                        Ok(()) => _ = served.fetch_add(1, Ordering::SeqCst),
                        Err(failure) => failures.push(failure),
                    }
                }
                failures
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self {
            ends,
            served,
            clients,
        }
    }

    /// Waits until so many more have been served.
    pub async fn more(&self, count: usize) {
        let wanted = self.served.load(Ordering::SeqCst) + count;
        let serving = async {
            while self.served.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        soon("more requests", serving).await;
    }

    /// Ends them. None of their requests may have failed.
    pub async fn assert_none_failed(self) {
        self.ends.store(true, Ordering::SeqCst);
        for client in self.clients {
            let failures = soon("the end of a client", client).await.unwrap();
            assert_eq!(failures, [""; 0]);
        }
    }
}

async fn ask_once(address: SocketAddr) -> Result<(), String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = post(CHAT, "connection: close\r\n", &chat("gpt-4o"));
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = soon("an answer", asking).await.map_err(|e| e.to_string())?;
    match answer.starts_with("HTTP/1.1 200 ") && answer.ends_with('}') {
        true => Ok(()),
        false => Err(format!("`{answer}`")),
    }
}
