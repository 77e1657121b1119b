//! How far a failure reaches: the request, the key with one model, or the whole key.
//!
//! Owns, as data, the names and messages that concern a key as a whole, and those that concern the request
//! alone. All others may concern the key with the model that was asked for. Does not decide what follows
//! (see `upstreams::cooldown`). Never fails.

use super::Reason;

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only this request.
    Request,
    /// Maybe the key, with this model.
    Model,
    /// The key as a whole, which the error names.
    Key,
}

/// Codes that name a fault of the key, or of its account, as a whole.
#[rustfmt::skip]
const NAMES_OF_KEYS: &[&str] = &[
    // Refused.
    "invalidapikey", "incorrectapikeyprovided", "apikeyexpired", "accountdeactivated",
    // Without money.
    "insufficientquota", "exceededcurrentquotaerror", "organizationusagelimitexceeded",
    "organizationspendlimitexceeded", "projectspendlimitexceeded", "creditbalanceexhausted",
    "insufficientbalance", "insufficientcredit", "insufficientcredits", "insufficientuserquota",
    "billinghardlimitreached", "billingnotactive", "arrearage",
];

/// Codes of a refusal that is about the request, or about the user that it names.
const NAMES_OF_REQUESTS: &[&str] = &["userblocked", "identifierblocked"];

/// What is in the message of one.
#[rustfmt::skip]
const PARTS_OF_REQUESTS: &[&str] = &[
    // OpenRouter: the account could pay for a shorter answer.
    "fewer max_tokens", "can only afford",
    // OpenAI: the `safety_identifier` or the `user` of the request.
    "identifier blocked", "user is blocked", "user has been blocked",
];

/// How far a failure reaches, by its names in plain form, and its message in small letters. `is_told`:
/// whether the message begins like one that names a fault of the key.
///
/// A message may quote the request: a part of it can narrow the scope of a refusal, never widen it.
pub(super) fn scope(reason: Reason, names: &[String], message: &str, is_told: bool) -> Scope {
    let is_named = |list: &[&str]| names.iter().any(|name| list.contains(&name.as_str()));
    let is_refusal = matches!(reason, Reason::KeyRefused | Reason::OutOfCredit);
    let is_of_request =
        is_named(NAMES_OF_REQUESTS) || PARTS_OF_REQUESTS.iter().any(|part| message.contains(part));
    match reason {
        _ if is_refusal && is_of_request => Scope::Request,
        _ if is_refusal && (is_told || is_named(NAMES_OF_KEYS)) => Scope::Key,
        _ if is_refusal => Scope::Model,
        Reason::RateLimited => Scope::Model,
        _ => Scope::Request,
    }
}
