//! Tollgate: a gateway for the OpenAI API.
//!
//! One binary between applications and model providers. This page is the map, and the first lines of
//! each file say what it owns. Imports point down only, and engines do not import each other;
//! `tests/architecture` checks both:
//!
//! ```text
//! main → cli → server (listeners, services, signals)
//!   gateway/   a request's way, one file or folder per step
//!   admin/     health, metrics, status        demo/   the built-in provider
//!   runtime/   the immutable snapshot, and the shared state that outlives it
//!   auth/  tenants/  managed/  limits/  prices/  ledger/  upstreams/  chatlog/  cache/     engines
//!   observe/   metrics, logging, masking       rotation/   the files of logs
//!   config/    what the operator wrote
//!   routing/   an engine below it: from a name to its rule, from a path to its route
//!   openai/    the OpenAI API on the wire, without I/O
//!   signature/ signed requests: what is covered, digests of bodies
//!   tls/       what rustls needs of a side; the suite of RFC 8998
//!   store/     connections to databases
//!   weighted, ids, secret, clock, workers
//! ```
//!
//! [`gateway`] describes the way of a request, and `docs/architecture.md` draws it.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests prepare files, and wait for threads"
    )
)]

pub mod admin;
pub mod auth;
pub mod cache;
pub mod chatlog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod gateway;
pub mod https;
pub mod ids;
pub mod jwt;
pub mod ledger;
pub mod limits;
pub mod managed;
pub mod networks;
pub mod observe;
pub mod openai;
pub mod prices;
pub mod rotation;
pub mod routing;
pub mod runtime;
pub mod secret;
pub mod server;
pub mod signature;
pub mod store;
pub mod tenants;
pub mod tls;
pub mod upstreams;
pub mod weighted;
pub mod workers;
