//! `${NAME}`, `${NAME[0]}`, `${credential:NAME}` and `${NAME:-default}` inside a parsed string.
//!
//! Owns the expansion, the set of variables that it reads, and what a list in a variable is. Works on
//! values after YAML has been parsed, so no variable can change the shape of the document. `$${`
//! stands for a literal `${`. Does not handle the form of a unit's file (see `environment_file`), nor reading
//! a credential (see `credentials`). Fails on a variable that is not set and has no default, on a credential
//! that cannot be had, and on a `${` without its `}`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::credentials::{self, Credential};
use super::environment_file;
use super::files::{FileKind, ReadFile};

/// Read beneath the environment, from the working directory.
const DOT_ENV: &str = ".env";

/// How a reference to a credential begins.
const CREDENTIAL: &str = "credential:";

/// The variables that a configuration may name: those of a file that was named, over those of the
/// process, over those of `.env`.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: HashMap<String, String>,
    /// Those that were read.
    files: Vec<ReadFile>,
}

impl Variables {
    /// Reads the process environment, beneath it `.env` in the working directory, and above it
    /// `file`, as systemd would for a unit.
    ///
    /// # Errors
    /// `file` cannot be read, or `.env` exists and cannot be read or parsed: text for the operator.
    #[allow(
        clippy::disallowed_methods,
        reason = "the environment and its files are read here, before anything is served"
    )]
    pub fn read(file: Option<&Path>) -> Result<Self, String> {
        let mut values = HashMap::new();
        let mut files = Vec::new();
        let mut note = |path| files.push(ReadFile::new(path, FileKind::Configuration));
        let text = match std::fs::read_to_string(DOT_ENV) {
            Ok(text) => {
                note(Path::new(DOT_ENV));
                text
            }
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(format!("{DOT_ENV}: cannot be read: {e}")),
        };
        for entry in dotenvy::from_read_iter(text.as_bytes()) {
            let (name, value) = entry.map_err(|e| dot_env_problem(&text, &e))?;
            values.insert(name, value);
        }
        // A variable that is not UTF-8 cannot be meant by a configuration, which is.
        values.extend(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        );
        if let Some(file) = file {
            let text = std::fs::read_to_string(file)
                .map_err(|e| format!("{}: cannot be read: {e}", file.display()))?;
            values.extend(environment_file::parse(&text));
            note(file);
        }
        Ok(Self { values, files })
    }

    /// The files that were read.
    pub fn files(&self) -> &[ReadFile] {
        &self.files
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// What `NAME` or `NAME[n]` stands for: a variable, or the place `n`, counted from 0, of one
    /// that holds a list. An empty place keeps its number and counts as not set, so that the
    /// places behind it do not move.
    fn look_up(&self, reference: &str) -> Option<&str> {
        let place = reference.strip_suffix(']').and_then(|r| r.split_once('['));
        let Some((name, place)) = place else {
            return self.get(reference);
        };
        let text = self.get(name)?.split(',').nth(place.parse().ok()?)?.trim();
        (!text.is_empty()).then_some(text)
    }
}

/// Names what is wrong with `.env`, without the line itself: it may hold a key.
fn dot_env_problem(text: &str, error: &dotenvy::Error) -> String {
    let at = match error {
        dotenvy::Error::LineParse(line, _) => text.find(line.as_str()).unwrap_or_default(),
        _ => 0,
    };
    let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    format!(
        "{DOT_ENV}:{line}: the line cannot be parsed (write NAME=value, and quote a value that \
         has spaces)"
    )
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        Self {
            values: entries.map(|(k, v)| (k.into(), v.into())).collect(),
            files: Vec::new(),
        }
    }
}

/// Text that [`expand`] gives back as it is.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// The pieces between the commas of a list, trimmed, without empty ones.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split(',').map(str::trim);
    pieces.filter(|piece| !piece.is_empty())
}

/// Why a string could not be expanded.
#[derive(Debug, PartialEq, Eq)]
pub enum ExpandError {
    /// The named variable, or the place `NAME[n]` of one, is not set or empty, and no default is
    /// given.
    NotSet(String),
    /// The named credential cannot be had, and no default stands for it.
    Credential(String, credentials::Fault),
    /// A `${` without its `}`.
    Unclosed,
}

/// A string without references.
#[derive(Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The string.
    pub text: String,
    /// The files of the credentials in it.
    pub files: Vec<PathBuf>,
}

/// Replaces each `${NAME}`, `${NAME[n]}`, `${credential:NAME}` and `${NAME:-default}` in `text`.
///
/// # Errors
/// See [`ExpandError`].
pub fn expand(text: &str, variables: &Variables) -> Result<Expanded, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut files = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inside, tail) = after.split_once('}').ok_or(ExpandError::Unclosed)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if let Some(name) = name.strip_prefix(CREDENTIAL) {
            match (
                credentials::read(name, variables.get(credentials::DIRECTORY)),
                default,
            ) {
                (Ok(Credential { text, path }), _) => {
                    out.push_str(&text);
                    files.push(path);
                }
                (Err(fault), Some(default)) if fault.is_missing() => out.push_str(default),
                (Err(fault), _) => return Err(ExpandError::Credential(name.to_owned(), fault)),
            }
        } else {
            match (variables.look_up(name), default) {
                (Some(value), _) => out.push_str(value),
                (None, Some(default)) => out.push_str(default),
                (None, None) => return Err(ExpandError::NotSet(name.to_owned())),
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(Expanded { text: out, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, variables: &Variables) -> Result<String, ExpandError> {
        expand(text, variables).map(|expanded| expanded.text)
    }

    fn vars() -> Variables {
        [("HOST", "a.example"), ("EMPTY", "")].into_iter().collect()
    }

    #[test]
    fn variables_and_defaults_expand() {
        assert_eq!(
            expanded("http://${HOST}/v1", &vars()),
            Ok("http://a.example/v1".into())
        );
        assert_eq!(expanded("${PORT:-8080}", &vars()), Ok("8080".into()));
        assert_eq!(expanded("${EMPTY:-x}", &vars()), Ok("x".into()));
        assert_eq!(expanded("${NONE:-}", &vars()), Ok(String::new()));
        assert_eq!(expanded("no variables", &vars()), Ok("no variables".into()));
    }

    #[test]
    fn places_of_a_list_expand() {
        let vars: Variables = [("LIST", "a, b,,d ,"), ("ONE", "x")].into_iter().collect();
        assert_eq!(expanded("${LIST[0]}-${LIST[1]}", &vars), Ok("a-b".into()));
        assert_eq!(expanded("${LIST[3]}", &vars), Ok("d".into()));
        assert_eq!(expanded("${ONE[0]}", &vars), Ok("x".into()));
        assert_eq!(expanded("${LIST[2]:-e}", &vars), Ok("e".into()));
        assert_eq!(expanded("${NONE[0]:-e}", &vars), Ok("e".into()));
        for missing in [
            "LIST[2]", "LIST[9]", "ONE[1]", "NONE[0]", "LIST[x]", "LIST[]",
        ] {
            assert_eq!(
                expanded(&format!("${{{missing}}}"), &vars),
                Err(ExpandError::NotSet(missing.into()))
            );
        }
    }

    #[test]
    fn a_doubled_dollar_is_a_literal() {
        assert_eq!(expanded("$${HOST}", &vars()), Ok("${HOST}".into()));
        for text in ["${HOST}", "$${HOST}", "$$", "a ${ b"] {
            assert_eq!(expanded(&escape(text), &vars()), Ok(text.into()));
        }
    }

    #[test]
    fn an_unset_variable_and_an_open_brace_are_errors() {
        assert_eq!(
            expanded("${NONE}", &vars()),
            Err(ExpandError::NotSet("NONE".into()))
        );
        assert_eq!(
            expanded("${EMPTY}", &vars()),
            Err(ExpandError::NotSet("EMPTY".into()))
        );
        assert_eq!(expanded("${HOST", &vars()), Err(ExpandError::Unclosed));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test writes a file")]
    fn a_credential_is_the_content_of_a_file_in_the_folder_of_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "sk-1\n").unwrap();
        let folder = folder.path().to_str().unwrap();
        let vars: Variables = [("CREDENTIALS_DIRECTORY", folder)].into_iter().collect();
        let found = expand("a ${credential:key} b", &vars).unwrap();
        assert_eq!(found.text, "a sk-1 b");
        assert_eq!(found.files, [file]);
        assert_eq!(expanded("${credential:key:-x}", &vars), Ok("sk-1".into()));
        assert_eq!(expanded("${credential:none:-x}", &vars), Ok("x".into()));
        assert_eq!(
            expanded("$${credential:key}", &vars),
            Ok("${credential:key}".into())
        );
        for (text, vars) in [
            ("${credential:none}", &vars),
            ("${credential:../key:-x}", &vars),
            ("${credential:key}", &Variables::default()),
        ] {
            let found = expand(text, vars);
            assert!(
                matches!(found, Err(ExpandError::Credential(..))),
                "{found:?}"
            );
        }
    }
}
