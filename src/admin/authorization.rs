//! Who may ask for `/admin/*`.
//!
//! Owns the check: a caller has `server.admin_token`, or, where none is configured, asks from this machine.
//! Does not handle the answer (see `admin`) or names that are pointed at this machine (see `host`). Cannot fail.

use std::net::IpAddr;

use crate::secret::{KeyHash, Secret};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no token, or another one.
    Token,
    /// No token is configured, and it comes from another machine.
    Elsewhere,
}

/// Checks the `Authorization` of a request, and the address that it comes from. The token is compared in constant
/// time.
///
/// # Errors
/// It may not ask.
pub fn check(
    token: Option<&Secret>,
    authorization: Option<&[u8]>,
    peer: Option<IpAddr>,
) -> Result<(), Refusal> {
    let Some(token) = token else {
        let is_here = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
        return if is_here {
            Ok(())
        } else {
            Err(Refusal::Elsewhere)
        };
    };
    let given = authorization.and_then(|value| value.split_at_checked(7));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    let matches = given.is_some_and(|(_, given)| KeyHash::of(given).matches(&token.hash()));
    if matches { Ok(()) } else { Err(Refusal::Token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_token_only_the_token_counts() {
        let token = Secret::new("a-token-of-the-operator".to_owned());
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        let check = |given: Option<&str>, peer| check(Some(&token), given.map(str::as_bytes), peer);
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
        let check = |peer: Option<&str>| check(None, None, peer.map(|ip| ip.parse().unwrap()));
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
}
