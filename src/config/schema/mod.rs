//! A JSON Schema of the configuration file, for editors.
//!
//! Owns the top of the document; each file below has the sections that its name says, `shapes` what values look
//! like. Words that the readers take from a table come from the same table here. Does not handle reading a
//! configuration: the readers are what counts, and are stricter where values depend on each other. The tests
//! hold that both know the same keys. Cannot fail.

mod accounts;
mod auth;
mod listen;
mod models;
mod server;
mod shapes;
mod tenants;
mod upstreams;

use serde_json::{Value, json};

use shapes::{Key, list, list_or, map, reference, section};

/// The schema, in draft 2020-12, as it is shipped in `conf/tollgate.schema.json`.
pub fn schema() -> String {
    let mut document = section(&["upstreams", "models"], keys());
    if let Some(members) = document.as_object_mut() {
        members.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        members.insert("title".to_owned(), json!("Tollgate's configuration"));
        members.insert("$defs".to_owned(), definitions());
    }
    // A `Value` has only text as its keys, so it can always be written.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn keys() -> Vec<Key> {
    vec![
        (
            "server",
            "Listeners, bounds and logs of the whole gateway.",
            server::section_of(),
        ),
        (
            "upstreams",
            "Provider accounts, by names of your choice.",
            map(upstreams::section_of()),
        ),
        (
            "models",
            "Which models clients may ask for, and what serves them.",
            list(models::rule()),
        ),
        (
            "routes",
            "Other services, by path prefix.",
            list(models::route()),
        ),
        (
            "auth",
            "How callers are found besides their keys.",
            auth::section_of(),
        ),
        (
            "tenants",
            "The owners of client keys. Without any, only callers on this machine are served.",
            list(tenants::tenant()),
        ),
        (
            "limits",
            "How much may be asked of the whole gateway.",
            reference("limits"),
        ),
        (
            "prices",
            "What models cost: a list, or a mapping with a file.",
            list_or(reference("price"), accounts::prices()),
        ),
        ("ledger", "Where usage is recorded.", accounts::ledger()),
        (
            "store",
            "The Redis in which several nodes count limits and quotas. Default: none, one node.",
            accounts::store(),
        ),
        (
            "webhook",
            "Where events about all tenants are sent.",
            reference("webhook"),
        ),
        (
            "cache",
            "What holds for answers that are kept to be given again. A rule uses it with its own key `cache`.",
            models::cache(),
        ),
        (
            "vector_cache",
            "Answers to questions that mean the same. A rule uses it with `cache: { by_meaning: true }`.",
            models::vector_cache(),
        ),
        (
            "chat_log",
            "A file with the requests and answers. Without the section there is none.",
            accounts::chat_log(),
        ),
    ]
}

fn definitions() -> Value {
    json!({
        "addresses": listen::addresses(),
        "duration": shapes::duration_definition(),
        "limits": tenants::limits(),
        "price": accounts::price(),
        "size": shapes::size_definition(),
        "variable": shapes::variable_definition(),
        "webhook": tenants::webhook(),
    })
}

#[cfg(test)]
mod tests;
