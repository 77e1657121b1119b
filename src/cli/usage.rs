//! `tollgate usage` and `tollgate ledger`: what the database of the ledger has, and what it is given of a lost gateway.
//!
//! Owns their flags and the table. They use the database alone, so they work while a gateway runs and while none does;
//! what is still in the journal of a gateway is not in their answers. Does not handle reports (see `ledger::report`) or
//! the form of rows (see `ledger::store::export`). Fails with an exit code and a message.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::{Configured, EXIT_CONFIG, print, print_error, refuse, table};
use crate::clock;
use crate::config::{Config, Source, Variables};
use crate::ledger::WebhookPlan;
use crate::ledger::lost_node::{self, Loaded};
use crate::ledger::report::{self, MAX_ROWS, Query, Report};
use crate::ledger::store::export::{self, Lines};
use crate::ledger::store::{Cell, Database, StoreError};

/// There is no ledger, or it could not be read, or the output not be written.
const EXIT_FAILED: u8 = 1;
/// The database is damaged (`EX_DATAERR`).
const EXIT_DATA: u8 = 65;

#[derive(Args)]
pub struct Usage {
    /// The columns that usage is added up by: any of tenant, key, model, upstream, day
    #[arg(long, value_name = "COLUMNS", default_value = "tenant")]
    by: String,
    #[command(flatten)]
    time: Time,
    /// Only usage of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Args)]
pub struct Time {
    /// From WHEN on: a day (UTC) as in 2026-11-01, or a time as in 2026-11-01T08:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Before WHEN: with a day, that day does not count any more, unless it is that of --since, too
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// With a line of names
    Csv,
    /// One object
    Json,
}

#[derive(Subcommand)]
pub enum Ledger {
    /// Check the database: the files themselves, and whether sums and rows agree
    Check(Configured),
    /// Load what a gateway has left that is lost, from its folder, into the database that it has shared
    ///
    /// The gateway must not run. What is loaded already changes nothing.
    Load {
        /// The folder that was its `ledger.path`, or a copy of it
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// What the gateway was called, where the folder does not say it
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        #[command(flatten)]
        configured: Configured,
    },
    /// Print every row, the oldest first
    Export {
        #[command(flatten)]
        time: Time,
        /// The form of the output
        #[arg(long, value_enum, default_value_t = RowFormat::Csv)]
        format: RowFormat,
        #[command(flatten)]
        configured: Configured,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum RowFormat {
    /// With a line of names
    Csv,
    /// An object of JSON in each line
    Jsonl,
}

impl Usage {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        self.configured.env_file.as_deref()
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let (since, until) = (self.time.since.as_deref(), self.time.until.as_deref());
        let query = Query::parse(Some(&self.by), since, until, self.tenant.as_deref());
        let query = match query {
            Ok(query) => query,
            Err(message) => return wrong(&message),
        };
        let database = match database(self.configured, variables) {
            Ok(database) => database,
            Err(code) => return code,
        };
        let report = match report::report(&database, query) {
            Ok(report) => report,
            Err(e) => return fail(&e),
        };
        let out = &mut BufWriter::new(io::stdout().lock());
        let written = match self.format {
            Format::Table => write_table(&report, out),
            Format::Csv => report.write_csv(out),
            Format::Json => report.write_json(out),
        };
        if let Err(e) = written.and_then(|()| out.flush()) {
            return ended(e);
        }
        if report.is_cut {
            print_error(&format!(
                "only the first {MAX_ROWS} rows are shown: ask for a shorter time, one tenant or fewer columns"
            ));
        }
        match report::newest_ms(&database, now_ms()) {
            Ok(Some(newest)) if self.format == Format::Table => {
                let newest = Timestamp::from_millisecond(newest).unwrap_or_default();
                print_error(&format!(
                    "The newest request that is loaded came at {newest:.3}."
                ));
            }
            _ => {}
        }
        ExitCode::SUCCESS
    }
}

impl Ledger {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        let (Self::Check(configured)
        | Self::Load { configured, .. }
        | Self::Export { configured, .. }) = self;
        configured.env_file.as_deref()
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        match self {
            Self::Check(configured) => match database(configured, variables) {
                Ok(database) => check(&database),
                Err(code) => code,
            },
            Self::Load {
                folder,
                node,
                configured,
            } => load(&folder, node.as_deref(), configured, variables),
            Self::Export {
                time,
                format,
                configured,
            } => {
                let query = Query::parse(None, time.since.as_deref(), time.until.as_deref(), None);
                let query = match query {
                    Ok(query) => query,
                    Err(message) => return wrong(&message),
                };
                let lines = match format {
                    RowFormat::Csv => Lines::Csv,
                    RowFormat::Jsonl => Lines::Json,
                };
                match database(configured, variables) {
                    Ok(database) => export(&database, &query, lines),
                    Err(code) => code,
                }
            }
        }
    }
}

fn load(
    folder: &Path,
    node: Option<&str>,
    configured: Configured,
    variables: &Variables,
) -> ExitCode {
    let source = Source::find(configured.config, variables);
    let config = match Config::load(&source, variables) {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    let Some(ledger) = &config.ledger else {
        return wrong(&format!(
            "{source} has no ledger: there is nothing to load into"
        ));
    };
    match lost_node::load(folder, node, ledger, &WebhookPlan::of(&config)) {
        Ok(Loaded {
            node,
            journals,
            events,
        }) => {
            let s = if journals == 1 { "" } else { "s" };
            let waiting = match events {
                0 => String::new(),
                1 => ", 1 event for webhooks".to_owned(),
                _ => format!(", {events} events for webhooks"),
            };
            print(&format!(
                "loaded what {node} has left: {journals} journal{s}{waiting}"
            ));
            ExitCode::SUCCESS
        }
        Err(e) => {
            print_error(&format!("tollgate: {e}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn check(database: &Database) -> ExitCode {
    let checked = match database.check(&mut io::stdout()) {
        Ok(checked) => checked,
        Err(StoreError::Stopped(e)) => return ended(e),
        Err(e) => return fail(&e),
    };
    for line in &checked.damage {
        print_error(line);
    }
    for error in &checked.unread {
        fail(error);
    }
    // Damage is told first: what cannot be read may be fine.
    match (checked.damage.is_empty(), checked.unread.is_empty()) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(EXIT_FAILED),
        (false, _) => ExitCode::from(EXIT_DATA),
    }
}

fn export(database: &Database, query: &Query, lines: Lines) -> ExitCode {
    let out = &mut BufWriter::new(io::stdout().lock());
    let (since_ms, until_ms) = (query.since_ms, query.until_ms);
    let exported = export::write_head(lines, out).and_then(|()| {
        database.each_part(since_ms, until_ms, &mut |part| {
            export::part(part, lines, since_ms, until_ms, out).map(drop)
        })
    });
    match exported.and_then(|()| out.flush().map_err(StoreError::Stopped)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StoreError::Stopped(e)) => ended(e),
        Err(e) => fail(&e),
    }
}

fn write_table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![table::row(&report.columns())];
    for row in &report.rows {
        rows.push(
            row.cells()
                .iter()
                .map(|cell| Cell::text(cell).into_owned())
                .collect(),
        );
    }
    // Columns without a figure say nothing to people.
    let named = report.query.by.len();
    let is_shown = |column: usize| {
        let always = column < named + 2;
        let mut cells = rows.iter().skip(1).filter_map(|row| row.get(column));
        always || cells.any(|cell| cell != "0")
    };
    let shown: Vec<bool> = (0..report.columns().len()).map(is_shown).collect();
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| {
            let cells = row.into_iter().zip(&shown).filter(|(_, shown)| **shown);
            cells.map(|(cell, _)| cell).collect()
        })
        .collect();
    out.write_all(table::align(&rows).as_bytes())
}

fn database(configured: Configured, variables: &Variables) -> Result<Database, ExitCode> {
    let source = Source::find(configured.config, variables);
    let config = Config::load(&source, variables).map_err(|problems| refuse(&problems))?;
    let Some(ledger) = &config.ledger else {
        return Err(wrong(&format!(
            "{source} has no ledger: there is no usage to read"
        )));
    };
    let database = Database::of(ledger);
    match database.missing() {
        Ok(None) => Ok(database),
        Ok(Some(place)) => {
            print_error(&format!(
                "tollgate: no ledger in {place}: no gateway has recorded there, or the configuration of \
                 {source} names another place than that of the gateway"
            ));
            Err(ExitCode::from(EXIT_FAILED))
        }
        Err(e) => Err(fail(&e)),
    }
}

fn now_ms() -> i64 {
    let now = clock::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

fn wrong(message: &str) -> ExitCode {
    print_error(&format!("tollgate: {message}"));
    ExitCode::from(EXIT_CONFIG)
}

fn fail(error: &StoreError) -> ExitCode {
    print_error(&format!("tollgate: {error}"));
    ExitCode::from(EXIT_FAILED)
}

/// The code of an output that takes no more.
fn ended(error: io::Error) -> ExitCode {
    // A reader that closes early, as `head` does, is not a failure.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    fail(&StoreError::Stopped(error))
}
