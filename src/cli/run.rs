//! `tollgate run`: the process that serves.
//!
//! Owns its flags, the order in which it begins, and the text of the demo. Does not handle the process (see `server`).
//! Fails with an exit code, and with a message on stderr and to the process that this one takes over from.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_START, print, print_error, refuse};
use crate::config::{MAX_THREADS, Origin, Overrides, Source, Variables};
use crate::observe::logging;
use crate::server::{self, Inherited, Listening};

#[derive(Args)]
pub struct Run {
    /// The configuration file
    ///
    /// Without it, the first of these that exists: the file in CONFIG_PATH, ./tollgate.yaml,
    /// /etc/tollgate/tollgate.yaml, the environment. The environment's variables are
    /// OPENAI_API_KEY or OPENAI_KEYS, OPENAI_BASE_URL or UPSTREAM_API_URL, FORWARD_KEY, PORT,
    /// ADMIN, WORKERS, UPSTREAM_STREAM, LOG_CHAT, LOG_PATH, MASK_LOG, CACHE_BACKEND, and
    /// EXTRA_BASE_URL with EXTRA_ROUTE_PREFIX.
    /// `tollgate check` prints them as a file.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration file, as an option
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// A file of variables, in the form of systemd's EnvironmentFile
    ///
    /// Its variables win over those of the process.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The port of the first client listener, instead of the configured one; 0 for any free port
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Worker threads, instead of the configured ones; 0 for one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=i64::from(MAX_THREADS)))]
    workers: Option<u16>,
    /// Log requests and answers: where the configuration says, else to ./chats.jsonl
    #[arg(long)]
    log_chat: bool,
    /// Serve a built-in provider, without a configuration
    #[arg(long, conflicts_with_all = ["file", "config"])]
    demo: bool,
    /// Mask addresses and the names of clients' keys in the log, whatever the configuration says
    #[arg(long)]
    mask_log: bool,
}

impl Run {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        self.env_file.as_deref()
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let source = match self.demo {
            true => Source::Demo,
            false => Source::find(self.file.or(self.config), variables),
        };
        let overrides = Overrides {
            port: self.port,
            threads: self.workers.map(usize::from),
            logs_chats: self.log_chat,
            masks_log: self.mask_log,
        };
        serve(Origin {
            source,
            env_file: self.env_file,
            overrides,
        })
    }
}

fn serve(origin: Origin) -> ExitCode {
    let mut inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(message) => {
            print_error(&format!("tollgate: {message}"));
            return ExitCode::from(EXIT_START);
        }
    };
    let mut predecessor = inherited.predecessor();
    let config = match origin.load() {
        Ok(config) => config,
        Err(problems) => {
            predecessor.tell_failure(&problems.to_string());
            return refuse(&problems);
        }
    };
    let is_demo = origin.source == Source::Demo;
    let log = match logging::start(&config.server.log, journal().as_deref()) {
        Ok(log) => log,
        Err(e) => {
            predecessor.tell_failure(&e.to_string());
            print_error(&format!("tollgate: {e}"));
            return ExitCode::from(EXIT_START);
        }
    };
    log::info!(
        "tollgate {} with the configuration of {}",
        env!("CARGO_PKG_VERSION"),
        origin.source
    );
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    if config.is_open() {
        log::warn!(
            "no client keys are configured: every client on this machine is served, and no other"
        );
    }
    let outcome = server::run(config, origin, (inherited, &mut predecessor), |listening| {
        if is_demo {
            print(&demo_banner(listening));
        }
    });
    // A thread of its own writes the log: its last lines come before the message below.
    drop(log);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            predecessor.tell_failure(&e.to_string());
            // Printed even where the log is off.
            print_error(&format!("tollgate: {e}"));
            ExitCode::from(EXIT_START)
        }
    }
}

/// What systemd says of the stream that it has given as stderr: a fact of the process, not a setting.
#[allow(clippy::disallowed_methods, reason = "no configuration may set it")]
fn journal() -> Option<String> {
    std::env::var("JOURNAL_STREAM").ok()
}

fn demo_banner(listening: &Listening) -> String {
    let url = listening
        .clients
        .first()
        .map(|(address, tls)| address.described(*tls))
        .unwrap_or_default();
    let admin = match &listening.admin {
        Some(address) => format!("health and metrics   http://{address}/metrics\n"),
        None => String::new(),
    };
    let curl = |flag: &str, path: &str, body: &str| {
        format!(
            "  curl {flag}{url}/v1{path} -H 'Authorization: Bearer tollgate-demo-key' \
             -H 'Content-Type: application/json' -d '{body}'\n"
        )
    };
    format!(
        "\nTollgate's demo is listening on {url}, with a built-in provider behind it.\n\
         key                  tollgate-demo-key\n\
         models               echo, lorem, embed, fault-429, fault-500, fault-cut, fault-stall\n\
         {admin}\n\
         Watch an answer stream:\n{}\
         Get one whole:\n{}\
         Ask through the Responses API:\n{}\
         See how an upstream that breaks within an answer is reported:\n{}\
         \nAny OpenAI client works with OPENAI_BASE_URL={url}/v1 and OPENAI_API_KEY=tollgate-demo-key.\n\
         Ctrl-C stops it. For your own providers, see conf/tollgate.yaml.\n",
        curl(
            "-N ",
            "/chat/completions",
            r#"{"model":"lorem","stream":true,"messages":[{"role":"user","content":"hello"}]}"#
        ),
        curl(
            "",
            "/chat/completions",
            r#"{"model":"echo","messages":[{"role":"user","content":"hello"}]}"#
        ),
        curl("", "/responses", r#"{"model":"echo","input":"hello"}"#),
        curl(
            "-N ",
            "/chat/completions",
            r#"{"model":"fault-cut","stream":true,"messages":[{"role":"user","content":"hello"}]}"#
        ),
    )
}
