//! `tollgate cache stats` and `tollgate cache clear`: the answers that the gateway that runs keeps.
//!
//! Owns their flags and the text of the answers. Does not handle `tollgate cache calibrate` (see `calibrate`), how the
//! gateway is found and asked (see `running`), nor what it counts and removes (see `admin`). Fails with an exit code
//! and a message.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::calibrate::Calibrate;
use super::running::{Asked, Running};
use super::{print, table};
use crate::config::Variables;

const PATH: &str = "/admin/cache";
const PATIENCE: Duration = Duration::from_secs(15);
/// What else can be done.
const INSTEAD: &str = "a restart of it removes all answers";
const NO_RULE: &str = "no rule uses the cache: set `cache: true` for a rule below `models`";

#[derive(Subcommand)]
pub enum Cache {
    /// Print how often answers were used again, by rule, and the memory that they take
    Stats(Asked),
    /// Propose the threshold of an embedding model, from labelled pairs of questions
    ///
    /// The vectors are asked for by the rule that `vector_cache.embedding_model` names. No gateway has to run.
    Calibrate(Calibrate),
    /// Remove answers: those for which all options fit
    Clear {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        asked: Asked,
    },
}

/// What is removed. Without any of them, nothing is asked: a variable of a script may be missing.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Selection {
    /// Answers to requests of this tenant
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    tenant: Option<String>,
    /// Answers of this rule, by the name that `tollgate check` prints
    #[arg(long, value_name = "RULE", value_parser = NonEmptyStringValueParser::new())]
    rule: Option<String>,
    /// The answer with this id, which a hit has in `x-tollgate-cache-id`
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// All answers
    #[arg(long, conflicts_with_all = ["tenant", "rule", "id"])]
    all: bool,
}

impl Cache {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        match self {
            Self::Stats(asked) | Self::Clear { asked, .. } => asked.env_file(),
            Self::Calibrate(calibrate) => calibrate.env_file(),
        }
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let done = match self {
            Self::Calibrate(calibrate) => return calibrate.run(variables),
            Self::Stats(asked) => asked
                .find(variables, INSTEAD)
                .and_then(|running| stats(&running)),
            Self::Clear { selection, asked } => asked
                .find(variables, INSTEAD)
                .and_then(|running| clear(&running, &selection)),
        };
        match done {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(code) => code,
        }
    }
}

fn stats(running: &Running) -> Result<String, ExitCode> {
    let shown = running.ask(&Method::GET, PATH, PATIENCE)?;
    let rules = rules(&shown).ok_or_else(|| running.tell_unexpected())?;
    let head = match rules.is_empty() {
        true => format!("{NO_RULE}\n"),
        false => by_rule(rules),
    };
    Ok(format!("{head}\n{}", memory(&shown)))
}

fn clear(running: &Running, selection: &Selection) -> Result<String, ExitCode> {
    let path = format!("{PATH}{}", selection.query());
    let answer = running.ask(&Method::DELETE, &path, PATIENCE)?;
    let removed = answer.get("removed").and_then(Value::as_u64);
    match removed.ok_or_else(|| running.tell_unexpected())? {
        0 => {
            let shown = running.ask(&Method::GET, PATH, PATIENCE)?;
            let has_rules = rules(&shown).is_some_and(|rules| !rules.is_empty());
            Ok(match (has_rules, selection.all) {
                (false, _) => format!("nothing is removed: {NO_RULE}"),
                (true, true) => "nothing is removed: no answer is kept".to_owned(),
                (true, false) => {
                    "nothing is removed: no answer that is kept fits all options".to_owned()
                }
            })
        }
        1 => Ok("1 answer is removed".to_owned()),
        removed => Ok(format!("{removed} answers are removed")),
    }
}

impl Selection {
    /// As the query of a request: none for all answers.
    fn query(&self) -> String {
        let parts = [
            ("tenant", &self.tenant),
            ("rule", &self.rule),
            ("id", &self.id),
        ];
        let given = parts
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let mut query = String::new();
        for (name, value) in given {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(name);
            query.push('=');
            query.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        query
    }
}

fn rules(shown: &Value) -> Option<&Vec<Value>> {
    shown.get("rules").and_then(Value::as_array)
}

fn number(of: &Value, name: &str) -> u64 {
    of.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn by_rule(rules: &[Value]) -> String {
    let titles = [
        "RULE",
        "REQUESTS",
        "HIT RATE",
        "BY MEANING",
        "JOINED",
        "BYPASSES",
        "SAVED (USD)",
    ];
    let mut rows = vec![table::row(&titles)];
    rows.extend(rules.iter().map(|rule| {
        let counted = |name| number(rule, name);
        let (hits, joined, bypasses) = (counted("hits"), counted("joined"), counted("bypasses"));
        let semantic = counted("semantic");
        let hits = hits + semantic;
        let requests = hits + joined + counted("misses") + bypasses;
        let saved = rule.get("saved_dollars").and_then(Value::as_f64);
        vec![
            rule.get("rule")
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned(),
            requests.to_string(),
            rate(hits, requests),
            semantic.to_string(),
            joined.to_string(),
            bypasses.to_string(),
            saved.unwrap_or_default().to_string(),
        ]
    }));
    table::align(&rows)
}

/// The share of all requests, those included that bypass the cache.
fn rate(hits: u64, requests: u64) -> String {
    match requests {
        0 => "-".to_owned(),
        _ => format!("{:.1}%", 100.0 * hits as f64 / requests as f64),
    }
}

fn memory(shown: &Value) -> String {
    let (bytes, limit) = (number(shown, "bytes"), number(shown, "limit_bytes"));
    let (entries, flights) = (number(shown, "entries"), number(shown, "flights"));
    let used = match limit {
        0 => String::new(),
        _ => format!(" ({:.1}%)", 100.0 * bytes as f64 / limit as f64),
    };
    let questions = shown.get("questions").filter(|shown| !shown.is_null());
    let questions = questions.map(|shown| {
        let (bytes, limit) = (number(shown, "bytes"), number(shown, "limit_bytes"));
        format!(
            "\nquestions kept     {}, {} of {}",
            number(shown, "entries"),
            size(bytes),
            size(limit)
        )
    });
    format!(
        "answers kept       {entries}\n\
         memory             {} of {}{used}\n\
         being asked now    {flights}{}",
        size(bytes),
        size(limit),
        questions.unwrap_or_default()
    )
}

/// A number of bytes, in the largest unit that it fills.
fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_has_a_line_and_one_without_requests_no_rate() {
        let rules = json!([
            { "rule": "gpt-4o", "hits": 1, "semantic": 1, "joined": 1, "misses": 1, "bypasses": 5, "saved_dollars": 0.000_000_5 },
            { "rule": "gpt-*", "hits": 0, "joined": 0, "misses": 0, "bypasses": 0, "saved_dollars": 0.0 },
        ]);
        let text = by_rule(rules.as_array().unwrap());
        let expected = "\
RULE    REQUESTS  HIT RATE  BY MEANING  JOINED  BYPASSES  SAVED (USD)
gpt-4o  9         22.2%     1           1       5         0.0000005
gpt-*   0         -         0           0       0         0
";
        assert_eq!(text, expected);
    }

    #[test]
    fn sizes_are_told_in_their_largest_unit() {
        for (bytes, told) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (256 << 20, "256 MiB"),
            (5 << 29, "2.5 GiB"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }

    #[test]
    fn a_selection_is_a_query() {
        let mut selection = Selection {
            tenant: None,
            rule: Some("gpt-* &".to_owned()),
            id: None,
            all: false,
        };
        assert_eq!(selection.query(), "?rule=gpt%2D%2A%20%26");
        selection.tenant = Some("ä".to_owned());
        assert_eq!(selection.query(), "?tenant=%C3%A4&rule=gpt%2D%2A%20%26");
        let all = Selection {
            tenant: None,
            rule: None,
            id: None,
            all: true,
        };
        assert_eq!(all.query(), "");
    }
}
