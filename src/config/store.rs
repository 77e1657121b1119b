//! The `store` section: the Redis in which several nodes count what they share.
//!
//! Owns its keys and defaults. Does not handle what is counted there (see `limits`), nor the URL itself (see
//! `redis_url`). What cannot be read is reported with its place; a URL is never part of a message.

use super::document::{Located, Node};
use super::redis_url;
use crate::secret::Secret;

/// As many servers are named at most.
const MOST_SERVERS: usize = 64;
/// As many gateways can be expected.
const MOST_NODES: u64 = 1_000;
/// A name of a Sentinel's master is no longer.
const MAX_MASTER_BYTES: usize = 128;

/// Where several nodes count what they share.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// The URLs of its servers; one unless `topology` says otherwise.
    pub redis: Vec<Secret>,
    /// How the servers belong together.
    pub topology: Topology,
    /// What happens while it is away.
    pub on_down: OnDown,
    /// So many gateways share it at least, whatever is known of them.
    pub nodes: u64,
}

/// How servers belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// There is one.
    Single,
    /// They are some of a Redis Cluster.
    Cluster,
    /// They are Sentinels, which know where the master of this name is.
    Sentinel(String),
}

/// What happens while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDown {
    /// Each node serves on, with an equal part of each limit.
    #[default]
    LocalShare,
    /// What is limited is refused.
    Refuse,
}

impl OnDown {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalShare => "local_share",
            Self::Refuse => "refuse",
        }
    }
}

/// Reads the section.
pub fn read(node: &Node<'_>) -> Option<Located<Store>> {
    let mut section = node.section()?;
    let redis = section.require("redis").and_then(|n| read_servers(&n));
    let cluster = section.take("cluster").and_then(|n| n.boolean());
    let master = section.take("sentinel").map(|n| read_master(&n));
    let on_down = section.take("on_down").and_then(|n| read_on_down(&n));
    let nodes = section
        .take("nodes")
        .and_then(|n| n.limit_up_to(MOST_NODES));
    section.finish();
    let redis = redis?;
    let topology = match (cluster.unwrap_or(false), master) {
        (false, None) => Topology::Single,
        (true, None) => Topology::Cluster,
        (false, Some(master)) => Topology::Sentinel(master?),
        (true, Some(_)) => {
            let message = "`cluster` and `sentinel` exclude each other";
            node.report(message, Some("leave one of them out"));
            return None;
        }
    };
    if topology == Topology::Single && redis.len() > 1 {
        node.report(
            "`redis` names several servers, and not how they belong together",
            Some("add cluster: true, or sentinel: NAME with the URLs of its Sentinels"),
        );
        return None;
    }
    Some(node.locate(Store {
        redis,
        topology,
        on_down: on_down.unwrap_or_default(),
        nodes: nodes.unwrap_or(1),
    }))
}

/// One URL, or a list of them.
fn read_servers(node: &Node<'_>) -> Option<Vec<Secret>> {
    if !node.is_list() {
        return Some(vec![redis_url::read(node)?]);
    }
    let items = node.list()?;
    if items.is_empty() || items.len() > MOST_SERVERS {
        let message = format!("expected the URLs of 1 to {MOST_SERVERS} servers");
        node.report(message, None);
        return None;
    }
    items.iter().map(redis_url::read).collect()
}

fn read_master(node: &Node<'_>) -> Option<String> {
    let name = node.name()?;
    if name.len() > MAX_MASTER_BYTES || name.chars().any(char::is_control) {
        node.report(
            "expected the name under which the Sentinels watch the master",
            Some("as in sentinel: mymaster"),
        );
        return None;
    }
    Some(name)
}

fn read_on_down(node: &Node<'_>) -> Option<OnDown> {
    match node.text()?.as_str() {
        "local_share" => Some(OnDown::LocalShare),
        "refuse" => Some(OnDown::Refuse),
        _ => {
            node.report("expected local_share or refuse", None);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Variables};
    use super::*;

    fn parse(store: &str) -> Result<Store, String> {
        let text = format!(
            "upstreams: {{ u: {{ base_url: http://127.0.0.1:9 }} }}\n\
             models: [{{ match: '*', targets: [{{ upstream: u }}] }}]\nstore: {store}"
        );
        let parsed = Config::parse("f", &text, &Variables::from_iter([("A", "b")]));
        let store = parsed.map(|config| config.store.unwrap().value);
        store.map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_store_is_one_server_a_cluster_or_what_sentinels_know() {
        let one = parse("{ redis: 'redis://u:s3cret@h:1' }").unwrap();
        assert_eq!(one.topology, Topology::Single);
        assert_eq!(one.on_down, OnDown::LocalShare);
        let several = parse("{ redis: [redis://a, redis://b], cluster: true, on_down: refuse }");
        let several = several.unwrap();
        assert_eq!(several.topology, Topology::Cluster);
        assert_eq!((several.redis.len(), several.on_down), (2, OnDown::Refuse));
        let watched = parse("{ redis: [redis://a:26379], sentinel: mymaster }").unwrap();
        assert_eq!(watched.topology, Topology::Sentinel("mymaster".to_owned()));
    }

    #[test]
    fn a_store_that_means_nothing_is_refused_without_its_password() {
        for (store, message) in [
            ("{}", "`redis` is missing"),
            ("{ redis: 'http://u:s3cret@h' }", "the URL of a Redis"),
            ("{ redis: [] }", "the URLs of 1 to 64 servers"),
            (
                "{ redis: [redis://a, redis://b] }",
                "how they belong together",
            ),
            (
                "{ redis: redis://a, cluster: true, sentinel: m }",
                "exclude each other",
            ),
            (
                "{ redis: redis://a, on_down: wait }",
                "local_share or refuse",
            ),
            ("{ redis: redis://a, nodes: 0 }", "must be above 0"),
            ("{ redis: redis://a, node: 3 }", "unknown key"),
        ] {
            let refused = parse(store).unwrap_err();
            assert!(refused.contains(message), "{refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
