//! `tollgate chats convert`: the chat log, as other programs want it.
//!
//! Owns its flags, which files are read, and who may read what it writes. What becomes of each line
//! is `chatlog::convert`'s. A line that is none, or a file that cannot be read, is told, and the rest is
//! converted; the exit code tells it, too.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{EXIT_CONFIG, refuse, say_error};
use crate::chatlog;
use crate::chatlog::convert::{Converter, Filter, Stopped, StreamUsage};
use crate::clock;
use crate::config::{Config, Source, Variables};

/// Something could not be read or written.
const EXIT_FAILED: u8 = 1;
/// Everything was read, and some lines are none (`EX_DATAERR`).
const EXIT_DATA: u8 = 65;
/// The file that stands for standard input.
const STDIN: &str = "-";
/// For the owner alone, as the log itself.
const OUTPUT_MODE: u32 = 0o600;

#[derive(Args)]
pub struct Convert {
    /// Files of the chat log, in their order; - for standard input
    ///
    /// Without any: the file that the configuration names, after those beside it that are full.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration that names the chat log; without it, the same places as `run`
    #[arg(short, long, value_name = "FILE", conflicts_with = "files")]
    config: Option<PathBuf>,
    /// What to make of it
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Only requests since then: a day (UTC) as in 2026-11-01, a time as in 2026-11-01T08:00:00Z, or
    /// how long ago, as in 24h or 7d
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// Only requests of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only requests for this model, by the name that the client asked for
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Write there instead of to standard output; only you may read it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One array of all lines
    Json,
    /// The lines as they are, one each
    Jsonl,
    /// A line of messages and tools for each chat that is whole and went well
    OpenaiFinetune,
}

impl Convert {
    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let files = match self.files(variables) {
            Ok(files) => files,
            Err(code) => return code,
        };
        let out: Box<dyn Write> = match &self.output {
            None => Box::new(io::stdout().lock()),
            Some(path) => match create(path, &files) {
                Ok(file) => Box::new(file),
                Err(e) => return fail(&format!("{} cannot be written: {e}", path.display())),
            },
        };
        let filter = Filter {
            since: self.since,
            tenant: self.tenant,
            model: self.model,
        };
        let format = match self.format {
            Format::Json => chatlog::convert::Format::Json,
            Format::Jsonl => chatlog::convert::Format::JsonLines,
            Format::OpenaiFinetune => chatlog::convert::Format::Examples,
        };
        let converter = Converter::new(format, filter, BufWriter::new(out));
        let (are_all_read, tally) = match convert(converter, &files) {
            Ok(done) => done,
            // A reader that has gone away, as `head` does, is no reason to fail.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(e) => return fail(&format!("cannot write what was converted: {e}")),
        };
        if tally.unfit > 0 {
            let StreamUsage { written, unfit, .. } = tally;
            say_error(&format!(
                "examples: {written}; lines that are none: {unfit} (no chat, not whole, or not with status 200)"
            ));
        }
        match (are_all_read, tally.broken) {
            (false, _) => ExitCode::from(EXIT_FAILED),
            (true, 0) => ExitCode::SUCCESS,
            (true, _) => ExitCode::from(EXIT_DATA),
        }
    }

    fn files(&self, variables: &Variables) -> Result<Vec<PathBuf>, ExitCode> {
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        let source = Source::find(self.config.clone(), variables);
        let config = Config::load(&source, variables).map_err(|problems| refuse(&problems))?;
        let Some(log) = config.chat_log else {
            say_error(&format!(
                "{source} has no chat_log: name the files to convert"
            ));
            return Err(ExitCode::from(EXIT_CONFIG));
        };
        let path = &log.path.value;
        let files = chatlog::files(path);
        files.map_err(|e| {
            fail(&format!(
                "the files of {} cannot be found: {e}",
                path.display()
            ))
        })
    }
}

/// Converts what can be read; whether everything could, and what it came to.
fn convert<W: Write>(
    mut converter: Converter<W>,
    files: &[PathBuf],
) -> io::Result<(bool, StreamUsage)> {
    let mut are_all_read = true;
    for path in files {
        let name = path.display();
        let tell = |line, fault| say_error(&format!("{name}:{line}: {fault}"));
        let read = match path.as_os_str() == STDIN {
            true => converter.read(io::stdin().lock(), tell),
            #[allow(clippy::disallowed_methods, reason = "a command serves nobody")]
            false => match File::open(path) {
                Ok(file) => converter.read(BufReader::new(file), tell),
                Err(e) => Err(Stopped::Reading(e)),
            },
        };
        match read {
            Ok(()) => {}
            Err(Stopped::Reading(e)) => {
                say_error(&format!("{name} cannot be read: {e}"));
                are_all_read = false;
            }
            Err(Stopped::Writing(e)) => return Err(e),
        }
    }
    Ok((are_all_read, converter.finish()?))
}

/// Opens the file to write to, and empties it, unless it is one that is to be read.
fn create(path: &Path, inputs: &[PathBuf]) -> io::Result<File> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options.mode(OUTPUT_MODE).open(path)?;
    let found = file.metadata()?;
    let is_it = |other: Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
    if inputs.iter().any(|input| input.metadata().is_ok_and(is_it)) {
        return Err(io::Error::other("it is one of those that are converted"));
    }
    if found.is_file() {
        file.set_permissions(Permissions::from_mode(OUTPUT_MODE))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// A day, a time, or how long ago.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let time = clock::now().checked_sub(ago);
        let time = time.and_then(|time| Timestamp::try_from(time).ok());
        return time.ok_or_else(|| "that is too long ago".to_owned());
    }
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    if let Some(Ok(start)) = day.map(|day| day.to_zoned(TimeZone::UTC)) {
        return Ok(start.timestamp());
    }
    text.parse::<Timestamp>()
        .map_err(|_| "expected a day, a time with its zone, or a duration".to_owned())
}

fn fail(message: &str) -> ExitCode {
    say_error(&format!("tollgate: {message}"));
    ExitCode::from(EXIT_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_a_time_and_a_duration_tell_since_when() {
        let time = |text: &str| since(text).unwrap().to_string();
        assert_eq!(time("2026-11-01"), "2026-11-01T00:00:00Z");
        assert_eq!(time("2026-11-01T08:00:00.5Z"), "2026-11-01T08:00:00.5Z");
        assert_eq!(time("2026-11-01T08:00:00+02:00"), "2026-11-01T06:00:00Z");
        let before = Timestamp::now().as_second() - 24 * 3600;
        let day = since("24h").unwrap().as_second();
        assert!((before..before + 60).contains(&day));
        for wrong in [
            "yesterday",
            "2026-13-01",
            "2026-11-01T08:00:00",
            "",
            "99999999999y",
        ] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
