//! TLS: from certificates and keys to what rustls needs of a side.
//!
//! `server` makes the configuration of a listener, `client` that of connections to another server, `sni` chooses among
//! the certificates of a listener, `clients` has those of its clients, `names` what of a certificate names its holder,
//! and `sm` has the suite of RFC 8998. Does not read files (see `config::pem`), nor make the handshake of a connection
//! (see `server::handshake` and `upstreams::dial`).

pub mod client;
pub mod clients;
pub mod names;
pub mod server;
pub mod sm;
mod sni;

/// Which suites are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suites {
    /// The usual ones: TLS 1.2 and 1.3 as `ring` has them. A listener gives them to all clients that know them.
    #[default]
    Usual,
    /// That of RFC 8998, and no other one. A listener gives it to clients that offer it.
    Sm,
}
