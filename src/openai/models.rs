//! Lists of models, as they go over the wire.
//!
//! Owns reading an upstream's list and writing ours. Refuses to know who may see what.

use serde::Deserialize;
use serde_json::{Value, json};

/// More models of one list than this are left out.
pub const MAX_MODELS: usize = 10_000;
/// A longer id is no model's.
const MAX_ID_BYTES: usize = 256;
/// Who owns a model of which we are not told.
const OWNER: &str = "tollgate";

/// One model of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its id: what is asked for.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Whose it is.
    pub owned_by: String,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    created: Option<f64>,
    owned_by: Option<String>,
}

/// Reads an upstream's list; `None` for what is no list.
pub fn read(body: &[u8]) -> Option<Vec<Model>> {
    let list: List = serde_json::from_slice(body).ok()?;
    let named = |entry: &Entry| !entry.id.is_empty() && entry.id.len() <= MAX_ID_BYTES;
    let entries = list.data.into_iter().filter(named).take(MAX_MODELS);
    Some(entries.map(Model::from).collect())
}

impl From<Entry> for Model {
    fn from(entry: Entry) -> Self {
        // The account of a model that was made in one is nobody's business but its owner's.
        let is_account = |owner: &String| owner.starts_with("org-") || owner.starts_with("user-");
        let owner = entry.owned_by.filter(|owner| !is_account(owner));
        // Some upstreams send a fraction; out of range it saturates, and a client cannot tell.
        #[expect(clippy::cast_possible_truncation)]
        let created = entry.created.unwrap_or_default() as i64;
        Self {
            id: entry.id,
            created,
            owned_by: owner.unwrap_or_else(|| OWNER.to_owned()),
        }
    }
}

impl Model {
    /// A model of which only the name is known; `created` stands still while the process runs.
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
    fn what_is_no_list_is_none() {
        for body in ["", "{}", "[]", r#"{"data":[{"id":4}]}"#, r#"{"error":{}}"#] {
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
