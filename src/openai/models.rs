//! Lists of models, as they go over the wire.
//!
//! Owns reading an upstream's list, in the shapes that servers use, and writing ours. Does not decide which
//! client sees which model (see `gateway::models`). Fails for JSON that is no list; an entry that is no model
//! is skipped.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json::{WalkError, is_array, is_null, items, keep_null, object, string};

/// The most models of one list that are read.
pub const MAX_MODELS: usize = 10_000;
/// A longer id is no model's, and a longer owner is dropped.
const MAX_ID_BYTES: usize = 256;
/// The owner of a model whose list names none.
const OWNER: &str = "tollgate";

/// One model of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its id, which requests name.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its owner.
    pub owned_by: String,
}

/// Reads an upstream's list; `None` for what is no list. An entry that is no model is skipped.
pub fn read(body: &[u8]) -> Option<Vec<Model>> {
    let body: &RawValue = serde_json::from_slice(body).ok()?;
    let mut models = Vec::new();
    for list in lists(body)? {
        let read = items(list, |entry| {
            if let Some(model) = read_model(entry) {
                models.push(model);
            }
            match models.len() < MAX_MODELS {
                true => Ok(()),
                false => Err(WalkError::TooLarge),
            }
        });
        // A list that is too long is cut.
        if read == Err(WalkError::Malformed) {
            return None;
        }
        if !models.is_empty() {
            break;
        }
    }
    Some(models)
}

/// The places of the models, the likeliest first: all of the answer where that is an array, else its
/// `data`, else its `models`. An empty list is null for some servers.
fn lists(body: &RawValue) -> Option<Vec<&str>> {
    #[derive(Deserialize)]
    struct Answer<'b> {
        #[serde(borrow, default, deserialize_with = "keep_null")]
        data: Option<&'b RawValue>,
        #[serde(borrow, default, deserialize_with = "keep_null")]
        models: Option<&'b RawValue>,
    }
    if is_array(body) {
        return Some(vec![body.get()]);
    }
    let answer: Answer<'_> = object(body)?;
    let places = [answer.data, answer.models].into_iter().flatten();
    let lists: Vec<_> = places
        .filter_map(|list| match list {
            list if is_array(list) => Some(list.get()),
            list if is_null(list) => Some("[]"),
            _ => None,
        })
        .collect();
    (!lists.is_empty()).then_some(lists)
}

/// One entry of a list: an object, or the id alone.
fn read_model(entry: &RawValue) -> Option<Model> {
    #[derive(Deserialize)]
    struct Entry<'b> {
        #[serde(borrow)]
        id: Option<&'b RawValue>,
        #[serde(borrow)]
        name: Option<&'b RawValue>,
        #[serde(borrow)]
        created: Option<&'b RawValue>,
        #[serde(borrow)]
        owned_by: Option<&'b RawValue>,
    }
    let is_id = |id: &Cow<'_, str>| !id.is_empty() && id.len() <= MAX_ID_BYTES;
    if let Some(id) = string(entry) {
        return is_id(&id).then(|| Model::named(&id, 0));
    }
    let entry: Entry<'_> = object(entry)?;
    // With some servers a model has only a name; where there are both, the name is for people.
    let mut ids = [entry.id, entry.name].into_iter().flatten();
    let id = ids.find_map(|id| string(id).filter(is_id))?;
    // The account that owns a model is private.
    let is_account = |owner: &str| owner.starts_with("org-") || owner.starts_with("user-");
    let is_owner = |owner: &Cow<'_, str>| owner.len() <= MAX_ID_BYTES && !is_account(owner);
    let owner = entry.owned_by.and_then(string).filter(is_owner);
    Some(Model {
        id: id.into_owned(),
        created: entry.created.and_then(read_time).unwrap_or_default(),
        owned_by: owner.map_or_else(|| OWNER.to_owned(), Cow::into_owned),
    })
}

/// When a model was made, in seconds: a number, of which some servers send a fraction, or a date.
fn read_time(created: &RawValue) -> Option<i64> {
    let text = string(created).unwrap_or(Cow::Borrowed(created.get()));
    if let Ok(seconds) = text.parse::<f64>() {
        // Out of range it saturates, which does no harm.
        #[expect(clippy::cast_possible_truncation)]
        return Some(seconds as i64);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_second())
}

impl Model {
    /// A model of which only the name is known; `created` is constant while the process runs.
    pub fn named(id: &str, created: i64) -> Self {
        Self {
            id: id.to_owned(),
            created,
            owned_by: OWNER.to_owned(),
        }
    }

    /// It, as JSON.
    pub fn object(&self) -> Value {
        json!({
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": self.owned_by,
        })
    }
}

/// A list, as JSON.
pub fn list(models: &[Model]) -> Value {
    let data: Vec<Value> = models.iter().map(Model::object).collect();
    json!({ "object": "list", "data": data })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_without_the_accounts_in_it() {
        let body = br#"{"object":"list","data":[
            {"id":"gpt-4o","object":"model","created":1715367049,"owned_by":"system"},
            {"id":"ft:x","created":1.5e9,"owned_by":"org-secret","extra":{}},
            {"id":"","created":1},
            {"id":"bare"}
        ]}"#;
        let models = read(body).unwrap();
        let seen: Vec<_> = models
            .iter()
            .map(|m| (m.id.as_str(), m.created, m.owned_by.as_str()))
            .collect();
        let expected = [
            ("gpt-4o", 1_715_367_049, "system"),
            ("ft:x", 1_500_000_000, "tollgate"),
            ("bare", 0, "tollgate"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_a_model_is_taken_from_a_list_of_any_shape() {
        for (body, expected) in [
            (r#"[{"id":"a"},{"id":"b"}]"#, &["a", "b"][..]),
            (r#"["a","b"]"#, &["a", "b"]),
            (r#"{"data":["a",{"id":"b"}]}"#, &["a", "b"]),
            (r#"{"models":[{"name":"a","model":"x"}]}"#, &["a"]),
            (r#"{"models":[{"name":"a"}],"data":[{"id":"b"}]}"#, &["b"]),
            (r#"{"models":[{"name":"a"}],"data":null}"#, &["a"]),
            (r#"{"models":[{"name":"a"}],"data":[]}"#, &["a"]),
            (r#"{"models":["a"],"data":{}}"#, &["a"]),
            (
                r#"{"data":[{"name":"a"},{"object":"model"},{"id":"b"}]}"#,
                &["a", "b"],
            ),
            (r#"{"data":[{"id":7},null,[],"",{"id":"a"}]}"#, &["a"]),
            (r#"{"data":[{"id":7,"name":"a"}]}"#, &["a"]),
            (r#"{"data":[{"id":"a","name":"A model"}]}"#, &["a"]),
            (r#"{"data":[{"id":"a","id":"b"},{"id":"c"}]}"#, &["c"]),
            (r#"{"data":[{"id":"a","owned_by":{"name":"x"}}]}"#, &["a"]),
            ("[]", &[]),
            (r#"{"data":null}"#, &[]),
            (r#"{"object":"list","data":[]}"#, &[]),
        ] {
            let models = read(body.as_bytes()).unwrap_or_else(|| panic!("{body}"));
            let ids: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
            assert_eq!(ids, expected, "{body}");
        }
    }

    #[test]
    fn a_time_may_be_a_number_or_a_date() {
        for (created, seconds) in [
            ("1715367049", 1_715_367_049),
            ("1.7e9", 1_700_000_000),
            (r#""1715367049""#, 1_715_367_049),
            (r#""2025-01-01T00:00:00Z""#, 1_735_689_600),
            (r#""2025-01-01T01:00:00+01:00""#, 1_735_689_600),
            (r#""yesterday""#, 0),
            ("null", 0),
            ("{}", 0),
            ("1e999", i64::MAX),
        ] {
            let body = format!(r#"[{{"id":"m","created":{created}}}]"#);
            assert_eq!(
                read(body.as_bytes()).unwrap()[0].created,
                seconds,
                "{created}"
            );
        }
    }

    #[test]
    fn what_is_no_list_is_none() {
        for body in [
            "",
            "{}",
            "null",
            r#""m""#,
            r#"{"data":{"id":"m"}}"#,
            r#"{"data":[{"id":"m"}"#,
            r#"{"error":{}}"#,
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_list_has_a_bound() {
        let entries = vec![r#"{"id":"m"}"#; MAX_MODELS + 5].join(",");
        let body = format!(r#"{{"data":[{entries}]}}"#);
        assert_eq!(read(body.as_bytes()).unwrap().len(), MAX_MODELS);
        let long = format!(
            r#"{{"data":[{{"id":"{}"}}]}}"#,
            "m".repeat(MAX_ID_BYTES + 1)
        );
        assert_eq!(read(long.as_bytes()), Some(vec![]));
    }
}
