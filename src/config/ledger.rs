//! The `ledger` section: where usage is recorded.
//!
//! Owns its keys and defaults. Does not handle whether the folder can be written (see `validate`), nor how
//! usage is recorded (see `ledger`). What cannot be read is reported with its place; the URL of a database is
//! never part of a message.

use std::path::PathBuf;
use std::time::Duration;

use super::document::{Located, Node, Place};
use super::expand::Variables;
use crate::secret::Secret;

/// The folder in the working directory where systemd names none.
const FOLDER: &str = "ledger";
/// Set by systemd for a unit with `StateDirectory=`: folders, separated by colons.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// Months are moved and removed as a whole, so less than a day makes no difference.
const LEAST_AGE: Duration = Duration::from_secs(24 * 3600);

/// Where usage is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// The folder of the journal, and of the database where that is SQLite.
    pub path: Located<PathBuf>,
    /// The URL of a PostgreSQL database; `None` for SQLite in the folder.
    pub postgres: Option<Secret>,
    /// What this node is called in a database that several nodes share: `server.node`.
    pub node: String,
    /// What is done with requests of tenants without a quota while nothing can be recorded.
    pub on_failure: OnFailure,
    /// Older months are moved and compressed.
    pub archive: Option<Archive>,
    /// Older months are removed; `None` for never.
    pub retention: Option<Duration>,
    /// Whether the section is not written, and stands for what a quota or a webhook needs.
    pub is_implied: bool,
}

/// What is done while nothing can be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Requests are served, and not recorded.
    #[default]
    Serve,
    /// Requests are refused.
    Refuse,
}

impl OnFailure {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Refuse => "refuse",
        }
    }
}

/// When and where months are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Months that ended longer ago than this.
    pub after: Duration,
    /// The folder that they are moved to.
    pub path: PathBuf,
}

impl Ledger {
    /// The ledger where none is written and something needs one.
    pub fn implied(variables: &Variables) -> Self {
        let place = Place {
            path: "ledger".to_owned(),
            ..Place::default()
        };
        Self {
            path: Located {
                value: default_path(variables),
                place,
            },
            postgres: None,
            node: String::new(),
            on_failure: OnFailure::default(),
            archive: None,
            retention: None,
            is_implied: true,
        }
    }
}

/// The first folder that systemd names, or a folder in the working directory.
fn default_path(variables: &Variables) -> PathBuf {
    let folders = variables.get(STATE_DIRECTORY);
    let first = folders.and_then(|folders| folders.split(':').next());
    PathBuf::from(first.unwrap_or(FOLDER))
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Option<Ledger> {
    let mut section = node.section()?;
    let path = section.take("path").map(|n| n.path());
    let postgres = section.take("postgres").map(|n| read_postgres(&n));
    let on_failure = section.take("on_failure").and_then(|n| read_failure(&n));
    let archive = section.take("archive");
    let archive = archive.and_then(|n| Some(n.locate(read_archive(&n)?)));
    let retention = section.take("retention").and_then(|n| read_retention(&n));
    section.finish();
    if let (Some(archive), Some(retention)) = (&archive, retention)
        && archive.value.after >= retention
    {
        let message = "`after` must be shorter than `retention`, which removes what is archived";
        let hint = Some("as in archive: { after: 90d, … } with retention: 400d".to_owned());
        node.context().report(&archive.place, message, hint);
    }
    let default = || node.locate(default_path(node.context().variables()));
    Some(Ledger {
        path: path.unwrap_or_else(|| Some(default()))?,
        postgres: postgres.map_or(Some(None), |postgres| postgres.map(Some))?,
        node: String::new(),
        on_failure: on_failure.unwrap_or_default(),
        archive: archive.map(|archive| archive.value),
        retention,
        is_implied: false,
    })
}

fn read_postgres(node: &Node<'_>) -> Option<Secret> {
    let url = node.name()?;
    let is_one = |config: &tokio_postgres::Config| !config.get_hosts().is_empty();
    let parsed = url.parse().ok().filter(is_one);
    let has_scheme = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if parsed.is_none() || !has_scheme {
        node.report(
            "expected the URL of a PostgreSQL database",
            Some(
                "as in postgres://USER:PASSWORD@HOST/DATABASE, with special characters of the \
                 password percent-encoded",
            ),
        );
        return None;
    }
    Some(Secret::new(url))
}

fn read_failure(node: &Node<'_>) -> Option<OnFailure> {
    match node.text()?.as_str() {
        "serve" => Some(OnFailure::Serve),
        "refuse" => Some(OnFailure::Refuse),
        _ => {
            node.report("expected serve or refuse", None);
            None
        }
    }
}

fn read_archive(node: &Node<'_>) -> Option<Archive> {
    let mut section = node.section()?;
    let after = section.require("after").and_then(|n| read_age(&n));
    let path = section.require("path").and_then(|n| n.path());
    section.finish();
    Some(Archive {
        after: after?,
        path: path?.value,
    })
}

fn read_retention(node: &Node<'_>) -> Option<Duration> {
    match node.says_off() {
        true => None,
        false => read_age(node),
    }
}

fn read_age(node: &Node<'_>) -> Option<Duration> {
    let age = node.duration()?;
    if age < LEAST_AGE {
        node.report("must be at least 1d", None);
        return None;
    }
    Some(age)
}

#[cfg(test)]
mod tests {
    use super::super::document::is_plain_name;
    use super::*;
    use crate::config::Config;

    fn parse_with(sections: &str, variables: &Variables) -> Result<Option<Ledger>, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             {sections}\n"
        );
        match Config::parse("t.yaml", &text, variables) {
            Ok(config) => Ok(config.ledger),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    fn parse(ledger: &str) -> Result<Ledger, Vec<String>> {
        let text = format!("ledger: {ledger}");
        parse_with(&text, &Variables::default()).map(Option::unwrap)
    }

    #[test]
    fn everything_has_a_default() {
        let ledger = parse("{}").unwrap();
        assert_eq!(ledger.path.value, PathBuf::from("ledger"));
        assert!(ledger.postgres.is_none() && ledger.archive.is_none());
        assert_eq!(ledger.on_failure, OnFailure::Serve);
        assert_eq!(ledger.retention, None);
        assert!(!ledger.is_implied);
    }

    #[test]
    fn the_folder_that_systemd_made_is_the_default() {
        let folder = std::env::temp_dir();
        let folders = format!("{}:/nowhere", folder.display());
        let variables = [("STATE_DIRECTORY", folders)].into_iter().collect();
        let ledger = parse_with("ledger: {}", &variables).unwrap().unwrap();
        assert_eq!(ledger.path.value, folder);
        let ledger = parse_with("ledger: { path: here }", &variables).unwrap();
        assert_eq!(ledger.unwrap().path.value, PathBuf::from("here"));
    }

    #[test]
    fn a_quota_or_a_webhook_implies_a_ledger() {
        let none = Variables::default();
        for sections in [
            "webhook: https://a",
            "tenants: [{ id: t, keys: [k], quota: 5 }]",
            "tenants: [{ id: t, keys: [{ key: k, name: ci, quota: 5 }] }]",
            "tenants: [{ id: t, keys: [k], webhook: https://a }]",
        ] {
            let ledger = parse_with(sections, &none).unwrap().unwrap();
            assert!(ledger.is_implied, "{sections}");
            assert_eq!(ledger.path.value, PathBuf::from("ledger"));
        }
        let without = "tenants: [{ id: t, keys: [k], limits: { rpm: 5 } }]";
        assert!(parse_with(without, &none).unwrap().is_none());
    }

    #[test]
    fn a_node_is_called_as_its_server_is() {
        let ledger = parse_with("server: { node: a }\nledger: {}", &Variables::default());
        assert_eq!(ledger.unwrap().unwrap().node, "a");
        let unnamed = parse("{}").unwrap().node;
        assert!(is_plain_name(&unnamed), "{unnamed}");
        let refused = parse_with("server: { node: 'a b' }", &Variables::default());
        let message = "a node's name has up to 64 letters";
        assert!(refused.unwrap_err()[0].contains(message));
    }

    #[test]
    fn everything_can_be_said() {
        let ledger = parse(
            "{ path: ./l, postgres: 'postgres://u:p%40@db.internal/t', on_failure: refuse,
               archive: { after: 90d, path: old }, retention: 400d }",
        )
        .unwrap();
        assert_eq!(ledger.path.value, PathBuf::from("./l"));
        assert!(ledger.postgres.is_some());
        assert_eq!(ledger.on_failure, OnFailure::Refuse);
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        let archive = Archive {
            after: days(90),
            path: PathBuf::from("old"),
        };
        assert_eq!(ledger.archive, Some(archive));
        assert_eq!(ledger.retention, Some(days(400)));
        assert_eq!(parse("{ retention: off }").unwrap().retention, None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (ledger, expected) in [
            ("true", ": expected a mapping, found a boolean"),
            ("{ path: '' }", ".path: must not be empty"),
            (
                "{ postgres: 'mysql://u:s3cret@h/d' }",
                ".postgres: expected the URL of a PostgreSQL database (as in postgres://USER:",
            ),
            ("{ postgres: 's3cret' }", ".postgres: expected the URL"),
            (
                "{ postgres: 'host=h password=s3cret' }",
                ".postgres: expected the URL",
            ),
            ("{ postgres: 'postgres://' }", ".postgres: expected the URL"),
            ("{ node: a }", ".node: unknown key"),
            (
                "{ on_failure: ignore }",
                ".on_failure: expected serve or refuse",
            ),
            ("{ archive: { after: 90d } }", ".archive: `path` is missing"),
            ("{ archive: { path: old } }", ".archive: `after` is missing"),
            (
                "{ archive: { after: 1h, path: old } }",
                ".archive.after: must be at least 1d",
            ),
            (
                "{ archive: { after: 90d, path: old }, retention: 90d }",
                ".archive: `after` must be shorter than `retention`",
            ),
            ("{ retention: 1h }", ".retention: must be at least 1d"),
            (
                "{ retention: never }",
                ".retention: `never` is not a duration above zero",
            ),
            ("{ folder: x }", ".folder: unknown key"),
        ] {
            let found = parse(ledger).unwrap_err();
            let expected = format!("t.yaml:3: ledger{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{ledger}: {found:?}"
            );
            assert!(!found[0].contains("s3c"), "{found:?}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for (path, expected) in [
            (file.to_owned(), "Cargo.toml is not a folder"),
            (format!("{file}/ledger"), "Cargo.toml is not a folder"),
            // No permission makes a folder there.
            (
                "/proc/x".to_owned(),
                "(name another folder under ledger: { path: … })",
            ),
        ] {
            let found = parse(&format!("{{ path: '{path}' }}")).unwrap_err();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("t.yaml:3: ledger.path: "), "{found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
        // The folder is made at the start, and not for a check.
        let missing = std::env::temp_dir().join("tollgate-no-ledger/below");
        parse(&format!("{{ path: '{}' }}", missing.display())).unwrap();
        assert!(!missing.exists());
    }
}
