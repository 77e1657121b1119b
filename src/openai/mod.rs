//! The OpenAI wire: what goes over it, without any I/O.
//!
//! `endpoint` names the paths. Of a request, `request` reads JSON and `form` forms, `edit` changes
//! what a target wants changed. Of an answer, `sse` tells the events of a stream apart, `progress`
//! says what each means, `complaint` reads what went wrong and `ratelimit` what is left and how long
//! to wait, `rewrite` changes names and first words; `shape` is what they share of reading JSON.
//! `error` gives errors their form, `models` lists, `websocket` what we say over sockets; `dialect`
//! says how providers differ. Refuses to know Pingora, sockets or configuration.

pub mod complaint;
pub mod dialect;
pub mod edit;
pub mod endpoint;
pub mod error;
pub mod form;
pub mod models;
pub mod progress;
pub mod ratelimit;
pub mod request;
pub mod rewrite;
mod shape;
pub mod sse;
pub mod verdict;
pub mod websocket;
