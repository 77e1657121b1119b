//! Credentials: secrets that systemd, or another that starts the process, hands over as files in a folder.
//!
//! Owns the folder, the names that are looked for in it, and reading one within a bound. Does not handle
//! where `${credential:NAME}` may stand (see `expand`). Fails with what the operator has to change; nothing of
//! a credential is part of a message.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The variable that holds the folder; systemd sets it for a unit with `LoadCredential=`.
pub const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// A larger credential is refused.
const MAX_BYTES: u64 = 64 << 10;
/// The longest name of a file.
const MAX_NAME_BYTES: usize = 255;

/// A credential.
#[derive(Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its content, without a line break at its end. Not empty.
    pub text: String,
    /// Its file.
    pub path: PathBuf,
}

/// Why a credential cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The name is not that of a file in a folder.
    BadName,
    /// The process was given no credentials.
    NoDirectory,
    /// The folder has no such file.
    Missing(PathBuf),
    /// The file is there, and its content cannot be used.
    Unusable(PathBuf, String),
}

impl Fault {
    /// Whether it is missing, so that a default stands for it.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NoDirectory | Self::Missing(_))
    }

    /// What is wrong, and what to do about it.
    pub fn explain(&self, name: &str) -> (String, String) {
        match self {
            Self::BadName => (
                format!("`{name}` is not the name of a credential"),
                "it is the name of a file, without a path, as in ${credential:openai-key}"
                    .to_owned(),
            ),
            Self::NoDirectory => (
                format!("there is no credential {name}, because {DIRECTORY} is not set"),
                format!(
                    "systemd sets it for a unit with LoadCredential={name}:FILE; elsewhere set it to a \
                     folder that has the file {name}, or give a default: ${{credential:{name}:-…}}"
                ),
            ),
            Self::Missing(path) => (
                format!(
                    "there is no credential {name}: {} is missing or empty",
                    path.display()
                ),
                format!(
                    "write LoadCredential={name}:FILE into the unit and restart it, or give a \
                     default: ${{credential:{name}:-…}}"
                ),
            ),
            Self::Unusable(path, what) => (
                format!("the credential {name} in {} {what}", path.display()),
                format!(
                    "write the secret alone into it, with up to {} KiB",
                    MAX_BYTES >> 10
                ),
            ),
        }
    }
}

/// Reads a credential from the folder.
///
/// # Errors
/// See [`Fault`].
pub fn read(name: &str, directory: Option<&str>) -> Result<Credential, Fault> {
    let is_name = !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME_BYTES
        && !name.contains(['/', '\0']);
    if !is_name {
        return Err(Fault::BadName);
    }
    let path = Path::new(directory.ok_or(Fault::NoDirectory)?).join(name);
    let bytes = match read_file(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(Fault::Missing(path)),
        Err(e) => return Err(Fault::Unusable(path, format!("cannot be read: {e}"))),
    };
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("is larger than {} KiB", MAX_BYTES >> 10);
        return Err(Fault::Unusable(path, what));
    }
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err(Fault::Unusable(path, "is not UTF-8".to_owned()));
    };
    for end in ['\n', '\r'] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    match text.is_empty() {
        true => Err(Fault::Missing(path)),
        false => Ok(Credential { text, path }),
    }
}

/// The bytes of a file, and one more than the bound where it is larger.
#[allow(
    clippy::disallowed_methods,
    reason = "a configuration is read before anything is served by it"
)]
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    // To open a pipe would wait for somebody to write into it.
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test writes files")]
mod tests {
    use super::*;

    /// What is read of a credential with this content.
    fn content(bytes: &[u8]) -> Result<String, Fault> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), bytes).unwrap();
        read("key", folder.path().to_str()).map(|credential| credential.text)
    }

    #[test]
    fn the_line_break_at_the_end_is_no_part_of_it() {
        for (bytes, expected) in [
            ("sk-1", "sk-1"),
            ("sk-1\n", "sk-1"),
            ("sk-1\r\n", "sk-1"),
            ("a\nb\n\n", "a\nb\n"),
            (" sk ", " sk "),
        ] {
            assert_eq!(content(bytes.as_bytes()).unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_empty_one_counts_as_missing() {
        assert!(content(b"").unwrap_err().is_missing());
        assert!(content(b"\n").unwrap_err().is_missing());
    }

    #[test]
    fn one_may_have_64_kib_and_no_more() {
        assert_eq!(content(&[b'k'; 64 << 10]).unwrap().len(), 64 << 10);
        let fault = content(&[b'k'; (64 << 10) + 1]).unwrap_err();
        assert!(!fault.is_missing());
        let (message, _) = fault.explain("key");
        assert!(message.ends_with("is larger than 64 KiB"), "{message}");
    }

    #[test]
    fn each_fault_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let folder = folder.path().to_str();
        for (name, directory, message, hint) in [
            (
                "../x",
                folder,
                "`../x` is not the name",
                "the name of a file",
            ),
            ("", folder, "`` is not the name", "the name of a file"),
            ("..", folder, "`..` is not the name", "the name of a file"),
            (
                "key",
                None,
                "CREDENTIALS_DIRECTORY is not set",
                "LoadCredential=key:FILE",
            ),
            (
                "key",
                folder,
                "/key is missing or empty",
                "LoadCredential=key:FILE",
            ),
            (
                "folder",
                folder,
                "cannot be read: it is not a file",
                "the secret alone",
            ),
        ] {
            let fault = read(name, directory).unwrap_err();
            let (found, advice) = fault.explain(name);
            assert!(found.contains(message), "{found}");
            assert!(advice.contains(hint), "{advice}");
        }
        let fault = content(b"\xff").unwrap_err();
        assert!(fault.explain("key").0.ends_with("is not UTF-8"));
    }
}
