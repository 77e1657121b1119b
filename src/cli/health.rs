//! `tollgate health`: whether the gateway of this machine serves, for health checks of containers.
//!
//! Owns the flags, which listener is asked, and what an answer of `/health` means for the exit code. It never asks
//! a provider. Does not handle the answer itself (see `admin`), nor how a gateway is asked (see `running`). Fails with
//! exit code 1 and one line that says why, because health checks know no other code.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::Error;

use super::running::{agent, cause, reachable};
use super::{Configured, print, print_error};
use crate::config::{Config, Server, Source, Variables};

/// The answer has so much time, with the connection. Health checks wait a little longer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// As much of an answer is read.
const ANSWER_BYTES: u64 = 64 * 1024;
/// It does not serve, or will not for long.
const EXIT_UNHEALTHY: u8 = 1;

#[derive(Args)]
pub struct Health {
    /// The address to ask, as in 127.0.0.1:9464, without reading the configuration
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    address: Option<SocketAddr>,
    #[command(flatten)]
    configured: Configured,
}

impl Health {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        self.configured.env_file.as_deref()
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let health = match self.address {
            Some(address) => ask(address),
            None => {
                // The file may have mistakes by now: the gateway then serves by what it has read before.
                let source = Source::find(self.configured.config, variables);
                address(&Config::server_of(&source, variables)).and_then(ask)
            }
        };
        match health {
            Ok(line) => {
                print(&line);
                ExitCode::SUCCESS
            }
            Err(line) => {
                print_error(&line);
                ExitCode::from(EXIT_UNHEALTHY)
            }
        }
    }
}

/// The address at which the gateway tells of its health: the operator's listener, else the first of clients without
/// TLS and without PROXY headers. A Unix socket is not asked.
fn address(server: &Server) -> Result<SocketAddr, String> {
    let operator = server.admin.iter().map(|address| address.value);
    let clients = server.listen.iter();
    let clients =
        clients.filter(|l| l.tls.is_none() && l.redirect.is_none() && !l.proxy_protocol.value);
    let mut addresses = operator.chain(clients.filter_map(|l| l.address.value.ip()));
    let Some(address) = addresses.next() else {
        return Err(
            "server.admin is off, and clients are served with TLS, behind a proxy or by a Unix socket alone: there is nothing to ask"
                .to_owned(),
        );
    };
    reachable(address, "--address")
}

/// Asks, and tells what the answer means: `Ok` where the gateway serves.
fn ask(address: SocketAddr) -> Result<String, String> {
    let url = format!("http://{address}/health");
    let failed = |error: Error| format!("{url}: {}", cause(&error, TIMEOUT));
    let mut answer = agent(TIMEOUT).get(&url).call().map_err(failed)?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES);
    let body = body.read_to_vec().map_err(failed)?;
    let meaning = meaning(answer.status().as_u16(), &body);
    meaning.map_err(|why| format!("{url}: {why}"))
}

/// What an answer means.
fn meaning(status: u16, body: &[u8]) -> Result<String, String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let line = match (text("status"), text("reason")) {
        (Some(health), Some(reason)) => format!("{health}: {reason}"),
        (Some(health), None) => health.to_owned(),
        (None, _) => return Err(format!("status {status}, and not the answer of a gateway")),
    };
    match (status, text("status")) {
        // Degraded is alive: a restart mends no disk and no database, and would cut what is served.
        (200, Some("ok" | "degraded")) => Ok(line),
        _ => Err(format!("{line} (status {status})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        let text = format!(
            "upstreams: {{ a: {{ base_url: 'https://a.example', keys: [k] }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             tenants: [{{ id: t, keys: [key-of-a-tenant] }}]\n\
             server: {text}\n"
        );
        let variables = Variables::default();
        Config::parse("t.yaml", &text, &variables).unwrap().server
    }

    #[test]
    fn the_operators_listener_is_asked_by_an_address_of_this_machine() {
        for (text, wanted) in [
            ("{}", "127.0.0.1:9464"),
            ("{ admin: '0.0.0.0:9000' }", "127.0.0.1:9000"),
            ("{ admin: '[::]:9000' }", "[::1]:9000"),
            ("{ admin: 10.0.0.7:9000 }", "10.0.0.7:9000"),
            ("{ admin: off, listen: ['0.0.0.0:80'] }", "127.0.0.1:80"),
            (
                "{ admin: off, trusted_proxies: [10.0.0.5], listen: [{ address: '0.0.0.0:80', \
                   proxy_protocol: true }, '0.0.0.0:81'] }",
                "127.0.0.1:81",
            ),
            (
                "{ admin: off, listen: ['unix:/run/t.sock', '0.0.0.0:81'] }",
                "127.0.0.1:81",
            ),
        ] {
            assert_eq!(
                address(&server(text)).unwrap().to_string(),
                wanted,
                "{text}"
            );
        }
    }

    #[test]
    fn an_unknown_port_is_told_instead_of_asked() {
        let error = address(&server("{ admin: '127.0.0.1:0' }")).unwrap_err();
        assert!(error.contains("--address"), "{error}");
    }

    #[test]
    fn only_what_serves_on_is_healthy() {
        let told = |status, body: &str| meaning(status, body.as_bytes());
        assert_eq!(told(200, r#"{"status":"ok"}"#).unwrap(), "ok");
        let degraded = r#"{"status":"degraded","reason":"the disk is full"}"#;
        assert_eq!(told(200, degraded).unwrap(), "degraded: the disk is full");
        let draining = told(503, r#"{"status":"draining"}"#).unwrap_err();
        assert_eq!(draining, "draining (status 503)");
        assert!(told(503, r#"{"status":"ok"}"#).is_err());
        assert!(told(200, r#"{"status":"anything"}"#).is_err());
        for body in ["", "<html>", "[]", r#"{"status":3}"#, r#"{"error":{}}"#] {
            let error = told(200, body).unwrap_err();
            assert!(error.contains("not the answer"), "{body}: {error}");
        }
    }
}
