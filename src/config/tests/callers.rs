//! Mistakes in how callers are found, and in the TLS of listeners: what is said of them.

use std::path::Path;

use super::{problems, problems_of_tls, with};

#[track_caller]
fn assert_told(found: &[String], expected: &str) {
    let is_told = found.iter().any(|problem| problem.contains(expected));
    assert!(is_told, "expected `{expected}` in {found:#?}");
}

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sm");
    folder.join(name).display().to_string()
}

#[test]
fn tls_with_several_certificates_and_clients_is_read() {
    let files = format!(
        "cert: '{}', key: '{}'",
        file("usual.pem"),
        file("usual.key")
    );
    let tls = format!(
        "{files}, certificates: [{{ {files} }}], min_version: '1.3', suites: [TLS_AES_128_GCM_SHA256], \
         clients: {{ ca: '{}', required: false }}",
        file("ca.pem")
    );
    assert_eq!(problems_of_tls(&tls), [""; 0]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_wrong_with_tls_is_told_at_its_place() {
    let files = format!(
        "cert: '{}', key: '{}'",
        file("usual.pem"),
        file("usual.key")
    );
    let (ca, key, leaf) = (file("ca.pem"), file("usual.key"), file("usual.pem"));
    for (more, expected) in [
        (
            "certificates: [{ cert: a.pem }]",
            "certificates[0]: `key` is missing",
        ),
        (
            "certificates: [{ cert: none.pem, key: none.pem }]",
            "certificates[0].cert: cannot read none.pem",
        ),
        ("certificates: {}", "certificates: expected a list"),
        (
            "min_version: '1.1'",
            "min_version: `1.1` is not a version of TLS that is spoken (1.2 or 1.3)",
        ),
        (
            "suites: []",
            "suites: without suites no client could connect",
        ),
        (
            "suites: [TLS_RSA_WITH_RC4_128_SHA]",
            "suites[0]: `TLS_RSA_WITH_RC4_128_SHA` is not a suite that is known (one of TLS_",
        ),
        (
            "min_version: '1.3', suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
            "suites: none of them is for TLS 1.3, the only version",
        ),
        ("ocsp: none.der", "ocsp: cannot read none.der"),
        (
            "ocsp: 'CA'",
            "is not an OCSP response in DER (write it with: openssl ocsp",
        ),
        ("clients: {}", "clients: `ca` is missing"),
        (
            "clients: { ca: none.pem }",
            "clients.ca: cannot read none.pem",
        ),
        ("clients: { ca: 'KEY' }", "holds no certificate"),
        (
            "clients: { ca: 'LEAF' }",
            "is not one of an authority (name the authority that has signed",
        ),
        ("clients: { ca: /dev/zero }", "it is not a file"),
        (
            "clients: { ca: 'CA', crl: [] }",
            "clients.crl: there is no list",
        ),
        (
            "clients: { ca: 'CA', crl: none.pem }",
            "clients.crl: cannot read none.pem",
        ),
        (
            "clients: { ca: 'CA', crl: ['CA'] }",
            "holds no list of revoked certificates",
        ),
        (
            "clients: { ca: 'CA', required: maybe }",
            "clients.required:",
        ),
        (
            "clients: { ca: 'CA', mode: optional }",
            "clients.mode: unknown key",
        ),
    ] {
        let more = more
            .replace("CA", &ca)
            .replace("KEY", &key)
            .replace("LEAF", &leaf);
        let found = problems_of_tls(&format!("{files}, {more}"));
        assert_told(&found, expected);
    }
    let sm = format!(
        "sm: {{ cert: '{}', key: '{}' }}",
        file("server.pem"),
        file("server.key")
    );
    let found = problems_of_tls(&format!("{files}, {sm}, clients: {{ ca: '{ca}' }}"));
    assert_told(
        &found,
        "clients.ca: clients of `sm` show no certificate, and would get in without one",
    );
    let found = problems_of_tls(&sm.replace(" }", ", only: true }, clients: { ca: a }"));
    assert_told(&found, "clients: with `sm.only: true`, no client gets this");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_wrong_with_keys_that_sign_is_told_without_the_secret() {
    let secret = "0123456789abcdef0123456789abcdef";
    for (auth, tenant, expected) in [
        ("", "hmac: [{ id: k1 }]", "hmac[0]: `secret` is missing"),
        ("", "hmac: [{ secret: SECRET }]", "hmac[0]: `id` is missing"),
        (
            "",
            "hmac: [{ id: k1, secret: 0123456789abcdef }]",
            "hmac[0].secret: a secret has 32 to 1024 bytes, and this has 16",
        ),
        (
            "",
            "hmac: [{ id: k1, secret: '' }]",
            "hmac[0].secret: a secret has 32 to 1024 bytes, and this has 0",
        ),
        (
            "",
            "hmac: [{ id: 'a b', secret: SECRET }]",
            "hmac[0].id: an id has up to 64 letters",
        ),
        (
            "",
            "hmac: [{ id: k1, secret: SECRET }, { id: k1, secret: SECRET }]",
            "hmac[1].id: a key of the tenant `t` has the id `k1` already",
        ),
        ("", "hmac: [k1]", "hmac[0]:"),
        (
            "hmac: { window: 1s }",
            "keys: [k]",
            "auth.hmac.window: expected 5s to 1h",
        ),
        (
            "hmac: { window: 2h }",
            "keys: [k]",
            "auth.hmac.window: expected 5s to 1h",
        ),
        ("hmac: { nonces: 0 }", "keys: [k]", "auth.hmac.nonces:"),
        (
            "hmac: { nonce: 1 }",
            "keys: [k]",
            "auth.hmac.nonce: unknown key",
        ),
        (
            "",
            "auth: hmac, keys: [k]",
            "`auth` names hmac, and no tenant has a key that signs",
        ),
        (
            "",
            "auth: mtls, keys: [k]",
            "`auth` names mtls, and no listener asks clients for a certificate",
        ),
        (
            "",
            "mtls: [{}]",
            "mtls[0]: an entry has exactly one of `subject`, `cn`, `dns`, `uri`, `email`",
        ),
        (
            "",
            "mtls: [{ cn: a, dns: b }]",
            "mtls[0]: an entry has exactly one of",
        ),
        (
            "",
            "mtls: [{ cn: a }, { cn: a }]",
            "mtls[1].cn: the cn `a` belongs to the tenant `t` already",
        ),
        (
            "",
            "mtls: [{ dns: A.example }, { dns: a.Example }]",
            "mtls[1].dns: the dns `a.example` belongs",
        ),
        ("", "mtls: [{ ip: 10.0.0.1 }]", "mtls[0].ip: unknown key"),
        (
            "",
            "mtls: [{ subject: /CN=a }]",
            "mtls[0].subject: this is not a subject as RFC 4514 writes it",
        ),
        (
            "",
            "mtls: [{ subject: 'CN = a' }]",
            "mtls[0].subject: this is not a subject",
        ),
        (
            "",
            "mtls: [{ dns: '*.a' }]",
            "mtls[0].dns: a `*` is no pattern here",
        ),
        (
            "",
            "mtls: [{ cn: a }]",
            "mtls[0].cn: no listener asks clients for a certificate",
        ),
        (
            "",
            "hmac: [{ id: k1, secret: 'sha256:0123456789abcdef0123456789' }]",
            "hmac[0].secret: a signature is verified with the secret itself",
        ),
        (
            "",
            "auth: key, mtls: [{ cn: a }]",
            "at least one key is needed",
        ),
    ] {
        let tenant = tenant.replace("SECRET", secret);
        let text = with(&format!(
            "auth: {{ {auth} }}\ntenants: [{{ id: t, {tenant} }}]"
        ));
        let found = problems(&text);
        assert_told(&found, expected);
        assert!(
            !found
                .iter()
                .any(|problem| problem.contains("0123456789abcdef")),
            "{found:#?}"
        );
    }
}
