//! Whether the authorities of clients' certificates can be used.
//!
//! Owns reading their certificates and their lists of revoked ones, and when a list ends. Does not handle what is
//! verified (see `tls::clients`). Fails with the file that has to be changed.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::ClientAuthorities;
use super::file_fault::Fault;
use crate::clock;
use crate::config::document::Located;
use crate::config::pem;
use crate::tls::clients::Verifier;

/// Reads all files.
///
/// # Errors
/// One cannot be read or holds something else.
pub fn load(authorities: &ClientAuthorities) -> Result<Verifier, Fault<'_>> {
    let roots = read_roots(&authorities.ca)?;
    let mut revoked = Vec::new();
    for file in &authorities.crl {
        revoked.extend(read_lists(file)?);
    }
    let provider = Arc::new(ring::default_provider());
    let end = first_end(&revoked).map(Timestamp::as_second);
    let verifier = Verifier::new(roots, (revoked, end), authorities.is_required, provider);
    verifier.map_err(|error| Fault {
        place: &authorities.ca.place,
        message: format!("certificates of clients cannot be verified: {error}"),
        hint: "name the certificates of their authorities, and lists that these have signed",
    })
}

fn read_roots(file: &Located<PathBuf>) -> Result<RootCertStore, Fault<'_>> {
    const HINT: &str = "name a file in PEM with the certificates of the authorities";
    let read = pem::certificates(&file.value, HINT);
    let fault = |message, hint| Fault {
        place: &file.place,
        message,
        hint,
    };
    let mut roots = RootCertStore::empty();
    let now = clock::timestamp();
    for certificate in read.map_err(|fault| Fault::of_file(&file.place, fault))? {
        let path = file.value.display();
        // What is trusted here could otherwise make certificates for anybody: nothing else looks at these.
        if !is_authority(&certificate) {
            let message = format!("a certificate in {path} is not one of an authority");
            return Err(fault(
                message,
                "name the authority that has signed the certificates of clients",
            ));
        }
        if pem::end(&certificate).is_some_and(|end| end <= now) {
            let message = format!("an authority in {path} has expired");
            return Err(fault(
                message,
                "remove it, or put its new certificate in its place",
            ));
        }
        let added = roots.add(certificate);
        added.map_err(|e| fault(format!("a certificate in {path} cannot be used: {e}"), HINT))?;
    }
    Ok(roots)
}

/// Whether a certificate may sign others.
fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let signs = certificate.key_usage().ok().flatten();
    certificate.is_ca() && signs.is_none_or(|usage| usage.value.key_cert_sign())
}

fn read_lists(
    file: &Located<PathBuf>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Fault<'_>> {
    let path = file.value.display();
    let fault = |message, hint| Fault {
        place: &file.place,
        message,
        hint,
    };
    const HINT: &str = "name a file with lists of revoked certificates (CRL), in PEM or DER";
    let bytes = pem::bytes(&file.value).map_err(|fault| Fault::of_file(&file.place, fault))?;
    let lists: Vec<_> = match bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        true => {
            let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
            let lists: Result<Vec<_>, _> = lists;
            lists.map_err(|e| fault(format!("{path} is not PEM: {e}"), HINT))?
        }
        false => vec![CertificateRevocationListDer::from(bytes)],
    };
    let is_list = |list: &CertificateRevocationListDer<'_>| {
        CertificateRevocationList::from_der(list).is_ok_and(|(rest, _)| rest.is_empty())
    };
    match lists.is_empty() || !lists.iter().all(is_list) {
        true => Err(fault(
            format!("{path} holds no list of revoked certificates"),
            HINT,
        )),
        false => Ok(lists),
    }
}

/// The files whose lists end first, each with when that is: clients are refused from then on.
pub fn ends(authorities: &ClientAuthorities) -> Vec<(&Located<PathBuf>, Timestamp)> {
    let end = |file| {
        let lists = read_lists(file).ok()?;
        Some((file, first_end(&lists)?))
    };
    authorities.crl.iter().filter_map(end).collect()
}

/// When the first of these lists ends; `None` where none does.
fn first_end(lists: &[CertificateRevocationListDer<'_>]) -> Option<Timestamp> {
    let ends = lists.iter().filter_map(|list| {
        let (_, list) = CertificateRevocationList::from_der(list).ok()?;
        Timestamp::from_second(list.next_update()?.timestamp()).ok()
    });
    ends.min()
}

/// The authorities of which there is no list although there are lists: each client of theirs is refused.
pub fn without_list(authorities: &ClientAuthorities) -> Vec<String> {
    if authorities.crl.is_empty() {
        return Vec::new();
    }
    let lists = authorities
        .crl
        .iter()
        .filter_map(|file| read_lists(file).ok());
    let lists: Vec<_> = lists.flatten().collect();
    let is_of = |subject: &[u8]| {
        lists.iter().any(|list| {
            let list = CertificateRevocationList::from_der(list);
            list.is_ok_and(|(_, list)| list.issuer().as_raw() == subject)
        })
    };
    let roots = pem::certificates(&authorities.ca.value, "").unwrap_or_default();
    let without = roots.iter().filter_map(|root| {
        let (_, root) = X509Certificate::from_der(root).ok()?;
        (!is_of(root.subject().as_raw())).then(|| root.subject().to_string())
    });
    without.collect()
}
