//! How an upstream differs from api.openai.com, as data.
//!
//! Owns each dialect's traits and what they mean for a request: the base path of the API, the path of an
//! operation, the header with the key. A provider that is like OpenAI needs no row here:
//! `openai_compatible` and the operator's settings are enough. Does not handle a provider's errors and usage
//! (see `upstream_error` and `usage`). Fails for a name that has no row.

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::edit::Edits;

/// The differences of one upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    /// Its name, as in the configuration.
    pub name: &'static str,
    /// Whether its server is part of this binary, so that no `base_url` is needed.
    pub has_built_in_server: bool,
    /// The path of the API on a server whose URL has no path.
    pub base_path: String,
    /// The header that carries the key.
    pub key_header: HeaderName,
    /// The text before the key in it: `Bearer `, or nothing.
    pub key_prefix: String,
    /// Headers that each request gets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The API version, where the path names a deployment and not the body a model.
    pub api_version: Option<String>,
    /// What is changed in each JSON request.
    pub edits: Edits,
    /// Whether its errors lack keys that clients read, so that they are filled in.
    pub fills_in_errors: bool,
}

/// A row of the table: a dialect before the operator's settings.
struct Traits {
    name: &'static str,
    has_built_in_server: bool,
    base_path: &'static str,
    /// The base path once an `api_version` is given; `None` where there is no such setting.
    versioned_base_path: Option<&'static str>,
    key_header: HeaderName,
    key_prefix: &'static str,
    fills_in_errors: bool,
}

const OPENAI: Traits = Traits {
    name: "openai",
    has_built_in_server: false,
    base_path: "/v1",
    versioned_base_path: None,
    key_header: AUTHORIZATION,
    key_prefix: BEARER,
    fills_in_errors: false,
};

static DIALECTS: [Traits; 4] = [
    OPENAI,
    Traits {
        name: "azure",
        base_path: "/openai/v1",
        versioned_base_path: Some("/openai"),
        key_header: HeaderName::from_static("api-key"),
        key_prefix: "",
        fills_in_errors: true,
        ..OPENAI
    },
    Traits {
        name: "openai_compatible",
        ..OPENAI
    },
    Traits {
        name: "demo",
        has_built_in_server: true,
        ..OPENAI
    },
];

/// The text before a key in `Authorization`.
const BEARER: &str = "Bearer ";

/// The operations whose path is below a deployment in the versioned scheme.
const OF_A_DEPLOYMENT: [&str; 8] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
    "/images/generations",
    "/images/edits",
];

/// The characters of a deployment's name that need no escape within a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Default for Dialect {
    fn default() -> Self {
        Self::from(&OPENAI)
    }
}

impl From<&Traits> for Dialect {
    fn from(traits: &Traits) -> Self {
        Self {
            name: traits.name,
            has_built_in_server: traits.has_built_in_server,
            base_path: traits.base_path.to_owned(),
            key_header: traits.key_header.clone(),
            key_prefix: traits.key_prefix.to_owned(),
            headers: Vec::new(),
            api_version: None,
            edits: Edits::default(),
            fills_in_errors: traits.fills_in_errors,
        }
    }
}

impl Dialect {
    /// The dialect that the configuration calls by this name.
    pub fn from_name(name: &str) -> Option<Self> {
        DIALECTS.iter().find(|d| d.name == name).map(Self::from)
    }

    /// Every name, in the order in which they are documented.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DIALECTS.iter().map(|d| d.name)
    }

    /// Changes to the scheme whose paths name a deployment and a version. `None` where the dialect
    /// has no such scheme.
    pub fn with_version(mut self, version: String) -> Option<Self> {
        let traits = DIALECTS.iter().find(|d| d.name == self.name)?;
        self.base_path = traits.versioned_base_path?.to_owned();
        self.api_version = Some(version);
        Some(self)
    }

    /// Whether its list of models has the names that requests use. Where the path names a deployment, the
    /// list has the models that a deployment can be made of.
    pub fn lists_models(&self) -> bool {
        self.api_version.is_none()
    }

    /// Sends the key in another header: bare, except in `Authorization`, where it follows `Bearer`.
    pub fn set_key_header(&mut self, name: HeaderName) {
        self.key_prefix = match name == AUTHORIZATION {
            true => BEARER.to_owned(),
            false => String::new(),
        };
        self.key_header = name;
    }

    /// The header value that carries `key`, marked so that nothing prints it; `None` when the key
    /// has bytes that no header can carry.
    pub fn credential(&self, key: &[u8]) -> Option<HeaderValue> {
        let value = [self.key_prefix.as_bytes(), key].concat();
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The path and query, below the base path, of an operation such as `/chat/completions`. `query` is
    /// the client's; `model` is the model for the upstream.
    pub fn target(&self, operation: &str, query: &str, model: Option<&str>) -> String {
        let mut target = String::with_capacity(operation.len() + query.len() + 64);
        match (&self.api_version, model) {
            (Some(_), Some(model)) if OF_A_DEPLOYMENT.contains(&operation) => {
                target.push_str("/deployments/");
                target.extend(utf8_percent_encode(model, SEGMENT));
                target.push_str(operation);
            }
            _ => target.push_str(operation),
        }
        self.add_query(target, query)
    }

    /// Whether the path of an operation names its model.
    pub fn needs_model(&self, operation: &str) -> bool {
        self.api_version.is_some() && OF_A_DEPLOYMENT.contains(&operation)
    }

    /// Whether an operation, as a client writes it, names a deployment, which only a model's rule may
    /// choose.
    pub fn names_deployment(&self, operation: &str) -> bool {
        let decoded = percent_decode_str(operation).decode_utf8_lossy();
        self.api_version.is_some() && decoded.to_ascii_lowercase().starts_with("/deployments/")
    }

    /// The path and query of a realtime WebSocket for `model`.
    pub fn socket_target(&self, operation: &str, query: &str, model: Option<&str>) -> String {
        let mut query = query.to_owned();
        if let Some(model) = model {
            let name = match self.api_version {
                Some(_) => "deployment",
                None => "model",
            };
            let separator = if query.is_empty() { "" } else { "&" };
            query.push_str(separator);
            query.push_str(name);
            query.push('=');
            query.extend(utf8_percent_encode(model, SEGMENT));
        }
        self.add_query(operation.to_owned(), &query)
    }

    fn add_query(&self, mut target: String, query: &str) -> String {
        let mut separator = '?';
        let mut add = |pair: &str| {
            target.push(separator);
            target.push_str(pair);
            separator = '&';
        };
        match &self.api_version {
            None if query.is_empty() => {}
            None => add(query),
            Some(version) => {
                let others = query.split('&').filter(|pair| !pair.is_empty());
                others
                    .filter(|pair| !pair.starts_with("api-version="))
                    .for_each(&mut add);
                add(&format!("api-version={version}"));
            }
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn azure(version: &str) -> Dialect {
        let azure = Dialect::from_name("azure").unwrap();
        azure.with_version(version.to_owned()).unwrap()
    }

    #[test]
    fn the_path_names_the_deployment_where_a_version_is_given() {
        let azure = azure("2024-10-21");
        assert_eq!(azure.base_path, "/openai");
        for (operation, query, target) in [
            (
                "/chat/completions",
                "",
                "/deployments/my-gpt/chat/completions?api-version=2024-10-21",
            ),
            (
                "/responses",
                "a=b&api-version=1",
                "/responses?a=b&api-version=2024-10-21",
            ),
        ] {
            assert_eq!(azure.target(operation, query, Some("my-gpt")), target);
        }
        let odd = azure.target("/embeddings", "", Some("a/b c"));
        assert!(
            odd.starts_with("/deployments/a%2Fb%20c/embeddings?"),
            "{odd}"
        );
    }

    #[test]
    fn elsewhere_the_path_is_the_operation_s_own() {
        let openai = Dialect::default();
        assert_eq!(openai.target("/files", "", None), "/files");
        assert_eq!(openai.target("/files", "a=1", Some("m")), "/files?a=1");
        let v1 = Dialect::from_name("azure").unwrap();
        assert_eq!(v1.base_path, "/openai/v1");
        assert_eq!(v1.target("/embeddings", "", Some("m")), "/embeddings");
        assert!(openai.with_version("1".into()).is_none());
    }

    #[test]
    fn an_operation_that_names_a_deployment_is_known_however_it_is_written() {
        for operation in ["/deployments/x/embeddings", "/De%70loyments%2Fx"] {
            assert!(azure("v").names_deployment(operation), "{operation}");
            assert!(!Dialect::default().names_deployment(operation));
        }
        assert!(!azure("v").names_deployment("/files/deployments/x"));
    }

    #[test]
    fn a_socket_s_model_is_in_its_query() {
        let target = Dialect::default().socket_target("/realtime", "x=1", Some("gpt realtime"));
        assert_eq!(target, "/realtime?x=1&model=gpt%20realtime");
        let target = azure("v").socket_target("/realtime", "", Some("mine"));
        assert_eq!(target, "/realtime?deployment=mine&api-version=v");
    }

    #[test]
    fn a_key_goes_where_the_dialect_says_and_never_prints() {
        let mut dialect = Dialect::from_name("azure").unwrap();
        let value = dialect.credential(b"secret").unwrap();
        assert_eq!(
            (dialect.key_header.as_str(), &value),
            ("api-key", &"secret".parse().unwrap())
        );
        assert!(!format!("{value:?}").contains("secret"));
        dialect.set_key_header(AUTHORIZATION);
        assert_eq!(dialect.credential(b"k").unwrap(), "Bearer k");
    }
}
