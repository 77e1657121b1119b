//! The handful of environment variables that are enough to start with.
//!
//! Owns their names, which are those that people bring along from other relays, and what they
//! mean together. Refuses to know how that is written down: see [`QuickStart`]. Fails with every
//! mistake at once, each under the name of its variable and without the value of a key.

use std::collections::HashSet;

use super::expand::{Variables, pieces};
use super::keys;
use super::problem::{Problem, Problems, Severity};
use super::quick_start::{Account, Credential, QuickStart};
use super::sources::Source;
use super::upstreams::{self, BaseUrl};
use super::{Server, tenants};

const OPENAI: &str = "https://api.openai.com/v1";
const PROVIDER_KEYS: [&str; 2] = ["OPENAI_API_KEY", "OPENAI_KEYS"];
const BASE_URLS: [&str; 2] = ["OPENAI_BASE_URL", "UPSTREAM_API_URL"];
const CLIENT_KEYS: &str = "FORWARD_KEY";
const EXTRA_URLS: &str = "EXTRA_BASE_URL";
const EXTRA_PREFIXES: &str = "EXTRA_ROUTE_PREFIX";

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

/// Reads what the variables amount to.
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
    /// What stands between the commas, trimmed; some may be empty, not all.
    places: Vec<&'a str>,
}

impl<'a> List<'a> {
    fn entries(&self) -> impl Iterator<Item = &'a str> {
        self.places
            .iter()
            .copied()
            .filter(|place| !place.is_empty())
    }

    fn is_single(&self) -> bool {
        self.places.len() == 1
    }
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> QuickStart {
        let provider_keys = self.one_of(PROVIDER_KEYS);
        let base_urls = self.one_of(BASE_URLS);
        let client_keys = self.list(CLIENT_KEYS);
        self.check_keys(provider_keys.as_ref(), upstreams::parse_key);
        let mut seen = HashSet::new();
        self.check_keys(client_keys.as_ref(), |key| match tenants::parse_key(key)? {
            hash if seen.insert(hash) => Ok(()),
            _ => Err((
                "the key stands in an earlier place as well",
                "write each key once",
            )),
        });
        self.check_urls(base_urls.as_ref());
        // A provider that we have no key for gets the client's own, unless the client's is one of
        // ours: that is no other's business.
        let unkeyed = match client_keys {
            Some(_) => Credential::None,
            None => Credential::Client,
        };
        QuickStart {
            port: self.port(),
            providers: self.providers(provider_keys, base_urls, &unkeyed),
            extras: self.extras(&unkeyed),
            client_keys: client_keys.map(|keys| keys.name),
            logs_chats: self.logs_chats(),
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
            // Each key has its own URL: sent to all, one provider would get another's key.
            (Some(keys), Some(urls)) if !keys.is_single() && !urls.is_single() => {
                let hint = "give each URL the key in its place, or all URLs one key, or write a \
                            file";
                self.check_pairs(&keys, &urls, hint);
                let keys = (0..).map(|place| format!("{}[{place}]", keys.name));
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
            let goes_on = prefix.bytes().any(|byte| byte != b'/');
            (!goes_on).then(|| ("a prefix goes on after its /".to_owned(), "as in /gemini"))
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
                self.report(name, format!("{missing} must be set with it"), hint);
                return Vec::new();
            }
        };
        self.check_pairs(&urls, &prefixes, "give each URL the prefix in its place");
        let prefixes = prefixes.entries().map(with_slash);
        let urls = urls.entries().map(|url| account([url], keys.clone()));
        prefixes.zip(urls).collect()
    }

    fn port(&mut self) -> u16 {
        const DEFAULT: u16 = 8080;
        let Some(text) = self.variables.get("PORT") else {
            return DEFAULT;
        };
        let Ok(port) = text.trim().parse() else {
            let message = format!("`{text}` is not a port");
            self.report("PORT", message, "set it to a number from 0 to 65535");
            return DEFAULT;
        };
        let admin = Server::default().admin;
        if admin.is_some_and(|address| address.value.port() == port) {
            let message = format!("{port} is the port of the operator's listener");
            self.report("PORT", message, "take another one, or write a file");
        }
        port
    }

    fn logs_chats(&mut self) -> bool {
        let Some(text) = self.variables.get("LOG_CHAT") else {
            return false;
        };
        match lower(text).as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                let message = format!("`{text}` is neither true nor false");
                self.report("LOG_CHAT", message, "set it to true or to false");
                false
            }
        }
    }

    fn not_in_force(&self) -> Vec<&'static str> {
        let backend = self.variables.get("CACHE_BACKEND").map(lower);
        let is_set = backend.is_some_and(|name| !["none", "off"].contains(&name.as_str()));
        is_set.then_some("CACHE_BACKEND").into_iter().collect()
    }

    /// The list in a variable, if it is set.
    fn list(&mut self, name: &'static str) -> Option<List<'a>> {
        let text = self.variables.get(name)?;
        if pieces(text).next().is_none() {
            self.report(
                name,
                "there is nothing in it but commas and spaces",
                "unset it",
            );
            return None;
        }
        let places = text.split(',').map(str::trim).collect();
        Some(List { name, places })
    }

    /// The list in a variable that has two names.
    fn one_of(&mut self, [name, other]: [&'static str; 2]) -> Option<List<'a>> {
        match (self.list(name), self.list(other)) {
            (Some(list), Some(second)) => {
                if !list.entries().eq(second.entries()) {
                    let message = format!("{other} is set as well, to something else");
                    self.report(
                        name,
                        message,
                        "they are two names for one thing: keep one of them",
                    );
                }
                Some(list)
            }
            (list, second) => list.or(second),
        }
    }

    /// Notes what is wrong with each entry of a list.
    fn check(
        &mut self,
        list: Option<&List<'_>>,
        mut fault: impl FnMut(&str) -> Option<(String, &'static str)>,
    ) {
        let Some(list) = list else { return };
        let places = list.places.iter().enumerate();
        for (place, entry) in places.filter(|(_, entry)| !entry.is_empty()) {
            let name = match list.is_single() {
                true => list.name.to_owned(),
                false => format!("{}[{place}]", list.name),
            };
            if let Some((message, hint)) = fault(entry) {
                self.report(&name, message, hint);
            }
        }
    }

    fn check_keys<T>(
        &mut self,
        list: Option<&List<'_>>,
        mut parse: impl FnMut(&str) -> Result<T, keys::Fault>,
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

    /// Sees that each place of two lists has something in it, and its partner in the other.
    fn check_pairs(&mut self, one: &List<'_>, other: &List<'_>, hint: &str) {
        for list in [one, other] {
            if list.places.contains(&"") {
                let message = "one of its places is empty: look for a comma too many";
                self.report(list.name, message, hint);
            }
        }
        let (here, there) = (one.places.len(), other.places.len());
        if here != there {
            let message = format!("it has {here} entries, but {} has {there}", other.name);
            self.report(one.name, message, hint);
        }
    }

    fn report(&mut self, name: &str, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem {
            severity: Severity::Error,
            source: Source::Environment.to_string(),
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

/// A prefix begins with a slash, whether or not it is written.
fn with_slash(prefix: &str) -> String {
    match prefix.starts_with('/') {
        true => prefix.to_owned(),
        false => format!("/{prefix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Keys};

    fn variables(entries: &[(&str, &str)]) -> Variables {
        entries.iter().copied().collect()
    }

    /// What the variables amount to, taken all the way through the document.
    fn config(entries: &[(&str, &str)]) -> Config {
        Config::load(&Source::Environment, &variables(entries)).unwrap()
    }

    fn problems(entries: &[(&str, &str)]) -> Vec<String> {
        let Err(problems) = Config::load(&Source::Environment, &variables(entries)) else {
            return Vec::new();
        };
        problems.0.iter().map(ToString::to_string).collect()
    }

    /// Each upstream as `name urls keys`.
    fn upstreams(config: &Config) -> Vec<String> {
        let upstreams = config.upstreams.iter().map(|upstream| {
            let urls: Vec<_> = upstream.servers.iter().map(|s| s.url.to_string()).collect();
            let keys = match &upstream.keys {
                Keys::Passthrough => "passthrough".to_owned(),
                Keys::Own(keys) => {
                    let keys: Vec<&str> = keys.iter().map(|key| key.expose()).collect();
                    format!("[{}]", keys.join(" "))
                }
            };
            format!("{} {} {keys}", upstream.name.value, urls.join(" "))
        });
        upstreams.collect()
    }

    const K: &str = "OPENAI_KEYS";
    const U: &str = "OPENAI_BASE_URL";

    #[test]
    fn keys_and_urls_make_one_upstream_or_pairs() {
        for (entries, expected) in [
            (
                &[(K, "k")][..],
                &["openai https://api.openai.com/v1 [k]"][..],
            ),
            (
                &[("OPENAI_API_KEY", "k, l")],
                &["openai https://api.openai.com/v1 [k l]"],
            ),
            (
                &[
                    (K, "k,l"),
                    ("UPSTREAM_API_URL", "http://a/v1/chat/completions"),
                ],
                &["openai http://a/v1 [k l]"],
            ),
            (
                &[(K, "k"), (U, "http://a , http://b/x")],
                &["openai http://a http://b/x [k]"],
            ),
            (
                &[(U, "http://a,http://b")],
                &["openai http://a http://b passthrough"],
            ),
            (
                &[(K, "k, l"), (U, "http://a, http://b")],
                &["openai-1 http://a [k]", "openai-2 http://b [l]"],
            ),
            // A comma too many is no second value where nothing has to be paired.
            (&[(K, "k,l,"), (U, "http://a")], &["openai http://a [k l]"]),
            (&[(K, "k"), (U, "http://a,")], &["openai http://a [k]"]),
        ] {
            assert_eq!(upstreams(&config(entries)), expected, "{entries:?}");
        }
    }

    #[test]
    fn every_provider_serves_any_model() {
        let config = config(&[(K, "k,l,m"), (U, "http://a,http://b,http://c")]);
        assert_eq!(config.models.len(), 1);
        assert_eq!(config.models[0].matcher.value.label(), "*");
        let targets = config.models[0].targets.iter();
        let targets: Vec<_> = targets
            .map(|t| (t.upstream.value.as_str(), t.weight))
            .collect();
        assert_eq!(targets, [("openai-1", 1), ("openai-2", 1), ("openai-3", 1)]);
    }

    #[test]
    fn client_keys_open_the_gateway_to_the_network() {
        let address = |config: &Config| config.server.listen[0].address.value.to_string();
        let open = config(&[(K, "k"), ("FORWARD_KEY", "one, two,"), ("PORT", " 9000 ")]);
        assert_eq!(address(&open), "0.0.0.0:9000");
        assert_eq!(open.tenants[0].keys.len(), 2);
        let closed = config(&[(K, "k")]);
        assert_eq!(address(&closed), "127.0.0.1:8080");
        assert!(closed.tenants.is_empty());
    }

    #[test]
    fn the_clients_key_is_sent_on_only_where_it_is_not_ours() {
        let extra = [
            (U, "http://a"),
            (EXTRA_URLS, "http://x/v1"),
            (EXTRA_PREFIXES, "/x"),
        ];
        assert_eq!(
            upstreams(&config(&extra)),
            [
                "openai http://a passthrough",
                "extra http://x/v1 passthrough"
            ]
        );
        assert_eq!(
            upstreams(&config(&[&extra[..], &[("FORWARD_KEY", "f")]].concat())),
            ["openai http://a []", "extra http://x/v1 []"]
        );
        assert_eq!(
            upstreams(&config(&[&extra[..], &[(K, "k")]].concat())),
            ["openai http://a [k]", "extra http://x/v1 passthrough"]
        );
    }

    #[test]
    fn extras_are_routes() {
        let config = config(&[
            (K, "k"),
            (EXTRA_URLS, "http://x/v1, http://y/v1"),
            (EXTRA_PREFIXES, "x, /y/z"),
        ]);
        let routes = config.routes.iter();
        let routes: Vec<_> = routes
            .map(|r| (&*r.prefix.value, &*r.upstream.value))
            .collect();
        assert_eq!(routes, [("/x", "extra-1"), ("/y/z", "extra-2")]);
    }

    #[test]
    fn what_has_no_effect_yet_is_told() {
        let told =
            |entries: &[(&str, &str)]| config(&[&[(K, "k")], entries].concat()).not_in_force();
        assert_eq!(told(&[("CACHE_BACKEND", "memory")]), ["CACHE_BACKEND"]);
        assert_eq!(told(&[("CACHE_BACKEND", "None")]), [""; 0]);
    }

    #[test]
    fn chats_are_logged_where_one_says_so() {
        let path = |value| {
            let log = config(&[(K, "k"), ("LOG_CHAT", value)]).chat_log;
            log.map(|log| log.path.value)
        };
        for on in ["true", "TRUE", "1", "yes", "on"] {
            assert_eq!(path(on).unwrap(), std::path::Path::new("./chats.jsonl"));
        }
        for off in ["false", "0", "No", "off", ""] {
            assert_eq!(path(off), None);
        }
    }

    #[test]
    fn the_document_holds_no_secret() {
        let entries = [
            (K, "sk-secret-1,sk-secret-2"),
            (U, "http://a,http://b"),
            ("FORWARD_KEY", "fk-secret"),
        ];
        let text = read(&variables(&entries)).unwrap().document();
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn nothing_to_serve_names_the_variables_and_other_ways() {
        let found = problems(&[("FORWARD_KEY", "f"), ("PORT", "http")]);
        assert_eq!(found.len(), 1, "{found:?}");
        let names = PROVIDER_KEYS.iter().chain(&BASE_URLS);
        for part in names.chain(&["-c", "--demo"]) {
            assert!(found[0].contains(part), "{part} is not in {found:?}");
        }
    }

    /// Each of the environments, which have a key besides, has one mistake, told as expected.
    #[track_caller]
    fn assert_mistakes(cases: &[(&[(&str, &str)], &str)]) {
        for (entries, expected) in cases {
            let found = problems(&[&[(K, "k")], *entries].concat());
            assert_eq!(found.len(), 1, "{found:?}");
            let expected = format!("environment: {expected}");
            assert!(
                found[0].starts_with(&expected),
                "{expected} is not {found:?}"
            );
            assert!(!found[0].contains("secret"), "{found:?}");
        }
    }

    #[test]
    fn a_mistake_stands_under_the_name_of_its_variable() {
        let long = format!("f,{}", "f".repeat(257));
        assert_mistakes(&[
            (&[("PORT", "http")], "PORT: `http` is not a port"),
            (
                &[("PORT", "9090")],
                "PORT: 9090 is the port of the operator's listener",
            ),
            (
                &[("LOG_CHAT", "maybe")],
                "LOG_CHAT: `maybe` is neither true nor false",
            ),
            (
                &[("OPENAI_API_KEY", "l")],
                "OPENAI_API_KEY: OPENAI_KEYS is set as well",
            ),
            (
                &[(U, "http://a"), ("UPSTREAM_API_URL", "http://b")],
                "OPENAI_BASE_URL: UPSTREAM_API_URL is set as well",
            ),
            (
                &[(U, "http://a,b.example")],
                "OPENAI_BASE_URL[1]: the URL must begin with http",
            ),
            (
                &[(U, "http://u:secret@a")],
                "OPENAI_BASE_URL: the URL must not hold a user",
            ),
            (
                &[(K, "secret\n1")],
                "OPENAI_KEYS: the key has characters that no header",
            ),
            (
                &[("FORWARD_KEY", &long)],
                "FORWARD_KEY[1]: the key is longer",
            ),
            (
                &[("FORWARD_KEY", "sha256:secret")],
                "FORWARD_KEY: expected 64 hexadecimal",
            ),
            (
                &[("FORWARD_KEY", " , ")],
                "FORWARD_KEY: there is nothing in it but commas",
            ),
            (
                &[("FORWARD_KEY", "secret,,,secret")],
                "FORWARD_KEY[3]: the key stands in an earlier place as well",
            ),
        ]);
    }

    #[test]
    fn what_lacks_its_partner_is_a_mistake() {
        let empty = "OPENAI_KEYS: one of its places is empty";
        assert_mistakes(&[
            (
                &[(K, "k,l,m"), (U, "http://a,http://b")],
                "OPENAI_KEYS: it has 3 entries, but OPENAI_BASE_URL has 2",
            ),
            (&[(K, "k,,m"), (U, "http://a,http://b,http://c")], empty),
            (&[(K, "k,"), (U, "http://a,http://b")], empty),
            (
                &[(EXTRA_URLS, "http://x")],
                "EXTRA_BASE_URL: EXTRA_ROUTE_PREFIX must be set",
            ),
            (
                &[(EXTRA_PREFIXES, "/x")],
                "EXTRA_ROUTE_PREFIX: EXTRA_BASE_URL must be set",
            ),
            (
                &[(EXTRA_URLS, "http://x,http://y"), (EXTRA_PREFIXES, "/x")],
                "EXTRA_BASE_URL: it has 2 entries, but EXTRA_ROUTE_PREFIX has 1",
            ),
            (
                &[(EXTRA_URLS, "http://x"), (EXTRA_PREFIXES, "/")],
                "EXTRA_ROUTE_PREFIX: a prefix goes on after its /",
            ),
        ]);
    }

    #[test]
    fn two_names_for_one_value_are_no_mistake() {
        let both = config(&[("OPENAI_API_KEY", "k,l"), (K, "k, l")]);
        assert_eq!(upstreams(&both), ["openai https://api.openai.com/v1 [k l]"]);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let found = problems(&[("PORT", "x"), ("LOG_CHAT", "x"), (U, "x"), (K, "k")]);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn the_demo_is_a_valid_configuration() {
        Config::parse("demo", DEMO, &Variables::default()).unwrap();
    }
}
