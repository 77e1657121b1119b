//! One answer aggregated from the chunks of its stream.
//!
//! Owns how many chunks there are. Does not handle how they were framed (see `sse`).

use std::hint::black_box;

use criterion::Criterion;
use tollgate::openai::aggregate::Aggregator;
use tollgate::openai::stream_state::Stream;
use tollgate::openai::synthesize::synthesize;

use super::stream::{FIRST, data};

const CHUNKS: usize = 1000;

pub fn measure(criterion: &mut Criterion) {
    let chunks: Vec<String> = (0..CHUNKS).map(data).collect();
    let aggregate = || {
        let mut aggregator = Aggregator::for_stream(Stream::Chat)?;
        for data in [FIRST].into_iter().chain(chunks.iter().map(String::as_str)) {
            aggregator.see(black_box(data.as_bytes())).ok()?;
        }
        aggregator.see(b"[DONE]").ok()?;
        aggregator.finish().ok()
    };
    criterion.bench_function("aggregate 1000 chunks", |bencher| {
        bencher.iter(|| assert!(aggregate().is_some()));
    });
    let answer = aggregate().unwrap_or_default();
    criterion.bench_function("synthesize a stream of that answer", |bencher| {
        bencher.iter(|| assert!(synthesize(Stream::Chat, black_box(&answer), true).is_some()));
    });
}
