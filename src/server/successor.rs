//! The process that takes over from this one.
//!
//! Owns starting the binary that is on disk, with the same arguments and the same listening sockets, and waiting
//! until it says that it serves. One that fails, or is not ready in time, is ended: nothing has changed then. Does not
//! handle what this process does afterwards (see `stop`), nor the successor's side (see `inherited`). Fails with what
//! the successor has said.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::inherited::{READY, SERVING};

/// The first descriptor that is handed over, by systemd's protocol.
const FIRST: i32 = 3;
/// As much is read of what a successor says.
const MAX_TOLD_BYTES: u64 = 64 << 10;
/// How long both processes take connections before the old one ends.
const PROBATION: Duration = Duration::from_secs(1);
/// The process id of a container's only process: what it starts ends with it.
const OF_A_CONTAINER: u32 = 1;

/// A socket that is handed over.
#[derive(Debug)]
pub struct Handed {
    /// What it is for.
    pub name: &'static str,
    /// A descriptor of its own.
    pub socket: OwnedFd,
}

/// Why nothing took over.
#[derive(Debug)]
pub enum NotUpgraded {
    /// This process is the first one of a container.
    FirstProcess,
    /// The program cannot be started.
    NotStarted(String, io::Error),
    /// The file is not a program.
    NoProgram(PathBuf),
    /// It has ended, after saying this.
    Failed(String),
    /// It did not say that it serves in this time.
    Late(Duration),
}

impl fmt::Display for NotUpgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstProcess => f.write_str(
                "this process is the first one of its container, which ends with it: replace the container instead",
            ),
            Self::NotStarted(program, e) => write!(f, "{program} cannot be started: {e}"),
            Self::NoProgram(path) => write!(
                f,
                "{} is not a program: install the new one whole, and move it to its place",
                path.display()
            ),
            Self::Failed(why) if why.is_empty() => f.write_str(
                "the new process ended before it was ready; its log says why",
            ),
            Self::Failed(why) => write!(f, "the new process cannot start: {}", why.trim_end()),
            Self::Late(within) => write!(
                f,
                "the new process was not ready within {within:?} (server.upgrade_timeout), and was ended"
            ),
        }
    }
}

/// Starts the binary that is on disk, and waits until it serves. Returns its process id. One that is not ready when
/// this future is dropped is ended.
///
/// # Errors
/// Nothing has taken over. The successor has ended.
pub async fn start(sockets: &[Handed], within: Duration) -> Result<u32, NotUpgraded> {
    if std::process::id() == OF_A_CONTAINER {
        return Err(NotUpgraded::FirstProcess);
    }
    let (child, mut told) = spawn(sockets)?;
    let mut starting = Starting(Some(child));
    let ready = tokio::time::timeout(within, listen(&mut told)).await;
    let failure = match ready {
        Ok(said) if said == SERVING => {
            if starting.lives_on().await {
                let pid = starting.keep();
                return pid.ok_or_else(|| NotUpgraded::Failed(String::new()));
            }
            NotUpgraded::Failed("it said that it serves, and ended".to_owned())
        }
        Ok(said) => NotUpgraded::Failed(said),
        Err(_) => NotUpgraded::Late(within),
    };
    starting.end().await;
    Err(failure)
}

/// A successor that does not serve yet. It is ended with this value.
struct Starting(Option<Child>);

impl Starting {
    /// Whether it is still there after the time in which what fails at once has failed.
    async fn lives_on(&mut self) -> bool {
        let Some(child) = &mut self.0 else {
            return false;
        };
        tokio::time::timeout(PROBATION, child.wait()).await.is_err()
    }

    /// Lets it live on. Returns its process id.
    fn keep(&mut self) -> Option<u32> {
        let mut child = self.0.take()?;
        let pid = child.id();
        // Its status is collected, should it end before this process does.
        tokio::spawn(async move { child.wait().await });
        pid
    }

    /// Ends it, and waits until it has ended.
    async fn end(&mut self) {
        if let Some(mut child) = self.0.take() {
            // An error is one of a process that has ended already.
            let _ = child.kill().await;
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // As above.
            let _ = child.start_kill();
        }
    }
}

/// What a successor says, until it serves or closes its end: a program that has started it may keep that open.
async fn listen(told: &mut UnixStream) -> String {
    let mut said = Vec::new();
    let mut told = told.take(MAX_TOLD_BYTES);
    // An error is the end of what it says.
    while said != SERVING.as_bytes() && told.read_buf(&mut said).await.is_ok_and(|read| read > 0) {}
    String::from_utf8_lossy(&said).into_owned()
}

/// The file that a program's name leads to, where that can be read and is not a program. The system would have a shell
/// read it line by line.
#[allow(
    clippy::disallowed_methods,
    reason = "four bytes, once for each upgrade, beside starting a process"
)]
fn no_program(program: &OsStr) -> Option<PathBuf> {
    let is_path = Path::new(program).components().count() > 1;
    let path = match is_path {
        true => PathBuf::from(program),
        false => {
            let folders = env::var_os("PATH")?;
            let mut places = env::split_paths(&folders).map(|folder| folder.join(program));
            places.find(|place| place.is_file())?
        }
    };
    let mut start = Vec::new();
    let file = std::fs::File::open(&path).ok()?;
    file.take(4).read_to_end(&mut start).ok()?;
    let is_program = start.starts_with(b"\x7fELF") || start.starts_with(b"#!");
    (!is_program).then_some(path)
}

fn spawn(sockets: &[Handed]) -> Result<(Child, UnixStream), NotUpgraded> {
    // By the name that this process was started with: what it points to may be another file now.
    let mut arguments = env::args_os();
    let program = arguments.next().unwrap_or_else(|| "tollgate".into());
    let failed = |e| NotUpgraded::NotStarted(program.to_string_lossy().into_owned(), e);
    if let Some(path) = no_program(&program) {
        return Err(NotUpgraded::NoProgram(path));
    }
    let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let ours = UnixStream::from_std(ours).map_err(failed)?;
    let mut handed = Vec::with_capacity(sockets.len() + 1);
    for socket in sockets {
        handed.push((socket.name, socket.socket.try_clone().map_err(failed)?));
    }
    handed.push((READY, OwnedFd::from(theirs)));
    let names: Vec<&str> = handed.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env("LISTEN_FDS", handed.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        // They name this process, and whom they do not name takes them for its own.
        .env_remove("LISTEN_PID")
        .env_remove("WATCHDOG_PID");
    let mappings = (FIRST..)
        .zip(handed)
        .map(|(child_fd, (_, parent_fd))| FdMapping {
            parent_fd,
            child_fd,
        });
    command
        .fd_mappings(mappings.collect())
        .map_err(|e| failed(io::Error::other(e)))?;
    Ok((command.spawn().map_err(failed)?, ours))
}
