//! `tollgate tenants`: tenants that are made while the gateway runs.
//!
//! Owns its flags and the text of the answers. Does not handle how the gateway is found and asked (see `running`), nor
//! what it refuses (see `admin`). Fails with an exit code and a message.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};

use super::definition::Definition;
use super::keys::{INSTEAD, PATIENCE, all, finish, path_of, text};
use super::running::{Asked, Running};
use super::table;
use crate::config::Variables;

const PATH: &str = "/admin/tenants";

#[derive(Subcommand)]
pub enum Tenants {
    /// Make a tenant
    Create(Box<Create>),
    /// List tenants: those of the configuration file, and those that were made at run time
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Print what is known of a tenant, as JSON
    Show {
        /// The id of the tenant
        id: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Delete a tenant, and revoke all of its keys
    Delete {
        /// The id of the tenant
        id: String,
        #[command(flatten)]
        asked: Asked,
    },
}

/// A tenant that is made.
#[derive(Args)]
pub struct Create {
    /// Its id, as in team-a
    id: String,
    /// What it is called, for people
    #[arg(long)]
    name: Option<String>,
    /// What each of its keys begins with
    #[arg(long, value_name = "PREFIX")]
    key_prefix: Option<String>,
    #[command(flatten)]
    definition: Definition,
    #[command(flatten)]
    asked: Asked,
}

impl Tenants {
    /// The file of variables, if one is named.
    pub fn env_file(&self) -> Option<&Path> {
        match self {
            Self::Create(create) => create.asked.env_file(),
            Self::List { asked, .. } | Self::Show { asked, .. } | Self::Delete { asked, .. } => {
                asked.env_file()
            }
        }
    }

    /// Runs the command.
    pub fn run(self, variables: &Variables) -> ExitCode {
        let find = |asked: Asked| asked.find(variables, INSTEAD);
        let done = match self {
            Self::Create(create) => {
                let (body, asked) = create.body();
                find(asked).and_then(|running| {
                    let made = running.send(&Method::POST, PATH, body, PATIENCE)?;
                    Ok(format!("the tenant {} is in force", text(&made, "id")))
                })
            }
            Self::List { json, asked } => find(asked).and_then(|running| list(&running, json)),
            Self::Show { id, asked } => find(asked).and_then(|running| {
                let shown = running.ask(&Method::GET, &path_of(PATH, &id), PATIENCE)?;
                Ok(format!("{shown:#}"))
            }),
            Self::Delete { id, asked } => find(asked).and_then(|running| {
                let gone = running.ask(&Method::DELETE, &path_of(PATH, &id), PATIENCE)?;
                let keys = text(&gone, "revoked_keys");
                Ok(format!(
                    "the tenant {id} is deleted; keys that were revoked with it: {keys}"
                ))
            }),
        };
        finish(done)
    }
}

impl Create {
    fn body(self) -> (Vec<u8>, Asked) {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("id", Some(self.id.into()));
        put("name", self.name.map(Value::from));
        put("key_prefix", self.key_prefix.map(Value::from));
        self.definition.put_into(&mut body);
        (Value::Object(body).to_string().into_bytes(), self.asked)
    }
}

fn list(running: &Running, is_json: bool) -> Result<String, ExitCode> {
    let tenants = all(running, PATH, "")?;
    if is_json {
        return Ok(format!("{:#}", Value::Array(tenants)));
    }
    let titles = ["ID", "NAME", "ENABLED", "EXPIRES", "SOURCE"];
    let mut rows = vec![table::row(&titles)];
    rows.extend(tenants.iter().map(|tenant| {
        let names = ["id", "name", "enabled", "expires", "source"];
        names.map(|name| text(tenant, name)).to_vec()
    }));
    Ok(table::align(&rows))
}
