//! What is written to the store and read from it.
//!
//! Owns the arguments of the scripts and the form of their answers, the names of keys, and which keys stand in one slot
//! of a Cluster: those of one tenant. Does not handle when they are run (see the parent). An answer in another form is
//! a [`Malformed`] one.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Script};
use sha2::{Digest, Sha256};

use crate::limits::demand::Demand;
use crate::limits::kind::LimitKind;
use crate::limits::report::{Grant, GrantedLimit, NodeUsage, Report};
use crate::limits::scope::ScopeName;

/// Before each key.
const PREFIX: &str = "tollgate:1:";
/// The keys under which all processes note that they are there, and tell each other what they have found.
const NODES: &str = "tollgate:1:{nodes}";
const MESSAGES: &str = "tollgate:1:{nodes}:messages";
/// For so long the store keeps what a process holds that says nothing more.
const LEASE: Duration = Duration::from_secs(8);
/// What a quota has used is kept for so long after its period.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The scripts.
pub struct Scripts {
    share: Arc<Code>,
    nodes: Arc<Code>,
}

/// What the store has answered cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The time of the store, since the Unix epoch.
pub type StoreTime = Duration;

/// A script: its text and what the store knows it by.
struct Code {
    text: &'static str,
    hash: String,
}

impl Code {
    fn new(text: &'static str) -> Arc<Self> {
        let hash = Script::new(text).get_hash().to_owned();
        Arc::new(Self { text, hash })
    }
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            share: Code::new(include_str!("share.lua")),
            nodes: Code::new(include_str!("nodes.lua")),
        }
    }
}

/// A script with its arguments.
pub struct Call {
    code: Arc<Code>,
    keys: Vec<String>,
    arguments: Vec<String>,
}

impl Call {
    /// Asks for it by its hash.
    pub fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.code.hash)
    }

    /// Asks for it with its text, where the store does not know it yet.
    pub fn whole(&self) -> Cmd {
        self.command("EVAL", self.code.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        command.arg(&self.keys).arg(&self.arguments);
        command
    }
}

impl Scripts {
    /// Notes that a process is there, or that it ends, and what it tells the others. `last` is the last message that it
    /// knows.
    pub fn nodes(&self, process: &str, ends: bool, last: &str, messages: &[String]) -> Call {
        let mut arguments = vec![
            process.to_owned(),
            LEASE.as_micros().to_string(),
            flag(ends),
            last.to_owned(),
        ];
        arguments.extend_from_slice(messages);
        Call {
            code: Arc::clone(&self.nodes),
            keys: [NODES, MESSAGES].map(str::to_owned).to_vec(),
            arguments,
        }
    }

    /// Reports scopes, for a process of a node. Where it has `begun` by then, earlier ones of the node have ended. So
    /// many nodes share the store.
    pub fn share(
        &self,
        (process, node, begun): (&str, &str, Option<StoreTime>),
        nodes: u64,
        reports: &[(&ScopeName, &Report)],
        now: StoreTime,
    ) -> Call {
        let keys = reports.iter().map(|(name, report)| key(name, report));
        let mut arguments = vec![
            process.to_owned(),
            node.to_owned(),
            begun.map_or(0, |begun| begun.as_micros()).to_string(),
            LEASE.as_micros().to_string(),
            nodes.to_string(),
        ];
        for (_, report) in reports {
            add(report, node, now, &mut arguments);
        }
        Call {
            code: Arc::clone(&self.share),
            keys: keys.collect(),
            arguments,
        }
    }
}

/// What the store has answered to a process that says it is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Present {
    pub time: StoreTime,
    /// The last message that it has told.
    pub last: String,
    /// How many processes there are.
    pub nodes: u64,
    /// How many others have the same name.
    pub mates: u64,
    /// What others have told, with its age.
    pub messages: Vec<(Duration, String)>,
}

/// Reads it.
pub fn read_nodes(answer: &[String]) -> Result<Present, Malformed> {
    let [time, last, nodes, mates, messages @ ..] = answer else {
        return Err(Malformed);
    };
    let messages = messages.chunks(2).map(|message| match message {
        [age_ms, text] => Ok((Duration::from_millis(parsed(age_ms)?), text.clone())),
        _ => Err(Malformed),
    });
    Ok(Present {
        time: micros(time)?,
        last: last.clone(),
        nodes: parsed(nodes)?,
        mates: parsed(mates)?,
        messages: messages.collect::<Result<_, _>>()?,
    })
}

/// Reads what the store has answered to reports.
pub fn read_grants(answer: &[String], reports: &[&Report]) -> Result<Vec<Grant>, Malformed> {
    let mut words = answer.iter().skip(1);
    reports
        .iter()
        .map(|report| grant(&mut words, report))
        .collect()
}

/// What keys have in common that stand in one slot.
pub fn slot(name: &ScopeName) -> String {
    match name {
        ScopeName::Gateway => "gateway".to_owned(),
        ScopeName::Rule(rule) => format!("rule.{}", hashed(&[rule])),
        ScopeName::Tenant(tenant)
        | ScopeName::Key { tenant, .. }
        | ScopeName::Subject { tenant, .. } => format!("tenant.{}", hashed(&[tenant])),
    }
}

/// The key of a scope. Names of keys and of subjects are not in it. A subject with other limits is another one, and so
/// is a quota whose periods follow another calendar.
fn key(name: &ScopeName, report: &Report) -> String {
    let mut rest = match name {
        ScopeName::Gateway | ScopeName::Rule(_) | ScopeName::Tenant(_) => String::new(),
        ScopeName::Key { key, .. } => format!(":key.{}", hashed(&[key])),
        ScopeName::Subject {
            issuer, subject, ..
        } => {
            let limits = report.limits.iter();
            let limits = limits.map(|limit| format!("{}={},", word(limit.kind), limit.limit));
            let limits: String = limits.chain([flag(report.slides)]).collect();
            format!(":subject.{}", hashed(&[issuer, subject, &limits]))
        }
    };
    if let Some(quota) = &report.quota {
        rest.push_str(":quota.");
        rest.push_str(&hashed(&[&quota.calendar]));
    }
    format!("{PREFIX}{{{}}}{rest}", slot(name))
}

/// 128 bits are enough for what no attacker chooses both of.
fn hashed(parts: &[&String]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    hex::encode(hash.get(..16).unwrap_or_default())
}

fn add(report: &Report, node: &str, now: StoreTime, to: &mut Vec<String>) {
    to.push(keep(report, now).to_string());
    to.push(match &*report.epoch {
        "" => "-".to_owned(),
        epoch => epoch.to_owned(),
    });
    to.push(flag(report.slides));
    to.push(flag(report.quota.is_some()));
    if let Some(quota) = &report.quota {
        to.push(quota.start.to_string());
        to.push((quota.others.len() + 1).to_string());
        let mut used = |node: &str, used: Demand| {
            to.extend([
                node.to_owned(),
                used.tokens.to_string(),
                used.nanos.to_string(),
            ]);
        };
        used(node, quota.own);
        for other in &quota.others {
            used(&other.node, other.used);
        }
        let below = quota.warn_at.iter().filter(|percent| **percent < 100);
        let warns: Vec<String> = below.chain([&100]).map(u8::to_string).collect();
        to.push(warns.len().to_string());
        to.extend(warns);
        to.extend(quota.has_refused.map(flag));
    }
    to.push(report.limits.len().to_string());
    for limit in &report.limits {
        to.push(word(limit.kind).to_owned());
        let window_us = limit.kind.window_nanos() / 1_000;
        let numbers = [limit.limit, window_us, limit.used, limit.reported];
        to.extend(numbers.map(|number| number.to_string()));
        to.push(format!("{:e}", limit.backlog));
        let numbers = [
            limit.reserved,
            limit.needed,
            limit.smallest,
            limit.ahead,
            limit.largest,
        ];
        to.extend(numbers.map(|number| number.to_string()));
    }
}

/// For how many milliseconds a scope is kept of which nothing more is said; 0 for ever.
fn keep(report: &Report, now: StoreTime) -> u128 {
    let windows = report.limits.iter().map(|limit| limit.kind.window_nanos());
    let longest = Duration::from_nanos(windows.max().unwrap_or(0)) * 2 + LEASE;
    let Some(quota) = &report.quota else {
        return longest.as_millis();
    };
    let Some(end) = quota.end else {
        return 0;
    };
    let end = Duration::from_secs(u64::try_from(end).unwrap_or(0)) + KEPT;
    end.saturating_sub(now).max(longest).as_millis()
}

fn grant<'w>(
    words: &mut impl Iterator<Item = &'w String>,
    report: &Report,
) -> Result<Grant, Malformed> {
    let mut next = || words.next().ok_or(Malformed);
    let epoch: Arc<str> = next()?.as_str().into();
    let start = parsed(next()?)?;
    let mut nodes = Vec::new();
    for _ in 0..parsed::<u32>(next()?)? {
        nodes.push(NodeUsage {
            node: next()?.as_str().into(),
            used: Demand {
                tokens: parsed(next()?)?,
                nanos: parsed(next()?)?,
            },
        });
    }
    let mut limits = smallvec::SmallVec::new();
    for _ in &report.limits {
        limits.push(GrantedLimit {
            held: parsed(next()?)?,
            level: parsed(next()?)?,
            left: parsed(next()?)?,
            idle: parsed(next()?)?,
            is_spent: next()? == "1",
            wait: micros(next()?)?,
            reset: micros(next()?)?,
            reached: (parsed(next()?)?, parsed(next()?)?),
        });
    }
    Ok(Grant {
        limits,
        epoch,
        start,
        nodes,
    })
}

fn word(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::RequestsPerSecond => "rps",
        LimitKind::RequestsPerMinute => "rpm",
        LimitKind::RequestsPerHour => "rph",
        LimitKind::RequestsPerDay => "rpd",
        LimitKind::TokensPerMinute => "tpm",
        LimitKind::TokensPerDay => "tpd",
        LimitKind::Concurrent => "c",
        LimitKind::QuotaTokens => "qt",
        LimitKind::QuotaMoney => "qm",
    }
}

fn flag(is_set: bool) -> String {
    u8::from(is_set).to_string()
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| Malformed)
}

fn micros(text: &str) -> Result<Duration, Malformed> {
    Ok(Duration::from_micros(parsed(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::report::ReportedLimit;

    #[test]
    fn all_scopes_of_a_tenant_stand_in_one_slot_and_no_name_of_a_key_is_in_a_key() {
        let tenant = "acme".to_owned();
        let names = [
            ScopeName::Tenant(tenant.clone()),
            ScopeName::Key {
                tenant: tenant.clone(),
                key: "s3cret}".to_owned(),
            },
            ScopeName::Subject {
                tenant,
                issuer: "i".to_owned(),
                subject: "s3cret".to_owned(),
            },
        ];
        let report = Report {
            limits: smallvec::SmallVec::new(),
            epoch: "".into(),
            quota: None,
            slides: false,
        };
        let keys = names.each_ref().map(|name| key(name, &report));
        assert!(keys.iter().all(|key| !key.contains("s3cret")), "{keys:?}");
        let tag = |key: &String| key.split_once('}').unwrap().0.to_owned();
        assert!(keys.iter().all(|key| tag(key) == tag(&keys[0])), "{keys:?}");
        assert_ne!(keys[0], keys[1]);
        let limit = ReportedLimit {
            kind: LimitKind::RequestsPerDay,
            limit: 7,
            used: 0,
            reported: 0,
            backlog: 0.0,
            reserved: 0,
            needed: 0,
            smallest: 0,
            ahead: 0,
            largest: 1,
        };
        let limited = Report {
            limits: [limit].into_iter().collect(),
            ..report.clone()
        };
        // The same subject with other limits is counted by itself; a tenant goes on under others.
        assert_ne!(keys[2], key(&names[2], &limited));
        assert_eq!(keys[0], key(&names[0], &limited));
        assert_ne!(
            slot(&names[0]),
            slot(&ScopeName::Tenant("other".to_owned()))
        );
        assert_ne!(
            slot(&ScopeName::Gateway),
            slot(&ScopeName::Rule("gateway".to_owned()))
        );
    }

    #[test]
    fn an_answer_that_is_cut_off_or_no_number_is_malformed() {
        assert_eq!(read_nodes(&[]), Err(Malformed));
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for text in [
            "5 1-0 2",
            "x 1-0 2 0",
            "5 1-0 x 0",
            "5 1-0 2 0 7",
            "5 1-0 2 0 -7 m",
        ] {
            assert_eq!(read_nodes(&words(text)), Err(Malformed), "{text}");
        }
        let read = read_nodes(&words("5 1-0 2 1 7 m")).unwrap();
        assert_eq!((read.nodes, read.mates, read.last.as_str()), (2, 1, "1-0"));
        assert_eq!(read.messages, [(Duration::from_millis(7), "m".to_owned())]);
        let report = Report {
            limits: smallvec::SmallVec::new(),
            epoch: "".into(),
            quota: None,
            slides: false,
        };
        assert!(read_grants(&words("5 e 0 1 n 3 4"), &[&report]).is_ok());
        assert!(read_grants(&words("5 e 0 1 n 3"), &[&report]).is_err());
        assert!(read_grants(&words("5 e 0 1 n -3 4"), &[&report]).is_err());
    }
}
