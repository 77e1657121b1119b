//! What must be true of every request that reached the provider.

use std::collections::BTreeSet;

use serde_json::Value;

use super::form::{self, Part};
use super::samples::Samples;
use crate::support::upstream::{Received, Upstream};
use crate::support::{CLIENT_KEY, PROVIDER_KEY};

/// What the scripts `objects` ask for; `*` stands for an id.
pub const OBJECTS: [&str; 57] = [
    "DELETE /chat/completions/*",
    "DELETE /conversations/*",
    "DELETE /files/*",
    "DELETE /responses/*",
    "DELETE /threads/*",
    "DELETE /vector_stores/*",
    "DELETE /videos/*",
    "GET /assistants",
    "GET /assistants/*",
    "GET /batches",
    "GET /batches/*",
    "GET /chat/completions",
    "GET /chat/completions/*",
    "GET /chat/completions/*/messages",
    "GET /containers",
    "GET /containers/*/files/*/content",
    "GET /conversations/*",
    "GET /conversations/*/items",
    "GET /files",
    "GET /files/*",
    "GET /files/*/content",
    "GET /fine_tuning/jobs",
    "GET /fine_tuning/jobs/*",
    "GET /responses/*",
    "GET /responses/*/input_items",
    "GET /responses/*?beta=true",
    "GET /threads/*/messages",
    "GET /threads/*/runs/*",
    "GET /vector_stores",
    "GET /vector_stores/*/files",
    "GET /vector_stores/*/files/*",
    "GET /videos/*",
    "POST /assistants",
    "POST /batches",
    "POST /batches/*/cancel",
    "POST /chat/completions",
    "POST /chat/completions/*",
    "POST /containers",
    "POST /containers/*/files",
    "POST /conversations",
    "POST /files",
    "POST /fine_tuning/jobs",
    "POST /fine_tuning/jobs/*/cancel",
    "POST /responses",
    "POST /responses/*/cancel",
    "POST /responses?beta=true",
    "POST /threads",
    "POST /threads/*/messages",
    "POST /threads/*/runs",
    "POST /uploads",
    "POST /uploads/*/cancel",
    "POST /uploads/*/complete",
    "POST /uploads/*/parts",
    "POST /vector_stores",
    "POST /vector_stores/*",
    "POST /vector_stores/*/files",
    "POST /videos",
];

/// What the scripts `media` ask for.
pub const MEDIA: [&str; 6] = [
    "POST /audio/speech",
    "POST /audio/transcriptions",
    "POST /audio/translations",
    "POST /images/edits",
    "POST /images/generations",
    "POST /images/variations",
];

/// What `gpt-4o` is called at the provider.
const MODEL: &str = "gpt-4o-2024-11-20";

/// Asserts on every request that the provider saw, and that each of `operations` was among them.
pub async fn check(upstream: &Upstream, samples: &Samples, operations: &[&str]) {
    let mut seen = BTreeSet::new();
    for _ in 0..upstream.requests() {
        let request = upstream.request().await;
        let operation = operation(&request);
        let parts = form::parts(&request);
        credentials(&request, &operation);
        model(&request, parts.as_deref(), &operation);
        let parts = parts.unwrap_or_default();
        files(&parts, samples, &operation);
        let position = |is_it: fn(&Part<'_>) -> bool| parts.iter().position(is_it);
        let file = position(|part| part.filename.is_some());
        if file.is_some() && file < position(|part| part.name == "model") {
            seen.insert(format!("{operation}, the file first"));
        }
        if request.header("transfer-encoding") == ["chunked"] {
            seen.insert(format!("{operation}, in chunks"));
        }
        seen.insert(operation);
    }
    for wanted in operations {
        assert!(seen.contains(*wanted), "{wanted} is not among {seen:#?}");
    }
}

/// A request's method and path, with `*` for its ids, and what it says of being in beta.
fn operation(request: &Received) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let beta = match query.contains("beta=true") {
        true => "?beta=true",
        false => "",
    };
    let path = path.strip_prefix("/v1").unwrap();
    let segment = |segment| if is_id(segment) { "*" } else { segment };
    let path: Vec<&str> = path.split('/').map(segment).collect();
    format!("{} {}{beta}", request.method, path.join("/"))
}

fn is_id(segment: &str) -> bool {
    segment.split_once('-').is_some()
}

/// The provider's key has taken the place of the client's, and nothing tells of the client.
fn credentials(request: &Received, operation: &str) {
    let keys = request.header("authorization");
    let is_ours = |key: &&str| key.starts_with(&format!("Bearer {PROVIDER_KEY}"));
    assert!(keys.len() == 1 && keys.iter().all(is_ours), "{operation}");
    for (name, value) in &request.headers {
        assert!(!value.contains(CLIENT_KEY), "{operation}: {name}");
        let name = name.to_ascii_lowercase();
        assert!(!name.starts_with("x-stainless-"), "{operation}: {name}");
    }
    for name in ["openai-organization", "openai-project", "cookie"] {
        assert!(request.header(name).is_empty(), "{operation}: {name}");
    }
    let path = operation.split(' ').nth(1).unwrap();
    if path.starts_with("/assistants") || path.starts_with("/threads") {
        assert_eq!(
            request.header("openai-beta"),
            ["assistants=v2"],
            "{operation}"
        );
    }
}

/// Where we read the request, the model has the provider's name.
fn model(request: &Received, parts: Option<&[Part<'_>]>, operation: &str) {
    let path = operation.strip_prefix("POST /").unwrap_or_default();
    let is_read = ["audio/", "images/", "responses?"]
        .iter()
        .any(|start| path.starts_with(start))
        || ["chat/completions", "responses", "videos"].contains(&path);
    if !is_read {
        return;
    }
    let found = match parts {
        Some(parts) => form::field(parts, "model").map(str::to_owned),
        None => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            body["model"].as_str().map(str::to_owned)
        }
    };
    assert_eq!(found.as_deref(), Some(MODEL), "{operation}");
}

/// Files have arrived byte for byte.
fn files(parts: &[Part<'_>], samples: &Samples, operation: &str) {
    for part in parts {
        if let Some(sample) = part.filename.and_then(|name| samples.get(name)) {
            assert!(part.content == sample, "{operation}: {} differs", part.name);
        }
    }
}
