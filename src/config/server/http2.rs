//! The `server.http2` section: what a client may have open and send at a time over one HTTP/2 connection.
//!
//! Owns its keys, defaults and bounds. Does not handle the size of a header (see `limits`), nor how a connection is
//! told (see `gateway`). A value out of bounds is reported with its place.

use std::ops::RangeInclusive;

use crate::config::document::{Node, Section, write_size};

/// No connection may have more streams.
const MAX_STREAMS: u32 = 1000;
/// No connection may have more streams that were reset before they were served.
const MAX_RESETS: u32 = 1000;
/// The bounds on the window of a stream. What is in it is held in memory until it is read.
const STREAM_WINDOW: RangeInclusive<u32> = 16 << 10..=16 << 20;
/// The bounds on the window of a connection, which RFC 9113 lets begin at the least of them.
const CONNECTION_WINDOW: RangeInclusive<u32> = 65_535..=64 << 20;
/// The bounds on a frame. RFC 9113 has the least.
const FRAME: RangeInclusive<u32> = 16 << 10..=1 << 20;

/// The `server.http2` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Streams of one connection at a time.
    pub max_concurrent_streams: u32,
    /// Bytes of a body that a client may send before they are read.
    pub initial_window: u32,
    /// The same of all bodies of one connection.
    pub connection_window: u32,
    /// Bytes of one frame.
    pub max_frame_size: u32,
    /// Streams that a client has reset before they were served, at a time.
    pub max_pending_resets: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            initial_window: 65_535,
            connection_window: 65_535,
            max_frame_size: 16 << 10,
            max_pending_resets: 20,
        }
    }
}

/// Reads the section.
pub(super) fn read(node: &Node<'_>) -> Http2 {
    let mut http2 = Http2::default();
    let Some(mut section) = node.section() else {
        return http2;
    };
    for (name, count, most) in [
        (
            "max_concurrent_streams",
            &mut http2.max_concurrent_streams,
            MAX_STREAMS,
        ),
        (
            "max_pending_resets",
            &mut http2.max_pending_resets,
            MAX_RESETS,
        ),
    ] {
        if let Some(value) = section.take(name).and_then(|n| n.count(1, most)) {
            *count = value;
        }
    }
    for (name, size, within) in [
        ("initial_window", &mut http2.initial_window, STREAM_WINDOW),
        (
            "connection_window",
            &mut http2.connection_window,
            CONNECTION_WINDOW,
        ),
        ("max_frame_size", &mut http2.max_frame_size, FRAME),
    ] {
        if let Some(value) = read_size(&mut section, name, &within) {
            *size = value;
        }
    }
    section.finish();
    http2
}

fn read_size(
    section: &mut Section<'_>,
    name: &'static str,
    within: &RangeInclusive<u32>,
) -> Option<u32> {
    let node = section.take(name)?;
    let size = u32::try_from(node.bytes()?).unwrap_or(u32::MAX);
    if within.contains(&size) {
        return Some(size);
    }
    let written = |bytes: &u32| write_size(u64::from(*bytes));
    let (least, most) = (written(within.start()), written(within.end()));
    node.report(format!("must be from {least} to {most}"), None);
    None
}
