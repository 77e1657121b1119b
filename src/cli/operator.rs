//! `tollgate reload` and `tollgate upgrade`: what the operator asks of the gateway that runs.
//!
//! Owns the text of its answers. Does not handle where it is found (see `running`) or what follows (see
//! `server::operate`). A configuration with mistakes is the gateway's to refuse. Fails with an exit code, and with what
//! the gateway has said.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde_json::Value;

use super::running::{agent, cause, reachable};
use super::{EXIT_CONFIG, print, print_error};
use crate::config::{Config, Source, Variables};

/// The gateway could not be asked, or has refused.
const EXIT_FAILED: u8 = 1;
/// How long an answer may take: an upgrade waits for the new process.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which gateway is asked.
#[derive(Args)]
pub struct Asked {
    /// The address of its operator's listener, instead of that in the configuration
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The configuration file in which its address and token are found; it is found as for `run`
    ///
    /// The gateway reads the file that it was started with, whatever is named here.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file of variables, in the form of systemd's EnvironmentFile
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl Asked {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        self.env_file.as_deref()
    }
}

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
    let source = Source::find(asked.config, variables);
    let server = Config::server_of(&source, variables);
    let Some(listener) = asked.admin.or(server.admin.as_ref().map(|a| a.value)) else {
        print_error(&format!(
            "{source}: server.admin is off, so the gateway cannot be asked; send it a signal instead: SIGHUP to \
             reload, SIGUSR2 to upgrade"
        ));
        return ExitCode::from(EXIT_CONFIG);
    };
    let admin = match reachable(listener, "--admin") {
        Ok(admin) => admin,
        Err(message) => {
            print_error(&message);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let mut request = agent(PATIENCE).post(format!("http://{admin}{}", wanted.path()));
    if let Some(token) = &server.admin_token {
        request = request.header("Authorization", format!("Bearer {}", token.expose()));
    }
    let answered = request.send_empty().and_then(|mut answer| {
        let text = answer.body_mut().read_to_string()?;
        // What is no JSON is not from a gateway, and has no message.
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok((answer.status(), value))
    });
    match answered {
        Ok((status, answer)) if status.is_success() => {
            print(&done(wanted, &answer));
            ExitCode::SUCCESS
        }
        Ok((status, answer)) => {
            let message = answer.pointer("/error/message").and_then(Value::as_str);
            print_error(message.unwrap_or("the gateway has refused, without a reason"));
            if status == StatusCode::UNAUTHORIZED {
                print_error(
                    "If the token in the configuration is newer than the gateway's, send SIGHUP.",
                );
            }
            ExitCode::from(EXIT_FAILED)
        }
        Err(e) => {
            print_error(&format!(
                "the gateway cannot be asked at {admin}: {} (is it running? if server.admin has changed since it \
                 started, name the old address with --admin)",
                cause(&e, PATIENCE)
            ));
            ExitCode::from(EXIT_FAILED)
        }
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
