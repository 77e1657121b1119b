//! One answer gathered from the chunks of its stream.
//!
//! Owns how many chunks there are. Refuses to know how they were framed.

use std::hint::black_box;

use criterion::Criterion;
use tollgate::openai::aggregate::Aggregator;
use tollgate::openai::stream_state::Stream;
use tollgate::openai::synthesize::synthesize;

use super::stream::{FIRST, data};

const CHUNKS: usize = 1000;

pub fn measure(criterion: &mut Criterion) {
    let chunks: Vec<String> = (0..CHUNKS).map(data).collect();
    let gather = || {
        let mut gatherer = Aggregator::for_stream(Stream::Chat)?;
        for data in [FIRST].into_iter().chain(chunks.iter().map(String::as_str)) {
            gatherer.see(black_box(data.as_bytes())).ok()?;
        }
        gatherer.see(b"[DONE]").ok()?;
        gatherer.finish().ok()
    };
    criterion.bench_function("gather 1000 chunks", |bencher| {
        bencher.iter(|| assert!(gather().is_some()));
    });
    let answer = gather().unwrap_or_default();
    criterion.bench_function("unfold that answer", |bencher| {
        bencher.iter(|| assert!(synthesize(Stream::Chat, black_box(&answer), true).is_some()));
    });
}
