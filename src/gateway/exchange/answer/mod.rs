//! An answer of an upstream, and what is understood of it.

pub mod convert;
pub mod events;
pub mod first_output;
pub mod held;
pub mod json;
pub mod rewrite;
pub mod sniff;
