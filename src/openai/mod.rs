//! The OpenAI wire: what goes over it, without any I/O.
//!
//! `endpoint` names the paths. Of a request, `request` reads JSON and `form` forms, `edit` changes
//! what a target wants changed. Of an answer, `sse` tells the events of a stream apart, `progress`
//! says what each means, `rewrite` changes names and first words; `shape` is what the two share.
//! `error` gives errors their form, `models` lists, `websocket` what we say over sockets; `dialect`
//! says how providers differ. Refuses to know Pingora, sockets or configuration.

pub mod dialect;
pub mod edit;
pub mod endpoint;
pub mod error;
pub mod form;
pub mod models;
pub mod progress;
pub mod request;
pub mod rewrite;
mod shape;
pub mod sse;
pub mod websocket;
