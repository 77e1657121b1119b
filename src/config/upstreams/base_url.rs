//! The base URL of a server.
//!
//! Owns its form. Does not resolve names (see `upstreams::names`). What is wrong with one is returned to
//! the caller, which knows where it is written.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The longest path of a socket, as systems bound it.
const MAX_SOCKET_BYTES: usize = 107;

/// The parts of a base URL that we connect with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The path of a Unix socket, in place of the host and port.
    pub socket: Option<PathBuf>,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where the API stands, without a slash at its end: empty for the root. `None` where no path is
    /// written: the dialect has one.
    pub path: Option<String>,
}

impl BaseUrl {
    /// Parses `http(s)://host[:port][/path]`, or `unix:/socket[:/path]`. An endpoint at its end, which is what people
    /// copy from a provider's page, is removed: `/v1/chat/completions` is `/v1`, and `/chat/completions` the root.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.trim().strip_prefix("unix:") {
            return Self::parse_socket(rest);
        }
        if ["http://unix:", "https://unix:", "http+unix:", "unix://"]
            .iter()
            .any(|start| text.trim().starts_with(start))
        {
            return Err("names a Unix socket in another way than unix:/run/vllm.sock");
        }
        let url: http::Uri = text.trim().parse().map_err(|_| "is not a URL")?;
        let tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with http://, https:// or unix:/"),
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
        let path = base_path(url.path());
        Ok(Self {
            tls,
            socket: None,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path,
        })
    }

    /// Parses what stands behind `unix:`. HTTP is spoken in cleartext, to `localhost`.
    fn parse_socket(text: &str) -> Result<Self, &'static str> {
        let (socket, path) = match text.split_once(":/") {
            Some((socket, path)) => (socket, format!("/{path}")),
            None => (text, String::new()),
        };
        if !socket.starts_with('/') || socket.ends_with('/') {
            return Err("must name a socket by its absolute path, as in unix:/run/vllm.sock");
        }
        if socket.len() > MAX_SOCKET_BYTES {
            return Err("names a socket whose path has more than 107 bytes");
        }
        // As `http::Uri` would: what it refuses could not be sent.
        let path: http::Uri = match path.as_str() {
            "" => http::Uri::from_static("/"),
            path => path.parse().map_err(|_| "is not a URL")?,
        };
        if path.query().is_some() {
            return Err("must not have a query");
        }
        Ok(Self {
            tls: false,
            socket: Some(PathBuf::from(socket)),
            host: "localhost".to_owned(),
            port: 80,
            path: base_path(path.path()),
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

fn base_path(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    (!path.is_empty()).then(|| without_endpoint(path).to_owned())
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
            socket: None,
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
        if let Some(socket) = &self.socket {
            let colon = if path.is_empty() { "" } else { ":" };
            return write!(f, "unix:{}{colon}{path}", socket.display());
        }
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
    fn a_socket_stands_in_place_of_the_host() {
        for (text, socket, path) in [
            ("unix:/run/vllm.sock", "/run/vllm.sock", None),
            ("unix:/run/vllm.sock:/v1/", "/run/vllm.sock", Some("/v1")),
            ("unix:/run/a:b.sock:/v1", "/run/a:b.sock", Some("/v1")),
            (
                "unix:/run/v.sock:/v1/chat/completions",
                "/run/v.sock",
                Some("/v1"),
            ),
        ] {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!(
                url.socket.as_deref(),
                Some(std::path::Path::new(socket)),
                "{text}"
            );
            assert_eq!((url.path.as_deref(), url.tls), (path, false), "{text}");
            assert_eq!(url.authority(), "localhost");
        }
        let shown = BaseUrl::parse("unix:/run/v.sock:/v1").unwrap().to_string();
        assert_eq!(shown, "unix:/run/v.sock:/v1");
    }

    #[test]
    fn urls_that_cannot_be_meant_are_refused() {
        for bad in [
            "api.openai.com/v1",
            "ftp://host/v1",
            "https://user:pw@host/v1",
            "https://host/v1?key=1",
            "unix:run/vllm.sock",
            "unix:/run/",
            "unix:/run/vllm.sock:/v1?key=1",
            "unix:/run/vllm.sock:/v 1",
            "unix:",
            "",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
