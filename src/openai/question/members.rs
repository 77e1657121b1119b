//! The members of a body that are not simply covered by the hash.
//!
//! Owns the table of them, and looking up a key that may be written in another case. Does not read their values (see
//! `question`). Fails with [`Unsuited`] for a key that can be read in two ways.

use super::Unsuited;

/// What a member of a body is to this file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    /// Its being there excludes the request.
    Excludes(Unsuited),
    /// More than one excludes the request.
    Count,
    /// A number that the caller bounds.
    Temperature,
    /// A list of the kinds of output.
    Modalities,
}

/// The members that are not simply covered.
pub(super) static MEMBERS: &[(&str, Member)] = &[
    ("tools", Member::Excludes(Unsuited::Tools)),
    ("functions", Member::Excludes(Unsuited::Tools)),
    ("tool_resources", Member::Excludes(Unsuited::Tools)),
    ("mcp_servers", Member::Excludes(Unsuited::Tools)),
    // What is searched changes from one day to the next.
    ("web_search_options", Member::Excludes(Unsuited::Tools)),
    ("search_parameters", Member::Excludes(Unsuited::Tools)),
    ("enable_search", Member::Excludes(Unsuited::Tools)),
    ("data_sources", Member::Excludes(Unsuited::Tools)),
    ("plugins", Member::Excludes(Unsuited::Tools)),
    ("audio", Member::Excludes(Unsuited::NotText)),
    ("images", Member::Excludes(Unsuited::NotText)),
    ("files", Member::Excludes(Unsuited::NotText)),
    ("attachments", Member::Excludes(Unsuited::NotText)),
    ("background", Member::Excludes(Unsuited::Background)),
    ("echo", Member::Excludes(Unsuited::Echo)),
    ("prompt_token_ids", Member::Excludes(Unsuited::NotText)),
    ("input_ids", Member::Excludes(Unsuited::NotText)),
    ("n", Member::Count),
    ("best_of", Member::Count),
    ("num_return_sequences", Member::Count),
    ("temperature", Member::Temperature),
    ("modalities", Member::Modalities),
];

/// What a table says of a key.
pub(super) fn member<T: Copy>(table: &[(&str, T)], key: &str) -> Result<Option<T>, Unsuited> {
    for (name, member) in table {
        if is_named(key, name)? {
            return Ok(Some(*member));
        }
    }
    Ok(None)
}

/// Whether a key is this name. Some servers read names in any case, and others do not: what differs by its
/// case alone can be read in two ways.
pub(super) fn is_named(key: &str, name: &str) -> Result<bool, Unsuited> {
    match key.eq_ignore_ascii_case(name) {
        true if key == name => Ok(true),
        true => Err(Unsuited::Malformed),
        false => Ok(false),
    }
}

/// Takes a member that may stand once.
pub(super) fn keep_first<T>(slot: &mut Option<T>, value: T) -> Result<(), Unsuited> {
    match slot.replace(value) {
        Some(_) => Err(Unsuited::Malformed),
        None => Ok(()),
    }
}
