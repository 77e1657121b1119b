//! What of a certificate names its holder.
//!
//! Owns the kinds of names, and their text: the whole subject as RFC 4514 writes it, its one common name, and DNS
//! names, URIs and addresses of mail among the alternative names. Does not handle whether the certificate is trusted. A
//! certificate that cannot be read gives `None`.

use std::fmt;
use std::fmt::Write as _;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A certificate with more names is not read.
const MOST_NAMES: usize = 256;

/// A name of a holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// The whole subject.
    Subject(String),
    /// Its common name, where it has one.
    CommonName(String),
    /// A DNS name, in lower case.
    Dns(String),
    /// A URI.
    Uri(String),
    /// An address of mail.
    Email(String),
}

impl Name {
    /// Its kind, as it is configured.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subject(_) => "subject",
            Self::CommonName(_) => "cn",
            Self::Dns(_) => "dns",
            Self::Uri(_) => "uri",
            Self::Email(_) => "email",
        }
    }

    /// With its kind, as in `dns:batch.internal`.
    pub fn shown(&self) -> String {
        format!("{}:{self}", self.kind())
    }
}

/// Its text alone.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Subject(text)
        | Self::CommonName(text)
        | Self::Dns(text)
        | Self::Uri(text)
        | Self::Email(text)) = self;
        f.write_str(text)
    }
}

/// What is read of a certificate.
pub struct Read {
    /// The names of its holder.
    pub names: Vec<Name>,
    /// The last second at which it is valid, since the epoch.
    pub end_s: i64,
}

/// Reads the names of a certificate's holder.
pub fn read(certificate: &CertificateDer<'_>) -> Option<Read> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let mut names = Vec::new();
    if let Some(text) = written(subject).filter(|text| !text.is_empty()) {
        names.push(Name::Subject(text));
    }
    let mut common = subject.iter_common_name();
    // Of several, programs take different ones.
    if let (Some(only), None) = (common.next(), common.next()) {
        names.extend(
            only.as_str()
                .ok()
                .map(|text| Name::CommonName(text.to_owned())),
        );
    }
    let alternative = certificate.subject_alternative_name().ok()?;
    for name in alternative
        .iter()
        .flat_map(|names| &names.value.general_names)
    {
        names.extend(match name {
            GeneralName::DNSName(text) => Some(Name::Dns(text.to_ascii_lowercase())),
            GeneralName::URI(text) => Some(Name::Uri((*text).to_owned())),
            GeneralName::RFC822Name(text) => Some(Name::Email((*text).to_owned())),
            _ => None,
        });
    }
    (names.len() <= MOST_NAMES).then(|| Read {
        names,
        end_s: certificate.validity().not_after.timestamp(),
    })
}

/// A name as RFC 4514 writes it, the last part first, as OpenSSL's `-nameopt RFC2253` does; `None` where a part is no
/// text.
fn written(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    let parts: Vec<_> = name.iter().collect();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        let attributes: Vec<_> = part.iter().collect();
        for (position, attribute) in attributes.into_iter().rev().enumerate() {
            if position > 0 {
                text.push('+');
            }
            text.push_str(&kind(attribute));
            text.push('=');
            escape(attribute.as_str().ok()?, &mut text);
        }
    }
    Some(text)
}

/// The short name of an attribute, or its number.
fn kind(attribute: &AttributeTypeAndValue<'_>) -> String {
    let number = attribute.attr_type().to_id_string();
    let short = match number.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.15" => "businessCategory",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.65" => "pseudonym",
        "2.5.4.97" => "organizationIdentifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return number,
    };
    short.to_owned()
}

/// Writes a value so that nothing of it can be taken for another part.
fn escape(value: &str, into: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (position, c) in value.chars().enumerate() {
        let is_special = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            '#' => position == 0,
            ' ' => position == 0 || position == last,
            _ => false,
        };
        if c.is_control() || !c.is_ascii() {
            // As bytes, each of which is one character to OpenSSL.
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(into, "\\{byte:02X}");
            }
            continue;
        }
        if is_special {
            into.push('\\');
        }
        into.push(c);
    }
}
