//! TLS: from certificates and keys to what rustls needs of a side.
//!
//! `server` makes the configuration of a listener, `sni` chooses among its certificates, `clients` has those of clients,
//! `names` what of a certificate names its holder, `sm` has the suite of RFC 8998. Does not read files (see
//! `config::certificate`), nor make the handshake of a connection (see `server::handshake`).

pub mod clients;
pub mod names;
pub mod server;
pub mod sm;
mod sni;
