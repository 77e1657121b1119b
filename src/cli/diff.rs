//! `tollgate diff`: what a reload would change.
//!
//! Owns its flags, which two configurations are compared, and the text. Does not handle what counts as a change
//! (see `config::changes`). Exits as `diff` does: 0 where both mean the same, 1 where they differ, and 64 where
//! one of them is invalid.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_CONFIG, print, print_error, refuse};
use crate::config::{Change, Changes, Config, Problems, Source, Variables};

/// The two configurations do not mean the same.
const EXIT_DIFFERS: u8 = 1;

#[derive(Args)]
pub struct Diff {
    /// The new configuration
    #[arg(value_name = "NEW", required_unless_present = "config")]
    file: Option<PathBuf>,
    /// The new configuration, as an option
    #[arg(short, long, value_name = "NEW", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// The configuration that is in use; without it, it is found as for `run` without a file
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// A file of variables, in the form of systemd's EnvironmentFile
    ///
    /// Its variables win over those of the process. Both configurations are read with them.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

impl Diff {
    /// Reads both configurations, and prints what differs.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let Some(new) = self.file.or(self.config) else {
            return ExitCode::from(EXIT_CONFIG);
        };
        let is_named = self.against.is_some();
        let old = Source::find(self.against, variables);
        let new = Source::File(new);
        let (before, after) = (Config::load(&old, variables), Config::load(&new, variables));
        if !is_named && old == Source::Environment && before.is_err() {
            print_error("tollgate: there is nothing to compare with: name it with --against OLD");
        }
        let (before, after) = match (before, after) {
            (Ok(before), Ok(after)) => (before, after),
            (before, after) => {
                let problems = [before.err(), after.err()].into_iter().flatten();
                return refuse(&Problems(problems.flat_map(|found| found.0).collect()));
            }
        };
        for warning in &after.warnings {
            print_error(&warning.to_string());
        }
        let changes = Changes::between(&before, &after);
        print(&describe(&old, &new, &changes));
        match changes.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_DIFFERS),
        }
    }
}

/// Both names, then what a reload applies, then what it does not.
fn describe(old: &Source, new: &Source, changes: &Changes) -> String {
    if changes.is_empty() {
        return format!("{old} and {new} mean the same: a reload changes nothing");
    }
    let mut text = format!("from {old} to {new}\n");
    list("a reload applies", changes.applied(), &mut text);
    list(
        "a reload does not apply, restart for",
        changes.needs_restart(),
        &mut text,
    );
    text.trim_end().to_owned()
}

fn list<'c>(title: &str, changes: impl Iterator<Item = &'c Change>, text: &mut String) {
    let mut changes = changes.peekable();
    if changes.peek().is_none() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    changes.for_each(|change| text.push_str(&format!("  {change}\n")));
}
