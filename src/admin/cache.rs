//! `/admin/cache`: what is kept of answers, and removing it.
//!
//! Owns the form of the answers and of the parameters. Does not handle who may ask (see `authorization`), the memory
//! itself (see `cache`) or what is counted (see `observe::cache`). A request that does not say clearly what is to be
//! removed is refused with what it may say, and nothing is removed.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::parameters;
use crate::cache::Which;
use crate::observe::cache::{CacheResult, Counted};
use crate::runtime::Shared;

/// An answer, or a status and a message.
pub type Answer = Result<Value, (StatusCode, String)>;

/// The parts by which answers are removed.
const PARTS: [&str; 3] = ["tenant", "rule", "id"];
const DOLLAR_NANOS: f64 = 1e9;

/// The memory, and what was counted of each rule that uses answers again.
pub fn shown(shared: &Shared) -> Value {
    let runtime = shared.pin();
    let fill = shared.cache.fill();
    let counted = shared.metrics.cache().by_rule();
    let none = Counted::default();
    let rules = runtime.rules().iter().filter(|rule| rule.reuse.is_some());
    let rules = rules.map(|rule| {
        let counted = counted.get(&rule.label).unwrap_or(&none);
        json!({
            "rule": rule.label,
            "hits": counted.with(CacheResult::Hit),
            "semantic": counted.with(CacheResult::Semantic),
            "joined": counted.with(CacheResult::Joined),
            "misses": counted.with(CacheResult::Miss),
            "bypasses": counted.with(CacheResult::Bypass),
            "bypass_reasons": counted.bypasses,
            "not_stored": counted.not_stored.values().sum::<u64>(),
            "not_stored_reasons": counted.not_stored,
            "evictions": counted.evictions,
            // The sum of many fractions has digits below the smallest amount that is charged.
            "saved_dollars": (counted.saved_dollars * DOLLAR_NANOS).round() / DOLLAR_NANOS,
        })
    });
    let questions = shared.questions().and_then(|questions| questions.fill());
    let questions = questions.map(|fill| {
        json!({ "entries": fill.entries, "bytes": fill.bytes, "limit_bytes": fill.most_bytes })
    });
    json!({
        "entries": fill.entries,
        "bytes": fill.bytes,
        "limit_bytes": fill.most_bytes,
        "flights": shared.flights.len(),
        "followers": shared.flights.followers(),
        "questions": questions,
        "rules": rules.collect::<Vec<_>>(),
    })
}

/// Removes the answers that a query string names; all of them where it names nothing.
pub async fn remove(shared: &Arc<Shared>, headers: &HeaderMap, query: &str) -> Answer {
    let which = match has_body(headers) {
        // What it says would be ignored, and more removed than was meant.
        true => Err(format!("a body is not read; {}", what_there_is())),
        false => parse(query),
    };
    let which = which.map_err(|message| (StatusCode::BAD_REQUEST, message))?;
    let (of_thread, asked) = (Arc::clone(shared), which.clone());
    // It looks at every answer.
    let removing = tokio::task::spawn_blocking(move || of_thread.forget_answers(&asked));
    match removing.await {
        Ok(removed) => {
            log::info!("the operator removes {which} from the cache: {removed} removed");
            Ok(json!({ "removed": removed }))
        }
        Err(error) => {
            log::error!("the cache cannot be cleared: {error}");
            let message = "The cache cannot be cleared; the log says why.";
            Err((StatusCode::INTERNAL_SERVER_ERROR, message.to_owned()))
        }
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || headers.contains_key(TRANSFER_ENCODING)
}

fn parse(query: &str) -> Result<Which, String> {
    let explained = |message: String| format!("{message}; {}", what_there_is());
    let values = parameters::read(query, PARTS).map_err(explained)?;
    let empty = PARTS.iter().zip(&values).find(|(_, value)| {
        let value = value.as_deref();
        value.is_some_and(str::is_empty)
    });
    if let Some((name, _)) = empty {
        return Err(explained(format!("{name} is empty")));
    }
    let [tenant, rule, id] = values.map(|value| value.map(Cow::into_owned));
    Ok(Which { tenant, rule, id })
}

fn what_there_is() -> String {
    format!(
        "DELETE takes {}, each at most once and not empty, and removes the answers for which all of them fit; without \
         any it removes every answer",
        parameters::listed(&PARTS)
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn parts_that_are_given_have_to_fit() {
        assert_eq!(parse("").unwrap(), Which::default());
        let which = parse("rule=gpt-%2A&id=req_1").unwrap();
        assert_eq!(which.rule.as_deref(), Some("gpt-*"));
        assert_eq!((which.tenant.clone(), which.id.is_some()), (None, true));
        assert_eq!(which.to_string(), r#"answers of rule "gpt-*", id "req_1""#);
        let broken = parse("tenant=a%0Ab").unwrap();
        assert_eq!(broken.to_string(), r#"answers of tenant "a\nb""#);
        assert_eq!(Which::default().to_string(), "all answers");
    }

    #[test]
    fn what_is_not_clear_is_refused_with_what_there_is() {
        for (query, why) in [
            ("tenant=", "tenant is empty"),
            ("rule=a&id", "id is empty"),
            ("tenants=a", "no others"),
            ("id=a&id=a", "id is given twice"),
            ("rule=%ff", "no UTF-8"),
        ] {
            let told = parse(query).unwrap_err();
            assert!(told.contains(why), "{query}: {told}");
            assert!(told.contains("tenant, rule and id"), "{query}: {told}");
        }
    }

    #[test]
    fn a_body_is_seen_by_its_framing() {
        let has = |name, value| {
            let headers: HeaderMap = [(name, HeaderValue::from_static(value))]
                .into_iter()
                .collect();
            has_body(&headers)
        };
        assert!(!has_body(&HeaderMap::new()) && !has(CONTENT_LENGTH, "0"));
        assert!(has(CONTENT_LENGTH, "12") && has(TRANSFER_ENCODING, "chunked"));
    }
}
