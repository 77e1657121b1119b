//! The keys of tenants: what clients send.
//!
//! Owns the entries of `keys`, what a key must be like, and prefixes: one names a tenant, so no key of
//! another begins with it. Keys are hashed as they are read; the text of one is kept until every prefix has
//! been read, and is wiped then. Does not handle clashes of hashes and of prefixes (see `validate`). What
//! cannot be read is reported with its place; a key is never part of a message.

use std::collections::HashMap;

use super::document::{Located, Node, Place, Section, is_plain_name};
use super::key_list;
use super::labels;
use super::limits::{self, RateLimits};
use super::models;
use super::quota::{self, Quota};
use super::validity::{self, Validity};
use crate::secret::{KeyHash, MAX_CLIENT_KEY_BYTES, Secret};

/// No prefix is longer.
pub const MAX_PREFIX_BYTES: usize = 16;

/// A key of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientKey {
    /// Its hash.
    pub hash: Located<KeyHash>,
    /// Its name in logs and reports; `None` where its fingerprint stands for it.
    pub name: Option<Located<String>>,
    /// What the operator notes of it, in the order of the file.
    pub labels: Vec<(String, String)>,
    /// Names that may be asked for with it, among those of its tenant, `*` standing for any rest; `None` for all of
    /// them.
    pub models: Option<Vec<Located<String>>>,
    /// What may be asked with it, within what its tenant may ask.
    pub limits: Option<RateLimits>,
    /// How much may be used with it in a period, within the quota of its tenant. What has been used is kept under its
    /// name, which it has then.
    pub quota: Option<Located<Quota>>,
    /// Whether and until when it holds.
    pub validity: Validity,
}

impl ClientKey {
    /// A key without settings.
    fn plain(hash: Located<KeyHash>) -> Self {
        Self {
            hash,
            name: None,
            labels: Vec::new(),
            models: None,
            limits: None,
            quota: None,
            validity: Validity::default(),
        }
    }

    /// Its name in logs and reports: the one that was written, or its fingerprint.
    pub fn shown(&self) -> String {
        let name = self.name.as_ref().map(|name| name.value.clone());
        name.unwrap_or_else(|| self.hash.value.fingerprint())
    }
}

/// Keys as they were written, until every prefix has been read.
#[derive(Default)]
pub struct Written<'a> {
    /// Each with the position of its tenant in the list.
    keys: Vec<(usize, Secret, Node<'a>)>,
    /// The tenants by their prefixes: position in the list, and id.
    prefixes: HashMap<String, (usize, String)>,
}

impl<'a> Written<'a> {
    /// Notes a tenant's prefix. One that two tenants have is reported elsewhere.
    pub fn add_prefix(&mut self, prefix: &str, position: usize, id: &str) {
        self.prefixes
            .insert(prefix.to_owned(), (position, id.to_owned()));
    }

    /// Reports each key that begins with the prefix of another tenant.
    pub fn check(self) {
        for (position, key, node) in &self.keys {
            let lengths = 1..=MAX_PREFIX_BYTES;
            let beginnings = lengths.filter_map(|length| key.expose().get(..length));
            let mut owners = beginnings.filter_map(|beginning| self.prefixes.get(beginning));
            if let Some((_, id)) = owners.find(|(owner, _)| owner != position) {
                node.report(
                    format!("the key begins with the key_prefix of the tenant `{id}`"),
                    Some("take another key, or move it to that tenant"),
                );
            }
        }
    }
}

/// Reads a prefix.
pub fn read_prefix(node: &Node<'_>) -> Option<Located<String>> {
    let prefix = node.name()?;
    if !is_plain_name(&prefix) || prefix.len() > MAX_PREFIX_BYTES {
        let message =
            format!("a prefix has up to {MAX_PREFIX_BYTES} letters, digits, `-`, `_` and `.`");
        node.report(message, Some("as in key_prefix: rs1_"));
        return None;
    }
    Some(node.locate(prefix))
}

/// Reads the keys of the tenant at a position of the list. `prefix` is what each must begin with.
pub fn read<'a>(
    node: &Node<'a>,
    position: usize,
    prefix: Option<&str>,
    written: &mut Written<'a>,
) -> Vec<ClientKey> {
    // Whether each was written, or is a fingerprint that stands for one: limits and quotas are kept under it.
    let mut names: HashMap<String, bool> = HashMap::new();
    let mut keys = Vec::new();
    for entry in node.list().unwrap_or_default() {
        let read = read_entry(&entry, position, prefix, written);
        for key in &read {
            let (shown, is_named) = (key.shown(), key.name.is_some());
            let other = names.get(&shown).copied();
            // Two fingerprints are the same where a key stands there twice, which is told elsewhere.
            if other.is_some_and(|other| other || is_named) {
                entry.report(
                    format!("another key of the tenant has the name `{shown}` already"),
                    Some("give each its own"),
                );
            }
            names.insert(shown, is_named || other.unwrap_or(false));
        }
        keys.extend(read);
    }
    keys
}

/// A key, or a mapping with one.
fn read_entry<'a>(
    entry: &Node<'a>,
    position: usize,
    prefix: Option<&str>,
    written: &mut Written<'a>,
) -> Vec<ClientKey> {
    if !entry.is_mapping() {
        let hashes = read_hashes(entry, position, prefix, written).into_iter();
        return hashes.map(ClientKey::plain).collect();
    }
    let Some(mut section) = entry.section() else {
        return Vec::new();
    };
    let node = section.require("key");
    let settings = take_settings(&mut section);
    section.finish();
    let Some(node) = node else { return Vec::new() };
    let hashes = read_hashes(&node, position, prefix, written);
    if hashes.len() > 1 {
        // They would share a name, and each would have limits of its own.
        let hint = "write an entry for each";
        node.report("an entry with settings has one key", Some(hint));
    }
    let key = |hash| settings(hash);
    hashes.into_iter().take(1).map(key).collect()
}

/// Takes what an entry says of its key, and gives it to the key with a hash.
pub fn take_settings(section: &mut Section<'_>) -> impl Fn(Located<KeyHash>) -> ClientKey + use<> {
    let (name, quota) = (section.take("name"), section.take("quota"));
    if let (None, Some(quota)) = (&name, &quota) {
        quota.report(
            "a key with a quota needs a `name`: what has been used is kept under it",
            Some("as in name: ci"),
        );
    }
    let settings = ClientKey {
        name: name.and_then(|n| read_name(&n)),
        labels: labels::take(section),
        models: section
            .take("models")
            .and_then(|n| models::read_all_allowed(&n)),
        limits: limits::take(section),
        quota: quota.and_then(|n| Some(n.locate(quota::read(&n)?))),
        validity: validity::take(section),
        ..ClientKey::plain(Located {
            value: KeyHash::of(&[]),
            place: Place::default(),
        })
    };
    move |hash| ClientKey {
        hash,
        ..settings.clone()
    }
}

fn read_name(node: &Node<'_>) -> Option<Located<String>> {
    let name = node.name()?;
    if !is_plain_name(&name) {
        let hint = "as in name: ci";
        node.report(
            "a name has up to 64 letters, digits, `-`, `_` and `.`",
            Some(hint),
        );
        return None;
    }
    Some(node.locate(name))
}

fn read_hashes<'a>(
    node: &Node<'a>,
    position: usize,
    prefix: Option<&str>,
    written: &mut Written<'a>,
) -> Vec<Located<KeyHash>> {
    let parse = |text: &str| {
        let hash = parse_key(text)?;
        Ok((hash, (!is_hash(text)).then(|| Secret::new(text.to_owned()))))
    };
    let mut hashes = Vec::new();
    for Located { value, place } in key_list::read_entry(node, parse) {
        let (hash, key) = value;
        if let Some(key) = key {
            match prefix.filter(|prefix| !key.expose().starts_with(prefix)) {
                Some(prefix) => node.report(
                    format!("the key does not begin with `{prefix}`, its tenant's key_prefix"),
                    Some("take a key that does, or remove the prefix"),
                ),
                None => written.keys.push((position, key, node.clone())),
            }
        }
        hashes.push(Located { value: hash, place });
    }
    hashes
}

/// How the hash of a key begins, where it is written instead of the key.
const HASH: &str = "sha256:";

fn is_hash(text: &str) -> bool {
    text.starts_with(HASH)
}

/// Takes a client key, or the `sha256:` of one, as its hash.
///
/// # Errors
/// No client could send it, or it is not a hash.
pub fn parse_key(key: &str) -> Result<KeyHash, key_list::Fault> {
    match key.strip_prefix(HASH) {
        Some(hex) => KeyHash::from_hex(hex).ok_or((
            "expected 64 hexadecimal digits after sha256:",
            "printf %s KEY | sha256sum",
        )),
        None if key.len() > MAX_CLIENT_KEY_BYTES => Err((
            "the key is longer than 256 bytes",
            "take a shorter one, or separate several with commas",
        )),
        None => Ok(Secret::new(key.to_owned()).hash()),
    }
}
