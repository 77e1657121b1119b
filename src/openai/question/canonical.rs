//! The hash of a JSON value by what it says.
//!
//! Owns a form in which white space, escapes, the order of members and the spelling of a number (`1`, `1.0`,
//! `1e0`) make no difference, and everything else does. A hash of each value is a part of the hash of what
//! holds it, so that no copy is sorted. Does not bound the depth (see `question`). Fails for a key that stands
//! twice, and for a number that is not exact as it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Hash, Unsuited};
use crate::openai::json::Text;

/// Whole numbers below this are exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Adds the hash of a member's value to those of its object.
pub(super) fn add<'b>(
    members: &mut BTreeMap<Cow<'b, str>, Hash>,
    key: Cow<'b, str>,
    json: &'b RawValue,
) -> Result<(), Unsuited> {
    match members.insert(key, value(json)?) {
        Some(_) => Err(Unsuited::Malformed),
        None => Ok(()),
    }
}

/// The hash of a value.
pub(super) fn value(json: &RawValue) -> Result<Hash, Unsuited> {
    let mut json = serde_json::Deserializer::from_str(json.get());
    Ok(Canonical.deserialize(&mut json)?)
}

/// The hash of an object whose members have these hashes.
pub(super) fn object(members: BTreeMap<Cow<'_, str>, Hash>) -> Hash {
    let mut hash = Sha256::new_with_prefix(b"{");
    for (key, value) in members {
        hash.update((key.len() as u64).to_le_bytes());
        hash.update(key.as_bytes());
        hash.update(value);
    }
    hash.finalize().into()
}

struct Canonical;

fn hashed(kind: u8, bytes: &[u8]) -> Hash {
    let hash = Sha256::new_with_prefix([kind]).chain_update(bytes);
    hash.finalize().into()
}

/// A double that is exact. Adding zero makes no difference except to the sign of zero.
fn exact(number: f64) -> Hash {
    hashed(b'd', &(number + 0.0).to_bits().to_le_bytes())
}

impl<'b> DeserializeSeed<'b> for Canonical {
    type Value = Hash;

    fn deserialize<D: Deserializer<'b>>(self, value: D) -> Result<Hash, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Canonical {
    type Value = Hash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Hash, E> {
        Ok(hashed(b'n', b""))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Hash, E> {
        Ok(hashed(b'b', &[u8::from(value)]))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Hash, E> {
        Ok(hashed(b's', text.as_bytes()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Hash, E> {
        match number as f64 {
            same if same < EXACT => Ok(exact(same)),
            _ => Ok(hashed(b'u', &number.to_le_bytes())),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Hash, E> {
        match number as f64 {
            same if same.abs() < EXACT => Ok(exact(same)),
            _ => Ok(hashed(b'i', &number.to_le_bytes())),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Hash, E> {
        match number.abs() < EXACT {
            true => Ok(exact(number)),
            // Two large numbers that differ may be one double.
            false => Err(E::custom("a number that is not exact")),
        }
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<Hash, A::Error> {
        let mut hash = Sha256::new_with_prefix(b"[");
        while let Some(item) = list.next_element_seed(Canonical)? {
            hash.update(item);
        }
        Ok(hash.finalize().into())
    }

    fn visit_map<A: MapAccess<'b>>(self, mut object: A) -> Result<Hash, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(Text(key)) = object.next_key()? {
            let value = object.next_value_seed(Canonical)?;
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(self::object(members))
    }
}
