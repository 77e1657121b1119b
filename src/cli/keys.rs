//! `tollgate keys`: keys that are made while the gateway runs.
//!
//! Owns its flags and the text of the answers. A key that was made stands alone on stdout, so that a script can take
//! it, and everything else on stderr. Does not handle how the gateway is found and asked (see `running`), nor what it
//! refuses (see `admin`). Fails with an exit code and a message.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::definition::Definition;
use super::running::{Asked, Running};
use super::{EXIT_CONFIG, print, print_error, table};
use crate::config::Variables;

pub const PATH: &str = "/admin/keys";
/// A change waits for a database.
pub const PATIENCE: Duration = Duration::from_secs(75);
/// What else can be done.
pub const INSTEAD: &str = "set server.admin, and restart it";
/// No import is longer: the gateway takes no longer one.
const MAX_IMPORT_BYTES: u64 = 8 << 20;

#[derive(Subcommand)]
pub enum Keys {
    /// Make a key of a tenant, and print it: it is not shown again
    Create(Box<Create>),
    /// List keys: those of the configuration file, and those that were made at run time
    List {
        /// Those of this tenant alone
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Print what is known of a key, as JSON
    Show {
        /// The id of the key
        id: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Make another text for a key, and print it; the one before holds for a while
    ///
    /// The key keeps its id, name and limits. A text that was still in its overlap ends at once.
    Rotate {
        /// The id of the key
        id: String,
        /// For how long the text before holds; 0 for no longer
        #[arg(long, value_name = "TIME", default_value = "24h")]
        overlap: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Revoke a key, at once and for good
    Revoke {
        /// The id of the key
        id: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Take keys that clients have already: all of a file, or none
    Import {
        /// Lines of JSON, each with tenant, name, and key or hash (SHA-256); - for stdin
        file: PathBuf,
        #[command(flatten)]
        asked: Asked,
    },
}

/// A key that is made.
#[derive(Args)]
pub struct Create {
    /// The tenant that it belongs to
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Its name in logs and reports
    #[arg(long)]
    name: String,
    #[command(flatten)]
    definition: Definition,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asked: Asked,
}

impl Keys {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        match self {
            Self::Create(create) => create.asked.env_file(),
            Self::List { asked, .. }
            | Self::Show { asked, .. }
            | Self::Rotate { asked, .. }
            | Self::Revoke { asked, .. }
            | Self::Import { asked, .. } => asked.env_file(),
        }
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let find = |asked: Asked| asked.find(variables, INSTEAD);
        let done = match self {
            Self::Create(create) => {
                let Create {
                    tenant,
                    name,
                    definition,
                    json,
                    asked,
                } = *create;
                find(asked).and_then(|running| make(&running, (tenant, name), definition, json))
            }
            Self::List {
                tenant,
                json,
                asked,
            } => find(asked).and_then(|running| list(&running, tenant.as_deref(), json)),
            Self::Show { id, asked } => find(asked).and_then(|running| {
                let shown = running.ask(&Method::GET, &path_of(PATH, &id), PATIENCE)?;
                Ok(format!("{shown:#}"))
            }),
            Self::Rotate {
                id,
                overlap,
                json,
                asked,
            } => find(asked).and_then(|running| {
                let path = format!("{}/rotate", path_of(PATH, &id));
                let body = json!({ "overlap": overlap }).to_string();
                let shown = running.send(&Method::POST, &path, body.into_bytes(), PATIENCE)?;
                if let Some(until) = shown.get("previous_until").and_then(Value::as_str) {
                    print_error(&format!("the text before holds until {until}"));
                }
                told_key(&running, &shown, json)
            }),
            Self::Revoke { id, asked } => find(asked).and_then(|running| {
                let gone = running.ask(&Method::DELETE, &path_of(PATH, &id), PATIENCE)?;
                let name = text(&gone, "name");
                Ok(format!(
                    "the key {name} of {} is revoked",
                    text(&gone, "tenant")
                ))
            }),
            Self::Import { file, asked } => {
                read_file(&file).and_then(|body| import(&find(asked)?, body))
            }
        };
        finish(done)
    }
}

/// Prints what was done.
pub fn finish(done: Result<String, ExitCode>) -> ExitCode {
    match done {
        Ok(text) => {
            print(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// The path of one of several.
pub fn path_of(path: &str, id: &str) -> String {
    format!("{path}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

/// A member, as text.
pub fn text(of: &Value, name: &str) -> String {
    match of.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// All entries of a list, page by page.
///
/// # Errors
/// The gateway could not be asked, or has refused.
pub fn all(running: &Running, path: &str, query: &str) -> Result<Vec<Value>, ExitCode> {
    let mut entries = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("{path}?limit=1000{query}{after}");
        let mut page = running.ask(&Method::GET, &path, PATIENCE)?;
        match page.get_mut("data").map(Value::take) {
            Some(Value::Array(data)) => entries.extend(data),
            _ => return Err(running.tell_unexpected()),
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => {
                after = format!("&after={}", utf8_percent_encode(next, NON_ALPHANUMERIC));
            }
            None => return Ok(entries),
        }
    }
}

fn make(
    running: &Running,
    (tenant, name): (String, String),
    definition: Definition,
    is_json: bool,
) -> Result<String, ExitCode> {
    let mut body = Map::new();
    body.insert("tenant".to_owned(), tenant.into());
    body.insert("name".to_owned(), name.into());
    definition.put_into(&mut body);
    let body = Value::Object(body).to_string().into_bytes();
    let shown = running.send(&Method::POST, PATH, body, PATIENCE)?;
    told_key(running, &shown, is_json)
}

/// The key alone, and the rest on stderr.
fn told_key(running: &Running, shown: &Value, is_json: bool) -> Result<String, ExitCode> {
    if is_json {
        return Ok(format!("{shown:#}"));
    }
    let key = shown.get("key").and_then(Value::as_str);
    let key = key.ok_or_else(|| running.tell_unexpected())?;
    print_error(&format!(
        "the key {} of {}, with the id {}, is in force; it is not shown again:",
        text(shown, "name"),
        text(shown, "tenant"),
        text(shown, "id")
    ));
    Ok(key.to_owned())
}

fn list(running: &Running, tenant: Option<&str>, is_json: bool) -> Result<String, ExitCode> {
    let query = tenant.map(|tenant| {
        let tenant = utf8_percent_encode(tenant, NON_ALPHANUMERIC);
        format!("&tenant={tenant}")
    });
    let keys = all(running, PATH, &query.unwrap_or_default())?;
    if is_json {
        return Ok(format!("{:#}", Value::Array(keys)));
    }
    let titles = [
        "ID", "TENANT", "NAME", "KEY", "QUOTA", "ENABLED", "EXPIRES", "SOURCE",
    ];
    let mut rows = vec![table::row(&titles)];
    rows.extend(keys.iter().map(|key| {
        let names = [
            "id", "tenant", "name", "hint", "quota", "enabled", "expires", "source",
        ];
        let cells = names.map(|name| match name {
            "quota" => shown_quota(key.get(name).unwrap_or(&Value::Null)),
            _ => text(key, name),
        });
        cells.to_vec()
    }));
    Ok(table::align(&rows))
}

/// A quota as `tollgate check` shows one.
fn shown_quota(quota: &Value) -> String {
    let amount = |name: &str, unit: &str| {
        let amount = quota.get(name).filter(|amount| !amount.is_null());
        amount.map(|_| format!("{} {unit}", text(quota, name)))
    };
    let amounts = [amount("tokens", "tokens"), amount("usd", "USD")];
    let amounts: Vec<String> = amounts.into_iter().flatten().collect();
    match amounts.is_empty() {
        true => "-".to_owned(),
        false => {
            let zone = match text(quota, "timezone").as_str() {
                "-" | "" | "UTC" => String::new(),
                zone => format!(" in {zone}"),
            };
            format!("{} per {}{zone}", amounts.join(" and "), text(quota, "per"))
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a command reads the file that it is given"
)]
fn read_file(file: &Path) -> Result<Vec<u8>, ExitCode> {
    let mut body = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin()
            .take(MAX_IMPORT_BYTES + 1)
            .read_to_end(&mut body),
        false => std::fs::File::open(file)
            .and_then(|open| open.take(MAX_IMPORT_BYTES + 1).read_to_end(&mut body)),
    };
    let message = match read {
        Ok(_) if body.len() as u64 <= MAX_IMPORT_BYTES => return Ok(body),
        Ok(_) => format!("it is longer than {MAX_IMPORT_BYTES} bytes; import it in parts"),
        Err(e) => e.to_string(),
    };
    print_error(&format!("{}: {message}", file.display()));
    Err(ExitCode::from(EXIT_CONFIG))
}

fn import(running: &Running, body: Vec<u8>) -> Result<String, ExitCode> {
    let path = format!("{PATH}/import");
    let done = running.send(&Method::POST, &path, body, PATIENCE)?;
    match done.get("imported").and_then(Value::as_u64) {
        Some(1) => Ok("1 key is imported".to_owned()),
        Some(imported) => Ok(format!("{imported} keys are imported")),
        None => Err(running.tell_unexpected()),
    }
}
