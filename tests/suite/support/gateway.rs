//! The real binary, started with a configuration, ended with the test.
//!
//! It logs at trace level, and when it ends everything that it said is searched for the test keys
//! and the canary prompt: each test of the suite is so a test that nothing leaks.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::client::{Client, Response};
use super::upstream::Upstream;
use super::{CLIENT_KEY, PATIENCE, PROMPT, PROVIDER_KEY, soon};

pub const BINARY: &str = env!("CARGO_BIN_EXE_tollgate");

/// What must never be seen in any output.
const SECRETS: [&str; 3] = [CLIENT_KEY, PROVIDER_KEY, PROMPT];

/// A running gateway.
pub struct Gateway {
    child: Child,
    folder: Folder,
    output: Arc<Output>,
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
}

/// A folder of one test, removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("tollgate-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a process has said so far, line by line.
#[derive(Default)]
pub struct Output {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Output {
    /// Collects the lines of a stream.
    pub fn collect(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                output.lines.lock().unwrap().push(line);
                output.more.notify_all();
            }
        });
    }

    pub fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line that contains `wanted`.
    pub fn wait_for(&self, wanted: &str) -> String {
        self.find(wanted)
            .unwrap_or_else(|| panic!("`{wanted}` was not said:\n{}", self.text()))
    }

    fn find(&self, wanted: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(wanted)) {
                return Some(line.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// The configuration that most tests want: one upstream with a key, a rule that renames, rules
/// that do not, one tenant.
pub fn config(upstream: SocketAddr, more_of_upstream: &str, more: &str) -> String {
    format!(
        "server:
  listen: ['127.0.0.1:0']
  admin: '127.0.0.1:0'
  log: {{ mask: false }}
  max_body: 64MiB
upstreams:
  far: {{ base_url: 'http://{upstream}/v1', keys: ['{PROVIDER_KEY}']{more_of_upstream} }}
models:
  - {{ match: gpt-4o, targets: [{{ upstream: far, model: gpt-4o-2024-11-20 }}] }}
  - {{ match: {{ prefix: same- }}, targets: [{{ upstream: far }}] }}
  - {{ match: forbidden, targets: [{{ upstream: far }}] }}
tenants:
  - {{ id: tester, keys: ['{CLIENT_KEY}'], models: [gpt-4o, 'same-*', missing] }}
{more}"
    )
}

/// A configuration whose listener has these keys, too.
pub fn with_listener(yaml: &str, keys: &str) -> String {
    let plain = "listen: ['127.0.0.1:0']";
    assert!(yaml.contains(plain), "{yaml}");
    yaml.replace(
        plain,
        &format!("listen: [{{ address: '127.0.0.1:0', {keys} }}]"),
    )
}

impl Gateway {
    /// Starts the gateway in front of an upstream.
    pub fn before(upstream: &Upstream) -> Self {
        Self::start(&config(upstream.address, "", ""))
    }

    /// Starts the gateway with a configuration.
    pub fn start(yaml: &str) -> Self {
        Self::start_with(yaml, |_| ())
    }

    /// The same, with the log that an operator has: a line for each piece of what passes would be most of the
    /// work where there are very many.
    pub fn start_quietly(yaml: &str) -> Self {
        Self::start_with(yaml, |command| {
            command.env("RUST_LOG", "info");
        })
    }

    /// Starts the gateway with a configuration and more to its command.
    pub fn start_with(yaml: &str, more: impl FnOnce(&mut Command)) -> Self {
        let folder = Folder::new();
        let file = folder.write("tollgate.yaml", yaml);
        let mut command = Command::new(BINARY);
        command.args(["run", "-c"]).arg(file);
        more(&mut command);
        Self::spawn(command, folder)
    }

    /// Starts the gateway with a command of the test's own.
    pub fn spawn(command: Command, folder: Folder) -> Self {
        Self::spawn_saying(command, folder, |output| {
            output.wait_for("listening on http");
            output.text()
        })
    }

    /// The same, with a configuration by which it logs to files in a folder. What they hold is no part of its
    /// output.
    pub fn spawn_logging_to(command: Command, folder: Folder, log: &Path) -> Self {
        Self::spawn_saying(command, folder, |output| {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let text = std::fs::read_to_string(log.join("info.log")).unwrap_or_default();
                if text.contains("listening on http") {
                    return text;
                }
                assert!(Instant::now() < deadline, "{text}\n{}", output.text());
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    }

    /// Starts the gateway, whose log `said` reads until it listens.
    fn spawn_saying(
        mut command: Command,
        folder: Folder,
        said: impl FnOnce(&Output) -> String,
    ) -> Self {
        if !command.get_envs().any(|(name, _)| name == "RUST_LOG") {
            command.env("RUST_LOG", "trace,pingora=trace,h2=trace,rustls=trace");
        }
        command
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = Arc::new(Output::default());
        output.collect(child.stdout.take().unwrap());
        output.collect(child.stderr.take().unwrap());
        let text = said(&output);
        let line_with = |wanted: &str| text.lines().find(|line| line.contains(wanted));
        let address = address_in(line_with("listening on http").unwrap());
        let admin = line_with("operator's listener on").map(address_in);
        Self {
            child,
            folder,
            output,
            address,
            admin,
        }
    }

    /// A connection of a client.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Posts JSON with the tests' key.
    pub async fn post(&self, path: &str, body: &str) -> Response {
        self.connect().await.post(path, body).await
    }

    /// Gets a path with the tests' key.
    pub async fn get(&self, path: &str) -> Response {
        self.connect().await.get(path).await
    }

    /// Gets a path of the operator's listener.
    pub async fn get_admin(&self, path: &str) -> Response {
        // On the heap: a test that asks often would run out of its stack.
        let asking = async {
            let mut client = self.connect_admin().await;
            client
                .send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
                .await;
            client.response().await
        };
        Box::pin(asking).await
    }

    /// A connection to the operator's listener.
    pub async fn connect_admin(&self) -> Client {
        Client::connect(self.admin.unwrap()).await
    }

    /// What one series of its metrics says; 0 while nothing has been counted.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.get_admin("/metrics").await;
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        let value = metrics.text().lines().find_map(value);
        value.unwrap_or_default()
    }

    /// Waits until a series of its metrics is at a value.
    pub async fn metric_becomes(&self, series: &str, wanted: f64) {
        let asking = async {
            while (self.metric(series).await - wanted).abs() > 0.1 {
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("{series} {wanted}"), asking).await;
    }

    /// Its memory in use, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that it has ever had in use, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// How many files of a folder it has open, those without a name too.
    pub fn open_files_in(&self, folder: &Folder) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let files = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        files.filter(|file| file.starts_with(&folder.0)).count()
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }

    /// Everything that it said.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The access line of a request, which comes once the request is over.
    pub fn access_line(&self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.output.text();
            let mut lines = text.lines().filter(|line| line.contains(" access id="));
            if let Some(line) = lines.find(|line| line.contains(wanted)) {
                return line.to_owned();
            }
            assert!(
                Instant::now() < deadline,
                "no access line has `{wanted}`:\n{text}"
            );
            let lines = self.output.lines.lock().unwrap();
            drop(
                self.output
                    .more
                    .wait_timeout(lines, Duration::from_secs(1))
                    .unwrap(),
            );
        }
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.output.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert_no_secret(&self.output.text());
        }
    }
}

/// Fails when an output holds a key or the prompt of the tests.
pub fn assert_no_secret(output: &str) {
    let mut leaks = String::new();
    for line in output.lines() {
        for secret in SECRETS.iter().filter(|secret| line.contains(**secret)) {
            let _ = writeln!(leaks, "{secret} in: {line}");
        }
    }
    assert!(leaks.is_empty(), "secrets in the output:\n{leaks}");
}

fn address_in(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("://").unwrap();
    let end = rest.find([' ', '/', ',', '"']).unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}
