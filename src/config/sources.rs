//! Where a configuration comes from.
//!
//! Owns the order in which places are looked at, and reading a file within a bound. Does not handle
//! what the text means (see `document`) or what the environment says (see `environment`). A file that
//! cannot be read is one problem.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::document::MAX_FILE_BYTES;
use super::environment;
use super::expand::Variables;
use super::problem::{Problem, Problems, Severity};
use super::quick_start::QuickStart;

/// The files that are looked for when none is named.
const WELL_KNOWN: [&str; 2] = ["./tollgate.yaml", "/etc/tollgate/tollgate.yaml"];

/// A place that holds a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The environment alone.
    Environment,
    /// The built-in demo.
    Demo,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str(environment::NAME),
            Self::Demo => f.write_str("demo"),
        }
    }
}

impl Source {
    /// The named file; else what `CONFIG_PATH` names; else the first well-known file that exists;
    /// else the environment.
    pub fn find(named: Option<PathBuf>, variables: &Variables) -> Self {
        let named = named.or_else(|| variables.get("CONFIG_PATH").map(PathBuf::from));
        let file = named.or_else(|| {
            let mut known = WELL_KNOWN.iter().map(Path::new);
            known.find(|path| path.exists()).map(Path::to_path_buf)
        });
        file.map_or(Self::Environment, Self::File)
    }

    /// The text of the configuration, and what it was made from where there is no file.
    pub(super) fn read(
        &self,
        variables: &Variables,
    ) -> Result<(String, Option<QuickStart>), Problems> {
        match self {
            Self::File(path) => match read_text(path) {
                Ok(text) => Ok((text, None)),
                Err(Fault { message, hint }) => Err(Problems(vec![Problem {
                    severity: Severity::Error,
                    source: self.to_string(),
                    line: None,
                    path: String::new(),
                    message,
                    hint: Some(hint.to_owned()),
                }])),
            },
            Self::Environment => {
                let quick_start = environment::read(variables)?;
                Ok((quick_start.document(), Some(quick_start)))
            }
            Self::Demo => Ok((environment::DEMO.to_owned(), None)),
        }
    }
}

/// What is wrong with a file, and what to do about it.
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to do about it, where the file is the configuration.
    hint: &'static str,
}

/// The text of a file.
///
/// # Errors
/// It cannot be read, is too large, empty, or not UTF-8.
#[allow(
    clippy::disallowed_methods,
    reason = "a configuration is read before anything is served by it"
)]
pub fn read_text(path: &Path) -> Result<String, Fault> {
    let unreadable = |e: std::io::Error| Fault {
        hint: match e.kind() {
            ErrorKind::NotFound => "name another file with -c",
            ErrorKind::PermissionDenied => "give read permission to the user that runs Tollgate",
            _ => "name a file that holds YAML",
        },
        message: format!("cannot be read: {e}"),
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let fault = |message, hint| Err(Fault { message, hint });
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return fault(message, "is it the right file?");
    }
    if bytes.is_empty() {
        let message = "the file is empty (0 bytes)".to_owned();
        return fault(message, "start from conf/tollgate.yaml");
    }
    String::from_utf8(bytes).map_err(|e| Fault {
        message: format!("is not UTF-8: {e}"),
        hint: "save it as UTF-8",
    })
}
