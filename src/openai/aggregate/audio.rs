//! The sound of a message.
//!
//! Owns joining base64 that comes in pieces. Does not handle the sound's format. Fails for data that is not
//! base64, and beyond a bound.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::value::RawValue;

use super::MAX_DEPTH;
use super::value::{Budget, MemberMap, Value};
use crate::openai::json::{WalkError, is_null, members, push_key, push_member, string};

/// Reads data with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The sound that has come of a message.
#[derive(Default)]
pub(super) struct Audio {
    id: Value,
    expires_at: Value,
    transcript: Value,
    /// The sound, decoded.
    data: Option<Vec<u8>>,
    /// Up to three characters of base64 that are still to be decoded with the next piece.
    rest: String,
    others: MemberMap,
}

impl Audio {
    /// Takes a piece.
    pub(super) fn see(&mut self, piece: &RawValue, budget: &mut Budget) -> Result<(), WalkError> {
        members(piece.get(), |name, value| match &*name {
            "id" => self.id.keep_first(value, budget),
            "expires_at" => self.expires_at.keep_first(value, budget),
            "transcript" => self.transcript.join(value, MAX_DEPTH, budget),
            "data" if is_null(value) => Ok(()),
            "data" => self.see_data(&string(value).ok_or(WalkError::Malformed)?, budget),
            name => {
                let slot = self.others.slot(name, budget)?;
                slot.join(value, MAX_DEPTH, budget)
            }
        })
    }

    /// Takes a piece of the sound. Each piece may be padded by itself, or be cut anywhere.
    fn see_data(&mut self, piece: &str, budget: &mut Budget) -> Result<(), WalkError> {
        budget.take(piece.len())?;
        let joined = self.rest.clone() + piece;
        let whole = joined.len() / 4 * 4;
        let (whole, rest) = joined.split_at_checked(whole).ok_or(WalkError::Malformed)?;
        let decoded = LENIENT.decode(whole).map_err(|_| WalkError::Malformed)?;
        self.data.get_or_insert_default().extend(decoded);
        rest.clone_into(&mut self.rest);
        Ok(())
    }

    /// Whether the time when it expires has come: that is the last member.
    pub(super) fn expires(&self) -> bool {
        !matches!(self.expires_at, Value::Null)
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push('{');
        for (name, value) in [("id", &self.id), ("expires_at", &self.expires_at)] {
            if !matches!(value, Value::Null) {
                push_key(out, name);
                value.write(out);
            }
        }
        if let Some(data) = &self.data {
            push_member(out, "data", &format!("\"{}\"", self.encoded(data)));
        }
        if !matches!(self.transcript, Value::Null) {
            push_key(out, "transcript");
            self.transcript.write(out);
        }
        self.others.write(out);
        out.push('}');
    }

    /// All of the sound in one piece of base64. A single character that is left is half a byte.
    fn encoded(&self, data: &[u8]) -> String {
        let last = LENIENT.decode(&self.rest).unwrap_or_default();
        STANDARD.encode([data, &last].concat())
    }
}
