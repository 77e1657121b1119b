//! Reading a YAML document while collecting every mistake in it.
//!
//! Owns positions, key paths, types and variable expansion. Does not handle Tollgate's own keys (see the
//! section files). A reader that fails reports a problem and gives `None`, so that the other sections are
//! read and all mistakes are reported at once. `section` takes the keys of a mapping and reports unknown
//! ones; `values` reads single values, `amounts` money, shares and moments; `syntax` explains what is not
//! YAML.

mod amounts;
mod section;
mod syntax;
mod values;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

pub use amounts::write_nanos;
pub use section::Section;
#[cfg(test)]
pub use section::taken;
pub use values::{is_plain_name, plain_name, write_size};

use super::expand::Variables;
use super::files::{self, FileKind, ReadFile};
use super::problem::{Problem, Severity};

/// A larger configuration file is not read.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// What every node of one document shares.
pub struct Context<'a> {
    source: String,
    variables: &'a Variables,
    problems: RefCell<Vec<Problem>>,
    files: RefCell<Vec<ReadFile>>,
}

impl<'a> Context<'a> {
    /// Starts a reading of `source`, which is a file's path or `environment`.
    pub fn new(source: impl Into<String>, variables: &'a Variables) -> Self {
        Self {
            source: source.into(),
            variables,
            problems: RefCell::new(Vec::new()),
            files: RefCell::new(Vec::new()),
        }
    }

    /// Its name: a file's path, or `environment`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that its values may name.
    pub fn variables(&self) -> &Variables {
        self.variables
    }

    /// Notes a file that has a part in the configuration.
    pub fn note_file(&self, path: &Path, kind: FileKind) {
        files::add(ReadFile::new(path, kind), &mut self.files.borrow_mut());
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
            source: place.file.as_deref().unwrap_or(&self.source).to_owned(),
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

    /// Whether any mistake was noted.
    pub fn has_mistakes(&self) -> bool {
        let problems = self.problems.borrow();
        problems.iter().any(|p| p.severity == Severity::Error)
    }

    /// Every mistake and warning, in the order of the file, and every file that was noted.
    pub fn into_noted(self) -> (Vec<Problem>, Vec<ReadFile>) {
        let mut problems = self.problems.into_inner();
        // Those of other files come after those of the configuration's own.
        problems.sort_by_key(|p| (p.source != self.source, p.line));
        (problems, self.files.into_inner())
    }
}

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, where it is not that of the configuration.
    pub file: Option<Arc<str>>,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The path of keys.
    pub path: String,
}

/// A value with the place where it stands, kept for checks that come after reading.
#[derive(Clone, Debug, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// Two are equal where their values are: a value that moved to another line has not changed.
impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
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
    with_root_of(context, None, text, read)
}

/// Does the same with the text of another file that the configuration names.
pub fn with_root_of<T>(
    context: &Context<'_>,
    file: Option<Arc<str>>,
    text: &str,
    read: impl FnOnce(Node<'_>) -> Option<T>,
) -> Option<T> {
    let top = |line| Place {
        file: file.clone(),
        line,
        path: String::new(),
    };
    let documents = match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(e) => {
            let slip = syntax::explain(text, e.marker().line(), e.info());
            let message = format!("not valid YAML: {}", slip.message);
            context.report(&top(Some(slip.line)), message, Some(slip.hint.to_owned()));
            return None;
        }
    };
    match documents.as_slice() {
        [root] if !is_null(root) => read(Node {
            context,
            yaml: root,
            place: top(Some(root.span.start.line())),
        }),
        [] | [_] => {
            let hint = match file {
                None => "start from conf/tollgate.yaml",
                Some(_) => "write what is missing, or do not name it",
            };
            context.report(&top(None), "the file is empty", Some(hint.to_owned()));
            None
        }
        _ => {
            let hint = "keep one document, without `---` between sections".to_owned();
            context.report(&top(None), "more than one YAML document", Some(hint));
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

    /// The document that it belongs to.
    pub fn context(&self) -> &'a Context<'a> {
        self.context
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
                        file: self.place.file.clone(),
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
                    file: self.place.file.clone(),
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
                file: key_node.place.file.clone(),
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
        Some(Section::new(self.clone(), self.entries()?))
    }
}
