//! The processes of these scenarios: gateways, and providers that can be killed.
//!
//! Owns their starts and their ends. A provider's process is this program, started anew with
//! [`PROVIDER`] as its first argument; it ends itself when we do. Every process is ended through its
//! handle when its value is dropped. One that does not start is an error in words.

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use super::provider::{Manner, Provider};
use crate::cpu::Processes;
use crate::servers::{Workbench, announced_port};

/// Makes a provider of this program.
const PROVIDER: &str = "--provider";
/// Ports below those that the kernel gives to outgoing connections: a port that is nobody's for a
/// while must not become the near end of one.
const PORTS: std::ops::Range<u16> = 21_000..32_000;
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A process that is killed when dropped.
struct Process(Child);

impl Process {
    /// Sends SIGKILL, and waits until nothing of it is left.
    fn kill(&mut self) -> Result<(), String> {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        killed.map(|_| ()).map_err(|e| format!("cannot kill: {e}"))
    }

    async fn is_ready(&mut self, is_ready: impl Fn() -> bool) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            if let Some(status) = self.0.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("it ended with {status}"));
            }
            if is_ready() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(format!("not ready within {READY_WITHIN:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A gateway with a configuration of its own.
pub struct Gateway {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    process: Process,
}

impl Gateway {
    /// Its processes.
    pub fn processes(&self) -> Processes {
        Processes::of(self.process.0.id())
    }

    /// Starts one.
    pub async fn start(bench: &Workbench, name: &str, configuration: &str) -> Result<Self, String> {
        let told = |path: &PathBuf, e: std::io::Error| format!("{}: {e}", path.display());
        let file = bench.directory.join(format!("{name}.yaml"));
        let log = bench.directory.join(format!("{name}.log"));
        fs::write(&file, configuration).map_err(|e| told(&file, e))?;
        let stderr = File::create(&log).map_err(|e| told(&log, e))?;
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["run", "-c"])
            .arg(&file)
            .env_clear()
            .current_dir(&bench.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        let mut process = Process(child.map_err(|e| e.to_string())?);
        let is_ready = process.is_ready(|| announced_port(&log).is_some()).await;
        match (is_ready, announced_port(&log)) {
            (Ok(()), Some(port)) => Ok(Self { port, process }),
            (outcome, _) => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                Err(format!("the gateway does not start: {outcome:?}: {said}"))
            }
        }
    }
}

/// A provider in a process of its own.
pub struct Mortal {
    name: u8,
    manner: Manner,
    /// Where it listens on 127.0.0.1, each time that it lives.
    pub port: u16,
    process: Process,
}

impl Mortal {
    /// Starts one.
    pub async fn start(name: u8, manner: Manner) -> Result<Self, String> {
        let from = PORTS.start + std::process::id() as u16 % 5_000 + u16::from(name) * 10;
        let port = (from..PORTS.end).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let port = port.ok_or("no port is free")?;
        let process = Self::spawn(name, manner, port).await?;
        Ok(Self {
            name,
            manner,
            port,
            process,
        })
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) -> Result<(), String> {
        self.process.kill()
    }

    /// Starts it again at its port.
    pub async fn revive(&mut self) -> Result<(), String> {
        self.process = Self::spawn(self.name, self.manner, self.port).await?;
        Ok(())
    }

    async fn spawn(name: u8, manner: Manner, port: u16) -> Result<Process, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let child = Command::new(program)
            .arg(PROVIDER)
            .args([name.to_string(), port.to_string(), manner.word().to_owned()])
            // Its end is the child's end, too.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut process = Process(child.map_err(|e| e.to_string())?);
        let is_ready = process.is_ready(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        is_ready
            .await
            .map_err(|e| format!("a provider does not start: {e}"))?;
        Ok(process)
    }
}

/// Is a provider, where that is what this process was started for.
pub fn serve_if_told() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != PROVIDER {
        return None;
    }
    let name = arguments.next()?.parse().ok()?;
    let port: u16 = arguments.next()?.parse().ok()?;
    let manner = Manner::of(&arguments.next()?)?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
            Provider::new(name, manner).listen(listener).await;
            Ok(())
        })
    });
    if let Err(e) = served {
        eprintln!("bench: provider at port {port}: {e}");
    }
    Some(ExitCode::FAILURE)
}
