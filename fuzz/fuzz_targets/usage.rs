//! A body reports the same usage however it is cut, an event of a stream the same as a body, and no count is
//! out of bounds.
#![no_main]

mod chunks;

use chunks::{Sizes, chunks};
use libfuzzer_sys::fuzz_target;
use tollgate::openai::usage::{MAX_COUNT, MAX_TIER_BYTES, UsageScanner, StreamUsage, Usage, whole};

fuzz_target!(|input: (Sizes, &[u8])| {
    let (sizes, body) = input;
    let usage = whole(body);
    assert_eq!(members(chunks(body, &sizes)), usage);
    assert_eq!(members(body.chunks(1)), usage);
    usage.iter().for_each(check);

    let mut event = StreamUsage::default();
    event.see(body);
    assert!(event.usage().is_none() || event.usage() == usage);

    let mut stream = StreamUsage::default();
    body.split(|byte| *byte == b'\n')
        .for_each(|data| stream.see(data));
    stream.usage().iter().for_each(check);
});

fn members<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Option<Usage> {
    let mut scanner = UsageScanner::default();
    chunks.into_iter().for_each(|chunk| scanner.push(chunk));
    scanner.usage()
}

/// Checks that no part is more than its whole, and the whole no more than a few counts make.
fn check(usage: &Usage) {
    assert!(usage.cache_write_1h <= usage.cache_write);
    assert!(usage.input_audio + usage.input_image <= usage.total_input());
    assert!(usage.output_audio + usage.output_image <= usage.output);
    assert!(usage.reasoning <= usage.output);
    assert!(usage.total().max(usage.audio_ms).max(usage.searches) <= 8 * MAX_COUNT);
    assert!(
        usage
            .tier
            .as_ref()
            .is_none_or(|tier| tier.len() <= MAX_TIER_BYTES)
    );
    assert!(!usage.is_estimated);
}
