//! The OpenAI wire, without any I/O.
//!
//! Paths and headers: `endpoint` has the paths that we serve, `privileges` the operations that need
//! permission, `forwarding` the client's headers that never pass.
//!
//! Requests: `request` reads JSON and `form` multipart forms. `slot` is where a body names its model,
//! `model_name` what a name may be, `references` what else a body may name. `streaming` turns a stream on or
//! off, `demand` is what a request may use, `question` what it asks apart from all else, `edit` makes a
//! target's changes.
//!
//! Answers: `sniff` tells a body's type by its first bytes. `sse` splits a stream into events,
//! `stream_state` says what each means. `usage` reads what was used, `estimate` and `text_sample` estimate
//! it where the upstream does not report it, and `hidden_usage` finds a usage that the client did not ask
//! for. `aggregate` makes one answer of a stream, `synthesize` a stream of one answer. `rewrite` changes
//! model names and adds a prefix; `changes` and `patches` apply such changes to bytes. `models` reads and
//! writes lists of models.
//!
//! Failures: `upstream_error` reads an error, `verdict` decides what it means, `ratelimit` how long to
//! wait. `echo` masks our key in what an upstream sends back. `error` writes errors for clients,
//! `failed_response` ends a stream of `/v1/responses` that broke.
//!
//! The rest: `json` reads and writes JSON without a tree. `dialect` says how upstreams differ, `providers`
//! lists their hosts, `websocket` has the frames that we write. Does not handle sockets or configuration,
//! and does not use Pingora.

pub mod aggregate;
pub mod canonical;
pub mod changes;
pub mod continuation;
pub mod demand;
pub mod dialect;
pub mod echo;
pub mod edit;
pub mod embeddings;
pub mod endpoint;
pub mod error;
pub mod estimate;
pub mod failed_response;
pub mod form;
pub mod forwarding;
pub mod hidden_usage;
pub(crate) mod json;
pub mod model_name;
pub mod models;
pub mod patches;
pub mod privileges;
pub mod providers;
pub mod question;
pub mod ratelimit;
pub mod references;
pub mod request;
pub mod reusable;
pub mod rewrite;
pub mod slot;
pub mod sniff;
pub mod sse;
pub mod stream_state;
pub mod streaming;
pub mod synthesize;
pub mod text_sample;
pub mod tokenizer;
pub mod upstream_error;
pub mod usage;
pub mod verdict;
pub mod websocket;
