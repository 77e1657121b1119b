//! Who may ask for `/admin/*`.
//!
//! Owns the check: a caller has `server.admin_token`, or, where none is configured, asks from this machine and is no
//! web page: a browser lets any page send a POST to this machine, and says so in `Origin`. Does not handle the answer
//! (see `admin`) or names that are pointed at this machine (see `host`). Cannot fail.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN};

use crate::secret::{KeyHash, Secret};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no token, or another one.
    Token,
    /// No token is configured, and it comes from another machine.
    Elsewhere,
    /// No token is configured, and a browser has sent it for a web page.
    Page,
}

/// Checks the headers of a request, and the address that it comes from. The token is compared in constant time.
///
/// # Errors
/// It may not ask.
pub fn check(
    token: Option<&Secret>,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<(), Refusal> {
    let Some(token) = token else {
        let is_here = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
        return match (is_here, is_of_a_page(headers)) {
            (false, _) => Err(Refusal::Elsewhere),
            (true, true) => Err(Refusal::Page),
            (true, false) => Ok(()),
        };
    };
    let authorization = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let given = authorization.and_then(|value| value.split_at_checked(7));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    let matches = given.is_some_and(|(_, given)| KeyHash::of(given).matches(&token.hash()));
    if matches { Ok(()) } else { Err(Refusal::Token) }
}

/// Whether a browser has sent it, for a page that is not of this listener. It serves none.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_token_only_the_token_counts() {
        let token = Secret::new("a-token-of-the-operator".to_owned());
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        let check = |given: Option<&str>, peer| {
            let given = given.map(|given| (AUTHORIZATION, given.parse().unwrap()));
            check(Some(&token), &given.into_iter().collect(), peer)
        };
        assert_eq!(check(Some("Bearer a-token-of-the-operator"), None), Ok(()));
        assert_eq!(check(Some("bearer a-token-of-the-operator"), here), Ok(()));
        let wrong = [
            "",
            "Bearer ",
            "Bearer a-token-of-the-operato",
            "a-token-of-the-operator",
            "Basic x",
        ];
        for given in wrong.map(Some).into_iter().chain([None]) {
            assert_eq!(check(given, here), Err(Refusal::Token), "{given:?}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_may_ask() {
        let none = HeaderMap::new();
        let check = |peer: Option<&str>| check(None, &none, peer.map(|ip| ip.parse().unwrap()));
        for here in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(check(Some(here)), Ok(()), "{here}");
        }
        for elsewhere in [
            None,
            Some("10.0.0.1"),
            Some("::ffff:10.0.0.1"),
            Some("2001:db8::1"),
        ] {
            assert_eq!(check(elsewhere), Err(Refusal::Elsewhere), "{elsewhere:?}");
        }
    }

    #[test]
    fn without_a_token_no_web_page_may_ask() {
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        let check = |name: &'static str, value: &'static str| {
            let name = http::HeaderName::from_static(name);
            let headers = [(name, http::HeaderValue::from_static(value))];
            check(None, &headers.into_iter().collect(), here)
        };
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:9464"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(check(name, value), Err(Refusal::Page), "{name}: {value}");
        }
        // Typed by the operator.
        assert_eq!(check("sec-fetch-site", "none"), Ok(()));
    }
}
