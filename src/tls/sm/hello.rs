//! Which clients get the suite of RFC 8998.
//!
//! Owns the decision by what a client offers. Does not handle reading its offer from the connection (see
//! `server::client_hello`).

use rustls::server::ClientHello;
use rustls::{CipherSuite, NamedGroup, SignatureScheme};

use super::{GROUP, SCHEME, SUITE};

/// Whether a client offers the suite, the group and the scheme. One that lacks any of them cannot be served by them.
pub fn offers(hello: &ClientHello<'_>) -> bool {
    let groups = hello.named_groups().unwrap_or_default();
    offers_all(hello.cipher_suites(), groups, hello.signature_schemes())
}

fn offers_all(suites: &[CipherSuite], groups: &[NamedGroup], schemes: &[SignatureScheme]) -> bool {
    suites.contains(&SUITE) && groups.contains(&GROUP) && schemes.contains(&SCHEME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_must_offer_all_three() {
        let (suites, groups) = (
            [CipherSuite::TLS13_AES_128_GCM_SHA256, SUITE],
            [NamedGroup::X25519, GROUP],
        );
        let schemes = [SignatureScheme::ED25519, SCHEME];
        assert!(offers_all(&suites, &groups, &schemes));
        assert!(!offers_all(&suites[..1], &groups, &schemes));
        assert!(!offers_all(&suites, &groups[..1], &schemes));
        assert!(!offers_all(&suites, &groups, &schemes[..1]));
        assert!(!offers_all(&[], &[], &[]));
    }
}
