//! What the operator wrote.
//!
//! One file per section, each reading its own keys; `document` reads YAML with positions, `expand`
//! fills in variables, `validate` checks what crosses sections, `sources` finds the file;
//! `environment` reads what a handful of variables say, and `quick_start` writes the document that
//! they amount to. Refuses to know what runs:
//! `runtime` builds that from a [`Config`]. Fails with every mistake at once, see [`Problems`].

mod chat_log;
mod dialect;
mod document;
mod ejection;
mod environment;
mod expand;
mod headers;
mod health;
mod keys;
mod limits;
mod manners;
mod metering;
mod models;
mod pools;
mod problem;
mod quick_start;
mod retries;
mod routes;
mod server;
mod sources;
mod tenants;
mod upstreams;
mod validate;
mod ways;

pub use chat_log::{ChatLog, Every, LINE_BYTES, Mask, Retention, Rotation};
pub use document::{Located, Place};
pub use ejection::Ejection;
pub use expand::Variables;
pub use health::HealthCheck;
pub use limits::Limits;
pub use manners::{Manners, Streams};
pub use metering::{Drain, OnClientGone};
pub use models::{Fallback, Matcher, ModelRule, Target};
pub use pools::{Balance, ConsistentBy, Places};
pub use problem::{Problem, Problems};
pub use quick_start::QuickStart;
pub use retries::{Budget, Retries};
pub use routes::Route;
pub use server::{Listener, Log, Server, Tls};
pub use sources::Source;
pub use tenants::Tenant;
pub use upstreams::{BaseUrl, Keys, Timeouts, Upstream};
pub use ways::{Allowances, Forms, Passthrough, Ways, WebSocket};

use document::{Context, Node};

/// One configuration, read and found to be right.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where we listen and how.
    pub server: Server,
    /// Provider accounts, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Model rules, in the order of the file.
    pub models: Vec<ModelRule>,
    /// Forwarded prefixes.
    pub routes: Vec<Route>,
    /// Tenants; empty when anybody on this machine may call.
    pub tenants: Vec<Tenant>,
    /// Where conversations are written down; `None` when nowhere.
    pub chat_log: Option<ChatLog>,
    /// What the document was made from, when the environment stands in for a file.
    pub quick_start: Option<QuickStart>,
}

impl Config {
    /// Reads a configuration from its source.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(source: &Source, variables: &Variables) -> Result<Self, Problems> {
        let (text, quick_start) = source.read(variables)?;
        let config = Self::parse(&source.to_string(), &text, variables)?;
        Ok(Self {
            quick_start,
            ..config
        })
    }

    /// Reads a configuration from its text; `name` is what problems call it.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(name: &str, text: &str, variables: &Variables) -> Result<Self, Problems> {
        let context = Context::new(name, variables);
        let config = document::with_root(&context, text, |root| read_root(&root));
        if let Some(config) = &config {
            validate::check(config, &context);
        }
        let problems = context.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems(problems)),
        }
    }

    /// What is written and has no effect in this release, a line each.
    pub fn not_in_force(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for tenant in self.tenants.iter().filter(|t| t.has_limits) {
            lines.push(format!(
                "tenants: limits and quota of `{}`",
                tenant.id.value
            ));
        }
        let variables = self.quick_start.iter().flat_map(|q| &q.not_in_force);
        lines.extend(variables.map(|name| (*name).to_owned()));
        lines
    }
}

fn read_root(root: &Node<'_>) -> Option<Config> {
    let mut section = root.section()?;
    let config = Config {
        server: section
            .take("server")
            .map_or_else(Server::default, |n| server::read(&n)),
        upstreams: section
            .require("upstreams")
            .map_or_else(Vec::new, |n| upstreams::read(&n)),
        models: section
            .require("models")
            .map_or_else(Vec::new, |n| models::read(&n)),
        routes: section
            .take("routes")
            .map_or_else(Vec::new, |n| routes::read(&n)),
        tenants: section
            .take("tenants")
            .map_or_else(Vec::new, |n| tenants::read(&n)),
        chat_log: section.take("chat_log").and_then(|n| chat_log::read(&n)),
        quick_start: None,
    };
    section.finish();
    Some(config)
}

#[cfg(test)]
mod tests;
