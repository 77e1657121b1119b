//! The `prices` section: what models cost.
//!
//! Owns its keys, also where they stand in a file of their own. Does not handle which price a request has
//! (see `prices`). What cannot be read is reported with its place.

use jiff::Timestamp;

use super::document::Located;

/// One price: of a model, or of all whose names begin in the same way.
#[derive(Clone, Debug)]
pub struct Price {
    /// The model as the upstream is asked for it; a `*` at the end stands for any rest.
    pub model: Located<String>,
    /// The upstream; `None` for any.
    pub upstream: Option<Located<String>>,
    /// From when it holds; `None` for always.
    pub from: Option<Timestamp>,
    /// Until when it holds, that moment excluded; `None` for ever.
    pub until: Option<Timestamp>,
    /// The price itself.
    pub rates: Rates,
}

/// What is paid for what, in nano-dollars for a million tokens unless stated otherwise. `None` where it is
/// paid like the input or output that it is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that has no other price.
    pub input: u64,
    /// Input that was read from a cache.
    pub cached: Option<u64>,
    /// Input that was written to a cache.
    pub cache_write: Option<u64>,
    /// What of it is kept for an hour.
    pub cache_write_1h: Option<u64>,
    /// Output that has no other price.
    pub output: u64,
    /// Reasoning.
    pub reasoning: Option<u64>,
    /// Audio that went in.
    pub input_audio: Option<u64>,
    /// Images that went in.
    pub input_image: Option<u64>,
    /// Audio that came out.
    pub output_audio: Option<u64>,
    /// Images that came out.
    pub output_image: Option<u64>,
    /// A minute of audio, in nano-dollars.
    pub audio_minute: u64,
    /// A search, in nano-dollars.
    pub search: u64,
    /// A request, in nano-dollars.
    pub request: u64,
}

/// What a tenant pays beyond what the provider is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Markup {
    /// Thousandths of a percent that are added: 20 % is 20,000.
    pub millipercent: u32,
}
