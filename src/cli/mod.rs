//! The command line: what each command reads, prints and exits with.
//!
//! Owns flags and exit codes. `run` serves, `check` prints the tables, `route` the targets of one request, `diff` what
//! a reload would change, `health`, `operator`, `cache`, `keys` and `tenants` ask a gateway that runs, `chats` converts
//! the chat log, and `usage` reads the ledger. Results go to stdout; problems, warnings and logs go to stderr. Does not
//! handle the configuration's mistakes (see `config`) or the process (see `server`). Fails with an exit code and a
//! message on stderr.

mod cache;
mod calibrate;
mod chats;
mod check;
mod definition;
mod diff;
mod health;
mod keys;
mod operator;
mod route;
mod run;
mod running;
mod table;
mod tenants;
mod usage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::clock;
use crate::config::{self, Config, Problems, Source, Variables};
use operator::Wanted;

/// The configuration is invalid (`EX_USAGE`).
const EXIT_CONFIG: u8 = 64;
/// The configuration is valid, and the process could not start.
const EXIT_START: u8 = 1;
/// The configuration is valid, and the request that `--model` describes would be refused.
const EXIT_REFUSED: u8 = 1;

/// A gateway for the OpenAI API.
#[derive(Parser)]
#[command(name = "tollgate", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until SIGTERM or Ctrl-C
    Run(run::Run),
    /// Check the configuration and print it as it is understood
    Check {
        /// The configuration file; without it, it is found as for `run`
        ///
        /// If it is the environment, it is printed as a file first.
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
        /// Print the targets that a request for this model would try, and why
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
        /// The tenant that sends the request
        #[arg(long, value_name = "ID", requires = "model")]
        tenant: Option<String>,
    },
    /// Print what a reload with another configuration would change
    ///
    /// Exits with 0 if nothing, with 1 if something, and with 64 if a configuration is invalid.
    Diff(diff::Diff),
    /// Print a JSON Schema of the configuration, for editors
    Schema,
    /// Have the gateway that runs read its configuration again
    ///
    /// Prints what has changed and what needs a restart. A configuration with mistakes changes nothing. SIGHUP does
    /// the same, without an answer.
    Reload(running::Asked),
    /// Have the gateway that runs hand over to the binary that is on disk
    ///
    /// No connection is refused, and requests in flight end where they are. If the new process does not serve within
    /// server.upgrade_timeout, the old one serves on. SIGUSR2 does the same, without an answer.
    Upgrade(running::Asked),
    /// Ask the gateway of this machine whether it serves
    ///
    /// Exit code 0 if it does, also if it is degraded; 1 if it drains, or nothing answers.
    Health(health::Health),
    /// Show or remove the answers that a running gateway keeps, or find a threshold
    Cache {
        #[command(subcommand)]
        command: cache::Cache,
    },
    /// Make, list, rotate, revoke or import keys while the gateway runs
    Keys {
        #[command(subcommand)]
        command: keys::Keys,
    },
    /// Make, list or delete tenants while the gateway runs
    Tenants {
        #[command(subcommand)]
        command: tenants::Tenants,
    },
    /// Work with the files of the chat log
    Chats {
        #[command(subcommand)]
        command: Chats,
    },
    /// Print what was used, from the ledger
    Usage(usage::Usage),
    /// Work with the ledger's database
    Ledger {
        #[command(subcommand)]
        command: usage::Ledger,
    },
}

/// The configuration of a command that reads one beside what it is about.
#[derive(Args)]
pub struct Configured {
    /// The configuration file; without it, it is found as for `run`
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file of variables, in the form of systemd's EnvironmentFile
    ///
    /// Its variables win over those of the process.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Chats {
    /// Convert the chat log to a JSON array, JSON lines, or a file for fine-tuning
    Convert(chats::Convert),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    clock::start();
    let arguments = Arguments::parse();
    let variables = match Variables::read(arguments.command.env_file()) {
        Ok(variables) => variables,
        Err(message) => {
            print_error(&message);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match arguments.command {
        Command::Run(run) => run.run(&variables),
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
        Command::Diff(diff) => diff.run(&variables),
        Command::Schema => {
            print(&config::schema());
            ExitCode::SUCCESS
        }
        Command::Health(health) => health.run(&variables),
        Command::Chats {
            command: Chats::Convert(convert),
        } => convert.run(&variables),
        Command::Reload(asked) => operator::ask(Wanted::Reload, asked, &variables),
        Command::Upgrade(asked) => operator::ask(Wanted::Upgrade, asked, &variables),
        Command::Cache { command } => command.run(&variables),
        Command::Keys { command } => command.run(&variables),
        Command::Tenants { command } => command.run(&variables),
        Command::Usage(usage) => usage.run(&variables),
        Command::Ledger { command } => command.run(&variables),
    }
}

impl Command {
    /// The file of variables, if one is named.
    fn env_file(&self) -> Option<&Path> {
        match self {
            Self::Run(run) => run.env_file(),
            Self::Check { env_file, .. } => env_file.as_deref(),
            Self::Diff(diff) => diff.env_file.as_deref(),
            Self::Schema => None,
            Self::Health(health) => health.env_file(),
            Self::Chats {
                command: Chats::Convert(convert),
            } => convert.env_file(),
            Self::Reload(asked) | Self::Upgrade(asked) => asked.env_file(),
            Self::Cache { command } => command.env_file(),
            Self::Keys { command } => command.env_file(),
            Self::Tenants { command } => command.env_file(),
            Self::Usage(usage) => usage.env_file(),
            Self::Ledger { command } => command.env_file(),
        }
    }
}

fn check(source: &Source, config: &Config, model: Option<&str>, tenant: Option<&str>) -> ExitCode {
    for warning in &config.warnings {
        print_error(&warning.to_string());
    }
    let Some(model) = model else {
        print(&check::describe(source, config));
        return ExitCode::SUCCESS;
    };
    match route::describe(config, model, tenant) {
        Ok(route) => {
            print(&route.text);
            match route.is_served {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(EXIT_REFUSED),
            }
        }
        Err(message) => {
            print_error(&message);
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn refuse(problems: &Problems) -> ExitCode {
    print_error(problems.to_string().trim_end());
    ExitCode::from(EXIT_CONFIG)
}

fn print(text: &str) {
    // A reader that closes early, as `head` does, is not a failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
