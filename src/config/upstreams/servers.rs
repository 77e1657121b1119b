//! The keys `base_url` and `servers` of an upstream: where it is.
//!
//! Owns their forms, and that one of the two is there. Does not handle what a URL may be (see
//! `base_url`). What cannot be read is reported with its place and left out.

use super::base_url::BaseUrl;
use crate::config::document::{Node, Place};
use crate::openai::dialect::Dialect;

/// One address of an upstream.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub url: BaseUrl,
    /// Its share of the traffic against its siblings.
    pub weight: u32,
    /// Where it is written.
    pub place: Place,
}

/// Two are equal wherever they are written.
impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.weight == other.weight
    }
}

/// Reads both keys; `upstream` is where they stand.
pub(super) fn read(
    upstream: &Node<'_>,
    dialect: Option<&Dialect>,
    base_url: Option<Node<'_>>,
    servers: Option<Node<'_>>,
) -> Vec<Server> {
    match (base_url, servers) {
        (Some(_), Some(servers)) => {
            servers.report(
                "`base_url` and `servers` exclude each other",
                Some("put the URL among the `servers`, or leave them out"),
            );
            Vec::new()
        }
        (Some(url), None) => read_url(&url)
            .map(|parsed| Server {
                url: parsed,
                weight: 1,
                place: url.place.clone(),
            })
            .into_iter()
            .collect(),
        (None, Some(list)) => {
            let items = list.list().unwrap_or_default();
            let servers: Vec<Server> = items.iter().filter_map(read_server).collect();
            // One that could not be read may have any weight.
            let all_read = list.is_list() && servers.len() == items.len();
            if all_read && servers.iter().all(|s| s.weight == 0) {
                list.report(
                    "at least one server needs a weight above 0",
                    Some("- { url: \"http://10.0.0.11:8000/v1\", weight: 1 }"),
                );
            }
            servers
        }
        (None, None) => {
            // A dialect that could not be read may have a server of its own.
            if dialect.is_some_and(|dialect| !dialect.has_built_in_server) {
                upstream.report(
                    "`base_url` is missing",
                    Some("as in base_url: https://api.openai.com/v1, or list several `servers`"),
                );
            }
            Vec::new()
        }
    }
}

fn read_server(node: &Node<'_>) -> Option<Server> {
    if !node.is_mapping() {
        return Some(Server {
            url: read_url(node)?,
            weight: 1,
            place: node.place.clone(),
        });
    }
    let mut section = node.section()?;
    let url = section.require("url").and_then(|n| read_url(&n));
    let weight = section.take("weight").map(|n| n.weight());
    section.finish();
    Some(Server {
        url: url?,
        weight: weight.unwrap_or(Some(1))?,
        place: node.place.clone(),
    })
}

fn read_url(node: &Node<'_>) -> Option<BaseUrl> {
    let text = node.name()?;
    // Azure shows such URLs with a query; the message is about the deployment, not about the query.
    if text.contains("/openai/deployments/") {
        node.report(
            "the URL names a deployment",
            Some(
                "end it at the host, write `api_version` under `dialect`, and name deployments as \
                 the `model` of targets",
            ),
        );
        return None;
    }
    match BaseUrl::parse(&text) {
        Ok(url) => Some(url),
        Err(what) => {
            // A URL that holds a password must not be echoed.
            node.report(
                format!("the URL {what}"),
                Some("as in https://api.openai.com/v1"),
            );
            None
        }
    }
}
