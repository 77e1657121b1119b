//! The digest of a body: what a signed request says of it, and whether the body is that.
//!
//! Owns the header `Content-Digest` with `sha-256` and `sha-512`; of other algorithms no notice is taken. Where both
//! are there, both have to fit. Does not handle where the bytes come from. Fails with [`Fault`] for a header that has
//! neither.

use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{CONTENT_DIGEST, Fault};

/// What the body of a request has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyDigest {
    /// Nothing: the signature covers no digest.
    Empty,
    /// What has these digests.
    Of(Digests),
}

/// The digests of a body, of which there is one at least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    sha256: Option<Box<[u8]>>,
    sha512: Option<Box<[u8]>>,
}

/// Reads the header.
pub fn read(value: &[u8]) -> Result<BodyDigest, Fault> {
    let fault = Fault::Header(CONTENT_DIGEST);
    let named: Dictionary = Parser::new(value).parse().map_err(|_| fault)?;
    let mut digests = Digests::default();
    for (name, entry) in named {
        let (place, length) = match name.as_str() {
            "sha-256" => (&mut digests.sha256, Sha256::output_size()),
            "sha-512" => (&mut digests.sha512, Sha512::output_size()),
            _ => continue,
        };
        let digest = bytes_of(entry).filter(|digest| digest.len() == length);
        *place = Some(digest.ok_or(fault)?.into());
    }
    match digests == Digests::default() {
        true => Err(fault),
        false => Ok(BodyDigest::Of(digests)),
    }
}

/// The bytes that an entry has, where it is a sequence of bytes.
pub(super) fn bytes_of(entry: ListEntry) -> Option<Vec<u8>> {
    match entry {
        ListEntry::Item(Item {
            bare_item: BareItem::ByteSequence(bytes),
            ..
        }) => Some(bytes),
        _ => None,
    }
}

/// Checks a body while it comes.
#[derive(Debug)]
pub struct BodyCheck {
    wanted: BodyDigest,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
    is_empty: bool,
}

impl BodyCheck {
    /// Of a body that has to be this.
    pub fn new(wanted: BodyDigest) -> Self {
        let (has_256, has_512) = match &wanted {
            BodyDigest::Empty => (false, false),
            BodyDigest::Of(digests) => (digests.sha256.is_some(), digests.sha512.is_some()),
        };
        Self {
            wanted,
            sha256: has_256.then(Sha256::new),
            sha512: has_512.then(Sha512::new),
            is_empty: true,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.is_empty &= bytes.is_empty();
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Whether the bytes so far are the body that was signed.
    pub fn fits(&self) -> bool {
        let wanted = match &self.wanted {
            BodyDigest::Empty => return self.is_empty,
            BodyDigest::Of(wanted) => wanted,
        };
        let sha256 = self.sha256.clone().map(Sha256::finalize);
        let sha512 = self.sha512.clone().map(Sha512::finalize);
        agrees(wanted.sha256.as_deref(), sha256.as_deref())
            && agrees(wanted.sha512.as_deref(), sha512.as_deref())
    }
}

fn agrees(wanted: Option<&[u8]>, found: Option<&[u8]>) -> bool {
    match (wanted, found) {
        (Some(wanted), Some(found)) => wanted.ct_eq(found).into(),
        (None, None) => true,
        _ => false,
    }
}
