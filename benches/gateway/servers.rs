//! The servers that are compared: started, found ready, and ended by their process ids.
//!
//! Owns their configurations, which give each the same number of workers and the same work. A
//! server that does not start says why, with the end of its log. Whatever ends the benchmark, each
//! server is ended when its value is dropped.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cpu::{Processes, children};
use tokio_rustls::TlsConnector;

use crate::names::{MODEL, PROVIDER_KEY, SENT_MODEL, TENANT_KEY};
use crate::store::{SOCKET, Store};
use crate::tls;
use crate::upstream::Upstream;
use crate::wire::Door;

/// Worker threads, or processes, of each server.
pub const WORKERS: usize = 2;
/// Buffers with which nginx moves the most bytes per CPU second: with smaller ones it is woken more
/// often, and larger ones make no difference.
pub const NGINX_LARGE: &str = "1m";
/// A server that is not ready by then has failed.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A server that has not ended by then is killed.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// A free port may be taken by somebody else before we use it.
const STARTS: usize = 3;

/// Limits of each scope, a quota of both kinds, prices and the ledger; none of them is reached.
const METERED: &str = "
    limits: { requests_per_minute: 1000000000, tokens_per_minute: 1000000000000, concurrent: 100000 }
    quota: { tokens: 1000000000000000, usd: 900000000, per: month }
    markup: 20%
limits: { requests_per_minute: 1000000000, concurrent: 100000 }
prices:
  - { model: '*', input: 2.50, cached: 1.25, output: 10 }
ledger: { path: ledger }";

/// A server that is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx with `proxy_pass`, with its own sizes of buffers.
    Nginx,
    /// The same with buffers of [`NGINX_LARGE`] for files.
    NginxLarge,
    /// nginx with TLS towards clients.
    NginxTls,
    /// `examples/passthrough`.
    Passthrough,
    /// Tollgate as it comes, with its access log going to a file.
    Tollgate,
    /// The same from another program, which `--baseline` names.
    Baseline,
    /// The same with TLS towards clients.
    TollgateTls,
    /// Tollgate without access log.
    TollgateSilent,
    /// Tollgate with limits, a quota, prices and the ledger.
    TollgateMetered,
    /// The same, with limits that several gateways count in a Redis.
    TollgateStore,
    /// nginx that has the answer in a file.
    NginxFile,
    /// Tollgate that gives an answer again.
    TollgateHit,
    /// Tollgate that looks for an answer, has none that is new enough, and keeps the one that comes.
    TollgateMiss,
    /// Tollgate before an upstream that does not say that its streams are of events: they pass unread.
    TollgateUnread,
    /// Tollgate that gives a stream once it is whole.
    TollgateWhole,
    /// Tollgate that would ask a second target for a stream that is late.
    TollgateHedge,
}

impl Kind {
    /// All, in the order of the tables.
    pub const ALL: [Self; 5] = [
        Self::Nginx,
        Self::Passthrough,
        Self::Tollgate,
        Self::TollgateMetered,
        Self::TollgateSilent,
    ];

    /// For streams.
    pub const STREAMS: [Self; 8] = [
        Self::Nginx,
        Self::Passthrough,
        Self::Tollgate,
        Self::TollgateMetered,
        Self::TollgateSilent,
        Self::TollgateUnread,
        Self::TollgateWhole,
        Self::TollgateHedge,
    ];

    /// Where one request is long, and so a line in the log makes no difference.
    pub const LONG: [Self; 3] = [Self::Nginx, Self::Passthrough, Self::Tollgate];

    /// For large bodies, in which the size of a buffer matters.
    pub const FILES: [Self; 4] = [
        Self::Nginx,
        Self::NginxLarge,
        Self::Passthrough,
        Self::Tollgate,
    ];

    /// What an answer costs that is given again, beside one that is asked for.
    pub const CACHE: [Self; 4] = [
        Self::NginxFile,
        Self::Tollgate,
        Self::TollgateMiss,
        Self::TollgateHit,
    ];

    /// What it costs to count limits together with other gateways.
    pub const STORE: [Self; 2] = [Self::TollgateMetered, Self::TollgateStore];

    /// What is compared over TLS, with both in cleartext beside it.
    pub const TLS: [Self; 4] = [
        Self::Nginx,
        Self::Tollgate,
        Self::NginxTls,
        Self::TollgateTls,
    ];

    /// The row's name.
    pub fn title(self) -> &'static str {
        match self {
            Self::Nginx => "nginx `proxy_pass`",
            Self::NginxLarge => "nginx, 1 MiB buffers",
            Self::NginxTls => "nginx `proxy_pass`, TLS",
            Self::Passthrough => "bare Pingora pass-through",
            Self::Tollgate => "tollgate",
            Self::Baseline => "tollgate, the build before",
            Self::TollgateTls => "tollgate, TLS",
            Self::TollgateMetered => "tollgate, metered",
            Self::TollgateStore => "tollgate, with a store",
            Self::TollgateSilent => "tollgate, access log off",
            Self::NginxFile => "nginx, a file",
            Self::TollgateHit => "tollgate, hit",
            Self::TollgateMiss => "tollgate, miss",
            Self::TollgateUnread => "tollgate, events not read",
            Self::TollgateWhole => "tollgate, whole answers",
            Self::TollgateHedge => "tollgate, `hedge_after`",
        }
    }

    /// Whether it is ours.
    pub fn is_tollgate(self) -> bool {
        !matches!(
            self,
            Self::Nginx | Self::NginxLarge | Self::NginxTls | Self::NginxFile | Self::Passthrough
        )
    }

    /// Whether its answers come from an upstream each time.
    pub fn asks_upstream(self) -> bool {
        !matches!(self, Self::NginxFile | Self::TollgateHit)
    }

    /// Whether clients speak TLS with it.
    pub fn speaks_tls(self) -> bool {
        matches!(self, Self::NginxTls | Self::TollgateTls)
    }

    /// Whether each of its requests leaves a line in its log.
    pub fn logs_access(self) -> bool {
        self.is_tollgate() && self != Self::TollgateSilent
    }

    fn file_stem(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxLarge => "nginx-large",
            Self::NginxTls => "nginx-tls",
            Self::Passthrough => "passthrough",
            Self::Tollgate => "tollgate",
            Self::Baseline => "tollgate-before",
            Self::TollgateTls => "tollgate-tls",
            Self::TollgateMetered => "tollgate-metered",
            Self::TollgateStore => "tollgate-store",
            Self::TollgateSilent => "tollgate-silent",
            Self::NginxFile => "nginx-file",
            Self::TollgateHit => "tollgate-hit",
            Self::TollgateMiss => "tollgate-miss",
            Self::TollgateUnread => "tollgate-unread",
            Self::TollgateWhole => "tollgate-whole",
            Self::TollgateHedge => "tollgate-hedge",
        }
    }
}

/// A directory for configurations and logs, removed when dropped.
pub struct Workbench {
    /// Where it is.
    pub directory: PathBuf,
    /// What clients make handshakes with.
    pub tls: TlsConnector,
    /// The program of [`Kind::Baseline`].
    baseline: Option<PathBuf>,
    /// Held while we run: two benchmarks at once would measure each other.
    _lock: File,
}

impl Workbench {
    /// Makes one, unless another benchmark runs on this machine.
    pub fn new(baseline: Option<PathBuf>) -> Result<Self, String> {
        let lock = std::env::temp_dir().join("tollgate-bench.lock");
        let lock = File::create(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
        lock.try_lock()
            .map_err(|e| format!("another benchmark is running: {e}"))?;
        let name = format!("tollgate-bench-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        Ok(Self {
            tls: tls::make(&directory)?,
            directory,
            baseline,
            _lock: lock,
        })
    }

    /// These servers, and behind Tollgate the build before where there is one.
    pub fn with_baseline(&self, kinds: &[Kind]) -> Vec<Kind> {
        let mut kinds = kinds.to_vec();
        let tollgate = kinds.iter().position(|kind| *kind == Kind::Tollgate);
        if let (Some(at), Some(_)) = (tollgate, &self.baseline) {
            kinds.insert(at + 1, Kind::Baseline);
        }
        kinds
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A server that runs.
pub struct Server {
    /// Which one.
    pub kind: Kind,
    /// Where it listens on 127.0.0.1.
    pub door: Door,
    log: PathBuf,
    running: Running,
    _store: Option<Store>,
}

/// A process that is ended when dropped.
struct Running {
    kind: Kind,
    child: Child,
}

impl Server {
    /// Starts one and waits until it accepts connections.
    pub fn start(kind: Kind, bench: &Workbench, upstream: u16) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..STARTS {
            match Self::try_start(kind, bench, upstream) {
                Ok(server) => return Ok(server),
                Err(e) => last = e,
            }
        }
        Err(format!("{} does not start: {last}", kind.title()))
    }

    fn try_start(kind: Kind, bench: &Workbench, upstream: u16) -> Result<Self, String> {
        let directory = &bench.directory;
        let log = directory.join(format!("{}.log", kind.file_stem()));
        // Appending, so that the log can be emptied while it is written.
        let _ = fs::remove_file(&log);
        let stderr = File::options().create(true).append(true).open(&log);
        let stderr = stderr.map_err(|e| format!("{}: {e}", log.display()))?;
        let has_store = kind == Kind::TollgateStore;
        let store = has_store.then(|| Store::start(directory)).transpose()?;
        let port = free_port()?;
        let mut command = command(kind, bench, port, upstream)?;
        let child = command
            .env_clear()
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        let mut server = Self {
            kind,
            door: Door {
                port,
                tls: kind.speaks_tls().then(|| bench.tls.clone()),
            },
            log,
            running: Running { kind, child },
            _store: store,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Its processes.
    pub fn processes(&self) -> Processes {
        Processes::of(self.running.child.id())
    }

    /// How many lines of the access log have been written since the last call. Empties the log.
    pub fn access_lines(&self) -> Result<usize, String> {
        let log = fs::read(&self.log).map_err(|e| e.to_string())?;
        let emptied = File::options().write(true).open(&self.log);
        let emptied = emptied.and_then(|file| file.set_len(0));
        emptied.map_err(|e| format!("the access log: {e}"))?;
        Ok(memchr::memmem::find_iter(&log, b" access id=").count())
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            let ended = self.running.child.try_wait().map_err(|e| e.to_string())?;
            if let Some(status) = ended {
                return Err(format!("it ended with {status}: {}", self.log_end()));
            }
            if self.is_ready() {
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
        Err(format!("not within {READY_WITHIN:?}: {}", self.log_end()))
    }

    fn is_ready(&mut self) -> bool {
        if self.kind.is_tollgate() {
            match announced_port(&self.log) {
                Some(port) => self.door.port = port,
                None => return false,
            }
        }
        let workers = match self.kind {
            Kind::Nginx | Kind::NginxLarge | Kind::NginxTls | Kind::NginxFile => {
                children(self.running.child.id()).len()
            }
            _ => WORKERS,
        };
        workers == WORKERS && TcpStream::connect(("127.0.0.1", self.door.port)).is_ok()
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pids = Processes::of(self.child.id());
        // Pingora would wait through its grace period.
        if self.kind != Kind::Passthrough {
            signal("TERM", self.child.id());
            let started = Instant::now();
            while started.elapsed() < ENDED_WITHIN {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                sleep(Duration::from_millis(10));
            }
        }
        for child in pids.pids().iter().skip(1) {
            signal("KILL", *child);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(name: &str, pid: u32) {
    let script = format!("kill -{name} {pid}");
    let _ = Command::new("sh").arg("-c").arg(script).status();
}

/// Reads the port from `listening on http://127.0.0.1:PORT`, or `https`.
pub fn announced_port(log: &Path) -> Option<u16> {
    let log = fs::read_to_string(log).ok()?;
    let (_, url) = log.split_once(" listening on http")?;
    let (_, address) = url.split_once("://127.0.0.1:")?;
    address.lines().next()?.trim().parse().ok()
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    Ok(address.port())
}

fn command(kind: Kind, bench: &Workbench, port: u16, upstream: u16) -> Result<Command, String> {
    let directory = bench.directory.as_path();
    let file = |extension: &str| directory.join(format!("{}.{extension}", kind.file_stem()));
    let write = |path: &Path, text: String| {
        fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
    };
    match kind {
        Kind::Nginx | Kind::NginxLarge | Kind::NginxTls | Kind::NginxFile => {
            let path = file("conf");
            let buffers = match kind {
                Kind::NginxLarge => nginx_buffers(NGINX_LARGE),
                _ => String::new(),
            };
            let name = kind.file_stem();
            let tls = match kind.speaks_tls() {
                true => tls::NGINX,
                false => "",
            };
            let text = nginx_configuration((directory, name), (port, upstream), tls, &buffers);
            let text = match kind {
                Kind::NginxFile => {
                    let answer = String::from_utf8_lossy(&Upstream::json()).into_owned();
                    write(&directory.join("answer.json"), answer)?;
                    with_file(&text)
                }
                _ => text,
            };
            write(&path, text)?;
            let mut command = Command::new(nginx_program());
            command.arg("-p").arg(directory).arg("-c").arg(path);
            Ok(command)
        }
        Kind::Passthrough => {
            let mut command = Command::new(passthrough_program()?);
            command.args([port, upstream, WORKERS as u16].map(|n| n.to_string()));
            Ok(command)
        }
        _ => {
            let path = file("yaml");
            write(
                &path,
                tollgate_configuration(upstream, kind, &bench.directory),
            )?;
            let program = match &bench.baseline {
                Some(before) if kind == Kind::Baseline => before,
                _ => Path::new(env!("CARGO_BIN_EXE_tollgate")),
            };
            let mut command = Command::new(program);
            command.arg("run").arg("-c").arg(path);
            Ok(command)
        }
    }
}

/// nginx, which many distributions keep out of a user's path.
pub fn nginx_program() -> &'static str {
    let usual = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];
    let found = usual.into_iter().find(|path| Path::new(path).exists());
    found.unwrap_or("nginx")
}

fn passthrough_program() -> Result<PathBuf, String> {
    let beside = Path::new(env!("CARGO_BIN_EXE_tollgate")).with_file_name("examples");
    let path = beside.join("passthrough");
    match path.exists() {
        true => Ok(path),
        false => Err("build it first: cargo build --release --example passthrough".to_owned()),
    }
}

fn nginx_buffers(size: &str) -> String {
    format!(
        "proxy_buffering off;
            client_body_buffer_size {size};
            proxy_buffer_size {size};
            # Not in use, but they must be no smaller.
            proxy_buffers 4 {size};
            proxy_busy_buffers_size {size};"
    )
}

/// The same with the answer in a file, whatever is asked.
fn with_file(configuration: &str) -> String {
    let file = "location / {
            root .;
            default_type application/json;
            # A file answers no POST, but that is what is compared: it is given as a GET of the same.
            rewrite ^ /answer.json break;
            error_page 405 =200 /answer.json;
        }
        location = /answer.json { root .; default_type application/json; }
        location /proxied {";
    configuration.replace("location / {", file)
}

fn nginx_configuration(
    (directory, name): (&Path, &str),
    (port, upstream): (u16, u16),
    tls: &str,
    buffers: &str,
) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
worker_processes {WORKERS};
pid {directory}/{name}.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 64m;
    keepalive_requests 100000000;
    upstream provider {{
        server 127.0.0.1:{upstream};
        keepalive 128;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls};
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            client_body_buffer_size 2m;
            proxy_buffering off;
        }}
        location /v1/files {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            client_max_body_size 0;
            proxy_request_buffering off;
            # What does not fit into its buffers waits at the upstream, not on the disk.
            proxy_max_temp_file_size 0;
            {buffers}
        }}
        location /v1/realtime {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"
    )
}

fn tollgate_configuration(upstream: u16, kind: Kind, directory: &Path) -> String {
    let log = match kind {
        Kind::TollgateSilent => "\n  log: { access: false }",
        _ => "",
    };
    let metered = match kind {
        Kind::TollgateMetered => METERED.to_owned(),
        Kind::TollgateStore => {
            let metered = METERED.replace("path: ledger", "path: ledger-store");
            format!(
                "{metered}\nstore: {{ redis: 'unix://{}' }}",
                directory.join(SOCKET).display()
            )
        }
        _ => String::new(),
    };
    let of_rule = match kind {
        // One that is asked for while another is on its way is asked for as well.
        Kind::TollgateMiss => "\n    cache: { when: always, ttl: 1us }\n    coalesce: false",
        Kind::TollgateHit => "\n    cache: { when: always }",
        Kind::TollgateWhole => "\n    commit: whole",
        Kind::TollgateHedge => "\n    hedge_after: 60s",
        _ => "",
    };
    let prefix = match kind {
        Kind::TollgateUnread => "/plain",
        _ => "",
    };
    let tls = match kind.speaks_tls() {
        true => tls::TOLLGATE,
        false => "",
    };
    format!(
        "server:
  listen: [{{ address: \"127.0.0.1:0\"{tls} }}]
  admin: 127.0.0.1:0
  threads: {WORKERS}
  max_body: 64MiB
  passthrough: provider{log}
upstreams:
  provider:
    base_url: http://127.0.0.1:{upstream}{prefix}/v1
    keys: [{PROVIDER_KEY}]
models:
  - match: {MODEL}{of_rule}
    targets: [{{ upstream: provider, model: {SENT_MODEL} }}]
tenants:
  - id: bench
    keys: [{TENANT_KEY}]{metered}
"
    )
}
