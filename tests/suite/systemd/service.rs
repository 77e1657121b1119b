//! The shipped units under the real systemd: start, reload, upgrade, restart, the watchdog, and the end.
//!
//! Each test has a machine of its own, in which `make install` has run. Nothing of the units is changed but what a
//! drop-in of an operator's would change: ports, and times that a test cannot wait for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::machine::Machine;
use crate::support::client::{Client, post};
use crate::support::gateway::{BINARY, assert_no_secret};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, DONE, PROVIDER_KEY, chat, delta, soon, streamed_chat};

const CHAT: &str = "/v1/chat/completions";
const INSTALL: &str = "make --no-print-directory -C /run/source install PROGRAM=/run/test/tollgate";
const RELOAD: &str = "systemctl reload tollgate";
const UPGRADE: &str = "systemctl kill --signal USR2 --kill-whom main tollgate";

/// A machine with Tollgate as its service, which is not started yet.
struct Service {
    machine: Machine,
    address: SocketAddr,
    admin: SocketAddr,
    yaml: String,
}

/// A port that no test has at the same time: below those that the system gives for port 0.
fn port() -> SocketAddr {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let first = usize::try_from(std::process::id()).unwrap() * 8 % 12_000;
    loop {
        let port = 20_000 + (first + COUNT.fetch_add(1, Ordering::SeqCst)) % 12_000;
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        if std::net::TcpListener::bind::<SocketAddr>(address).is_ok() {
            return address;
        }
    }
}

impl Service {
    fn install(upstream: &Upstream) -> Option<Self> {
        let machine = Machine::start()?;
        // Where it is on the same disk, this costs nothing.
        let program = machine.folder.0.join("tollgate");
        if std::fs::hard_link(BINARY, &program).is_err() {
            std::fs::copy(BINARY, &program).unwrap();
        }
        machine.expect(INSTALL);
        let (address, admin) = (port(), port());
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

    fn configure(&self, yaml: &str) {
        self.machine.write("/etc/tollgate/tollgate.yaml", yaml);
    }

    /// Changes the unit as an operator would.
    fn drop_in(&self, unit: &str, lines: &str) {
        self.machine
            .write(&format!("/etc/systemd/system/{unit}.d/test.conf"), lines);
        self.machine.expect("systemctl daemon-reload");
    }

    fn start(&self) {
        // It returns when Tollgate has said that it serves.
        self.machine.expect("systemctl start tollgate");
    }

    fn property(&self, name: &str) -> String {
        self.machine.property("tollgate", name)
    }

    #[track_caller]
    fn wait_for(&self, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.machine.wait_for("tollgate", name, wanted)
    }

    /// Upgrades it, and gives the process id of the new main process.
    #[track_caller]
    fn upgrade(&self) -> String {
        let before = self.property("MainPID");
        self.machine.expect(UPGRADE);
        self.wait_for("MainPID", |pid| pid != before)
    }

    /// The processes of the service, as the machine counts them.
    fn processes(&self) -> usize {
        let group = self.property("ControlGroup");
        let said = self
            .machine
            .expect(&format!("cat /sys/fs/cgroup{group}/cgroup.procs"));
        said.lines().count()
    }

    #[track_caller]
    fn assert_told(&self, wanted: &str) {
        let journal = self.machine.journal();
        assert!(journal.contains(wanted), "`{wanted}` is not in\n{journal}");
    }

    async fn ask(&self, model: &str) -> u16 {
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
struct Steady {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Steady {
    fn against(address: SocketAddr) -> Self {
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
    async fn more(&self, count: usize) {
        let wanted = self.served.load(Ordering::SeqCst) + count;
        let serving = async {
            while self.served.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        soon("more requests", serving).await;
    }

    /// Ends them. None of their requests may have failed.
    async fn assert_none_failed(self) {
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

/// An upstream that answers chats, and holds streams after their first event.
async fn upstream(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            if !request.text().contains("\"stream\":true") {
                reply.json("200 OK", "{}").await;
                return reply;
            }
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            step.acquire().await.unwrap().forget();
            reply.chunk(&[&delta("two"), DONE].concat()).await;
            reply.end_stream().await;
            reply
        }
    })
    .await
}

/// A stream that has begun.
async fn begin_stream(service: &Service) -> Client {
    let mut client = Client::connect(service.address).await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    assert_eq!(client.head().await.0, 200);
    assert_eq!(client.chunk().await.as_deref(), Some(delta("one").as_str()));
    client
}

/// Lets it go on to its end.
async fn end_stream(mut client: Client, step: &Semaphore) {
    step.add_permits(1);
    assert_eq!(client.chunk().await, Some([&delta("two"), DONE].concat()));
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_reloads_and_ends_under_systemd() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    // A port that only a privileged process may take.
    let low = format!("127.0.0.1:{}", 600 + std::process::id() % 400);
    let low: SocketAddr = low.parse().unwrap();
    let yaml = service
        .yaml
        .replace("listen: [", &format!("listen: ['{low}', "));
    service.configure(&yaml);
    service.start();
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
    let key = format!("Bearer {PROVIDER_KEY}");
    assert_eq!(far.request().await.header("authorization"), [key.as_str()]);
    let mut client = Client::connect(low).await;
    assert_eq!(client.post(CHAT, &chat("gpt-4o")).await.status, 200);
    service.wait_for("StatusText", |text| text.contains("requests in flight"));
    let pid = service.property("MainPID");
    let user = service
        .machine
        .expect(&format!("stat --format %U /proc/{pid}"));
    assert_eq!(user.trim(), "tollgate");
    // The metric of when it began is not lost to the hardening.
    let mut operator = Client::connect(service.admin).await;
    operator
        .send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let metrics = operator.response().await;
    assert!(metrics.text().contains("\nprocess_start_time_seconds 1"));

    service.configure(
        &yaml
            .replace("gpt-4o", "gpt-5")
            .replace("upstream: far", "upstream: near"),
    );
    let failed = service.machine.run(RELOAD);
    assert!(!failed.status.success());
    assert_eq!(service.property("ActiveState"), "active");
    service.assert_told("near");
    assert_eq!(service.ask("gpt-4o").await, 200);

    // Keys of the file of variables are read again, too.
    service.machine.write(
        "/etc/tollgate/environment",
        "FAR_KEY=another-key\nRUST_LOG=info\n",
    );
    service.configure(&yaml.replace("gpt-4o", "gpt-5"));
    service.machine.expect(RELOAD);
    assert_eq!(service.property("MainPID"), pid);
    assert_eq!(service.ask("gpt-5").await, 200);
    assert_eq!(service.ask("gpt-4o").await, 404);
    let keys = [
        far.request().await,
        far.request().await,
        far.request().await,
    ];
    assert_eq!(keys[2].header("authorization"), ["Bearer another-key"]);

    service.machine.expect("systemctl stop tollgate");
    assert_eq!(service.property("ActiveState"), "inactive");
    assert_eq!(service.property("Result"), "success");
    assert_eq!(service.property("NRestarts"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_followed_by_systemd_and_refuses_no_connection() {
    let step = Arc::new(Semaphore::new(0));
    let far = upstream(&step).await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.drop_in(
        "tollgate.service",
        "[Service]\nWatchdogSec=2\nRestartSec=0\n",
    );
    service.start();
    let steady = Steady::against(service.address);
    let stream = begin_stream(&service).await;
    steady.more(20).await;
    // The new binary is another file, as after an installation.
    service.machine.expect(INSTALL);
    let new = service.upgrade();
    steady.more(20).await;
    assert_eq!(service.processes(), 2);
    end_stream(stream, &step).await;
    crate::support::until("one process", || service.processes() == 1).await;
    assert_eq!(service.property("MainPID"), new);
    steady.more(20).await;
    steady.assert_none_failed().await;
    // The new process feeds the watchdog, again and again.
    for _ in 0..2 {
        let fed = service.property("WatchdogTimestampMonotonic");
        service.wait_for("WatchdogTimestampMonotonic", |now| now != fed);
    }
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.property("NRestarts"), "0");
    service.machine.expect(RELOAD);
    // systemd knows the new process well enough to start another when it dies.
    service
        .machine
        .expect("systemctl kill --signal KILL tollgate");
    service.wait_for("NRestarts", |count| count == "1");
    service.wait_for("ActiveState", |state| state == "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_binary_that_does_not_start_changes_nothing() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.start();
    let pid = service.property("MainPID");
    service
        .machine
        .expect("install -m 0755 /bin/false /usr/local/bin/tollgate");
    service.machine.expect(UPGRADE);
    let told = || {
        service
            .machine
            .journal()
            .contains("upgrade: this process serves on")
    };
    crate::support::until("the failure is told", told).await;
    assert_eq!(service.property("MainPID"), pid);
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_dies_while_the_old_one_drains_is_started_again() {
    let step = Arc::new(Semaphore::new(0));
    let far = upstream(&step).await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.drop_in("tollgate.service", "[Service]\nRestartSec=0\n");
    service.start();
    let stream = begin_stream(&service).await;
    let new = service.upgrade();
    service.machine.expect(&format!("kill -s KILL {new}"));
    end_stream(stream, &step).await;
    service.wait_for("NRestarts", |count| count == "1");
    service.wait_for("ActiveState", |state| state == "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_the_socket_unit_refuses_no_connection() {
    let step = Arc::new(Semaphore::new(0));
    let far = upstream(&step).await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    let listen = format!(
        "[Socket]\nListenStream=\nListenStream={}\n",
        service.address
    );
    service.drop_in("tollgate.socket", &listen);
    // With the socket of systemd's, it needs no privilege.
    service.drop_in(
        "tollgate.service",
        "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\nPrivateUsers=yes\n",
    );
    service.machine.expect("systemctl start tollgate.socket");
    assert_eq!(service.property("ActiveState"), "inactive");
    // The first connection starts the service.
    assert_eq!(service.ask("gpt-4o").await, 200);
    let before = service.property("MainPID");
    let steady = Steady::against(service.address);
    let stream = begin_stream(&service).await;
    steady.more(20).await;
    service
        .machine
        .expect("systemctl restart --no-block tollgate");
    service.wait_for("ActiveState", |state| state == "deactivating");
    // Of the old process, there is only this stream left.
    end_stream(stream, &step).await;
    service.wait_for("MainPID", |pid| pid != "0" && pid != before);
    steady.more(20).await;
    steady.assert_none_failed().await;
    // A socket that is no address of the configuration.
    service
        .machine
        .expect("systemctl stop tollgate.service tollgate.socket");
    service.configure(
        &service
            .yaml
            .replace(&service.address.to_string(), &port().to_string()),
    );
    service.machine.expect("systemctl start tollgate.socket");
    assert!(
        !service
            .machine
            .run("systemctl start tollgate.service")
            .status
            .success()
    );
    service.assert_told(&service.address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stands_still_is_replaced() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.drop_in(
        "tollgate.service",
        "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\nRestartSec=0\n",
    );
    service.start();
    service
        .machine
        .expect("systemctl kill --signal STOP tollgate");
    service.wait_for("NRestarts", |count| count == "1");
    service.wait_for("ActiveState", |state| state == "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_mistake_is_tried_once() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.configure("server: { lisen: 1 }\n");
    assert!(
        !service
            .machine
            .run("systemctl start tollgate")
            .status
            .success()
    );
    service.wait_for("ActiveState", |state| state == "failed");
    assert_eq!(service.property("NRestarts"), "0");
    assert_eq!(service.property("ExecMainStatus"), "64");
    service.assert_told("lisen: unknown key");
}
