//! The OpenAI wire: what goes over it, without any I/O.
//!
//! `endpoint` names the paths, `privileges` what of the rest needs permission, `forwarding` which headers of a
//! client's never pass. Of a request, `request` reads JSON and `form` forms, `slot` is where either names
//! its model, `model_name` what can be its name, `references` finds what else is named there, `streaming` asks for a stream or for none, `edit` changes what a target wants changed. Of an
//! answer, `sniff` tells what it is by its first bytes, `sse` tells the events of a stream apart, `progress`
//! says what each means, `usage` what was used; `estimate` says what may have been used, from what `said`
//! counts; `unasked` finds what of that is not for the client; `gather` makes one answer of a stream and
//! `unfold` a stream of one; `error` reads what went wrong, `echo` masks the key in it, and `ratelimit` what is left and how long to
//! wait, `verdict` says what is done about it; `rewrite` changes names and first words. `shape` is what they
//! share of reading JSON, `patches` of changing bytes. `error` gives errors their form, `failed` a response
//! that broke; `models` lists, `websocket` what we say over sockets; `dialect` says how providers differ, and
//! `providers` knows their hosts. Does not handle sockets or configuration, and does not use Pingora.

pub mod aggregate;
pub mod changes;
pub mod dialect;
pub mod echo;
pub mod edit;
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
pub mod ratelimit;
pub mod references;
pub mod request;
pub mod rewrite;
pub mod slot;
pub mod sniff;
pub mod sse;
pub mod stream_state;
pub mod streaming;
pub mod synthesize;
pub mod text_sample;
pub mod upstream_error;
pub mod usage;
pub mod verdict;
pub mod websocket;
