//! A real PostgreSQL server of one test, in a folder of its own, ended with the test.
//!
//! It listens on a socket in its folder, so that no two tests ever want the same port. Root may not run it, so it
//! runs as `nobody` there.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, getuid, kill_process};

use super::tools::{run, skip};

/// `nobody` and its group.
const NOBODY: u32 = 65_534;

/// A running server.
pub struct Postgres {
    programs: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Postgres {
    /// Starts a server with an empty database; `None` where there is none, and the test is to be skipped.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skip("initdb is missing (apt install postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // The server's user must be able to enter it.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if getuid().is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut postgres = Self {
            programs,
            folder,
            child: None,
        };
        let mut initdb = postgres.command("initdb");
        initdb.args(["--auth=trust", "--username=tollgate", "--encoding=UTF8"]);
        run(initdb.args(["--locale=C", "--no-sync", "-D"]).arg(&data));
        postgres.resume();
        Some(postgres)
    }

    /// Starts the server again, after [`Self::stop`].
    pub fn resume(&mut self) {
        let data = self.folder.path().join("data");
        let mut server = self.command("postgres");
        server
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-D"])
            .arg(&data);
        server.arg("-k").arg(&data);
        server.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = server.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        self.child = Some(child);
        let mut said = Vec::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("{said:?}")).unwrap();
            if line.contains("ready to accept connections") {
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
            let id = Pid::from_child(&child);
            kill_process(id, Signal::QUIT).unwrap();
            child.wait().unwrap();
        }
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        let folder = self.folder.path().join("data");
        let folder = folder.display().to_string().replace('/', "%2F");
        format!("postgres://tollgate@{folder}/postgres?sslmode=disable")
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("data/.s.PGSQL.5432")
    }

    /// What a query gives, in the form of `psql -At`.
    pub fn query(&self, sql: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-U", "tollgate", "-d", "postgres", "-At", "-c", sql]);
        let said = run(psql.arg("-h").arg(self.folder.path().join("data")));
        said.trim_end().to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the server's programs: Debian has one for each version, and none of them in the path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut folders: Vec<PathBuf> = versions.flatten().map(|v| v.path().join("bin")).collect();
    folders.sort();
    folders.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let has = |folder: &Path| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    folders.into_iter().rev().find(|folder| has(folder))
}
