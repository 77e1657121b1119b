//! What differs between two configurations, by the names of the file.
//!
//! Owns the list of changes, which of them need a restart and stay as they were until then, and their form as text and
//! as JSON. `sections`
//! compares section by section, `keys` says which keys of a section differ. Values are compared as they
//! are understood: a default that is written down is no change, a variable with another value is one. No
//! value is part of a change, so no secret is. Does not handle applying a change (see `server`). Cannot fail.

mod keys;
mod sections;

use std::fmt;

use serde_json::{Value, json};

use super::Config;

/// What cannot change while the process runs: sections and keys, each with all that is below it. The addresses
/// of `server.listen` come with `sections`.
const NEEDS_RESTART: [&str; 6] = [
    "server.admin",
    "server.node",
    "server.threads",
    "store",
    "server.log.files",
    "ledger",
];

impl Config {
    /// This configuration as a reload puts it in force in place of another: what needs a restart stays as it was, and
    /// is a change until then.
    #[must_use]
    pub fn in_force_after(mut self, before: &Self) -> Self {
        let wanted = std::mem::replace(&mut self.server.listen, before.server.listen.clone());
        for listener in &mut self.server.listen {
            let same = wanted.iter().find(|l| l.address == listener.address);
            if let Some(wanted) = same.filter(|wanted| wanted.is_same_kind(listener)) {
                listener.clone_from(wanted);
            }
        }
        self.server.admin.clone_from(&before.server.admin);
        self.server.threads = before.server.threads;
        self.server.node.clone_from(&before.server.node);
        self.store.clone_from(&before.store);
        self.server.log.files.clone_from(&before.server.log.files);
        if before.ledger.is_some() {
            self.ledger.clone_from(&before.ledger);
        }
        self
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changed: a path of keys and names, as in `server.max_body` or `tenants.acme`.
    pub path: String,
    /// How.
    pub kind: Kind,
    /// The keys in it that differ, where it has a name of its own.
    pub keys: Vec<&'static str>,
    /// Whether it takes effect at the next start only.
    pub needs_restart: bool,
}

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is there now.
    Added,
    /// It is no longer there.
    Removed,
    /// It is another.
    Changed,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

impl Change {
    fn new(path: String, kind: Kind, keys: Vec<&'static str>) -> Self {
        let needs_restart = NEEDS_RESTART.iter().any(|above| {
            let below = path.strip_prefix(above);
            below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
        });
        // A ledger is opened while the process runs, where there is none.
        let is_new_ledger = kind == Kind::Added && path == "ledger";
        Self {
            path,
            kind,
            keys,
            needs_restart: needs_restart && !is_new_ledger,
        }
    }
}

impl fmt::Display for Change {
    /// As in `upstreams.openai: changed (keys, timeouts)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.kind.name())?;
        match self.keys.as_slice() {
            [] => Ok(()),
            keys => write!(f, " ({})", keys.join(", ")),
        }
    }
}

/// Every change from one configuration to another, in the order of the reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// What differs in `new`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut changes = Self::default();
        sections::compare(old, new, &mut changes);
        changes
    }

    /// Whether both configurations mean the same.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each change.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// What a reload applies.
    pub fn applied(&self) -> impl Iterator<Item = &Change> {
        self.0.iter().filter(|change| !change.needs_restart)
    }

    /// What takes effect at the next start only.
    pub fn needs_restart(&self) -> impl Iterator<Item = &Change> {
        self.0.iter().filter(|change| change.needs_restart)
    }

    /// `{"changed": [...], "needs_restart": [...]}`, with the text of each change in one of the two.
    pub fn json(&self) -> Value {
        let texts = |changes: &mut dyn Iterator<Item = &Change>| -> Vec<String> {
            changes.map(ToString::to_string).collect()
        };
        json!({
            "changed": texts(&mut self.applied()),
            "needs_restart": texts(&mut self.needs_restart()),
        })
    }

    fn note(&mut self, path: impl Into<String>, kind: Kind, keys: Vec<&'static str>) {
        self.0.push(Change::new(path.into(), kind, keys));
    }
}

impl fmt::Display for Changes {
    /// One change a line, with what needs a restart marked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, change) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{change}")?;
            if change.needs_restart {
                write!(f, ", needs a restart")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
