//! `tollgate chats convert`: the chat log in the form that other programs read.
//!
//! Owns its flags, which files are read, and the mode of the file that it writes. Does not handle lines
//! (see `chatlog::convert`). An invalid line, or a file that cannot be read, is reported and changes
//! the exit code, and the rest is converted.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{EXIT_CONFIG, print_error, refuse};
use crate::chatlog;
use crate::chatlog::convert::{ConvertError, Converter, Filter, Summary};
use crate::clock;
use crate::config::{Config, Source, Variables};

/// Something could not be read or written.
const EXIT_FAILED: u8 = 1;
/// Everything was read, and some lines are invalid (`EX_DATAERR`).
const EXIT_DATA: u8 = 65;
/// The file name that means standard input.
const STDIN: &str = "-";
/// For the owner alone, like the log itself.
const OUTPUT_MODE: u32 = 0o600;

#[derive(Args)]
pub struct Convert {
    /// Files of the chat log, in order; - for standard input
    ///
    /// Without any: the file that the configuration names, after the full files beside it.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration that names the chat log; without it, it is found as for `run`
    #[arg(short, long, value_name = "FILE", conflicts_with = "files")]
    config: Option<PathBuf>,
    /// A file of variables, in the form of systemd's EnvironmentFile
    ///
    /// Its variables win over those of the process.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    env_file: Option<PathBuf>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Only requests since WHEN: a day (UTC) as in 2026-11-01, a time as in 2026-11-01T08:00:00Z, or a
    /// duration before now, as in 24h or 7d
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// Only requests of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only requests for this model, by the name in the client's request
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Write to FILE instead of to standard output; only its owner may read it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One array of the lines
    Json,
    /// The lines as they are
    Jsonl,
    /// A line of messages and tools for each complete chat with status 200
    OpenaiFinetune,
}

impl Convert {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        self.env_file.as_deref()
    }

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
        let (are_all_read, summary) = match convert(converter, &files) {
            Ok(done) => done,
            // A reader that closes early, as `head` does, is not a failure.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(e) => return fail(&format!("the output cannot be written: {e}")),
        };
        if summary.unfit > 0 {
            let Summary { written, unfit, .. } = summary;
            print_error(&format!(
                "examples: {written}; lines that make no example: {unfit} (another endpoint, not complete, \
                 or a status other than 200)"
            ));
        }
        match (are_all_read, summary.invalid) {
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
            print_error(&format!(
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

/// Converts what can be read. Returns whether all files could be read, and the numbers of lines.
fn convert<W: Write>(
    mut converter: Converter<W>,
    files: &[PathBuf],
) -> io::Result<(bool, Summary)> {
    let mut are_all_read = true;
    for path in files {
        let name = path.display();
        let report = |line, fault| print_error(&format!("{name}:{line}: {fault}"));
        let read = match path.as_os_str() == STDIN {
            true => converter.read(io::stdin().lock(), report),
            #[allow(clippy::disallowed_methods, reason = "a command serves no requests")]
            false => match File::open(path) {
                Ok(file) => converter.read(BufReader::new(file), report),
                Err(e) => Err(ConvertError::Reading(e)),
            },
        };
        match read {
            Ok(()) => {}
            Err(ConvertError::Reading(e)) => {
                print_error(&format!("{name} cannot be read: {e}"));
                are_all_read = false;
            }
            Err(ConvertError::Writing(e)) => return Err(e),
        }
    }
    Ok((are_all_read, converter.finish()?))
}

/// Opens and empties the output file. A file that is also an input is refused.
fn create(path: &Path, inputs: &[PathBuf]) -> io::Result<File> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options.mode(OUTPUT_MODE).open(path)?;
    let found = file.metadata()?;
    let is_it = |other: Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
    if inputs.iter().any(|input| input.metadata().is_ok_and(is_it)) {
        return Err(io::Error::other("it is one of the input files"));
    }
    if found.is_file() {
        file.set_permissions(Permissions::from_mode(OUTPUT_MODE))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// The time that a day, a time or a duration before now means.
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
    print_error(&format!("tollgate: {message}"));
    ExitCode::from(EXIT_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_a_time_and_a_duration_are_start_times() {
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
