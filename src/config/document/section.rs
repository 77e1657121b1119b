//! A mapping whose keys are ours, read key by key.
//!
//! Owns which keys are known, and what is said of one that is not. Does not handle values (see `values` and
//! `amounts`). An unknown key is reported with the one that was probably meant.

use super::{Node, is_null};
use crate::config::problem::nearest;

/// Names that other gateways have for some of our keys, too different to be found as typing mistakes.
const OTHER_NAMES: [(&str, &str); 11] = [
    ("api_key", "keys"),
    ("api_keys", "keys"),
    ("api_base", "base_url"),
    ("endpoint", "base_url"),
    ("url", "base_url"),
    ("base_url", "url"),
    ("max_parallel_requests", "concurrent"),
    ("period", "per"),
    ("dollars", "usd"),
    ("budget", "usd"),
    ("tz", "timezone"),
];

/// The known key that an unknown one probably stands for.
fn meant<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let mut others = OTHER_NAMES.iter().filter(|(other, _)| *other == key);
    let other = others.find_map(|(_, ours)| known.iter().find(|known| *known == ours));
    other
        .copied()
        .or_else(|| nearest(key, known.iter().copied()))
}

/// A mapping being read key by key.
pub struct Section<'a> {
    node: Node<'a>,
    entries: Vec<(String, Node<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Takes a mapping with its entries.
    pub(super) fn new(node: Node<'a>, entries: Vec<(String, Node<'a>)>) -> Self {
        Self {
            node,
            entries,
            known: Vec::new(),
        }
    }

    /// The value of a key, if it is there and not null.
    pub fn take(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        #[cfg(test)]
        taken::note(&self.node.place.path, name);
        self.take_unlisted(name)
    }

    /// The value of a key that has a second name, which people bring along. Both at once is a mistake.
    pub fn take_either(&mut self, name: &'static str, other: &'static str) -> Option<Node<'a>> {
        let node = self.take(name);
        match (node, self.take(other)) {
            (Some(node), Some(second)) => {
                let message = format!("`{name}` is written, too, and means the same");
                second.report(message, Some("keep one of them"));
                Some(node)
            }
            (node, second) => node.or(second),
        }
    }

    /// The value of a key that is not named among the known ones, if it is there and not null.
    pub fn take_unlisted(&mut self, name: &str) -> Option<Node<'a>> {
        let index = self.entries.iter().position(|(key, _)| key == name)?;
        let (_, node) = self.entries.remove(index);
        (!is_null(node.yaml)).then_some(node)
    }

    /// The value of a key that must be there.
    pub fn require(&mut self, name: &'static str) -> Option<Node<'a>> {
        let node = self.take(name);
        if node.is_none() {
            let hint = format!("add `{name}: …`");
            self.node
                .report(format!("`{name}` is missing"), Some(&hint));
        }
        node
    }

    /// Notes a problem for each key that was not taken. Whether there is none.
    pub fn finish(self) -> bool {
        for (key, node) in &self.entries {
            let hint = match meant(key, &self.known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            node.report("unknown key", Some(&hint));
        }
        self.entries.is_empty()
    }
}

/// Which keys were taken of which section, for a test that compares them with the schema.
#[cfg(test)]
pub mod taken {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static TAKEN: RefCell<BTreeSet<(String, String)>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(path: &str, key: &str) {
        TAKEN.with_borrow_mut(|taken| taken.insert((path.to_owned(), key.to_owned())));
    }

    /// Every path of a section with a key that was taken of it on this thread.
    pub fn all() -> BTreeSet<(String, String)> {
        TAKEN.take()
    }
}
