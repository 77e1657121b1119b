//! The OpenAI wire: what goes over it, without any I/O.
//!
//! `endpoint` names the paths, `request` reads and rewrites a body, `error` gives errors their
//! form, `dialect` says how providers differ. Refuses to know Pingora, sockets or configuration.

pub mod dialect;
pub mod edit;
pub mod endpoint;
pub mod error;
pub mod form;
pub mod models;
pub mod request;
pub mod rewrite;
pub mod websocket;
