//! Reading a YAML document while collecting every mistake in it.
//!
//! Owns positions, key paths, types, unknown keys and variable expansion. Does not handle
//! Tollgate's own keys (see the section files). A reader that fails reports a problem and gives `None`,
//! so that the other sections are read and all mistakes are reported at once. `values` reads single
//! values, `syntax` explains what is not YAML.

mod syntax;
mod values;

use std::cell::RefCell;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

pub use values::{is_plain_name, plain_name, write_size};

use super::expand::Variables;
use super::problem::{Problem, Severity, nearest};

/// A larger configuration file is not read.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// What every node of one document shares.
pub struct Context<'a> {
    source: String,
    variables: &'a Variables,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Context<'a> {
    /// Starts a reading of `source`, which is a file's path or `environment`.
    pub fn new(source: impl Into<String>, variables: &'a Variables) -> Self {
        Self {
            source: source.into(),
            variables,
            problems: RefCell::new(Vec::new()),
        }
    }

    /// Notes a mistake.
    pub fn report(&self, place: &Place, message: impl Into<String>, hint: Option<String>) {
        self.note(Severity::Error, place, message.into(), hint);
    }

    /// Notes what is allowed and probably not meant.
    pub fn warn(&self, place: &Place, message: impl Into<String>, hint: &str) {
        self.note(
            Severity::Warning,
            place,
            message.into(),
            Some(hint.to_owned()),
        );
    }

    fn note(&self, severity: Severity, place: &Place, message: String, hint: Option<String>) {
        self.problems.borrow_mut().push(Problem {
            severity,
            source: self.source.clone(),
            line: place.line,
            path: place.path.clone(),
            message,
            hint,
        });
    }

    /// Whether a mistake was noted at an entry or within it.
    pub fn has_mistake_in(&self, entry: &str) -> bool {
        let problems = self.problems.borrow();
        let mut errors = problems.iter().filter(|p| p.severity == Severity::Error);
        errors.any(|problem| {
            let rest = problem.path.strip_prefix(entry);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Everything that was noted, in the order of the file.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        problems
    }
}

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The path of keys.
    pub path: String,
}

/// A value with the place where it stands, kept for checks that come after reading.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// One value of the document.
#[derive(Clone)]
pub struct Node<'a> {
    context: &'a Context<'a>,
    yaml: &'a MarkedYaml<'a>,
    /// Where it stands.
    pub place: Place,
}

/// Parses `text`, notes a syntax error, and hands the root to `read`.
///
/// `read` is not called when there is no document to read.
pub fn with_root<T>(
    context: &Context<'_>,
    text: &str,
    read: impl FnOnce(Node<'_>) -> Option<T>,
) -> Option<T> {
    let documents = match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(e) => {
            let slip = syntax::explain(text, e.marker().line(), e.info());
            let place = Place {
                line: Some(slip.line),
                path: String::new(),
            };
            let message = format!("not valid YAML: {}", slip.message);
            context.report(&place, message, Some(slip.hint.to_owned()));
            return None;
        }
    };
    match documents.as_slice() {
        [root] if !is_null(root) => read(Node {
            context,
            yaml: root,
            place: Place {
                line: Some(root.span.start.line()),
                path: String::new(),
            },
        }),
        [] | [_] => {
            let hint = "start from conf/tollgate.yaml".to_owned();
            context.report(&Place::default(), "the file is empty", Some(hint));
            None
        }
        _ => {
            let hint = "keep one document, without `---` between sections".to_owned();
            context.report(&Place::default(), "more than one YAML document", Some(hint));
            None
        }
    }
}

fn is_null(yaml: &MarkedYaml<'_>) -> bool {
    matches!(yaml.data, YamlData::Value(Scalar::Null))
}

impl<'a> Node<'a> {
    /// Notes a mistake at this value.
    pub fn report(&self, message: impl Into<String>, hint: Option<&str>) {
        self.context
            .report(&self.place, message, hint.map(str::to_owned));
    }

    /// Notes what is allowed here and probably not meant.
    pub fn warn(&self, message: impl Into<String>, hint: &str) {
        self.context.warn(&self.place, message, hint);
    }

    /// Pairs a value with this node's place.
    pub fn locate<T>(&self, value: T) -> Located<T> {
        Located {
            value,
            place: self.place.clone(),
        }
    }

    /// Whether the value is a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(self.yaml.data, YamlData::Mapping(_))
    }

    /// Whether the value is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.yaml.data, YamlData::Sequence(_))
    }

    /// How many entries a list or a mapping has; 0 for anything else.
    pub fn len(&self) -> usize {
        match &self.yaml.data {
            YamlData::Mapping(mapping) => mapping.len(),
            YamlData::Sequence(items) => items.len(),
            _ => 0,
        }
    }

    fn wrong_type(&self, wanted: &str) {
        let is_text = matches!(self.yaml.data, YamlData::Value(Scalar::String(_)));
        if is_text && self.text().is_none() {
            // A variable that is not set might have been right: that is reported instead.
            return;
        }
        let found = match &self.yaml.data {
            YamlData::Mapping(_) => "a mapping",
            YamlData::Sequence(_) => "a list",
            YamlData::Value(Scalar::Null) => "nothing",
            YamlData::Value(Scalar::Boolean(_)) => "a boolean",
            YamlData::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_)) => "a number",
            YamlData::Value(Scalar::String(_)) => "text",
            _ => "something unreadable",
        };
        // The value itself stays out of the message, unless it is an address: it may be a key.
        let key = self.place.path.rsplit('.').next().unwrap_or_default();
        let hint = match (wanted, found) {
            ("a list", "a mapping") => "begin each entry with `- `".to_owned(),
            ("a list", "text")
                if let Some(text) = self.text().filter(|t| values::is_address(t)) =>
            {
                format!("write it in brackets, as in {key}: [\"{text}\"]")
            }
            ("a list", _) => format!("write it in brackets, as in {key}: [...]"),
            ("a mapping", "a list") => "write keys with values, without `- ` and [ ]".to_owned(),
            ("a mapping", _) => "write keys with values, and a space after each colon".to_owned(),
            (_, "a number") => "put it between quotes".to_owned(),
            (_, "nothing") => "write a value, or remove the entry".to_owned(),
            _ => "write one value; quote it if it has `: `, `[` or `{` in it".to_owned(),
        };
        self.report(format!("expected {wanted}, found {found}"), Some(&hint));
    }

    /// The values of a list.
    pub fn list(&self) -> Option<Vec<Node<'a>>> {
        let YamlData::Sequence(items) = &self.yaml.data else {
            self.wrong_type("a list");
            return None;
        };
        Some(
            items
                .iter()
                .enumerate()
                .map(|(index, yaml)| Node {
                    context: self.context,
                    yaml,
                    place: Place {
                        line: Some(yaml.span.start.line()),
                        path: format!("{}[{index}]", self.place.path),
                    },
                })
                .collect(),
        )
    }

    /// The entries of a mapping with names of the operator's choosing, in the order of the file.
    pub fn entries(&self) -> Option<Vec<(String, Node<'a>)>> {
        let YamlData::Mapping(mapping) = &self.yaml.data else {
            self.wrong_type("a mapping");
            return None;
        };
        let mut entries = Vec::with_capacity(mapping.len());
        for (key, yaml) in mapping {
            let key_node = Node {
                context: self.context,
                yaml: key,
                place: Place {
                    line: Some(key.span.start.line()),
                    path: self.place.path.clone(),
                },
            };
            let name = match &key.data {
                YamlData::Value(Scalar::String(name)) => name.to_string(),
                YamlData::Value(Scalar::Integer(number)) => number.to_string(),
                YamlData::Value(Scalar::Boolean(flag)) => flag.to_string(),
                _ => {
                    key_node.report("a key must be text", Some("put it between quotes"));
                    continue;
                }
            };
            let path = match self.place.path.as_str() {
                "" => name.clone(),
                above => format!("{above}.{name}"),
            };
            // A value below its key is reported at the line of the key, where people look.
            let place = Place {
                line: key_node.place.line,
                path,
            };
            entries.push((
                name,
                Node {
                    context: self.context,
                    yaml,
                    place,
                },
            ));
        }
        Some(entries)
    }

    /// A mapping whose keys are ours: each is taken by name, what is left over is unknown.
    pub fn section(&self) -> Option<Section<'a>> {
        Some(Section {
            node: self.clone(),
            entries: self.entries()?,
            known: Vec::new(),
        })
    }
}

/// Names that other gateways have for some of our keys, too different to be found as typing mistakes.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("api_key", "keys"),
    ("api_keys", "keys"),
    ("api_base", "base_url"),
    ("endpoint", "base_url"),
    ("url", "base_url"),
    ("base_url", "url"),
];

/// The known key that an unknown one probably stands for.
fn meant<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let mut others = OTHER_NAMES.iter().filter(|(other, _)| *other == key);
    let other = others.find_map(|(_, ours)| known.iter().find(|known| *known == ours));
    other
        .copied()
        .or_else(|| nearest(key, known.iter().copied()))
}

/// A mapping being read key by key.
pub struct Section<'a> {
    node: Node<'a>,
    entries: Vec<(String, Node<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The value of a key, if it is there and not null.
    pub fn take(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| key == name)?;
        let (_, node) = self.entries.remove(index);
        (!is_null(node.yaml)).then_some(node)
    }

    /// The value of a key that must be there.
    pub fn require(&mut self, name: &'static str) -> Option<Node<'a>> {
        let node = self.take(name);
        if node.is_none() {
            let hint = format!("add `{name}: …`");
            self.node
                .report(format!("`{name}` is missing"), Some(&hint));
        }
        node
    }

    /// Notes a problem for each key that was not taken.
    pub fn finish(self) {
        for (key, node) in &self.entries {
            let hint = match meant(key, &self.known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            node.report("unknown key", Some(&hint));
        }
    }
}
