//! What the command line of `run` says in place of the configuration.
//!
//! Owns which settings those are. They are applied after each reading, at the start and at a reload. Does not
//! handle flags (see `cli`). Cannot fail.

use super::chat_log::{self, ChatLog};
use super::document::{self, Context};
use super::expand::Variables;
use super::{Config, ListenAddress, quick_start};

/// Settings of the command line; each does nothing where it is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The port of the first client listener that has one; 0 for any free port.
    pub port: Option<u16>,
    /// Worker threads; 0 stands for one per core.
    pub threads: Option<usize>,
    /// Conversations are logged: where the configuration says, else to the file that `LOG_CHAT` stands for.
    pub logs_chats: bool,
    /// Addresses and names of keys are masked in the log, whatever the configuration says.
    pub masks_log: bool,
}

impl Overrides {
    /// Changes a configuration that was read.
    pub fn apply(&self, config: &mut Config) {
        let mut listeners = config.server.listen.iter_mut();
        let first = listeners.find_map(|listener| match &mut listener.address.value {
            ListenAddress::Ip(address) => Some(address),
            ListenAddress::Unix(_) => None,
        });
        if let (Some(port), Some(address)) = (self.port, first) {
            address.set_port(port);
        }
        if let Some(threads) = self.threads {
            config.server.threads = threads;
        }
        config.server.log.mask |= self.masks_log;
        if self.logs_chats && config.chat_log.is_none() {
            config.chat_log = default_chat_log();
        }
    }
}

/// The chat log where only its path is written; the ordinary reader knows the rest.
fn default_chat_log() -> Option<ChatLog> {
    let variables = Variables::default();
    let context = Context::new("--log-chat", &variables);
    let text = format!("path: {}", quick_start::CHATS);
    document::with_root(&context, &text, |root| chat_log::read(&root))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn config(sections: &str) -> Config {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n{sections}\n"
        );
        Config::parse("t.yaml", &text, &Variables::default()).unwrap()
    }

    fn changed(sections: &str, overrides: Overrides) -> Config {
        let mut config = config(sections);
        overrides.apply(&mut config);
        config
    }

    #[test]
    fn what_is_not_given_changes_nothing() {
        let before = config("server: { threads: 3 }");
        let after = changed("server: { threads: 3 }", Overrides::default());
        assert!(crate::config::Changes::between(&before, &after).is_empty());
    }

    #[test]
    fn what_is_given_goes_before_the_configuration() {
        let overrides = Overrides {
            port: Some(9),
            threads: Some(2),
            logs_chats: true,
            masks_log: true,
        };
        let after = changed("server: { threads: 3 }", overrides);
        assert_eq!(after.server.listen[0].address.value.ip().unwrap().port(), 9);
        assert_eq!(after.server.threads, 2);
        let log = after.chat_log.unwrap();
        assert_eq!(
            log,
            config("chat_log: { path: ./chats.jsonl }")
                .chat_log
                .unwrap()
        );
        let after = changed("chat_log: { path: mine.jsonl }", overrides);
        assert_eq!(
            after.chat_log.unwrap().path.value,
            PathBuf::from("mine.jsonl")
        );
    }
}
