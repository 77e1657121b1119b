//! What a refusal says of the key that it answers.
//!
//! Owns the names and messages that concern a key as a whole, and those that concern the request
//! alone, as data. All else may concern the key with the model that it was asked for. Does not decide
//! what follows from that (`upstreams/cooldown`). Never fails.

use super::Reason;

/// What a failure says of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: it is about this request.
    Request,
    /// It may be about the key with this model.
    Model,
    /// It names a fault of the key as a whole.
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

/// What a failure says of the key, by its names in plain form, and its message in small letters.
/// `is_told` says whether the message begins as one does that names a fault of the key.
///
/// A message may quote the request: what only a part of it says can make a refusal weigh less, never
/// more.
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
