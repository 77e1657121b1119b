//! The key `tls` of an upstream: how TLS is spoken with its servers.
//!
//! Owns its keys, and reading the files that it names. Does not handle what is negotiated (see `tls::client`). What
//! cannot be read or used is reported with its place.

use std::path::PathBuf;

use rustls::Error;
use rustls::pki_types::{CertificateDer, ServerName};

use super::Server;
use crate::clock;
use crate::config::document::{Node, Section};
use crate::config::files::FileKind;
use crate::config::pem;
use crate::tls::client::{Client, Fault, Identity, Terms};
use crate::tls::{Suites, sm};

const AUTHORITIES: &str = "name a file in PEM: the certificates of the authorities";
const CHAIN: &str = "name a file in PEM: the certificate, then its chain";

/// How TLS is spoken with an upstream's servers, where that is not as usual.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// Who vouches for the servers, and what they are shown and offered.
    pub client: Client,
    /// The name that their certificates must have, in place of that of the URL.
    pub server_name: Option<String>,
}

/// Reads the section. It must have an effect on one of the servers.
pub(super) fn read(node: &Node<'_>, servers: &[Server]) -> Option<UpstreamTls> {
    let mut section = node.section()?;
    let suites = section.take("sm").and_then(|n| n.boolean());
    let suites = match suites {
        Some(true) => Suites::Sm,
        _ => Suites::Usual,
    };
    let ca = section.take("ca");
    let authorities = ca.as_ref().and_then(read_authorities);
    let cert = section.take("cert");
    let identity = read_identity(cert.as_ref(), &mut section, suites);
    let server_name = section.take("server_name").and_then(|n| read_name(&n));
    section.finish();
    if !servers.is_empty() && !servers.iter().any(|server| server.url.tls) {
        node.report(
            "`tls` has no effect: no server has a URL of https",
            Some("write https:// in the URL, or remove `tls`"),
        );
    }
    let terms = Terms {
        authorities,
        identity,
        suites,
    };
    let client = Client::new(terms).map_err(|fault| match fault {
        Fault::Authority(error) => ca.as_ref().unwrap_or(node).report(
            format!("a certificate in this file cannot be used: {error}"),
            Some(AUTHORITIES),
        ),
        Fault::Identity(Error::InconsistentKeys(_)) => node.report(
            "the key does not belong to the certificate",
            Some("name the key that the certificate was made for"),
        ),
        Fault::Identity(error) => cert.as_ref().unwrap_or(node).report(
            format!("the certificate with its key cannot be used: {error}"),
            Some("name a certificate and its key, both in PEM"),
        ),
    });
    Some(UpstreamTls {
        client: client.ok()?,
        server_name,
    })
}

fn read_authorities(node: &Node<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let path = read_path(node)?;
    told(node, pem::certificates(&path, AUTHORITIES))
}

fn read_identity(
    cert: Option<&Node<'_>>,
    section: &mut Section<'_>,
    suites: Suites,
) -> Option<Identity> {
    let (cert, key) = match (cert, section.take("key")) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return None,
        (Some(lonely), None) => {
            lonely.report(
                "a certificate needs its `key`",
                Some("write `key` beside it"),
            );
            return None;
        }
        (None, Some(lonely)) => {
            lonely.report("a key needs its `cert`", Some("write `cert` beside it"));
            return None;
        }
    };
    let chain = read_path(cert).and_then(|path| told(cert, pem::certificates(&path, CHAIN)));
    if let Some(first) = chain.as_ref().and_then(|chain| chain.first()) {
        warn_of_end(cert, first);
    }
    let path = read_path(&key)?;
    let private = told(&key, pem::private_key(&path))?;
    let shown = path.display();
    match (suites, sm::is_sm2_key(&private)) {
        (Suites::Usual, true) => key.report(
            format!("the private key in {shown} is one of SM2"),
            Some("write `sm: true` beside it"),
        ),
        (Suites::Sm, false) => key.report(
            format!("the private key in {shown} is not one of SM2"),
            Some("with `sm: true`, name a key made with openssl genpkey -algorithm SM2"),
        ),
        _ => {
            return Some(Identity {
                chain: chain?,
                key: private,
            });
        }
    }
    None
}

/// Warns of a certificate that no server accepts.
fn warn_of_end(node: &Node<'_>, certificate: &CertificateDer<'_>) {
    let now = clock::timestamp();
    if let Some(end) = pem::end(certificate).filter(|end| *end <= now) {
        let message = format!("the certificate has expired at {end}: servers refuse it");
        node.warn(
            message,
            "renew it; its files are read again when they have changed",
        );
    }
}

/// The path of a file that has a part in the configuration, relative to its folder.
fn read_path(node: &Node<'_>) -> Option<PathBuf> {
    let path = node.path_beside()?;
    node.context().note_file(&path, FileKind::Configuration);
    Some(path)
}

fn told<T>(node: &Node<'_>, read: Result<T, pem::Fault>) -> Option<T> {
    read.map_err(|fault| node.report(fault.message, Some(fault.hint)))
        .ok()
}

fn read_name(node: &Node<'_>) -> Option<String> {
    let name = node.name()?;
    if ServerName::try_from(name.as_str()).is_err() {
        node.report(
            format!("`{name}` is neither a host's name nor an IP address"),
            Some("as in server_name: api.internal"),
        );
        return None;
    }
    Some(name)
}
