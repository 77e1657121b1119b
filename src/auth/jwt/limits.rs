//! The limits that a token brings.
//!
//! Owns which limits a claim may have: those of a `limits` section, by their names there, as whole numbers above 0.
//! Fails for any other, since a limit that is not known would not be kept.

use serde_json::Value;

use crate::config::RateLimits;

/// Reads the claim; `None` for one that is no object, or has something else.
pub fn read(claim: &Value) -> Option<RateLimits> {
    let mut limits = RateLimits::default();
    for (name, value) in claim.as_object()? {
        let value = value.as_u64().filter(|value| *value > 0)?;
        let place = match name.as_str() {
            "requests_per_second" | "rps" => &mut limits.requests_per_second,
            "requests_per_minute" | "rpm" => &mut limits.requests_per_minute,
            "requests_per_hour" => &mut limits.requests_per_hour,
            "requests_per_day" | "rpd" => &mut limits.requests_per_day,
            "tokens_per_minute" | "tpm" => &mut limits.tokens_per_minute,
            "tokens_per_day" | "tpd" => &mut limits.tokens_per_day,
            "stream_tokens_per_minute" => &mut limits.stream_tokens_per_minute,
            "concurrent" => {
                limits.concurrent = Some(u32::try_from(value).ok()?);
                continue;
            }
            _ => return None,
        };
        *place = Some(value);
    }
    Some(limits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_read_by_their_names_and_anything_else_is_refused() {
        let read_one = read(&json!({"rpm": 3, "tokens_per_day": 5, "concurrent": 2})).unwrap();
        assert_eq!(read_one.requests_per_minute, Some(3));
        assert_eq!(read_one.tokens_per_day, Some(5));
        assert_eq!(read_one.concurrent, Some(2));
        assert_eq!(read(&json!({})), Some(RateLimits::default()));
        for bad in [
            json!(3),
            json!("rpm"),
            json!([{"rpm": 3}]),
            json!({"rpm": 0}),
            json!({"rpm": -1}),
            json!({"rpm": 1.5}),
            json!({"rpm": "3"}),
            json!({"rpm": null}),
            json!({"requests_per_week": 3}),
            json!({"concurrent": 5_000_000_000_u64}),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }
}
