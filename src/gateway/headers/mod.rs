//! Which headers pass.
//!
//! `request` decides what an upstream sees of a client, `answer` what a client sees of an upstream.

mod answer;
mod request;

use http::HeaderName;

pub use answer::{for_client, is_event_stream};
pub use request::{Body, address, for_exchange, for_socket, for_tunnel, query, value};

/// The header that carries our id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
