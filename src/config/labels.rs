//! Labels: what the operator notes of a tenant or a key.
//!
//! Owns their form and bounds. Does not handle what they are used for: they are shown, and nothing else. What cannot
//! be read is reported with its place.

use super::document::{Node, Section, is_plain_name};

/// There are no more.
const MOST_LABELS: usize = 16;
/// The value of a label is no longer.
const MAX_LABEL_BYTES: usize = 128;

/// Takes `labels` from a section that may have them.
pub fn take(section: &mut Section<'_>) -> Vec<(String, String)> {
    let node = section.take("labels");
    node.map_or_else(Vec::new, |node| read(&node))
}

fn read(node: &Node<'_>) -> Vec<(String, String)> {
    let entries = node.entries().unwrap_or_default();
    if entries.len() > MOST_LABELS {
        let message = format!("more than {MOST_LABELS} labels");
        node.report(message, Some("remove some"));
    }
    let labels = entries.into_iter().filter_map(|(name, node)| {
        let value = node.text()?;
        if !is_plain_name(&name) {
            let hint = "as in team: search";
            node.report(
                "a label's name has up to 64 letters, digits, `-`, `_` and `.`",
                Some(hint),
            );
        }
        if value.len() > MAX_LABEL_BYTES || value.chars().any(char::is_control) {
            let message =
                format!("a label has up to {MAX_LABEL_BYTES} bytes, without control characters");
            node.report(message, Some("shorten it"));
        }
        Some((name, value))
    });
    labels.collect()
}
