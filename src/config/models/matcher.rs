//! Names of models where the operator writes them: one name, or a `*` at the end for any rest.
//!
//! Owns where a `*` may stand, and what a rule's `match` may look like. A `*` anywhere else is
//! refused with the form that was probably meant. Does not handle which rule serves a name (see
//! `routing`). A value that is none of these is reported with its place and gives `None`.

use crate::config::document::{Located, Node};
use crate::routing::Matcher;

/// Reads `match`: a name, a name with a `*` at its end, or a mapping of `prefix` or `keyword`.
pub fn read(node: &Node<'_>) -> Option<Matcher> {
    if !node.is_mapping() {
        return read_pattern(node, |shape| match shape {
            Shape::Begins(head) => format!("match: \"{head}*\" for the names that begin with it"),
            Shape::Contains(word) => {
                format!("match: {{ keyword: {word} }} for the names that contain it")
            }
            Shape::Any => "match: \"*\" for any name".to_owned(),
        });
    }
    let mut section = node.section()?;
    let prefix = section.take("prefix");
    let keyword = section.take("keyword");
    section.finish();
    match (prefix, keyword) {
        (Some(prefix), None) => read_prefix(&prefix),
        (None, Some(keyword)) => read_keyword(&keyword),
        _ => {
            node.report(
                "expected one of `prefix` and `keyword`",
                Some("match: gpt-4o, match: { prefix: gpt- } or match: { keyword: gpt }"),
            );
            None
        }
    }
}

/// Reads a name that a tenant may ask for, or the beginning of such names and a `*`.
fn read_allowed(node: &Node<'_>) -> Option<String> {
    let matcher = read_pattern(node, |shape| match shape {
        Shape::Begins(head) => {
            format!("\"{head}*\" for the names that begin with it, or each name")
        }
        Shape::Contains(_) => "write each name, or the beginning of the names and a `*`".to_owned(),
        Shape::Any => "leave `models` out to allow all".to_owned(),
    })?;
    Some(matcher.label())
}

/// Reads the names that a tenant or a key may ask for.
pub fn read_all_allowed(node: &Node<'_>) -> Option<Vec<Located<String>>> {
    let items = node.list()?;
    if items.is_empty() {
        node.report(
            "an empty list would allow nothing",
            Some("leave `models` out to allow all"),
        );
    }
    let names = items.iter();
    let names = names.filter_map(|n| Some(n.locate(read_allowed(n)?)));
    Some(names.collect())
}

/// Reads the name of one model; `hint` says what to write in place of several.
pub fn read_one(node: &Node<'_>, hint: &str) -> Option<String> {
    let name = node.name()?;
    if name.contains('*') {
        node.report(format!("`{name}` does not name one model"), Some(hint));
        return None;
    }
    Some(name)
}

/// What a name with a `*` in the wrong place was probably meant to be.
enum Shape<'n> {
    /// Names that begin with it.
    Begins(&'n str),
    /// Names that contain it.
    Contains(&'n str),
    /// Any name.
    Any,
}

impl<'n> Shape<'n> {
    fn of(name: &'n str) -> Self {
        let longest = name.split('*').max_by_key(|piece| piece.len());
        match (name.split_once('*'), longest) {
            (_, Some("")) | (_, None) => Self::Any,
            (Some((head, _)), _) if !head.is_empty() => Self::Begins(head),
            (_, Some(word)) => Self::Contains(word),
        }
    }
}

fn read_pattern(node: &Node<'_>, hint: impl Fn(Shape<'_>) -> String) -> Option<Matcher> {
    let name = node.name()?;
    let (head, is_prefix) = match name.strip_suffix('*') {
        Some(head) => (head, true),
        None => (name.as_str(), false),
    };
    if head.contains('*') {
        let message = format!("`{name}`: a `*` stands only at the end");
        node.report(message, Some(&hint(Shape::of(&name))));
        return None;
    }
    Some(match is_prefix {
        true => Matcher::Prefix(head.to_owned()),
        false => Matcher::Exact(name),
    })
}

fn read_prefix(node: &Node<'_>) -> Option<Matcher> {
    let matcher = read_pattern(node, |shape| match shape {
        Shape::Begins(head) => format!("prefix: {head}"),
        Shape::Contains(word) => format!("match: {{ keyword: {word} }}"),
        Shape::Any => "match: \"*\" for any name".to_owned(),
    })?;
    Some(match matcher {
        Matcher::Exact(prefix) => Matcher::Prefix(prefix),
        prefix => prefix,
    })
}

fn read_keyword(node: &Node<'_>) -> Option<Matcher> {
    let word = node.name()?;
    if !word.contains('*') {
        return Some(Matcher::Keyword(word));
    }
    let hint = match Shape::of(&word) {
        Shape::Begins(word) | Shape::Contains(word) => format!("keyword: {word}"),
        Shape::Any => "match: \"*\" for any name".to_owned(),
    };
    let message = format!("`{word}`: a keyword has no `*`, it may stand anywhere in a name");
    node.report(message, Some(&hint));
    None
}
