//! The URL of a Redis database.
//!
//! Owns its forms: `redis://` over TCP, `rediss://` over TLS, `redis+unix://` and `unix://` for a socket, with a user,
//! a password and the number of a database. Does not handle connecting (see `store::redis`). A URL in another form is
//! none.

use std::fmt;
use std::path::PathBuf;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::document::Node;
use crate::secret::Secret;

/// Where a database is, and as whom it is asked. It is no text that could be printed: it has a password.
pub struct RedisUrl {
    /// Where the server listens.
    pub server: RedisServer,
    /// Whether the connection is encrypted.
    pub has_tls: bool,
    /// The user, the password and the number of the database.
    pub login: RedisConnectionInfo,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServer {
    /// At a host and a port.
    Tcp(String, u16),
    /// At a socket.
    Unix(PathBuf),
}

impl RedisUrl {
    /// Reads a URL; `None` where it is none of a Redis.
    pub fn read(url: &Secret) -> Option<Self> {
        let url = url.expose();
        // What the library would read in it are settings of ours.
        if url.contains('#') {
            return None;
        }
        // The library would refuse this scheme: it is built without TLS, which is made here.
        let (has_tls, plain) = match url.strip_prefix("rediss://") {
            Some(rest) => (true, format!("redis://{rest}")),
            None => (false, url.to_owned()),
        };
        let info = plain.into_connection_info().ok()?;
        let server = match info.addr() {
            ConnectionAddr::Tcp(host, port) if !host.is_empty() => {
                RedisServer::Tcp(host.clone(), *port)
            }
            ConnectionAddr::Unix(path) => RedisServer::Unix(path.clone()),
            _ => return None,
        };
        let login = info.redis_settings().clone();
        (login.db() >= 0).then_some(Self {
            server,
            has_tls,
            login,
        })
    }
}

/// The place, without the user and the password: `host:port/database`.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            RedisServer::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}")?,
            RedisServer::Tcp(host, port) => write!(f, "{host}:{port}")?,
            RedisServer::Unix(path) => write!(f, "{}", path.display())?,
        }
        write!(f, "/{}", self.login.db())
    }
}

/// Reads a URL. What is said of it never has the URL in it: there may be a password.
pub(super) fn read(node: &Node<'_>) -> Option<Secret> {
    let url = Secret::new(node.name()?);
    if RedisUrl::read(&url).is_none() {
        node.report(
            "expected the URL of a Redis database",
            Some(
                "as in redis://USER:PASSWORD@HOST:6379/0, rediss:// for TLS or redis+unix:///PATH for a socket, \
                 with special characters of the password percent-encoded",
            ),
        );
        return None;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Option<RedisUrl> {
        RedisUrl::read(&Secret::new(url.to_owned()))
    }

    #[test]
    fn a_url_says_where_and_as_whom_and_is_shown_without_its_password() {
        for (url, place, has_tls) in [
            ("redis://127.0.0.1", "127.0.0.1:6379/0", false),
            ("redis://u:s3cret@h:7000/3", "h:7000/3", false),
            ("rediss://:s3cret@h/2", "h:6379/2", true),
            ("redis://[::1]:6380/", "[::1]:6380/0", false),
            (
                "unix:///run/redis.sock?db=4&pass=s3cret",
                "/run/redis.sock/4",
                false,
            ),
            ("redis+unix:///run/redis.sock", "/run/redis.sock/0", false),
        ] {
            let found = read(url).unwrap();
            assert_eq!(
                (found.to_string().as_str(), found.has_tls),
                (place, has_tls)
            );
            let password = found.login.password();
            assert_eq!(
                password,
                url.contains("s3cret").then_some("s3cret"),
                "{url}"
            );
        }
        assert_eq!(
            read("redis://u:a%40b@h").unwrap().login.password(),
            Some("a@b")
        );
    }

    #[test]
    fn another_url_is_none() {
        for url in [
            "",
            "h:6379",
            "redis://",
            "http://h",
            "redis://h/x",
            "redis://h/-1",
            "redis://h:99999",
            "rediss://h#insecure",
            "rediss+unix:///run/redis.sock",
        ] {
            assert!(read(url).is_none(), "{url}");
        }
    }
}
