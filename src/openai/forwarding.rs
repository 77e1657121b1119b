//! Which of a client's headers may be forwarded at all.
//!
//! Owns the headers that no upstream may see, with the reason, and the list of other headers that an operator
//! adds for an upstream. Does not handle the headers that pass by default (see `gateway::headers`). Fails for
//! a header that must not be on such a list, and says why.

use std::borrow::Cow;

use http::HeaderName;

/// The most names and prefixes of one upstream.
pub const MAX_FORWARDED: usize = 64;

/// Why a header is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// It identifies the client, or the account that pays.
    Credential,
    /// It frames or encodes the body, or is about this connection alone.
    Connection,
    /// It describes the client's network, or proxies.
    Forwarding,
    /// It is for gateways among themselves.
    Gateway,
}

impl About {
    /// The message for the operator.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Credential => "carries a credential, or chooses the account: that is for `keys`",
            Self::Connection => {
                "is about the connection or the body's framing, which the gateway sets itself"
            }
            Self::Forwarding => "describes the client's network, which upstreams do not see",
            Self::Gateway => "is set by the gateway itself",
        }
    }
}

/// The reason for which no upstream sees a header, given its name in lower case; also for a name that a
/// server may read as such.
pub fn withheld(name: &str) -> Option<About> {
    let name = &*as_read(name);
    const PREFIXES: [(&str, About); 5] = [
        ("cf-", About::Forwarding),
        ("proxy-", About::Credential),
        ("sec-", About::Connection),
        ("x-forwarded-", About::Forwarding),
        ("x-tollgate-", About::Gateway),
    ];
    match name {
        "api-key"
        | "authorization"
        | "cookie"
        | "openai-organization"
        | "openai-project"
        | "signature"
        | "signature-input"
        | "x-api-key"
        | "x-goog-api-key" => Some(About::Credential),
        "connection" | "content-digest" | "content-length" | "expect" | "host"
        | "http2-settings" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" => {
            Some(About::Connection)
        }
        "forwarded" | "true-client-ip" | "via" | "x-real-ip" => Some(About::Forwarding),
        _ => PREFIXES
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))
            .map(|(_, about)| *about),
    }
}

/// A header's name as a server may read it that takes another character, or several, for a hyphen.
fn as_read(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.bytes().all(is_plain) && !name.contains("--") {
        return Cow::Borrowed(name);
    }
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join("-"))
}

/// What an operator cannot add: also how the bytes of a body are encoded, since bodies are read.
fn forbidden(name: &str) -> Option<About> {
    match name {
        "accept-encoding" | "content-encoding" => Some(About::Connection),
        _ => withheld(name),
    }
}

/// What an operator adds to the headers that pass; empty for nearly all upstreams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    names: Vec<HeaderName>,
    prefixes: Vec<String>,
}

/// Why an entry cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is neither a header's name nor the beginning of one with a `*`.
    NotAName,
    /// It would forward what must not be.
    Forbidden(About),
    /// There are [`MAX_FORWARDED`] already.
    TooMany,
}

impl Forwarded {
    /// Adds a name, or a prefix that ends in `*`, in any case.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn add(&mut self, text: &str) -> Result<(), Fault> {
        if self.names.len() + self.prefixes.len() >= MAX_FORWARDED {
            return Err(Fault::TooMany);
        }
        let prefix = text.strip_suffix('*');
        let name = prefix.unwrap_or(text);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Fault::NotAName)?;
        if name.as_str().contains('*') {
            return Err(Fault::NotAName);
        }
        if let Some(about) = forbidden(name.as_str()) {
            return Err(Fault::Forbidden(about));
        }
        match prefix {
            Some(_) => self.prefixes.push(name.as_str().to_owned()),
            None => self.names.push(name),
        }
        Ok(())
    }

    /// Whether a header is forwarded. A prefix takes nothing along that could not be named.
    pub fn passes(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        let mut prefixes = self.prefixes.iter();
        self.names.contains(name)
            || prefixes.any(|prefix| text.starts_with(prefix.as_str())) && forbidden(text).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_another_is_read_as_that() {
        for name in ["x_api_key", "x--api-key", "x-api_key", "_x.api.key"] {
            assert_eq!(withheld(name), Some(About::Credential), "{name}");
        }
        assert_eq!(as_read("session_id"), "session-id");
        assert!(matches!(as_read("x-title"), Cow::Borrowed("x-title")));
    }

    fn passes(list: &[&str], name: &'static str) -> bool {
        let mut forwarded = Forwarded::default();
        list.iter().for_each(|entry| forwarded.add(entry).unwrap());
        forwarded.passes(&HeaderName::from_static(name))
    }

    #[test]
    fn what_is_listed_passes_by_name_or_prefix() {
        let list = ["X-Acme-*", "Version", "X-*"];
        for name in ["x-acme-tag", "x-acme-", "version", "x-anything"] {
            assert!(passes(&list, name), "{name}");
        }
        for name in ["versions", "acme", "accept-language"] {
            assert!(!passes(&list, name), "{name}");
        }
        assert!(!passes(&[], "version"));
    }

    #[test]
    fn a_prefix_takes_nothing_along_that_could_not_be_named() {
        for name in [
            "x-api-key",
            "x-forwarded-for",
            "x-real-ip",
            "x-tollgate-hops",
            "accept-encoding",
            "content-length",
            "authorization",
        ] {
            assert!(!passes(&["x-*", "a*", "c*"], name), "{name}");
        }
    }

    #[test]
    fn what_must_not_be_forwarded_cannot_be_listed() {
        for (entry, about) in [
            ("Authorization", About::Credential),
            ("x-api-key", About::Credential),
            ("OpenAI-Project", About::Credential),
            ("proxy-*", About::Credential),
            ("Content-Length", About::Connection),
            ("content-encoding", About::Connection),
            ("sec-websocket-*", About::Connection),
            ("te", About::Connection),
            ("X-Forwarded-*", About::Forwarding),
            ("cf-ray", About::Forwarding),
            ("via", About::Forwarding),
            ("x-tollgate-hops", About::Gateway),
        ] {
            let added = Forwarded::default().add(entry);
            assert_eq!(added, Err(Fault::Forbidden(about)), "{entry}");
        }
        for entry in ["", "*", "x-*-y", "x y", "x-é", "x:"] {
            let added = Forwarded::default().add(entry);
            assert_eq!(added, Err(Fault::NotAName), "{entry}");
        }
    }

    #[test]
    fn a_list_has_a_bound() {
        let mut forwarded = Forwarded::default();
        for number in 0..MAX_FORWARDED {
            forwarded.add(&format!("x-{number}")).unwrap();
        }
        assert_eq!(forwarded.add("x-more"), Err(Fault::TooMany));
    }
}
