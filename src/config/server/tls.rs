//! The key `tls` of a listener: the certificates that clients are shown, and those that they show.
//!
//! Owns its keys. Does not handle whether the files can be used (see `certificate`). What cannot be read is reported
//! with its place.

use std::path::PathBuf;

use crate::config::document::{Located, Node, Section};
use crate::config::files::FileKind;
use crate::tls::server::Choice;

/// As many certificates may be written beside the first.
const MOST_CERTIFICATES: usize = 1_000;
/// As many lists of revoked certificates.
const MOST_LISTS: usize = 100;

/// A listener's TLS: for one kind of clients, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// For clients with the usual suites; `None` where they are refused.
    pub usual: Option<Usual>,
    /// For clients that offer the suite of RFC 8998.
    pub sm: Option<CertificateFiles>,
}

/// TLS with the usual suites.
#[derive(Clone, Debug, PartialEq)]
pub struct Usual {
    /// The certificates, one at least. Clients that ask for none of them by name get the first.
    pub certificates: Vec<CertificateFiles>,
    /// The versions and suites.
    pub choice: Choice,
    /// Whose certificates clients show; `None` where they are not asked for one.
    pub clients: Option<ClientAuthorities>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateFiles {
    /// The chain, PEM.
    pub cert: Located<PathBuf>,
    /// The private key, PEM.
    pub key: Located<PathBuf>,
    /// What its authority says of its state (OCSP), DER.
    pub ocsp: Option<Located<PathBuf>>,
}

/// Whose certificates clients show.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAuthorities {
    /// The certificates of the authorities, PEM.
    pub ca: Located<PathBuf>,
    /// Their lists of revoked certificates, PEM or DER.
    pub crl: Vec<Located<PathBuf>>,
    /// Whether a client without one is refused.
    pub is_required: bool,
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Option<Tls> {
    let mut section = node.section()?;
    let sm = section.take("sm").map(|node| read_sm(&node));
    let is_sm_alone = sm.as_ref().is_some_and(|(_, only)| *only);
    let usual = match is_sm_alone {
        true => {
            refuse_unused(&mut section);
            None
        }
        false => Some(read_usual(&mut section)),
    };
    section.finish();
    let sm = sm.map(|(files, _)| files);
    // Of what is written, all can be used, or nothing.
    let is_whole =
        usual.as_ref().is_none_or(Option::is_some) && sm.as_ref().is_none_or(Option::is_some);
    is_whole.then(|| Tls {
        usual: usual.flatten(),
        sm: sm.flatten(),
    })
}

/// Reads the certificate for RFC 8998, and whether all other clients are refused.
fn read_sm(node: &Node<'_>) -> (Option<CertificateFiles>, bool) {
    let Some(mut section) = node.section() else {
        return (None, false);
    };
    let files = read_files(&mut section);
    let only = section.take("only").and_then(|n| n.boolean());
    section.finish();
    (files, only.unwrap_or_default())
}

fn refuse_unused(section: &mut Section<'_>) {
    for name in [
        "cert",
        "key",
        "ocsp",
        "certificates",
        "min_version",
        "suites",
        "clients",
    ] {
        if let Some(unused) = section.take(name) {
            let hint = "remove it, or set `only` to false";
            unused.report("with `sm.only: true`, no client gets this", Some(hint));
        }
    }
}

fn read_usual(section: &mut Section<'_>) -> Option<Usual> {
    let first = read_with_ocsp(section);
    let more = section.take("certificates").map(|n| read_more(&n));
    let choice = read_choice(section);
    let clients = section.take("clients").map(|n| read_clients(&n));
    let mut certificates = vec![first?];
    certificates.extend(more.unwrap_or_default());
    Some(Usual {
        certificates,
        choice: choice?,
        clients: match clients {
            Some(clients) => Some(clients?),
            None => None,
        },
    })
}

fn read_more(node: &Node<'_>) -> Vec<CertificateFiles> {
    let items = node.list().unwrap_or_default();
    if items.len() > MOST_CERTIFICATES {
        let message = format!("more than {MOST_CERTIFICATES} certificates");
        node.report(message, Some("put several names into one certificate"));
    }
    let read = |item: &Node<'_>| {
        let mut section = item.section()?;
        let files = read_with_ocsp(&mut section);
        section.finish();
        files
    };
    items.iter().filter_map(read).collect()
}

fn read_with_ocsp(section: &mut Section<'_>) -> Option<CertificateFiles> {
    let ocsp = section.take("ocsp").map(|n| read_file(&n));
    let files = read_files(section)?;
    Some(CertificateFiles {
        ocsp: match ocsp {
            Some(ocsp) => Some(ocsp?),
            None => None,
        },
        ..files
    })
}

fn read_files(section: &mut Section<'_>) -> Option<CertificateFiles> {
    let mut file = |name| read_file(&section.require(name)?);
    let (cert, key) = (file("cert"), file("key"));
    Some(CertificateFiles {
        cert: cert?,
        key: key?,
        ocsp: None,
    })
}

fn read_file(node: &Node<'_>) -> Option<Located<PathBuf>> {
    let path = node.path()?;
    node.context().note_file(&path.value, FileKind::Certificate);
    Some(path)
}

fn read_choice(section: &mut Section<'_>) -> Option<Choice> {
    let version = section.take("min_version").map(|n| read_version(&n));
    let suites = section.take("suites");
    let is_tls13_only = version.unwrap_or(Some(false))?;
    let Some(node) = suites else {
        return Some(Choice {
            is_tls13_only,
            suites: Vec::new(),
        });
    };
    let items = node.list()?;
    if items.is_empty() {
        let hint = "leave `suites` out to offer all";
        node.report("without suites no client could connect", Some(hint));
        return None;
    }
    let suites: Option<Vec<&'static str>> = items.iter().map(read_suite).collect();
    let suites = suites?;
    if is_tls13_only && !suites.iter().any(|name| Choice::is_of_tls13(name)) {
        let hint = "add one, as in TLS_AES_128_GCM_SHA256, or lower `min_version`";
        node.report("none of them is for TLS 1.3, the only version", Some(hint));
        return None;
    }
    Some(Choice {
        is_tls13_only,
        suites,
    })
}

/// Reads the least version; whether it is TLS 1.3.
fn read_version(node: &Node<'_>) -> Option<bool> {
    match node.text()?.as_str() {
        "1.2" => Some(false),
        "1.3" => Some(true),
        other => {
            let message = format!("`{other}` is not a version of TLS that is spoken");
            node.report(message, Some("1.2 or 1.3"));
            None
        }
    }
}

fn read_suite(node: &Node<'_>) -> Option<&'static str> {
    let name = node.name()?;
    let found = Choice::all().find(|(known, _)| *known == name);
    if found.is_none() {
        let known: Vec<&str> = Choice::all().map(|(name, _)| name).collect();
        let hint = format!("one of {}", known.join(", "));
        node.report(
            format!("`{name}` is not a suite that is known"),
            Some(&hint),
        );
    }
    found.map(|(name, _)| name)
}

fn read_clients(node: &Node<'_>) -> Option<ClientAuthorities> {
    let mut section = node.section()?;
    let ca = section.require("ca").and_then(|n| read_file(&n));
    let crl = section.take("crl").map(|n| read_lists(&n));
    let required = section.take("required").and_then(|n| n.boolean());
    section.finish();
    Some(ClientAuthorities {
        ca: ca?,
        crl: match crl {
            Some(crl) => crl?,
            None => Vec::new(),
        },
        is_required: required.unwrap_or(true),
    })
}

fn read_lists(node: &Node<'_>) -> Option<Vec<Located<PathBuf>>> {
    let items = node.list_or_one()?;
    if items.is_empty() {
        let hint = "name a file, or leave `crl` out to accept what has been revoked";
        node.report("there is no list", Some(hint));
        return None;
    }
    if items.len() > MOST_LISTS {
        let message = format!("more than {MOST_LISTS} lists");
        node.report(message, Some("put several lists into one file"));
        return None;
    }
    items.iter().map(read_file).collect()
}
