//! Keys that clients have already.
//!
//! Owns what a line may have, and that all lines are taken or none. Does not handle the form of the body (see
//! `admin::managed`). Every line that is wrong is told, up to a bound; nothing of a key is part of a message.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::change::{Imported, ImportedKey, Outcome, Refused};
use super::generate;
use super::known::{Known, Pending, Plan, Planned};
use super::row::{Definition, KeyRow};
use crate::config::MAX_PREFIX_BYTES;
use crate::secret::{KeyHash, MAX_CLIENT_KEY_BYTES, Secret};

/// As many lines that are wrong are told.
const MOST_TOLD: usize = 20;
/// How a hash begins, where it is written as in the configuration.
const HASH: &str = "sha256:";

/// Reads lines of JSON, each an object with `tenant`, `key` or `hash`, and what can be said of a key.
///
/// # Errors
/// The lines that are wrong.
pub fn read(text: &str) -> Result<Vec<Imported>, Refused> {
    let mut wrong = Wrong::default();
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match read_line(number + 1, line) {
            Ok(key) => keys.push(key),
            Err(message) => wrong.note(number + 1, &message),
        }
    }
    wrong.check()?;
    if keys.is_empty() {
        let message = "there is no line with a key (as in {\"tenant\": \"a\", \"name\": \"ci\", \"key\": \"…\"})";
        return Err(Refused::invalid("", message));
    }
    Ok(keys)
}

fn read_line(line: usize, text: &str) -> Result<Imported, String> {
    // What serde says of a mistake may have a part of the key.
    let read: Result<Definition, _> = serde_json::from_str(text);
    let mut definition =
        read.map_err(|e| format!("not a JSON object, at column {}", e.column()))?;
    let mut take = |name: &str| match definition.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name}: expected text")),
    };
    let tenant = take("tenant")?.ok_or("tenant: it is missing")?;
    let key = match (take("key")?, take("hash")?) {
        (Some(_), Some(_)) => {
            return Err("key: `hash` is written, too; keep one of them".to_owned());
        }
        (None, None) => return Err("key: it is missing, and so is `hash`".to_owned()),
        (None, Some(hash)) => {
            let hex = hash.strip_prefix(HASH).unwrap_or(&hash);
            let hash = KeyHash::from_hex(hex);
            ImportedKey::Hash(
                hash.ok_or("hash: expected 64 hexadecimal digits, the SHA-256 of the key")?,
            )
        }
        (Some(key), None) if key.is_empty() => return Err("key: it is empty".to_owned()),
        (Some(key), None) if key.len() > MAX_CLIENT_KEY_BYTES => {
            return Err(format!(
                "key: it is longer than {MAX_CLIENT_KEY_BYTES} bytes"
            ));
        }
        (Some(key), None) if key.starts_with(HASH) => {
            return Err("key: this is a hash: write it as `hash`".to_owned());
        }
        (Some(key), None) if key.chars().any(char::is_control) => {
            return Err("key: it has control characters, which no header can carry".to_owned());
        }
        (Some(key), None) if key.trim() != key => {
            return Err("key: it begins or ends with white space".to_owned());
        }
        (Some(key), None) => ImportedKey::Plain(Secret::new(key)),
    };
    Ok(Imported {
        line,
        tenant,
        key,
        definition,
    })
}

/// Checks all lines, and says what they write.
pub fn plan(known: &Known<'_>, mut plan: Plan<'_>, keys: &[Imported]) -> Result<Planned, Refused> {
    known.check_room(keys.len())?;
    let of_file = known.config.tenants.iter().flat_map(|tenant| &tenant.keys);
    let of_file: HashSet<KeyHash> = of_file.map(|key| key.hash.value).collect();
    let all = known.others("").map(|(id, prefix)| (prefix, id));
    let tenants = Tenants {
        of_file,
        by_prefix: all.collect(),
    };
    let mut wrong = Wrong::default();
    let mut ids = Vec::with_capacity(keys.len());
    let (mut hashes, mut names) = (HashMap::new(), HashMap::new());
    for key in keys {
        match plan_line(known, &tenants, key, plan.now_ms) {
            Ok(row) => {
                let name = (row.tenant.clone(), row.name().to_owned());
                if let Some(line) = hashes.insert(row.hash, key.line) {
                    wrong.note(key.line, &format!("key: line {line} has it, too"));
                } else if let Some(line) = names.insert(name, key.line) {
                    wrong.note(key.line, &format!("name: line {line} has it, too"));
                }
                plan.note(
                    "key.import",
                    &row.tenant,
                    Some(&row.id),
                    None,
                    Some(&row.definition),
                );
                ids.push(row.id.clone());
                plan.batch.keys.push(row);
            }
            Err(refused) => wrong.note(key.line, &refused.to_string()),
        }
    }
    wrong.check()?;
    Ok(plan.gives(Pending::Done(Outcome::Imported(ids))))
}

fn plan_line(
    known: &Known<'_>,
    tenants: &Tenants<'_>,
    key: &Imported,
    now_ms: i64,
) -> Result<KeyRow, Refused> {
    let prefix = known.prefix_of(&key.tenant)?;
    let begins = prefix.unwrap_or(generate::PREFIX);
    let (hash, hint) = match &key.key {
        ImportedKey::Hash(hash) => (*hash, "…".to_owned()),
        ImportedKey::Plain(text) => {
            tenants.check_prefix(&key.tenant, prefix, text)?;
            (text.hash(), generate::hint(text.expose(), begins))
        }
    };
    if tenants.of_file.contains(&hash) {
        return Err(Refused::invalid(
            "key",
            "it is in the configuration file already",
        ));
    }
    if let Some(other) = known.set.key_with(&hash) {
        let message = format!("the key `{}` is this one already", other.row.id);
        return Err(Refused::invalid("key", message));
    }
    if known.set.is_revoked(&hash) {
        return Err(Refused::invalid("key", "it was revoked, and holds no more"));
    }
    known.new_key(&key.tenant, hash, hint, &key.definition, now_ms)
}

/// What all lines are checked against.
struct Tenants<'k> {
    /// The hashes of the keys of the file.
    of_file: HashSet<KeyHash>,
    /// The ids of tenants, by their prefixes.
    by_prefix: HashMap<&'k str, &'k str>,
}

impl Tenants<'_> {
    /// A key begins with the prefix of its tenant, and with that of no other one: it would be refused.
    fn check_prefix(
        &self,
        tenant: &str,
        prefix: Option<&str>,
        key: &Secret,
    ) -> Result<(), Refused> {
        if let Some(prefix) = prefix.filter(|prefix| !key.expose().starts_with(prefix)) {
            let message = format!("it does not begin with `{prefix}`, its tenant's key_prefix");
            return Err(Refused::invalid("key", message));
        }
        let beginnings = (1..=MAX_PREFIX_BYTES).filter_map(|length| key.expose().get(..length));
        let mut owners = beginnings.filter_map(|beginning| self.by_prefix.get(beginning));
        match owners.find(|owner| **owner != tenant) {
            Some(owner) => {
                let message = format!("it begins with the key_prefix of the tenant `{owner}`");
                Err(Refused::invalid("key", message))
            }
            None => Ok(()),
        }
    }
}

/// Lines that are wrong.
#[derive(Default)]
struct Wrong {
    told: Vec<String>,
    more: usize,
}

impl Wrong {
    fn note(&mut self, line: usize, message: &str) {
        match self.told.len() < MOST_TOLD {
            true => self.told.push(format!("line {line}: {message}")),
            false => self.more += 1,
        }
    }

    fn check(self) -> Result<(), Refused> {
        if self.told.is_empty() {
            return Ok(());
        }
        let more = match self.more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let message = format!("nothing is imported: {}{more}", self.told.join("; "));
        Err(Refused::invalid("", message))
    }
}
