//! Which answers may be given again, and to which requests.
//!
//! Owns the tables: the members that change nothing about an answer, and those that make it depend on more than the
//! request. `answer` has what of an answer forbids it. Does not handle who may get it (see `gateway::exchange::cache`),
//! nor what form equal requests have (see `canonical`). Never panics: what it cannot understand is not used again.

mod answer;

use super::canonical::{Canonical, Value};
use super::endpoint::{Exchange, Repeats};
use super::references;
use super::stream_state::Stream;

pub use answer::{Refused, Said, answer, has_whole_events};

/// The members of a request that change nothing about its answer: how it is sent, the end user, and hints for the
/// provider's own cache.
pub const UNRELATED: [&str; 7] = [
    "stream",
    "stream_options",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// The same where an answer repeats the others, as a response does.
pub const UNRELATED_IN_RESPONSES: [&str; 2] = ["stream", "stream_options"];

/// Members with which an answer depends on what is found in the world, or in the provider's account.
const SEARCHING: [&[u8]; 8] = [
    b"web_search_options",
    b"web_search",
    b"search_parameters",
    b"enable_search",
    b"plugins",
    b"data_sources",
    b"mcp_servers",
    b"container",
];

/// Why a request's answer cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The endpoint's answers never are.
    Endpoint,
    /// It is not JSON that can be compared.
    Form,
    /// It names something that is stored in the provider's account, or another model.
    References,
    /// The provider is to keep the answer, which has an effect each time.
    Stored,
    /// It searches, or runs tools at the provider.
    Searches,
}

impl Unfit {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Endpoint,
        Self::Form,
        Self::References,
        Self::Stored,
        Self::Searches,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Form => "form",
            Self::References => "references",
            Self::Stored => "stored",
            Self::Searches => "searches",
        }
    }
}

/// Whether a member of the top level changes nothing about the answer.
pub fn is_unrelated(endpoint: &Exchange, name: &str) -> bool {
    if !endpoint.has_both_forms && UNRELATED_IN_RESPONSES.contains(&name) {
        return false;
    }
    match endpoint.stream {
        Stream::Responses => UNRELATED_IN_RESPONSES.contains(&name),
        _ => UNRELATED.contains(&name),
    }
}

/// Whether an equal request has an equal answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// As far as can be said.
    Deterministic,
    /// The model may answer otherwise each time.
    MayDiffer,
}

/// The form in which a request whose answer may be used again is compared with others, and whether another answer would
/// be equal.
///
/// # Errors
/// Why not.
pub fn request(endpoint: &Exchange, body: &[u8]) -> Result<(Canonical, Certainty), Unfit> {
    if endpoint.repeats == Repeats::Never {
        return Err(Unfit::Endpoint);
    }
    let form = form(endpoint, body).ok_or(Unfit::Form)?;
    let certainty = certainty(endpoint, form.value())?;
    Ok((form, certainty))
}

/// The form in which requests are compared; `None` where there is none.
pub fn form(endpoint: &Exchange, body: &[u8]) -> Option<Canonical> {
    Canonical::of(body, |name| is_unrelated(endpoint, name)).ok()
}

fn certainty(endpoint: &Exchange, request: Value<'_>) -> Result<Certainty, Unfit> {
    let mut found = Found::default();
    if let Value::Object(members) = request {
        members.for_each(|(name, value)| found.see(name, value));
    }
    // A name that stands twice may be read either way.
    let is_kept = found.says_to_store || endpoint.is_stored && !found.says_not_to_store;
    if is_kept || found.is_in_background {
        return Err(Unfit::Stored);
    }
    if found.searches {
        return Err(Unfit::Searches);
    }
    if references::find_in(request).is_some() {
        return Err(Unfit::References);
    }
    Ok(
        match endpoint.repeats == Repeats::Always || found.is_deterministic {
            true => Certainty::Deterministic,
            false => Certainty::MayDiffer,
        },
    )
}

/// What is read of a request.
#[derive(Default)]
struct Found {
    is_deterministic: bool,
    says_to_store: bool,
    says_not_to_store: bool,
    is_in_background: bool,
    searches: bool,
}

impl Found {
    /// What lets an answer be used again counts in its own spelling alone; what forbids it counts in any case, in which
    /// some servers read names.
    fn see(&mut self, name: &[u8], value: Value<'_>) {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name {
            b"temperature" => self.is_deterministic |= value == Value::Number(0.0),
            b"seed" => self.is_deterministic |= matches!(value, Value::Number(_)),
            b"store" if value == Value::Bool(false) => self.says_not_to_store = true,
            _ if is(b"store") => {
                self.says_to_store |= !matches!(value, Value::Bool(false) | Value::Null);
            }
            _ if is(b"background") => self.is_in_background |= value.is_truthy(),
            _ if is(b"tools") => self.searches |= runs_tools(value),
            _ if SEARCHING.iter().any(|other| is(other)) => self.searches |= asks_for(value),
            _ => {}
        }
    }
}

/// Whether a value asks for what its member is for. An empty object does: it leaves the details open.
fn asks_for(value: Value<'_>) -> bool {
    match value {
        Value::Object(_) => true,
        value => value.is_truthy(),
    }
}

/// Whether a tool is offered that the provider runs itself: its result is not the request's alone.
fn runs_tools(tools: Value<'_>) -> bool {
    let Value::List(mut tools) = tools else {
        return asks_for(tools);
    };
    tools.any(|tool| {
        let Value::Object(members) = tool else {
            return true;
        };
        let (mut is_ours, mut is_other) = (false, false);
        for (name, value) in members {
            let is_kind = matches!(value, Value::Text(b"function" | b"custom"));
            is_ours |= name == b"type" && is_kind || name == b"function";
            is_other |= name.eq_ignore_ascii_case(b"type") && !is_kind;
        }
        is_other || !is_ours
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::endpoint::Endpoint;

    pub(super) fn at(path: &str) -> &'static Exchange {
        match Endpoint::find(path) {
            Some(Endpoint::Exchange(exchange)) => exchange,
            other => unreachable!("{other:?}"),
        }
    }

    pub(super) const CHAT: &str = "/v1/chat/completions";
    pub(super) const RESPONSES: &str = "/v1/responses";

    fn unfit(path: &str, body: &str) -> Option<&'static str> {
        match request(at(path), body.as_bytes()) {
            Ok((_, Certainty::Deterministic)) => None,
            Ok((_, Certainty::MayDiffer)) => Some("may differ"),
            Err(unfit) => Some(unfit.name()),
        }
    }

    #[test]
    fn a_request_is_deterministic_with_temperature_0_or_a_seed() {
        for body in [
            r#"{"temperature":0}"#,
            r#"{"temperature":0.0}"#,
            r#"{"seed":7,"temperature":1}"#,
            r#"{"temperature":0,"tools":[{"type":"function"},{"type":"custom"},{"function":{}}]}"#,
            r#"{"temperature":0,"tools":[],"mcp_servers":[],"enable_search":false}"#,
            r#"{"temperature":0,"store":false}"#,
            r#"{"temperature":0,"web_search_options":null,"plugins":[]}"#,
        ] {
            assert_eq!(unfit(CHAT, body), None, "{body}");
        }
        for body in [
            "{}",
            r#"{"temperature":0.1}"#,
            r#"{"temperature":null,"seed":null}"#,
            r#"{"temperature":"0"}"#,
        ] {
            assert_eq!(unfit(CHAT, body), Some("may differ"), "{body}");
        }
        for path in ["/v1/embeddings", "/v1/moderations", "/v1/rerank"] {
            assert_eq!(unfit(path, "{}"), None, "{path}");
        }
        for path in ["/v1/audio/speech", "/v1/images/generations"] {
            assert_eq!(unfit(path, "{}"), Some("may differ"), "{path}");
        }
        assert_eq!(unfit("/v1/audio/transcriptions", "{}"), Some("endpoint"));
        assert_eq!(unfit("/v1/responses/compact", "{}"), Some("endpoint"));
    }

    #[test]
    fn what_depends_on_more_than_the_request_is_not_used_again() {
        for (path, body, why) in [
            (CHAT, r#"{"seed":1,"store":true}"#, "stored"),
            (CHAT, r#"{"seed":1,"store":"yes"}"#, "stored"),
            (RESPONSES, r#"{"temperature":0}"#, "stored"),
            (RESPONSES, r#"{"temperature":0,"store":null}"#, "stored"),
            (
                RESPONSES,
                r#"{"temperature":0,"store":false,"background":true}"#,
                "stored",
            ),
            (
                RESPONSES,
                r#"{"temperature":0,"store":false,"previous_response_id":"r"}"#,
                "references",
            ),
            (
                CHAT,
                r#"{"seed":1,"web_search_options":{"x":1}}"#,
                "searches",
            ),
            (
                CHAT,
                r#"{"seed":1,"tools":[{"type":"web_search"}]}"#,
                "searches",
            ),
            (CHAT, r#"{"seed":1,"tools":[7]}"#, "searches"),
            (
                CHAT,
                r#"{"seed":1,"tools":[{"google_search":{}}]}"#,
                "searches",
            ),
            (
                CHAT,
                r#"{"seed":1,"tools":[{"type":"function","Type":"web_search"}]}"#,
                "searches",
            ),
            (
                CHAT,
                r#"{"seed":1,"Tools":[{"type":"web_search"}]}"#,
                "searches",
            ),
            (CHAT, r#"{"seed":1,"web_search_options":{}}"#, "searches"),
            (CHAT, r#"{"seed":1,"Search_Parameters":{}}"#, "searches"),
            (CHAT, r#"{"seed":1,"Store":true}"#, "stored"),
            (
                RESPONSES,
                r#"{"temperature":0,"store":true,"store":false}"#,
                "stored",
            ),
            (
                RESPONSES,
                r#"{"temperature":0,"store":false,"store":true}"#,
                "stored",
            ),
            (CHAT, "[1]", "form"),
        ] {
            assert_eq!(unfit(path, body), Some(why), "{body}");
        }
        assert_eq!(unfit(RESPONSES, r#"{"temperature":0,"store":false}"#), None);
    }
}
