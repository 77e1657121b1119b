//! Reading single values: text, numbers, lengths of time, sizes.
//!
//! Owns what each may look like and what is said of one that does not.

use std::path::PathBuf;
use std::time::Duration;

use saphyr::{Scalar, YamlData};
use serde_json::Value;

use super::{Located, Node};
use crate::config::expand::{ExpandError, expand};

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
            Ok(text) => Some(text),
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
    /// as text; `false` is what people write who come from 1.1. Notes nothing.
    pub fn says_off(&self) -> bool {
        match &self.yaml.data {
            YamlData::Value(Scalar::String(text)) => expand(text, self.context.variables)
                .is_ok_and(|text| matches!(text.as_str(), "off" | "false")),
            YamlData::Value(Scalar::Boolean(flag)) => !flag,
            _ => false,
        }
    }

    /// Text that must not be empty.
    pub fn name(&self) -> Option<String> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.report("must not be empty", Some("write a value, or take it out"));
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

    /// A share of a whole: a number from 0 to 1.
    pub fn share(&self) -> Option<f64> {
        let parsed = match &self.yaml.data {
            YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.0),
            YamlData::Value(Scalar::Integer(0)) => Some(0.0),
            YamlData::Value(Scalar::Integer(1)) => Some(1.0),
            YamlData::Value(Scalar::String(_)) => self.text()?.trim().parse().ok(),
            _ => None,
        };
        let share = parsed.filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.report("expected a number from 0 to 1", None);
        }
        share
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

    /// A list of text; every entry that is not text is noted.
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
