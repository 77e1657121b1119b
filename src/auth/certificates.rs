//! The method of client certificates: from the names in a certificate to the tenant that they belong to.
//!
//! Owns which tenant that is; names of two tenants in one certificate lead to none. Does not handle whether the
//! certificate was verified (see `tls::clients`), but that it still is. Fails with [`Refused`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::tls::clients::{ClientCertificate, NotHeld};
use crate::tls::names::Name;

/// A name in certificates, and whose it is.
#[derive(Clone, Debug)]
pub struct CertificateName {
    /// The name.
    pub name: Name,
    /// The position of its tenant.
    pub tenant: usize,
    /// What it is called in reports.
    pub shown: Arc<str>,
    /// What it is called in the log, which may not show the other.
    pub logged: Arc<str>,
}

/// Why a certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No tenant has one of its names.
    Unknown,
    /// Several tenants have names of its.
    Ambiguous,
    /// It does not hold any more.
    NotHeld(NotHeld),
    /// It comes with a request of a web page that may not call with it.
    Origin,
}

impl Refused {
    /// Its name in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ambiguous => "ambiguous",
            Self::NotHeld(NotHeld::Expired) => "expired",
            Self::NotHeld(NotHeld::NotTrusted) => "revoked",
            Self::Origin => "origin",
        }
    }
}

/// For the log, and for the client, whose certificate it is.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the client certificate belongs to no tenant",
            Self::Ambiguous => "the client certificate has names of several tenants",
            Self::NotHeld(NotHeld::Expired) => "the client certificate has expired",
            Self::NotHeld(NotHeld::NotTrusted) => "the client certificate is not trusted any more",
            Self::Origin => "web pages of this origin may not call with a client certificate",
        })
    }
}

/// The names of every tenant.
#[derive(Debug, Default)]
pub struct Certificates {
    names: HashMap<Name, CertificateName>,
}

impl Certificates {
    /// Takes the names.
    pub fn new(names: Vec<CertificateName>) -> Self {
        let names = names.into_iter().map(|name| (name.name.clone(), name));
        Self {
            names: names.collect(),
        }
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whose a certificate is now.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn find(
        &self,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<&CertificateName, Refused> {
        certificate
            .check(now.as_second())
            .map_err(Refused::NotHeld)?;
        self.owner(&certificate.names)
    }

    fn owner(&self, names: &[Name]) -> Result<&CertificateName, Refused> {
        let mut known = names.iter().filter_map(|name| self.names.get(name));
        let first = known.next().ok_or(Refused::Unknown)?;
        match known.all(|other| other.tenant == first.tenant) {
            true => Ok(first),
            false => Err(Refused::Ambiguous),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificates() -> Certificates {
        let named = |name: Name, tenant| CertificateName {
            shown: name.shown().into(),
            logged: "".into(),
            name,
            tenant,
        };
        let names = vec![
            named(Name::Dns("a.example".to_owned()), 0),
            named(Name::CommonName("a".to_owned()), 0),
            named(Name::Uri("spiffe://b".to_owned()), 1),
        ];
        Certificates::new(names)
    }

    #[test]
    fn a_certificate_is_the_tenants_whose_names_it_has() {
        let dns = |text: &str| Name::Dns(text.to_owned());
        let cn = |text: &str| Name::CommonName(text.to_owned());
        let uri = |text: &str| Name::Uri(text.to_owned());
        for (names, owner) in [
            (vec![dns("a.example")], Ok("dns:a.example")),
            (vec![cn("x"), dns("y"), cn("a")], Ok("cn:a")),
            (vec![cn("a"), dns("a.example")], Ok("cn:a")),
            (vec![uri("spiffe://b")], Ok("uri:spiffe://b")),
            // A name of another kind is another.
            (vec![dns("a")], Err(Refused::Unknown)),
            (vec![cn("a.example")], Err(Refused::Unknown)),
            (vec![], Err(Refused::Unknown)),
            (vec![cn("a"), uri("spiffe://b")], Err(Refused::Ambiguous)),
        ] {
            let certificates = certificates();
            let found = certificates.owner(&names);
            assert_eq!(found.map(|named| &*named.shown), owner, "{names:?}");
        }
    }
}
