//! What the status, the names and the message of an error mean.
//!
//! Owns, as data, the codes and classes that servers use for the same meaning; `overflow` has the wordings
//! for a request that is too long, `scope` the names that concern a key. Does not decide what follows (see
//! `verdict`). Never fails: an error without a known name is judged by its status alone.

use super::scope::{self, Scope};
use super::{Reason, overflow, response_codes};
use crate::openai::upstream_error::UpstreamError;

/// A longer code or class is no known name.
const MAX_NAME_BYTES: usize = 64;

/// What a name means, whatever the status.
#[rustfmt::skip]
const NAMES: [(Reason, &[&str]); 7] = [
    (Reason::OutOfCredit, &[
        "insufficientquota", "exceededcurrentquotaerror", "organizationusagelimitexceeded",
        "paymentrequired", "arrearage",
    ]),
    (Reason::RateLimited, &[
        "ratelimitexceeded", "ratelimiterror", "ratelimitreached", "slowdown", "resourceexhausted",
        "toomanyrequests", "requests", "tokens",
    ]),
    (Reason::KeyRefused, &[
        "invalidapikey", "incorrectapikeyprovided", "invalidauthentication", "authenticationerror",
        "unauthenticated", "unauthorized", "accountdeactivated", "permissionerror",
        "permissiondenied",
    ]),
    (Reason::RegionRefused, &["unsupportedcountryregionterritory"]),
    (Reason::ModelMissing, &["modelnotfound", "deploymentnotfound"]),
    (Reason::ContentFilter, &[
        "responsibleaipolicyviolation", "moderationblocked", "datainspectionfailed",
    ]),
    (Reason::ContextLength, &["stringabovemaxlength", "exceedcontextsizeerror"]),
];

/// What a name means that has such a part, unless it is one of [`NAMES`].
#[rustfmt::skip]
const PARTS: [(Reason, &[&str]); 5] = [
    (Reason::OutOfCredit, &[
        "billing", "spendlimit", "creditbalance", "insufficientbalance", "insufficientcredit",
        "insufficientuserquota",
    ]),
    (Reason::RateLimited, &["throttling"]),
    (Reason::ContentFilter, &["contentfilter", "contentpolicy"]),
    (Reason::ContextLength, &["contextlength", "contextwindow"]),
    (Reason::Overloaded, &["overload", "capacity"]),
];

/// The status that goes with a name.
#[rustfmt::skip]
const STATUSES: [(u16, &[&str]); 8] = [
    (400, &["badrequesterror", "badrequest", "failedprecondition"]),
    (404, &["notfounderror", "notfound"]),
    (409, &["conflict", "aborted"]),
    (413, &["requesttoolarge"]),
    (422, &["validation"]),
    (500, &["apierror", "internal"]),
    (503, &[
        "unavailable", "serviceunavailable", "serviceunavailableerror",
        "insufficientsystemresource",
    ]),
    (504, &["timeouterror", "deadlineexceeded"]),
];

/// What is wrong with a request has many names, which begin like this.
const BAD_REQUEST: [&str; 5] = [
    "invalid",
    "unsupported",
    "missing",
    "unknownparameter",
    "image",
];

/// How a message begins that is about money.
const NO_MONEY: [&str; 3] = [
    "you exceeded your current quota",
    "your credit balance is too low",
    "insufficient balance",
];

/// How one begins that is about the key.
const NO_KEY: [&str; 2] = ["api key not valid", "api key expired"];

/// How one begins that is about where we are.
const NO_REGION: [&str; 2] = [
    "user location is not supported",
    "country, region, or territory not supported",
];

/// How one begins that is about the size of this one request, although its code is that of a rate:
/// no other key would take it, and no waiting helps.
const TOO_LARGE: &str = "request too large";

/// The patterns of an error.
pub(super) struct ErrorPatterns {
    /// The code and the class, in a form in which every server's spelling is the same:
    /// `modelnotfound` for `model_not_found` and `ModelNotFound`. Empty where there is none.
    names: [String; 2],
    /// In small letters.
    message: String,
}

impl ErrorPatterns {
    pub(super) fn of(error: &UpstreamError) -> Self {
        let message = error.message.as_deref().unwrap_or_default();
        Self {
            names: [&error.code, &error.kind].map(|name| plain(name.as_deref())),
            message: message.to_ascii_lowercase(),
        }
    }

    /// What the names mean, and if they mean nothing, the status. Of two meanings that of the code
    /// counts, but one that is about money before any other.
    pub(super) fn reason(&self, status: u16) -> Reason {
        let meanings = || self.names.iter().filter_map(|name| meaning(name));
        if status == 402 || meanings().any(|reason| reason == Reason::OutOfCredit) {
            return Reason::OutOfCredit;
        }
        if self.message.starts_with(TOO_LARGE) {
            return Reason::ContextLength;
        }
        let known = meanings().next();
        known.unwrap_or_else(|| meaning_of_status(status, &self.message))
    }

    /// How far a failure with this status reaches.
    pub(super) fn scope(&self, status: u16, reason: Reason) -> Scope {
        let begins = |starts: &[&str]| starts.iter().any(|start| self.message.starts_with(start));
        let is_told = match status {
            400 => begins(&NO_MONEY) || begins(&NO_KEY),
            402 | 403 | 429 => begins(&NO_MONEY),
            _ => false,
        };
        scope::scope(reason, &self.names, &self.message, is_told)
    }

    /// The status that an error would have had that came without one, if its names say it.
    pub(super) fn usual_status(&self) -> Option<u16> {
        self.names.iter().find_map(|name| usual_status(name))
    }
}

fn plain(name: Option<&str>) -> String {
    let name = name.filter(|name| name.len() <= MAX_NAME_BYTES);
    let letters = name.unwrap_or_default().chars();
    letters
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

fn meaning(name: &str) -> Option<Reason> {
    if let Some(reason) = response_codes::reason(name) {
        return Some(reason);
    }
    let named = NAMES.iter().find(|(_, names)| names.contains(&name));
    let has_part = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let (reason, _) = named.or_else(|| PARTS.iter().find(|(_, parts)| has_part(parts)))?;
    Some(*reason)
}

fn usual_status(name: &str) -> Option<u16> {
    if let Some(status) = response_codes::status(name) {
        return Some(status);
    }
    if let Some((status, _)) = STATUSES.iter().find(|(_, names)| names.contains(&name)) {
        return Some(*status);
    }
    if name.contains("servererror") {
        return Some(500);
    }
    let is_bad_request = BAD_REQUEST.iter().any(|start| name.starts_with(start));
    is_bad_request.then_some(400)
}

/// What a status means, with a message in small letters where the status alone does not say it.
///
/// A message may quote the request. So a message counts against a key only by its beginning, or any
/// client could take the keys out of service one by one.
fn meaning_of_status(status: u16, message: &str) -> Reason {
    let begins = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    let has_part = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    match status {
        400 | 403 | 429 if begins(&NO_MONEY) => Reason::OutOfCredit,
        429 => Reason::RateLimited,
        400 if begins(&NO_KEY) => Reason::KeyRefused,
        400 | 403 if begins(&NO_REGION) => Reason::RegionRefused,
        // Some moderate what is asked of other providers' models, and refuse it like this.
        403 if has_part(&["flagged"]) => Reason::ContentFilter,
        401 | 403 => Reason::KeyRefused,
        404 if speaks_of_a_model(message) => Reason::ModelMissing,
        408 => Reason::RequestTimeout,
        409 => Reason::Conflict,
        400 | 413 | 422 if overflow::is_told_in(message) => Reason::ContextLength,
        400..500 => Reason::BadRequest,
        503 | 529 => Reason::Overloaded,
        500..600 => Reason::ServerError,
        // A redirect, or no status that there is.
        _ => Reason::InvalidResponse,
    }
}

/// Whether a message has a model in it, other than in the path of a URL.
fn speaks_of_a_model(message: &str) -> bool {
    ["model", "deployment"].iter().any(|word| {
        let mut places = message.match_indices(word);
        places.any(|(start, _)| {
            let before = message.get(..start);
            before.is_some_and(|before| !before.ends_with('/'))
        })
    })
}
