//! What the events of a chat mean, per event.
//!
//! Owns which events are read. Does not handle how they were framed (see `sse`).

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tollgate::openai::sse::Event;
use tollgate::openai::stream_state::{Meaning, Stream, StreamState};

use super::stream::{FIRST, data};

pub fn measure(criterion: &mut Criterion) {
    let data = data(0);
    let (first, next) = (event(FIRST), event(&data));
    let mut stream_state = StreamState::new(Stream::Chat);
    stream_state.see(&first);
    let mut group = criterion.benchmark_group("stream_state");
    group.throughput(Throughput::Elements(1));
    group.bench_function("see", |bencher| {
        bencher.iter(|| assert_eq!(stream_state.see(black_box(&next)), Meaning::Output));
    });
    group.bench_function("can_skip", |bencher| {
        bencher.iter(|| assert!(stream_state.can_skip(black_box(&next))));
    });
    group.finish();
}

fn event(data: &str) -> Event<'_> {
    Event {
        name: None,
        data: Ok(Cow::Borrowed(data.as_bytes())),
        data_at: None,
        start: 0,
        end: 0,
    }
}
