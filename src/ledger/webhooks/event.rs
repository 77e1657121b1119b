//! Events, and the bodies of messages that tell of them.
//!
//! Owns the JSON: a message has `type`, `timestamp` and `data`, as Standard Webhooks recommend. The data of
//! `usage.recorded` are rows as `tollgate ledger export` writes them (see `store::export`); the data of a quota
//! have the same names for the same things. Does not handle who gets which event (see `receivers`). Cannot fail.

use std::time::SystemTime;

use jiff::Timestamp;

use crate::ledger::record::Record;
use crate::ledger::store::{Cell, export, write_object};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What requests have used.
    Usage,
    /// A share of a quota has been used.
    Threshold,
    /// A quota is used up.
    Exhausted,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Usage, Self::Threshold, Self::Exhausted];

    /// Its `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage.recorded",
            Self::Threshold => "quota.threshold",
            Self::Exhausted => "quota.exhausted",
        }
    }

    /// The kind with this `type`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a quota counts, and how much of it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Tokens of input and output.
    Tokens {
        /// What was used.
        spent: u64,
        /// The quota.
        limit: u64,
    },
    /// Money, in nano-dollars.
    Money {
        /// What was used.
        spent_nanos: u64,
        /// The quota.
        limit_nanos: u64,
    },
}

/// A quota has reached a threshold, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaEvent {
    /// Whether nothing is left of it: `quota.exhausted`, otherwise `quota.threshold`.
    pub is_exhausted: bool,
    /// The tenant's id.
    pub tenant: String,
    /// The name of the tenant's key, if it is the quota of a key.
    pub key: Option<String>,
    /// The threshold, in percent of the quota; 100 if nothing is left.
    pub percent: u8,
    /// What it counts.
    pub spent: Spent,
    /// When its period began, in seconds since the Unix epoch; `None` for one that does not end.
    pub period: Option<i64>,
    /// When this happened.
    pub at: SystemTime,
}

impl QuotaEvent {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self.is_exhausted {
            true => Kind::Exhausted,
            false => Kind::Threshold,
        }
    }

    /// Its `data`. An amount of money is a decimal number of dollars, as in a row.
    pub(super) fn json(&self) -> String {
        let number = |count: u64| Cell::Number(i64::try_from(count).unwrap_or(i64::MAX));
        let nanos = |nanos: u64| Cell::Nanos(i64::try_from(nanos).unwrap_or(i64::MAX));
        let (unit, spent, limit) = match self.spent {
            Spent::Tokens { spent, limit } => ("tokens", number(spent), number(limit)),
            Spent::Money {
                spent_nanos,
                limit_nanos,
            } => ("usd", nanos(spent_nanos), nanos(limit_nanos)),
        };
        let text = |text: &str| Cell::Text(text.to_owned());
        let scope = if self.key.is_some() { "key" } else { "tenant" };
        let period = self.period.map(|start| time(start.saturating_mul(1_000)));
        let cells = [
            ("scope", text(scope)),
            ("tenant", text(&self.tenant)),
            ("key", self.key.as_deref().map_or(Cell::Nothing, text)),
            ("quota", text(unit)),
            ("percent", Cell::Number(i64::from(self.percent))),
            ("spent", spent),
            ("limit", limit),
            ("period", period.map_or(Cell::Nothing, Cell::Text)),
        ];
        let mut json = String::with_capacity(250);
        write_object(cells.iter().map(|(name, cell)| (*name, cell)), &mut json);
        json
    }
}

/// A record as an event: the object that its exported row is.
pub(super) fn usage_json(record: &Record<'_>) -> String {
    let mut json = String::with_capacity(700);
    export::write_record(record, &mut json);
    json
}

/// The body of a message: the same bytes each time, for the same arguments.
pub(super) fn body(kind: Kind, made_ms: i64, events: &[String]) -> String {
    let length: usize = events.iter().map(|event| event.len() + 1).sum();
    let mut body = String::with_capacity(length + 100);
    body.push_str(r#"{"type":""#);
    body.push_str(kind.name());
    body.push_str(r#"","timestamp":""#);
    body.push_str(&time(made_ms));
    body.push_str(r#"","data":"#);
    let events = events.join(",");
    match kind {
        Kind::Usage => {
            body.push_str(r#"{"events":["#);
            body.push_str(&events);
            body.push_str("]}");
        }
        Kind::Threshold | Kind::Exhausted => body.push_str(&events),
    }
    body.push('}');
    body
}

/// RFC 3339, in UTC with milliseconds.
fn time(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::{Marks, Source, Tokens};

    #[test]
    fn usage_is_told_as_rows_of_the_ledger_are_exported() {
        let record = Record {
            id: 0x0192_f4a1,
            at_ms: 1_793_577_600_123,
            tenant: "acme",
            key: "laptop",
            endpoint: "chat_completions",
            model: "gpt \"4\"",
            status: 200,
            outcome: "ok",
            attempts: 1,
            marks: Marks {
                streamed: true,
                ..Marks::default()
            },
            tokens: Tokens {
                input: 12,
                output: 30,
                ..Tokens::default()
            },
            source: Source::Upstream,
            cost_nanos: 1_500,
            charge_nanos: 2_250_000_000,
            period: Some(1_793_491_200),
            ..Record::default()
        };
        let body = body(Kind::Usage, 1_793_577_601_000, &[usage_json(&record)]);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["type"], "usage.recorded");
        assert_eq!(body["timestamp"], "2026-11-02T00:00:01.000Z");
        let event = &body["data"]["events"][0];
        let expected = [
            ("at", json!("2026-11-02T00:00:00.123Z")),
            ("id", json!("req_0000000000000000000000000192f4a1")),
            ("tenant", json!("acme")),
            ("key", json!("laptop")),
            ("model", json!("gpt \"4\"")),
            ("status", json!(200)),
            ("streamed", json!(true)),
            ("source", json!("upstream")),
            ("input", json!(12)),
            ("output", json!(30)),
            ("cached_answer", json!(0)),
            ("cost_usd", json!(0.000_001_5)),
            ("charge_usd", json!(2.25)),
            ("period", json!("2026-11-01T00:00:00.000Z")),
        ];
        for (name, value) in expected {
            assert_eq!(event[name], value, "{name}");
        }
    }

    #[test]
    fn an_answer_from_the_cache_is_told_with_the_tokens_that_it_has() {
        let record = Record {
            tokens: Tokens {
                cached_answer: 42,
                ..Tokens::default()
            },
            source: Source::Cache,
            ..Record::default()
        };
        let event: Value = serde_json::from_str(&usage_json(&record)).unwrap();
        assert_eq!(event["source"], "cache");
        assert_eq!(event["cached_answer"], 42);
        assert_eq!((&event["input"], &event["output"]), (&json!(0), &json!(0)));
        assert_eq!(event["upstream"], "");
    }

    #[test]
    fn a_quota_is_told_with_whose_it_is_and_what_is_spent() {
        let event = QuotaEvent {
            is_exhausted: false,
            tenant: "acme".to_owned(),
            key: None,
            percent: 80,
            spent: Spent::Money {
                spent_nanos: 80_500_000_000,
                limit_nanos: 100_000_000_000,
            },
            period: Some(1_793_491_200),
            at: UNIX_EPOCH + Duration::from_secs(1_793_577_600),
        };
        let body = body(event.kind(), 1_793_577_600_000, &[event.json()]);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body,
            json!({
                "type": "quota.threshold",
                "timestamp": "2026-11-02T00:00:00.000Z",
                "data": {
                    "scope": "tenant", "tenant": "acme", "key": null, "quota": "usd", "percent": 80,
                    "spent": 80.5, "limit": 100, "period": "2026-11-01T00:00:00.000Z",
                },
            })
        );
    }

    #[test]
    fn the_quota_of_a_key_names_the_key() {
        let event = QuotaEvent {
            is_exhausted: true,
            tenant: "acme".to_owned(),
            key: Some("laptop".to_owned()),
            percent: 100,
            spent: Spent::Tokens {
                spent: 1_003,
                limit: 1_000,
            },
            period: None,
            at: UNIX_EPOCH,
        };
        assert_eq!(event.kind().name(), "quota.exhausted");
        let data: Value = serde_json::from_str(&event.json()).unwrap();
        assert_eq!(
            data,
            json!({
                "scope": "key", "tenant": "acme", "key": "laptop", "quota": "tokens", "percent": 100,
                "spent": 1_003, "limit": 1_000, "period": null,
            })
        );
    }
}
