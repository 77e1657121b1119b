//! The codes of a response that has failed.
//!
//! Owns OpenAI's `ResponseError.code`, with the status and the reason of each, as data. Does not handle other
//! codes and classes (see `error_patterns`). Never fails: an unknown code has no row.

use super::Reason;

/// Code, status, reason. A response has a code, and neither a class nor a status.
#[rustfmt::skip]
pub(super) const CODES: [(&str, u16, Reason); 21] = [
    ("server_error",                   500, Reason::ServerError),
    ("rate_limit_exceeded",            429, Reason::RateLimited),
    ("invalid_prompt",                 400, Reason::BadRequest),
    // What the request names is kept in another region than it was sent to. The request says so, so
    // neither key nor target is to blame, or one client could take a target from all others.
    ("data_residency_mismatch",        400, Reason::BadRequest),
    ("bio_policy",                     400, Reason::ContentFilter),
    ("misalignment_policy_violation",  400, Reason::ContentFilter),
    ("vector_store_timeout",           504, Reason::ServerError),
    ("invalid_image",                  400, Reason::BadRequest),
    ("invalid_image_format",           400, Reason::BadRequest),
    ("invalid_base64_image",           400, Reason::BadRequest),
    ("invalid_image_url",              400, Reason::BadRequest),
    ("image_too_large",                400, Reason::BadRequest),
    ("image_too_small",                400, Reason::BadRequest),
    ("image_parse_error",              400, Reason::BadRequest),
    ("image_content_policy_violation", 400, Reason::ContentFilter),
    ("invalid_image_mode",             400, Reason::BadRequest),
    ("image_file_too_large",           400, Reason::BadRequest),
    ("unsupported_image_media_type",   400, Reason::BadRequest),
    ("empty_image_file",               400, Reason::BadRequest),
    // From an address that the client has named.
    ("failed_to_download_image",       400, Reason::BadRequest),
    ("image_file_not_found",           400, Reason::BadRequest),
];

/// The status that goes with a code; `name` is as [`super::patterns`] spells it.
pub(super) fn status(name: &str) -> Option<u16> {
    find(name).map(|(status, _)| status)
}

/// What a code means whatever the status, where the status alone does not say it.
pub(super) fn reason(name: &str) -> Option<Reason> {
    let (_, reason) = find(name)?;
    (!matches!(reason, Reason::BadRequest | Reason::ServerError)).then_some(reason)
}

fn find(name: &str) -> Option<(u16, Reason)> {
    let is_same = |code: &str| code.bytes().filter(|byte| *byte != b'_').eq(name.bytes());
    let (_, status, reason) = CODES.iter().find(|(code, ..)| is_same(code))?;
    Some((*status, *reason))
}
