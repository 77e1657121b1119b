//! The key `forward_headers` of an upstream: headers of clients that it gets beside the usual ones.
//!
//! Owns the messages for an entry that cannot be forwarded. Does not handle which can (see
//! `openai::forwarding`). Such an entry is reported with its place and left out.

use crate::config::document::Node;
use crate::openai::dialect::Dialect;
use crate::openai::forwarding::{About, Fault, Forwarded, MAX_FORWARDED};

/// Reads the list. The header that carries the provider's key is never on it.
pub(super) fn read(node: &Node<'_>, dialect: &Dialect) -> Forwarded {
    let mut forwarded = Forwarded::default();
    for entry in node.texts().unwrap_or_default() {
        let text = &entry.value;
        let fault = match text.eq_ignore_ascii_case(dialect.key_header.as_str()) {
            true => Err(Fault::Forbidden(About::Credential)),
            false => forwarded.add(text),
        };
        let (message, hint) = match fault {
            Ok(()) => continue,
            Err(Fault::NotAName) => (
                format!("`{text}` is neither a header's name nor the beginning of one with a `*`"),
                Some("as in forward_headers: [x-trace, \"x-acme-*\"]"),
            ),
            Err(Fault::Forbidden(about)) => (
                format!("`{text}` cannot be forwarded: it {}", about.reason()),
                None,
            ),
            Err(Fault::TooMany) => (format!("more than {MAX_FORWARDED} headers"), None),
        };
        node.report(message, hint);
    }
    forwarded
}
