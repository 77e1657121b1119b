//! The configuration for an operator without a file, as the document that they would write.
//!
//! Owns the shape and the words of that document. The ordinary reader reads it, so that there is one
//! way in. Does not handle where its values come from (see `environment`). Keys are named by their
//! variables, so the document holds no secret. Cannot fail.

use std::net::SocketAddr;

use super::expand;
use super::models::Streams;

/// The file that conversations are logged to where none is named.
pub const CHATS: &str = "./chats.jsonl";

/// The settings that the environment can make.
#[derive(Clone, Debug)]
pub struct QuickStart {
    /// The port that clients connect to.
    pub port: u16,
    /// The operator's listener; without it, the default.
    pub admin: Option<Admin>,
    /// Provider accounts, each of which serves any model; never empty.
    pub providers: Vec<Account>,
    /// Other services, each with its path prefix.
    pub extras: Vec<(String, Account)>,
    /// The variable that holds the client keys. Without one, only this machine is served.
    pub client_keys: Option<&'static str>,
    /// Worker threads, 0 for one per core; without it, the default.
    pub threads: Option<usize>,
    /// Whether providers are asked for streams.
    pub streams: Streams,
    /// What is said of the log.
    pub log: LogChoices,
    /// Whether conversations are logged.
    pub logs_chats: bool,
    /// Variables that are set and have no effect in this version.
    pub not_in_force: Vec<&'static str>,
}

/// What is said of the log; without it, the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChoices {
    /// The folder that its files are in.
    pub folder: Option<String>,
    /// Whether it is masked.
    pub mask: Option<bool>,
}

/// The operator's listener, where the operator has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// There is none.
    Off,
    /// It is at this address.
    At(SocketAddr),
}

/// A provider account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its servers' base URLs; never empty.
    pub urls: Vec<String>,
    /// The key that requests to it carry.
    pub keys: Credential,
}

/// Where the key of a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The variable `NAME`, or its entry `NAME[n]`.
    Variable(String),
    /// The client's own is sent on.
    Client,
    /// No key is sent.
    None,
}

impl QuickStart {
    /// The document, in YAML.
    pub fn document(&self) -> String {
        let sections = [
            Some(self.server()),
            Some(self.upstreams()),
            Some(self.models()),
            self.routes(),
            self.tenants(),
            self.chat_log(),
        ];
        sections
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn server(&self) -> String {
        let port = self.port;
        let mut text = match self.client_keys {
            Some(_) => format!("server:\n  listen: [\"0.0.0.0:{port}\"]\n"),
            None => format!(
                "server:\n  \
                 # This machine only. Any other address needs client keys, under `tenants`.\n  \
                 listen: [\"127.0.0.1:{port}\"]\n"
            ),
        };
        match self.admin {
            None => {}
            Some(Admin::Off) => text.push_str("  admin: off\n"),
            Some(Admin::At(address)) => text.push_str(&format!("  admin: \"{address}\"\n")),
        }
        if let Some(threads) = self.threads {
            text.push_str(&format!("  threads: {threads}\n"));
        }
        text.push_str(&self.log());
        // Objects live in the account that made them. With several accounts, which one is a guess.
        if let [_] = self.providers.as_slice() {
            text.push_str(
                "  # Requests that no rule serves are forwarded as they are: files, batches, stored answers.\n  \
                 passthrough: openai\n",
            );
        }
        text
    }

    fn log(&self) -> String {
        let mut text = String::new();
        if let Some(mask) = self.log.mask {
            text.push_str(&format!("    mask: {mask}\n"));
        }
        if let Some(folder) = &self.log.folder {
            text.push_str(&format!("    files: {{ path: {} }}\n", quoted(folder)));
        }
        match text.is_empty() {
            true => text,
            false => format!("  log:\n{text}"),
        }
    }

    fn upstreams(&self) -> String {
        let mut text = "upstreams:\n".to_owned();
        if self.providers.len() > 1 {
            text.push_str("  # Each key is sent only to the URL at the same position.\n");
        }
        let extras = self.extras.iter().map(|(_, account)| account);
        let accounts = self.providers.iter().chain(extras);
        for (name, account) in self
            .provider_names()
            .chain(self.extra_names())
            .zip(accounts)
        {
            text.push_str(&format!("  {name}:\n"));
            account.write(&mut text);
        }
        text
    }

    fn models(&self) -> String {
        let mut text = "models:\n  \
             # Any model, under the name in the client's request.\n  \
             - match: \"*\"\n    targets:\n"
            .to_owned();
        let streams = match self.streams {
            Streams::AsAsked => String::new(),
            streams => format!(", upstream_stream: {}", streams.name()),
        };
        for name in self.provider_names() {
            text.push_str(&format!("      - {{ upstream: {name}{streams} }}\n"));
        }
        text
    }

    fn routes(&self) -> Option<String> {
        let prefixes = self.extras.iter().map(|(prefix, _)| quoted(prefix));
        let routes: String = prefixes
            .zip(self.extra_names())
            .map(|(prefix, name)| format!("  - {{ prefix: {prefix}, upstream: {name} }}\n"))
            .collect();
        (!routes.is_empty()).then(|| format!("routes:\n{routes}"))
    }

    fn tenants(&self) -> Option<String> {
        let keys = self.client_keys?;
        Some(format!(
            "tenants:\n  - id: default\n    keys: [\"${{{keys}}}\"]\n"
        ))
    }

    fn chat_log(&self) -> Option<String> {
        let text = format!(
            "chat_log:\n  # Requests and answers. Only the user that runs the gateway may read the file.\n  \
             path: {CHATS}\n"
        );
        self.logs_chats.then_some(text)
    }

    fn provider_names(&self) -> impl Iterator<Item = String> {
        names("openai", self.providers.len())
    }

    fn extra_names(&self) -> impl Iterator<Item = String> {
        names("extra", self.extras.len())
    }
}

impl Account {
    fn write(&self, text: &mut String) {
        match self.urls.as_slice() {
            [only] => text.push_str(&format!("    base_url: {}\n", quoted(only))),
            several => {
                text.push_str("    servers:\n");
                for url in several {
                    text.push_str(&format!("      - {}\n", quoted(url)));
                }
            }
        }
        text.push_str(&match &self.keys {
            Credential::Variable(name) => format!("    keys: [\"${{{name}}}\"]\n"),
            Credential::Client => {
                "    keys: passthrough   # the client's own key is sent on\n".to_owned()
            }
            Credential::None => {
                "    keys: []   # no key is sent; if the provider needs one, name it here\n"
                    .to_owned()
            }
        });
    }
}

/// `openai` for one, `openai-1`, `openai-2` and so on for several.
fn names(name: &'static str, count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(move |number| match count {
        1 => name.to_owned(),
        _ => format!("{name}-{number}"),
    })
}

/// Text between quotes, as the reader gives it back. A string of JSON is one of YAML, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(expand::escape(text)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(urls: &[&str], keys: Credential) -> Account {
        let urls = urls.iter().map(|&url| url.to_owned()).collect();
        Account { urls, keys }
    }

    #[test]
    fn the_smallest_document() {
        let quick_start = QuickStart {
            port: 8080,
            admin: None,
            providers: vec![account(&["https://a.example/v1"], Credential::Client)],
            extras: Vec::new(),
            client_keys: None,
            threads: None,
            streams: Streams::AsAsked,
            log: LogChoices::default(),
            logs_chats: false,
            not_in_force: Vec::new(),
        };
        let expected = r#"server:
  # This machine only. Any other address needs client keys, under `tenants`.
  listen: ["127.0.0.1:8080"]
  # Requests that no rule serves are forwarded as they are: files, batches, stored answers.
  passthrough: openai

upstreams:
  openai:
    base_url: "https://a.example/v1"
    keys: passthrough   # the client's own key is sent on

models:
  # Any model, under the name in the client's request.
  - match: "*"
    targets:
      - { upstream: openai }
"#;
        assert_eq!(quick_start.document(), expected);
    }

    #[test]
    fn the_largest_document() {
        let key = |place| Credential::Variable(format!("OPENAI_KEYS[{place}]"));
        let quick_start = QuickStart {
            port: 80,
            admin: Some(Admin::At(SocketAddr::from(([127, 0, 0, 1], 9465)))),
            providers: vec![
                account(&["https://a.example/v1"], key(0)),
                account(&["http://b.example", "http://c.example"], key(1)),
            ],
            extras: vec![("/x".to_owned(), account(&["http://d"], Credential::None))],
            client_keys: Some("FORWARD_KEY"),
            threads: Some(4),
            streams: Streams::Always,
            log: LogChoices {
                folder: Some("/var/log/x y".to_owned()),
                mask: Some(false),
            },
            logs_chats: true,
            not_in_force: Vec::new(),
        };
        let expected = r#"server:
  listen: ["0.0.0.0:80"]
  admin: "127.0.0.1:9465"
  threads: 4
  log:
    mask: false
    files: { path: "/var/log/x y" }

upstreams:
  # Each key is sent only to the URL at the same position.
  openai-1:
    base_url: "https://a.example/v1"
    keys: ["${OPENAI_KEYS[0]}"]
  openai-2:
    servers:
      - "http://b.example"
      - "http://c.example"
    keys: ["${OPENAI_KEYS[1]}"]
  extra:
    base_url: "http://d"
    keys: []   # no key is sent; if the provider needs one, name it here

models:
  # Any model, under the name in the client's request.
  - match: "*"
    targets:
      - { upstream: openai-1, upstream_stream: always }
      - { upstream: openai-2, upstream_stream: always }

routes:
  - { prefix: "/x", upstream: extra }

tenants:
  - id: default
    keys: ["${FORWARD_KEY}"]

chat_log:
  # Requests and answers. Only the user that runs the gateway may read the file.
  path: ./chats.jsonl
"#;
        assert_eq!(quick_start.document(), expected);
    }

    #[test]
    fn quoted_text_can_be_nothing_but_a_value() {
        assert_eq!(quoted("a\"b\\c\n${D}"), r#""a\"b\\c\n$${D}""#);
    }
}
