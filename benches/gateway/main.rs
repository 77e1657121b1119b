//! What Tollgate costs, beside nginx and beside a bare Pingora pass-through.
//!
//! Owns the order of a run and its command line; each file beside this one owns one idea:
//!
//! ```text
//! scenario   what is asked, and how much of it
//! turns      one scenario over all servers, in turns     rss   the memory of open streams
//! servers    nginx, the pass-through, tollgate           upstream   the provider's stand-in
//! load       the closed loop                             wire  HTTP/1.1 as it speaks it
//! cpu        what processes cost                         socket    WebSockets
//! report     the tables and `docs/benchmarks.md`         machine   what it was measured on
//! table      and names: keys and models                  tls        the certificate
//! faults     providers that fail                     store      the Redis of limits that several gateways share
//! ```
//!
//! `cargo bench --bench gateway -- [--quick] [--only NAMES] [--baseline PROGRAM]`, where the names are json, tls, store,
//! cache, cache_one, big, stream, upload, download, websocket, rss and faults. The baseline is another build of
//! tollgate, which takes its turns beside this one: figures of two runs cannot be compared. Everything happens on
//! 127.0.0.1 and is bounded in count and time. A wrong answer, or a server that does not start, ends the run with an
//! error; a target that is missed does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::panic,
    reason = "a program for developers, which reports on stdout and is to stop at what it did not expect"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it serves nobody"
)]

mod cpu;
mod faults;
mod load;
mod machine;
mod names;
mod report;
mod rss;
mod scenario;
mod servers;
mod socket;
mod store;
mod table;
mod tls;
mod turns;
mod upstream;
mod wire;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use report::Report;
use scenario::{NAMES, Size};
use servers::Workbench;
use upstream::Upstream;

/// Both ends of the streams that are open at once, and room beside them. Servers inherit it.
const OPEN_FILES: u64 = 16_384;
/// Marks that the limit has been raised, or that it cannot be.
const RAISED: &str = "TOLLGATE_BENCH_FILES_RAISED";

struct Arguments {
    size: Size,
    is_quick: bool,
    only: Vec<String>,
    baseline: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = faults::serve_if_told() {
        return code;
    }
    raise_file_limit();
    let outcome = arguments().and_then(|arguments| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
            // What is given up here drops its servers, and so ends them.
            tokio::select! {
                outcome = run(&arguments) => outcome,
                _ = terminate.recv() => Err("SIGTERM".to_owned()),
                _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), String> {
    let bench = Workbench::new(arguments.baseline.clone())?;
    let upstream = Upstream::start().await.map_err(|e| e.to_string())?;
    let size = arguments.size;
    let is_wanted =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|o| o == name);
    let mut report = Report::default();
    for scenario in scenario::all(size) {
        if is_wanted(scenario.name) {
            eprintln!("{} …", scenario.title);
            let rows = turns::run(&scenario, size.rounds, &bench, &upstream).await?;
            report.scenarios.push((scenario, rows));
        }
    }
    if is_wanted("rss") {
        eprintln!("{} open streams …", rss::STREAMS);
        report.memory = Some(rss::run(size, &bench, &upstream).await?);
    }
    if is_wanted("faults") {
        report.faults = Some(faults::run(&bench).await?);
    }
    println!("{}", report.results());
    if arguments.is_quick || !arguments.only.is_empty() || arguments.baseline.is_some() {
        println!("Only a full run without a baseline writes docs/benchmarks.md.");
        return Ok(());
    }
    report.write_page(size)
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        size: Size::FULL,
        is_quick: false,
        only: Vec::new(),
        baseline: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            // From cargo.
            "--bench" => {}
            "--quick" => {
                arguments.size = Size::QUICK;
                arguments.is_quick = true;
            }
            "--only" => {
                let names = given.next().unwrap_or_default();
                arguments.only = names.split(',').map(str::to_owned).collect();
            }
            "--baseline" => {
                let program = given.next().unwrap_or_default();
                // Servers are started in a folder of their own.
                let found = Path::new(&program).canonicalize();
                let found = found.map_err(|e| format!("--baseline {program:?}: {e}"));
                arguments.baseline = Some(found?);
            }
            _ => {
                return Err(format!(
                    "{argument} is not known: --quick, --only NAMES, --baseline PROGRAM"
                ));
            }
        }
    }
    match arguments
        .only
        .iter()
        .find(|name| !NAMES.contains(&name.as_str()))
    {
        Some(name) => Err(format!(
            "no scenario is named {name:?}: {}",
            NAMES.join(", ")
        )),
        None => Ok(arguments),
    }
}

/// Starts this program anew with a higher limit of open files when the limit is too low.
fn raise_file_limit() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    // "unlimited" is no number.
    let soft = soft
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(u64::MAX);
    if soft >= OPEN_FILES || std::env::var_os(RAISED).is_some() {
        return;
    }
    let script = format!("ulimit -n {OPEN_FILES}; exec \"$0\" \"$@\"");
    if let Ok(program) = std::env::current_exe() {
        // Comes back only when there is no shell.
        let error = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(program)
            .args(std::env::args_os().skip(1))
            .env(RAISED, "1")
            .exec();
        eprintln!("bench: cannot raise the limit of open files: {error}");
    }
}
