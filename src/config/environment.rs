//! The handful of environment variables that are enough to start with.
//!
//! Owns their names, which are those of other relays, and what they mean together; `settings` reads those that hold one
//! value. Does not handle how that is written as a document (see [`QuickStart`]). Fails with every mistake at once,
//! each under the name of its variable and without the value of a key.

mod settings;

use std::collections::HashSet;

use super::client_keys;
use super::expand::{Variables, pieces};
use super::key_list;
use super::problem::{Problem, Problems, Severity};
use super::quick_start::{Account, Credential, LogChoices, QuickStart};
use super::upstreams::{self, BaseUrl};

/// What it is called where problems are reported.
pub const NAME: &str = "environment";

const OPENAI: &str = "https://api.openai.com/v1";
const PROVIDER_KEYS: [&str; 2] = ["OPENAI_API_KEY", "OPENAI_KEYS"];
const BASE_URLS: [&str; 2] = ["OPENAI_BASE_URL", "UPSTREAM_API_URL"];
const CLIENT_KEYS: &str = "FORWARD_KEY";
const ADMIN: &str = "ADMIN";
const PORT: &str = "PORT";
const WORKERS: &str = "WORKERS";
const STREAMS: &str = "UPSTREAM_STREAM";
const LOGS_CHATS: &str = "LOG_CHAT";
const LOG_FOLDER: &str = "LOG_PATH";
const MASKS_LOG: &str = "MASK_LOG";
const CACHE: &str = "CACHE_BACKEND";
const EXTRA_URLS: &str = "EXTRA_BASE_URL";
const EXTRA_PREFIXES: &str = "EXTRA_ROUTE_PREFIX";

/// Every name that has a meaning where no file is found, or says where one is.
#[cfg(test)]
const NAMES: [&str; 16] = [
    PROVIDER_KEYS[0],
    PROVIDER_KEYS[1],
    BASE_URLS[0],
    BASE_URLS[1],
    CLIENT_KEYS,
    PORT,
    ADMIN,
    WORKERS,
    STREAMS,
    EXTRA_URLS,
    EXTRA_PREFIXES,
    LOGS_CHATS,
    LOG_FOLDER,
    MASKS_LOG,
    CACHE,
    "CONFIG_PATH",
];

/// The configuration behind `tollgate run --demo`.
pub const DEMO: &str = r#"
server:
  listen: ["127.0.0.1:8080"]
upstreams:
  demo: { dialect: demo }
models:
  - { match: echo, targets: [{ upstream: demo }] }
  - { match: lorem, targets: [{ upstream: demo }] }
  - { match: embed, targets: [{ upstream: demo }] }
  - { match: { prefix: fault- }, targets: [{ upstream: demo }] }
tenants:
  - { id: demo, keys: [tollgate-demo-key] }
"#;

/// Reads the variables.
///
/// # Errors
/// Every mistake in them, or that they name no provider at all.
pub fn read(variables: &Variables) -> Result<QuickStart, Problems> {
    let mut reader = Reader {
        variables,
        problems: Vec::new(),
    };
    let mut names = PROVIDER_KEYS.iter().chain(&BASE_URLS);
    if names.all(|name| variables.get(name).is_none()) {
        let message = "no configuration file was found, and none of OPENAI_API_KEY, OPENAI_KEYS, \
                       OPENAI_BASE_URL and UPSTREAM_API_URL is set";
        let hint = "write ./tollgate.yaml, name a file with -c, set OPENAI_API_KEY, or try \
                    `tollgate run --demo`";
        reader.report("", message, hint);
        return Err(Problems(reader.problems));
    }
    let quick_start = reader.read();
    match reader.problems.is_empty() {
        true => Ok(quick_start),
        false => Err(Problems(reader.problems)),
    }
}

struct Reader<'a> {
    variables: &'a Variables,
    problems: Vec<Problem>,
}

/// A variable that may hold several values.
struct List<'a> {
    name: &'static str,
    /// The texts between the commas, trimmed. Some may be empty, not all.
    texts: Vec<&'a str>,
}

impl<'a> List<'a> {
    fn entries(&self) -> impl Iterator<Item = &'a str> {
        self.texts.iter().copied().filter(|text| !text.is_empty())
    }

    fn is_single(&self) -> bool {
        self.texts.len() == 1
    }
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> QuickStart {
        let provider_keys = self.one_of(PROVIDER_KEYS);
        let base_urls = self.one_of(BASE_URLS);
        let client_keys = self.list(CLIENT_KEYS);
        self.check_keys(provider_keys.as_ref(), upstreams::parse_key);
        let mut seen = HashSet::new();
        self.check_keys(client_keys.as_ref(), |key| {
            match client_keys::parse_key(key)? {
                hash if seen.insert(hash) => Ok(()),
                _ => Err(("the key is in the list already", "write each key once")),
            }
        });
        self.check_urls(base_urls.as_ref());
        // A provider without a key gets the client's own, unless clients have keys of the gateway:
        // those must not reach a provider.
        let unkeyed = match client_keys {
            Some(_) => Credential::None,
            None => Credential::Client,
        };
        let admin = self.admin();
        QuickStart {
            port: self.port(admin),
            admin,
            providers: self.providers(provider_keys, base_urls, &unkeyed),
            extras: self.extras(&unkeyed),
            client_keys: client_keys.map(|keys| keys.name),
            threads: self.threads(),
            streams: self.streams(),
            log: LogChoices {
                folder: self.log_folder(),
                mask: self.flag(MASKS_LOG),
            },
            logs_chats: self.flag(LOGS_CHATS).unwrap_or(false),
            not_in_force: self.not_in_force(),
        }
    }

    fn providers(
        &mut self,
        keys: Option<List<'_>>,
        urls: Option<List<'_>>,
        unkeyed: &Credential,
    ) -> Vec<Account> {
        match (keys, urls) {
            // Each key belongs to one URL: another provider must not get it.
            (Some(keys), Some(urls)) if !keys.is_single() && !urls.is_single() => {
                let hint = "give one key for each URL, in the same order, or one key for all \
                            URLs, or write a file";
                self.check_pairs(&keys, &urls, hint);
                let keys = (0..).map(|position| format!("{}[{position}]", keys.name));
                let pairs = urls.entries().zip(keys);
                pairs
                    .map(|(url, key)| account([url], Credential::Variable(key)))
                    .collect()
            }
            (keys, urls) => {
                let keys = keys.map(|keys| Credential::Variable(keys.name.to_owned()));
                let keys = keys.unwrap_or_else(|| unkeyed.clone());
                vec![match urls {
                    Some(urls) => account(urls.entries(), keys),
                    None => account([OPENAI], keys),
                }]
            }
        }
    }

    fn extras(&mut self, keys: &Credential) -> Vec<(String, Account)> {
        let (urls, prefixes) = (self.list(EXTRA_URLS), self.list(EXTRA_PREFIXES));
        self.check_urls(urls.as_ref());
        self.check(prefixes.as_ref(), |prefix| {
            let has_name = prefix.bytes().any(|byte| byte != b'/');
            (!has_name).then(|| {
                (
                    "a prefix needs a name after its /".to_owned(),
                    "as in /gemini",
                )
            })
        });
        let (urls, prefixes) = match (urls, prefixes) {
            (Some(urls), Some(prefixes)) => (urls, prefixes),
            (None, None) => return Vec::new(),
            (alone, _) => {
                let (name, missing) = match alone {
                    Some(_) => (EXTRA_URLS, EXTRA_PREFIXES),
                    None => (EXTRA_PREFIXES, EXTRA_URLS),
                };
                let hint =
                    "as in EXTRA_BASE_URL=http://10.0.0.9:8000 with EXTRA_ROUTE_PREFIX=/nine";
                self.report(name, format!("{missing} must be set, too"), hint);
                return Vec::new();
            }
        };
        self.check_pairs(
            &urls,
            &prefixes,
            "give one prefix for each URL, in the same order",
        );
        let prefixes = prefixes.entries().map(with_slash);
        let urls = urls.entries().map(|url| account([url], keys.clone()));
        prefixes.zip(urls).collect()
    }

    fn not_in_force(&self) -> Vec<&'static str> {
        let backend = self.variables.get(CACHE).map(lower);
        let is_set = backend.is_some_and(|name| !["none", "off"].contains(&name.as_str()));
        is_set.then_some(CACHE).into_iter().collect()
    }

    /// The list in a variable, if it is set.
    fn list(&mut self, name: &'static str) -> Option<List<'a>> {
        let text = self.variables.get(name)?;
        if pieces(text).next().is_none() {
            self.report(name, "it holds only commas and spaces", "unset it");
            return None;
        }
        let texts = text.split(',').map(str::trim).collect();
        Some(List { name, texts })
    }

    /// The list in a variable that has two names.
    fn one_of(&mut self, [name, other]: [&'static str; 2]) -> Option<List<'a>> {
        match (self.list(name), self.list(other)) {
            (Some(list), Some(second)) => {
                if !list.entries().eq(second.entries()) {
                    let message = format!("{other} is set, too, to another value");
                    self.report(name, message, "both names mean the same: keep one of them");
                }
                Some(list)
            }
            (list, second) => list.or(second),
        }
    }

    /// Reports the fault of each entry of a list.
    fn check(
        &mut self,
        list: Option<&List<'_>>,
        mut fault: impl FnMut(&str) -> Option<(String, &'static str)>,
    ) {
        let Some(list) = list else { return };
        let entries = list.texts.iter().enumerate();
        for (position, entry) in entries.filter(|(_, entry)| !entry.is_empty()) {
            let name = match list.is_single() {
                true => list.name.to_owned(),
                false => format!("{}[{position}]", list.name),
            };
            if let Some((message, hint)) = fault(entry) {
                self.report(&name, message, hint);
            }
        }
    }

    fn check_keys<T>(
        &mut self,
        list: Option<&List<'_>>,
        mut parse: impl FnMut(&str) -> Result<T, key_list::Fault>,
    ) {
        self.check(list, |key| {
            let (message, hint) = parse(key).err()?;
            Some((message.to_owned(), hint))
        });
    }

    fn check_urls(&mut self, list: Option<&List<'_>>) {
        self.check(list, |url| {
            let what = BaseUrl::parse(url).err()?;
            Some((format!("the URL {what}"), "as in https://api.openai.com/v1"))
        });
    }

    /// Reports empty entries of two lists, and lists of different lengths.
    fn check_pairs(&mut self, one: &List<'_>, other: &List<'_>, hint: &str) {
        for list in [one, other] {
            if list.texts.contains(&"") {
                let message = "one of its entries is empty: look for an extra comma";
                self.report(list.name, message, hint);
            }
        }
        let (here, there) = (one.texts.len(), other.texts.len());
        if here != there {
            let message = format!("it has {here} entries, but {} has {there}", other.name);
            self.report(one.name, message, hint);
        }
    }

    fn report(&mut self, name: &str, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem {
            severity: Severity::Error,
            source: NAME.to_owned(),
            line: None,
            path: name.to_owned(),
            message: message.into(),
            hint: Some(hint.to_owned()),
        });
    }
}

fn lower(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

fn account<'t>(urls: impl IntoIterator<Item = &'t str>, keys: Credential) -> Account {
    let urls = urls.into_iter().map(str::to_owned).collect();
    Account { urls, keys }
}

/// A prefix with its slash, which may be missing in the variable.
fn with_slash(prefix: &str) -> String {
    match prefix.starts_with('/') {
        true => prefix.to_owned(),
        false => format!("/{prefix}"),
    }
}

#[cfg(test)]
mod tests;
