//! `tollgate reload` and `tollgate upgrade`: what the operator asks of the gateway that runs.
//!
//! Owns the text of its answers. Does not handle how it is found and asked (see `running`) or what follows (see
//! `server::operate`). A configuration with mistakes is the gateway's to refuse. Fails with an exit code, and with what
//! the gateway has said.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::print;
use super::running::Asked;
use crate::config::Variables;

/// How long an answer may take: an upgrade waits for the new process.
const PATIENCE: Duration = Duration::from_secs(600);
/// What else can be done.
const INSTEAD: &str = "send it a signal instead: SIGHUP to reload, SIGUSR2 to upgrade";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Reading the configuration again.
    Reload,
    /// Handing over to the binary that is on disk.
    Upgrade,
}

impl Wanted {
    fn path(self) -> &'static str {
        match self {
            Self::Reload => "/admin/reload",
            Self::Upgrade => "/admin/upgrade",
        }
    }
}

/// Asks the gateway that runs with this configuration.
pub fn ask(wanted: Wanted, asked: Asked, variables: &Variables) -> ExitCode {
    let found = asked.find(variables, INSTEAD);
    let answered = found.and_then(|running| running.ask(&Method::POST, wanted.path(), PATIENCE));
    match answered {
        Ok(answer) => {
            print(&done(wanted, &answer));
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// What has been done, for people.
fn done(wanted: Wanted, answer: &Value) -> String {
    if wanted == Wanted::Upgrade {
        let pid = answer
            .get("pid")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        return format!(
            "process {pid} serves new connections; the one before ends with its last request"
        );
    }
    let list = |name: &str| {
        let list = answer.get(name).and_then(Value::as_array);
        let lines = list.into_iter().flatten().filter_map(Value::as_str);
        lines.map(|line| format!("\n  {line}")).collect::<String>()
    };
    let (changed, needs_restart) = (list("changed"), list("needs_restart"));
    let source = answer.get("source").and_then(Value::as_str);
    let source = source.unwrap_or("the configuration");
    let mut text = match changed.is_empty() {
        true if needs_restart.is_empty() => format!("{source}: nothing has changed"),
        true => format!("{source}: nothing has changed that can change now"),
        false => format!("{source}: in force now:{changed}"),
    };
    if !needs_restart.is_empty() {
        text.push_str(&format!(
            "\nneeds a restart, or `tollgate upgrade`:{needs_restart}"
        ));
    }
    text
}
