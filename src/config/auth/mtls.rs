//! The key `mtls` of a tenant: the certificates by which its callers are found.
//!
//! Owns the kinds of names that an entry can have. Does not handle certificates (see `tls::names`), nor that each name
//! is one tenant's (see `validate`). What cannot be read is reported with its place.

use crate::config::document::{Located, Node};
use crate::tls::names::Name;

/// No name is longer.
const MAX_NAME_BYTES: usize = 1024;

/// A kind of name: its key, and the name with a text.
type Kind = (&'static str, fn(String) -> Name);

const KINDS: [Kind; 5] = [
    ("subject", Name::Subject),
    ("cn", Name::CommonName),
    ("dns", |text| Name::Dns(text.to_ascii_lowercase())),
    ("uri", Name::Uri),
    ("email", Name::Email),
];

/// Reads the names.
pub fn read(node: &Node<'_>) -> Vec<Located<Name>> {
    let items = node.list().unwrap_or_default();
    items.iter().filter_map(read_entry).collect()
}

fn read_entry(node: &Node<'_>) -> Option<Located<Name>> {
    let mut section = node.section()?;
    let named = KINDS.map(|(key, name)| Some((section.take(key)?, name)));
    section.finish();
    let mut named = named.into_iter().flatten();
    let (Some((value, name)), None) = (named.next(), named.next()) else {
        let keys = KINDS.map(|(key, _)| format!("`{key}`")).join(", ");
        node.report(
            format!("an entry has exactly one of {keys}"),
            Some("as in dns: batch.internal"),
        );
        return None;
    };
    let text = value.name()?;
    if text.len() > MAX_NAME_BYTES {
        value.report(format!("a name has at most {MAX_NAME_BYTES} bytes"), None);
        return None;
    }
    let name = name(text);
    if let Some((message, hint)) = cannot_match(&name) {
        value.report(message, Some(hint));
        return None;
    }
    Some(value.locate(name))
}

/// What keeps a name from being in any certificate as it is written, and what to write instead.
fn cannot_match(name: &Name) -> Option<(&'static str, &'static str)> {
    match name {
        Name::Subject(text)
            if text.starts_with('/')
                || text.starts_with("subject=")
                || text.contains(" = ")
                || !text.contains('=') =>
        {
            Some((
                "this is not a subject as RFC 4514 writes it",
                "print it with: openssl x509 -noout -subject -nameopt RFC2253 -in FILE, without `subject=`",
            ))
        }
        Name::Dns(text) if text.contains('*') => Some((
            "a `*` is no pattern here: a certificate would have to have it",
            "write the whole name",
        )),
        Name::Uri(text) if !text.contains(':') => {
            Some(("this is not a URI", "as in spiffe://example.org/batch"))
        }
        Name::Email(text) if !text.contains('@') => {
            Some(("this is not an address of mail", "as in batch@example.org"))
        }
        _ => None,
    }
}
