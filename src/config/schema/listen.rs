//! The schema of a listener, of its connections over HTTP/2, and of who may call over it.
//!
//! Owns their keys. Does not handle how they are read (see `config::server`, `config::auth` and
//! `config::address_rules`). Cannot fail.

use serde_json::Value;

use super::shapes::{
    boolean, duration, integer, list, list_or, one_of, or, reference, section, size, text, word,
};
use crate::config::Method;
use crate::tls::server::Choice;

fn hsts() -> Value {
    section(
        &["max_age"],
        [
            ("max_age", "For how long.", duration()),
            (
                "include_subdomains",
                "Whether for every name below the host, too.",
                or(boolean(), false),
            ),
            (
                "preload",
                "Whether browsers may ship with it.",
                or(boolean(), false),
            ),
        ],
    )
}

pub(super) fn cors() -> Value {
    section(
        &["origins"],
        [
            (
                "origins",
                "The pages that may call: scheme, host and port; *. before a host; or * for all.",
                list(text()),
            ),
            (
                "max_age",
                "How long a browser may remember what it was told.",
                or(duration(), "10m"),
            ),
            (
                "credentials",
                "Whether a page may call with the browser's client certificate.",
                or(boolean(), false),
            ),
        ],
    )
}

/// Who may come, by address.
pub(super) fn addresses() -> Value {
    section(
        &[],
        [
            (
                "allow",
                "The only networks from which one may come.",
                list(text()),
            ),
            ("deny", "Networks from which one may not.", list(text())),
        ],
    )
}

pub(super) fn http2() -> Value {
    section(
        &[],
        [
            (
                "max_concurrent_streams",
                "Streams at a time. One more is refused.",
                or(integer(1, 1000), 100),
            ),
            (
                "initial_window",
                "Bytes of a body that may be sent before they are read, from 16KiB to 16MiB.",
                or(size(), 65_535),
            ),
            (
                "connection_window",
                "The same of all bodies of the connection, from 65535 to 64MiB.",
                or(size(), 65_535),
            ),
            (
                "max_frame_size",
                "The largest frame, from 16KiB to 1MiB.",
                or(size(), "16KiB"),
            ),
            (
                "max_pending_resets",
                "Streams that were reset before they were served, at a time. More end the connection.",
                or(integer(1, 1000), 20),
            ),
        ],
    )
}

/// The same key is in a listener and in a tenant.
pub(super) const METHODS: &str =
    "The methods by which callers are found. Default: every one that is configured.";

/// A list of methods, or one alone.
pub(super) fn methods() -> Value {
    let method = || word(Method::ALL.map(Method::name));
    list_or(method(), method())
}

fn clients() -> Value {
    let lists = "Lists of revoked certificates, in PEM or DER.";
    section(
        &["ca"],
        [
            ("ca", "The certificates of the authorities, in PEM.", text()),
            ("crl", lists, list_or(text(), text())),
            (
                "required",
                "Whether a client without a certificate is refused.",
                or(boolean(), true),
            ),
        ],
    )
}

fn tls() -> Value {
    let files = [
        ("cert", "The certificate, then its chain, in PEM.", text()),
        ("key", "The private key in PEM, unencrypted.", text()),
    ];
    let only =
        "Refuse clients without these algorithms. Then `cert` and `key` are those of `sm` alone.";
    let only = ("only", only, or(boolean(), false));
    let sm = section(&["cert", "key"], files.clone().into_iter().chain([only]));
    let sm_text = "A certificate of SM2, for clients that offer TLS by RFC 8998: SM2, SM3 and SM4.";
    let ocsp = (
        "ocsp",
        "What its authority says of its state, in DER.",
        text(),
    );
    let more = section(
        &["cert", "key"],
        files.clone().into_iter().chain([ocsp.clone()]),
    );
    let more_text = "Further certificates: a client gets the one for the host that it names (SNI).";
    let suites: Vec<&str> = Choice::all().map(|(name, _)| name).collect();
    let choice = [
        ocsp,
        ("certificates", more_text, list(more)),
        (
            "min_version",
            "The least version of TLS.",
            or(word(["1.2", "1.3"]), "1.2"),
        ),
        (
            "suites",
            "The suites that are offered. Default: all.",
            list(word(suites)),
        ),
        ("clients", "Whose certificates clients show.", clients()),
        ("sm", sm_text, sm),
    ];
    section(&[], files.into_iter().chain(choice))
}

pub(super) fn listener() -> Value {
    section(
        &["address"],
        [
            (
                "address",
                "An IP address with a port, or unix: and a path.",
                text(),
            ),
            (
                "mode",
                "The permissions of a Unix socket's file, in octal digits.",
                or(text(), "0660"),
            ),
            (
                "proxy_protocol",
                "Whether each connection begins with a PROXY header of a trusted proxy.",
                or(boolean(), false),
            ),
            ("tls", "Certificate and key; without them cleartext.", tls()),
            ("auth", METHODS, methods()),
            ("addresses", "Who may connect.", reference("addresses")),
            (
                "hsts",
                "For how long browsers use TLS alone. With `tls`.",
                one_of([duration(), hsts()]),
            ),
            (
                "redirect",
                "`https`, or the URL of a server, to which clients are sent. Without `tls`.",
                text(),
            ),
        ],
    )
}
