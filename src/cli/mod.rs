//! The command line: what each command reads, prints and exits with.
//!
//! Owns flags, exit codes and the words of the demo; `check` prints the tables and `route` the way of
//! one request, `chats` reads the chat log. Everything that a person reads goes to stdout, problems,
//! warnings and logs to stderr.

mod chats;
mod check;
mod route;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::clock;
use crate::config::{Config, Problems, Source, Variables};
use crate::observe::logging;
use crate::server::{self, Listening};

/// The configuration is wrong (`EX_USAGE`).
const EXIT_CONFIG: u8 = 64;
/// The configuration is right, and the process could not start.
const EXIT_START: u8 = 1;
/// The configuration is right, and the request that was asked about would be refused.
const EXIT_REFUSED: u8 = 1;

/// A gateway for the OpenAI API.
#[derive(Parser)]
#[command(name = "tollgate", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until SIGTERM or Ctrl-C
    Run {
        /// The configuration file
        ///
        /// Without it: what CONFIG_PATH names, ./tollgate.yaml, /etc/tollgate/tollgate.yaml, and
        /// last the environment: OPENAI_API_KEY or OPENAI_KEYS, OPENAI_BASE_URL or
        /// UPSTREAM_API_URL, FORWARD_KEY, PORT, ADMIN, LOG_CHAT, CACHE_BACKEND, and EXTRA_BASE_URL with
        /// EXTRA_ROUTE_PREFIX. `tollgate check` prints the file that they amount to.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The same
        #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// A file of variables, in the form of systemd's EnvironmentFile
        ///
        /// They go before the variables of the process.
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
        /// Listen on this port instead of the first listener's own; 0 takes any free one
        #[arg(long, value_name = "N")]
        port: Option<u16>,
        /// Serve a built-in provider, with no configuration at all
        #[arg(long, conflicts_with_all = ["file", "config"])]
        demo: bool,
    },
    /// Check the configuration and print what it amounts to
    Check {
        /// The configuration file; without it, the same places as `run`
        ///
        /// If that is the environment, the file that it amounts to is printed first.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// The same
        #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
        /// A file of variables, in the form of systemd's EnvironmentFile
        ///
        /// They go before the variables of the process.
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
        /// Print the way that a request for this model would take, and why
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
        /// The tenant whose request it is
        #[arg(long, value_name = "ID", requires = "model")]
        tenant: Option<String>,
    },
    /// Work with what the chat log has written
    Chats {
        #[command(subcommand)]
        command: Chats,
    },
}

#[derive(Subcommand)]
enum Chats {
    /// Turn the chat log into one JSON array, or a file to tune a model with
    Convert(chats::Convert),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    clock::start();
    let arguments = Arguments::parse();
    let variables = match Variables::read(arguments.command.env_file()) {
        Ok(variables) => variables,
        Err(message) => {
            say_error(&message);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match arguments.command {
        Command::Run {
            file,
            config,
            port,
            demo,
            ..
        } => {
            let source = match demo {
                true => Source::Demo,
                false => Source::find(file.or(config), &variables),
            };
            run(&source, port, &variables)
        }
        Command::Check {
            file,
            config,
            model,
            tenant,
            ..
        } => {
            let source = Source::find(file.or(config), &variables);
            match Config::load(&source, &variables) {
                Ok(config) => check(&source, &config, model.as_deref(), tenant.as_deref()),
                Err(problems) => refuse(&problems),
            }
        }
        Command::Chats {
            command: Chats::Convert(convert),
        } => convert.run(&variables),
    }
}

impl Command {
    /// The file of variables that was named.
    fn env_file(&self) -> Option<&Path> {
        match self {
            Self::Run { env_file, .. } | Self::Check { env_file, .. } => env_file.as_deref(),
            Self::Chats { .. } => None,
        }
    }
}

fn check(source: &Source, config: &Config, model: Option<&str>, tenant: Option<&str>) -> ExitCode {
    for warning in &config.warnings {
        say_error(&warning.to_string());
    }
    let Some(model) = model else {
        say(&check::describe(source, config));
        return ExitCode::SUCCESS;
    };
    match route::describe(config, model, tenant) {
        Ok(route) => {
            say(&route.text);
            match route.is_served {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(EXIT_REFUSED),
            }
        }
        Err(message) => {
            say_error(&message);
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn run(source: &Source, port: Option<u16>, variables: &Variables) -> ExitCode {
    let mut config = match Config::load(source, variables) {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    if let (Some(port), Some(listener)) = (port, config.server.listen.first_mut()) {
        listener.address.value.set_port(port);
    }
    let is_demo = *source == Source::Demo;
    if is_demo {
        // A gateway that runs on this machine has the default port: the demo starts beside it.
        let admin = config.server.admin.as_mut();
        admin.into_iter().for_each(|a| a.value.set_port(0));
    }
    let log = logging::start(config.server.log.level);
    log::info!(
        "tollgate {} with the configuration of {source}",
        env!("CARGO_PKG_VERSION")
    );
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    if config.tenants.is_empty() {
        log::warn!("no client keys are configured: anybody on this machine may call, nobody else");
    }
    let outcome = server::run(&config, |listening| {
        if is_demo {
            say(&demo_banner(listening));
        }
    });
    // The log is written by a thread of its own: what it still has comes before the last word.
    drop(log);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // TextSample even where the log is turned off.
            say_error(&format!("tollgate: {e}"));
            ExitCode::from(EXIT_START)
        }
    }
}

fn refuse(problems: &Problems) -> ExitCode {
    say_error(problems.to_string().trim_end());
    ExitCode::from(EXIT_CONFIG)
}

fn say(text: &str) {
    // A reader that has gone away, as `head` does, is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn demo_banner(listening: &Listening) -> String {
    let url = listening
        .clients
        .first()
        .map(|(address, _)| format!("http://{address}"))
        .unwrap_or_default();
    let admin = match listening.admin {
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
         Ask as the newer API does:\n{}\
         See how an upstream that breaks in the middle is reported:\n{}\
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
