//! Reading single values: text, numbers, lengths of time, sizes.
//!
//! Owns what each may look like, how a size is written, and the form of plain names, which tenants and
//! upstreams have. Does not handle lists and mappings (see `document`). A value of another form is
//! reported with its place and gives `None`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use saphyr::{Scalar, YamlData};
use serde_json::Value;

use super::{Located, Node};
use crate::config::expand::{ExpandError, Expanded, expand};
use crate::config::files::FileKind;

/// No plain name is longer.
const MAX_NAME_BYTES: usize = 64;
/// The longest length of time. `Instant::now()` and this can be added; with much more, that panics.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The units in which a size is written, the first that fits.
const UNITS: [(u64, &str); 8] = [
    (1 << 40, "TiB"),
    (1 << 30, "GiB"),
    (1 << 20, "MiB"),
    (1 << 10, "KiB"),
    (1_000_000_000_000, "TB"),
    (1_000_000_000, "GB"),
    (1_000_000, "MB"),
    (1_000, "KB"),
];

/// A size as it can be written in a configuration, exactly: `Node::bytes` reads it back.
pub fn write_size(bytes: u64) -> String {
    let mut units = UNITS.iter();
    match units.find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Whether a name can stand in logs, in labels of metrics and in headers as it is.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(is_plain)
}

/// The plain name that is nearest to one that is not; `None` where nothing would be left of it.
pub fn plain_name(name: &str) -> Option<String> {
    let plain = name.chars().map(|c| if is_plain(c) { c } else { '-' });
    let plain: String = plain.take(MAX_NAME_BYTES).collect();
    let plain = plain.trim_matches('-');
    (!plain.is_empty()).then(|| plain.to_owned())
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// Whether text is an address or a network, and so no key: it may be part of a message.
pub(super) fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok() || text.parse::<IpNet>().is_ok()
}

impl Node<'_> {
    /// Text, with its variables expanded. Numbers and booleans are taken as they were written by
    /// YAML's own rules, so that a model named `4` needs no quotes.
    pub fn text(&self) -> Option<String> {
        let raw = match &self.yaml.data {
            YamlData::Value(Scalar::String(text)) => text.to_string(),
            YamlData::Value(Scalar::Integer(number)) => number.to_string(),
            YamlData::Value(Scalar::Boolean(flag)) => flag.to_string(),
            _ => {
                self.wrong_type("text");
                return None;
            }
        };
        match expand(&raw, self.context.variables) {
            Ok(Expanded { text, files }) => {
                let files = files.iter();
                files.for_each(|path| self.context.note_file(path, FileKind::Configuration));
                Some(text)
            }
            Err(ExpandError::Credential(name, fault)) => {
                let (message, hint) = fault.explain(&name);
                self.report(message, Some(&hint));
                None
            }
            Err(ExpandError::NotSet(name)) => {
                self.report(
                    format!("the environment variable {name} is not set"),
                    Some(&format!(
                        "set it, put it into .env, name the file that has it with --env-file, or \
                         give a default: ${{{name}:-…}}"
                    )),
                );
                None
            }
            Err(ExpandError::Unclosed) => {
                self.report(
                    "`${` without `}`",
                    Some("close it, as in ${NAME}, or write `$${` for a literal `${`"),
                );
                None
            }
        }
    }

    /// Whether the value is the word `off`, for what can be turned off as a whole. YAML 1.2 reads it
    /// as text; in YAML 1.1 it was `false`, which people still write. Reports nothing.
    pub fn says_off(&self) -> bool {
        match &self.yaml.data {
            YamlData::Value(Scalar::String(text)) => expand(text, self.context.variables)
                .is_ok_and(|expanded| matches!(expanded.text.as_str(), "off" | "false")),
            YamlData::Value(Scalar::Boolean(flag)) => !flag,
            _ => false,
        }
    }

    /// Text that must not be empty.
    pub fn name(&self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.report("must not be empty", Some("write a value, or remove it"));
            return None;
        }
        Some(text)
    }

    /// The path of a file or folder.
    pub fn path(&self) -> Option<Located<PathBuf>> {
        Some(self.locate(PathBuf::from(self.name()?)))
    }

    /// A whole number within bounds.
    pub fn integer(&self, low: u64, high: u64) -> Option<u64> {
        let parsed = match &self.yaml.data {
            YamlData::Value(Scalar::Integer(number)) => u64::try_from(*number).ok(),
            YamlData::Value(Scalar::String(_)) => self.text()?.trim().parse().ok(),
            _ => None,
        };
        match parsed {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                self.report(
                    format!("expected a whole number from {low} to {high}"),
                    None,
                );
                None
            }
        }
    }

    /// A whole number within bounds, for counting.
    pub fn count(&self, low: u32, high: u32) -> Option<u32> {
        let number = self.integer(u64::from(low), u64::from(high))?;
        u32::try_from(number).ok()
    }

    /// A weight: a share from 0 to 1000.
    pub fn weight(&self) -> Option<u32> {
        self.count(0, 1000)
    }

    /// A share of a whole: a number from 0 to 1.
    pub fn share(&self) -> Option<f64> {
        self.number_up_to(1)
    }

    /// A number from 0 to a whole one.
    pub fn number_up_to(&self, most: u32) -> Option<f64> {
        let parsed = match &self.yaml.data {
            YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.0),
            YamlData::Value(Scalar::Integer(whole)) => u32::try_from(*whole).ok().map(f64::from),
            YamlData::Value(Scalar::String(_)) => self.text()?.trim().parse().ok(),
            _ => None,
        };
        let number = parsed.filter(|number| (0.0..=f64::from(most)).contains(number));
        if number.is_none() {
            self.report(format!("expected a number from 0 to {most}"), None);
        }
        number
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        let parsed = match &self.yaml.data {
            YamlData::Value(Scalar::Boolean(flag)) => Some(*flag),
            YamlData::Value(Scalar::String(_)) => self.text()?.trim().parse().ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.report("expected true or false", None);
        }
        parsed
    }

    /// A length of time above zero, as in `250ms`, `3s`, `1m 30s`, `10m`.
    pub fn duration(&self) -> Option<Duration> {
        let text = self.text()?;
        match humantime::parse_duration(text.trim()) {
            Ok(duration) if duration > LONGEST => {
                self.report("must be at most 100 years", None);
                None
            }
            Ok(duration) if !duration.is_zero() => Some(duration),
            _ => {
                self.report(
                    format!("`{text}` is not a duration above zero"),
                    Some("write it with its unit, as in 250ms, 3s or 10m"),
                );
                None
            }
        }
    }

    /// A number of bytes above zero, as in `32MiB`, `500KB`, `1048576`.
    pub fn bytes(&self) -> Option<usize> {
        let text = self.text()?;
        let parsed = text.trim().parse::<bytesize::ByteSize>().ok();
        match parsed.and_then(|size| usize::try_from(size.as_u64()).ok()) {
            Some(bytes) if bytes > 0 => Some(bytes),
            _ => {
                self.report(
                    format!("`{text}` is not a size above zero"),
                    Some("write it as in 32MiB or 500KB"),
                );
                None
            }
        }
    }

    /// The entries of a list, or one value that is written without one.
    pub fn list_or_one(&self) -> Option<Vec<Self>> {
        match self.is_list() {
            true => self.list(),
            false => Some(vec![self.clone()]),
        }
    }

    /// A duration, or `0` for none.
    pub fn duration_or_zero(&self) -> Option<Duration> {
        match self.text()?.trim() {
            "0" | "0s" => Some(Duration::ZERO),
            _ => self.duration(),
        }
    }

    /// The path of a file that is relative to the folder of the configuration.
    pub fn path_beside(&self) -> Option<PathBuf> {
        let written = self.path()?.value;
        let folder = Path::new(self.context().source()).parent();
        Some(match folder {
            Some(folder) => folder.join(written),
            None => written,
        })
    }

    /// A list of text; every entry that is not text is reported.
    pub fn texts(&self) -> Option<Vec<Located<String>>> {
        let items = self.list()?;
        Some(
            items
                .iter()
                .filter_map(|item| Some(item.locate(item.name()?)))
                .collect(),
        )
    }

    /// Any value, as JSON has it, with the variables in its text expanded.
    pub fn json(&self) -> Option<Value> {
        match &self.yaml.data {
            YamlData::Value(Scalar::Null) => Some(Value::Null),
            YamlData::Value(Scalar::Boolean(flag)) => Some(Value::from(*flag)),
            YamlData::Value(Scalar::Integer(number)) => Some(Value::from(*number)),
            YamlData::Value(Scalar::FloatingPoint(number)) => Some(Value::from(number.0)),
            YamlData::Sequence(_) => {
                let items = self.list()?;
                items
                    .iter()
                    .map(Self::json)
                    .collect::<Option<_>>()
                    .map(Value::Array)
            }
            YamlData::Mapping(_) => {
                let entries = self.entries()?.into_iter();
                let members = entries.map(|(name, node)| Some((name, node.json()?)));
                members.collect::<Option<_>>().map(Value::Object)
            }
            _ => self.text().map(Value::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_so_that_it_can_be_read_back() {
        for (bytes, written) in [
            (1, "1"),
            (4 << 10, "4KiB"),
            (1 << 20, "1MiB"),
            (64 << 30, "64GiB"),
            (1536, "1536"),
            (500_000, "500KB"),
            (1_500_000, "1500KB"),
            (3 << 40, "3TiB"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(write_size(bytes), written);
            let read: bytesize::ByteSize = written.parse().unwrap();
            assert_eq!(read.as_u64(), bytes, "{written}");
        }
        assert_eq!(write_size(0), "0");
    }
}
