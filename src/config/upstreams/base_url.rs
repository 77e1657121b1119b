//! The base URL of a server.
//!
//! Owns its form. Does not resolve names (see `upstreams::pool`). What is wrong with one is returned to
//! the caller, which knows where it is written.

use std::net::SocketAddr;

/// The parts of a base URL that we connect with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where the API stands, without a slash at its end: empty for the root. `None` where no path is
    /// written: the dialect has one.
    pub path: Option<String>,
}

impl BaseUrl {
    /// Parses `http(s)://host[:port][/path]`. An endpoint at its end, which is what people copy from
    /// a provider's page, is removed: `/v1/chat/completions` is `/v1`, and `/chat/completions` the root.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url: http::Uri = text.trim().parse().map_err(|_| "is not a URL")?;
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with http:// or https://"),
        };
        let authority = url.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("must not hold a user or password: use `keys`");
        }
        if url.query().is_some() {
            return Err("must not have a query");
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("has no host");
        }
        let path = url.path().trim_end_matches('/');
        let path = (!path.is_empty()).then(|| without_endpoint(path).to_owned());
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path,
        })
    }

    /// The value of the `Host` header: with the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

fn without_endpoint(path: &str) -> &str {
    let Some(path) = path.strip_suffix("/completions") else {
        return path;
    };
    let path = path.strip_suffix("/chat").unwrap_or(path);
    path.trim_end_matches('/')
}

impl From<SocketAddr> for BaseUrl {
    /// Cleartext at an address.
    fn from(address: SocketAddr) -> Self {
        Self {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            path: None,
        }
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path.as_deref().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_apart() {
        let url = BaseUrl::parse("https://api.openai.com/v1/").unwrap();
        assert_eq!(
            (url.tls, url.host.as_str(), url.port, url.path.as_deref()),
            (true, "api.openai.com", 443, Some("/v1"))
        );
        assert_eq!(url.authority(), "api.openai.com");
        assert_eq!(url.to_string(), "https://api.openai.com/v1");
    }

    #[test]
    fn an_endpoint_at_the_end_is_left_out() {
        for (text, path) in [
            ("https://a.example/v1/chat/completions", Some("/v1")),
            ("https://a.example/v1/chat/completions/", Some("/v1")),
            ("https://a.example/v1/completions", Some("/v1")),
            ("https://a.example/api//chat/completions", Some("/api")),
            ("https://a.example/chat/completions", Some("")),
            ("https://a.example/completions/", Some("")),
            ("https://a.example//chat/completions", Some("")),
            ("https://a.example/v1/chat", Some("/v1/chat")),
            (
                "https://a.example/autocompletions",
                Some("/autocompletions"),
            ),
            ("https://a.example", None),
            ("https://a.example/", None),
            ("https://a.example//", None),
        ] {
            assert_eq!(
                BaseUrl::parse(text).unwrap().path.as_deref(),
                path,
                "{text}"
            );
        }
    }

    #[test]
    fn an_ipv6_host_keeps_its_brackets_in_the_authority_alone() {
        let url = BaseUrl::parse("http://[::1]:8000/v1").unwrap();
        assert_eq!(
            (url.host.as_str(), url.authority().as_str()),
            ("::1", "[::1]:8000")
        );
    }

    #[test]
    fn urls_that_cannot_be_meant_are_refused() {
        for bad in [
            "api.openai.com/v1",
            "ftp://host/v1",
            "https://user:pw@host/v1",
            "https://host/v1?key=1",
            "",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
