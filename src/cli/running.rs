//! The gateway that runs on this machine: where it is, and asking it.
//!
//! Owns how an address and a token are found in a configuration, which may have mistakes by now, how the gateway is
//! asked, and what is said where it cannot be or refuses. Does not handle what is asked and what an answer means (see
//! `health`, `operator` and `cache`). Fails with a text for the operator, or with that text on stderr and an exit code.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::Value;
use ureq::{Agent, Error, RequestBuilder};

use super::{EXIT_CONFIG, print_error};
use crate::config::{Config, Source, Variables, from_here};
use crate::secret::Secret;

/// The gateway could not be asked, or has refused.
const EXIT_FAILED: u8 = 1;

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

/// A gateway that can be asked by the operator.
pub struct Running {
    source: Source,
    admin: SocketAddr,
    token: Option<Secret>,
    /// The person or program that asks, for the audit.
    actor: String,
}

impl Asked {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        self.env_file.as_deref()
    }

    /// Finds the gateway. `instead` says what else can be done where it has no listener for the operator.
    ///
    /// # Errors
    /// It has none, or its port is not known.
    pub fn find(self, variables: &Variables, instead: &str) -> Result<Running, ExitCode> {
        let source = Source::find(self.config, variables);
        let server = Config::server_of(&source, variables);
        let listener = self.admin.or(server.admin.as_ref().map(|a| a.value));
        let listener = listener.ok_or_else(|| {
            format!("{source}: server.admin is off, so the gateway cannot be asked; {instead}")
        });
        let found = listener.and_then(|listener| reachable(listener, "--admin"));
        let admin = found.map_err(|message| {
            print_error(&message);
            ExitCode::from(EXIT_CONFIG)
        })?;
        Ok(Running {
            source,
            admin,
            token: server.admin_token,
            actor: actor(variables),
        })
    }
}

impl Running {
    /// Asks it for a path, and waits this long for its answer. Returns the JSON of the answer.
    ///
    /// # Errors
    /// It could not be asked, or has refused.
    pub fn ask(&self, method: &Method, path: &str, patience: Duration) -> Result<Value, ExitCode> {
        let (agent, url) = (agent(patience), format!("http://{}{path}", self.admin));
        let answered = match *method {
            Method::POST => self.authorized(agent.post(url)).send_empty(),
            Method::DELETE => self.authorized(agent.delete(url)).call(),
            _ => self.authorized(agent.get(url)).call(),
        };
        self.take(answered, patience)
    }

    /// The same with a body.
    ///
    /// # Errors
    /// It could not be asked, or has refused.
    pub fn send(
        &self,
        method: &Method,
        path: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Value, ExitCode> {
        let (agent, url) = (agent(patience), format!("http://{}{path}", self.admin));
        let request = match *method {
            Method::PATCH => self.authorized(agent.patch(url)),
            _ => self.authorized(agent.post(url)),
        };
        let request = request.header("Content-Type", "application/json");
        self.take(request.send(&body), patience)
    }

    fn take(
        &self,
        answered: Result<http::Response<ureq::Body>, Error>,
        patience: Duration,
    ) -> Result<Value, ExitCode> {
        let answered = answered.and_then(|mut answer| {
            let text = answer.body_mut().read_to_string()?;
            // What is no JSON is not from a gateway, and has no message.
            let value = serde_json::from_str(&text).unwrap_or(Value::Null);
            Ok((answer.status(), value))
        });
        match answered {
            Ok((status, answer)) if status.is_success() => return Ok(answer),
            Ok((status, answer)) => self.tell_refusal(status, &answer),
            Err(e) => print_error(&format!(
                "the gateway cannot be asked at {}: {} (is it running? if server.admin has changed since it \
                 started, name the old address with --admin)",
                self.admin,
                cause(&e, patience)
            )),
        }
        Err(ExitCode::from(EXIT_FAILED))
    }

    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let request = request.header("X-Tollgate-Actor", &self.actor);
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    fn tell_refusal(&self, status: StatusCode, answer: &Value) {
        let message = answer.pointer("/error/message").and_then(Value::as_str);
        print_error(message.unwrap_or("the gateway has refused, without a reason"));
        if status != StatusCode::UNAUTHORIZED {
            return;
        }
        match self.token {
            Some(_) => print_error(
                "If the token in the configuration is newer than the gateway's, send SIGHUP.",
            ),
            None => print_error(&format!(
                "{} has no server.admin_token; name the file of the gateway with -c.",
                self.source
            )),
        }
    }

    /// Says that what has answered is no gateway that knows the question.
    pub fn tell_unexpected(&self) -> ExitCode {
        print_error(&format!(
            "the answer from {} is not that of a gateway of this version",
            self.admin
        ));
        ExitCode::from(EXIT_FAILED)
    }
}

/// The user and the machine, as far as they are known and of ASCII.
#[allow(
    clippy::disallowed_methods,
    reason = "a command has a thread that may block"
)]
fn actor(variables: &Variables) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = variables.get("USER").or_else(|| variables.get("LOGNAME"));
    let plain = |text: &str| -> String {
        let plain = text.trim().chars().filter(char::is_ascii_graphic);
        plain.take(60).collect()
    };
    format!("{}@{}", plain(user.unwrap_or("unknown")), plain(&host))
}

/// The address of this machine by which a listener is reached.
///
/// # Errors
/// Its port is not known.
pub fn reachable(listener: SocketAddr, flag: &str) -> Result<SocketAddr, String> {
    match listener.port() {
        0 => Err(format!(
            "{listener} is any free port: name the one in use with {flag}"
        )),
        _ => Ok(from_here(listener)),
    }
}

/// What asks a gateway, and waits this long for its answer.
pub fn agent(patience: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(patience))
        .max_redirects(0)
        .http_status_as_error(false)
        // A proxy of the environment is for the world outside.
        .proxy(None)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Why a gateway could not be asked.
pub fn cause(error: &Error, patience: Duration) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {} s", patience.as_secs()),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
