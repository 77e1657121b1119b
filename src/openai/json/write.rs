//! Writing JSON from parts that stay as they are written.
//!
//! Owns commas, keys and quotes. Does not check that a part is JSON: it has been read before. Fails
//! only where an object is copied that is none.

use serde_json::value::RawValue;

use super::walk::{WalkError, members};

/// Writes the key of the next member into an object that has been opened; its value is to follow.
pub(in crate::openai) fn push_key(out: &mut String, key: &str) {
    push_comma(out);
    out.push_str(&quoted(key));
    out.push(':');
}

/// Writes a member into an object that has been opened.
pub(in crate::openai) fn push_member(out: &mut String, key: &str, json: &str) {
    push_key(out, key);
    out.push_str(json);
}

/// Writes the comma before a further member or item. No value ends with an opening bracket.
pub(in crate::openai) fn push_comma(out: &mut String) {
    if !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

/// A text as a JSON string.
pub(in crate::openai) fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

/// A copy of an object with these members replaced, or added where it lacks them.
pub(in crate::openai) fn replace_members(
    object: &str,
    replaced: &[(&str, &str)],
) -> Result<String, WalkError> {
    let mut out = String::with_capacity(object.len());
    out.push('{');
    let mut missing = replaced.to_vec();
    members(object, |key, value| {
        missing.retain(|(ours, _)| *ours != key);
        let ours = replaced.iter().find(|(ours, _)| *ours == key);
        let json = ours.map_or(RawValue::get(value), |(_, json)| json);
        push_member(&mut out, &key, json);
        Ok(())
    })?;
    for (key, json) in missing {
        push_member(&mut out, key, json);
    }
    out.push('}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_copied_with_members_replaced_and_added() {
        let copy = replace_members(r#"{"a": 1.0,"b":2 }"#, &[("b", "[]"), ("c", "\"d\"")]);
        assert_eq!(copy.as_deref(), Ok(r#"{"a":1.0,"b":[],"c":"d"}"#));
        assert_eq!(replace_members("[]", &[]), Err(WalkError::Malformed));
    }
}
