//! Tollgate: a gateway for the OpenAI API.
//!
//! One binary between applications and model providers. This page is the map; each file's first
//! lines say what it owns. Imports point down only, and engines on one line do not know each other; `tests/architecture` holds both:
//!
//! ```text
//! main → cli → server (listeners, services, signals)
//!   gateway/   the edge: the only `impl ProxyHttp`, one file per step of a request
//!   admin/     health and metrics        demo/   a provider in a box
//!   runtime/   the immutable snapshot, and the shared state that outlives it
//!   auth/  tenants/  upstreams/  chatlog/     engines
//!   observe/   metrics, logging, masking
//!   config/    what the operator wrote
//!   routing/   an engine below it: from a name to its rule, from a path to its route
//!   openai/    the wire, without I/O
//!   weighted, ids, secret, clock, workers
//! ```
//!
//! The way of a request is in [`gateway`]; `docs/architecture.md` draws it.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests prepare files, and wait for threads"
    )
)]

pub mod admin;
pub mod auth;
pub mod chatlog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod gateway;
pub mod ids;
pub mod observe;
pub mod openai;
pub mod routing;
pub mod runtime;
pub mod secret;
pub mod server;
pub mod tenants;
pub mod upstreams;
pub mod weighted;
pub mod workers;
