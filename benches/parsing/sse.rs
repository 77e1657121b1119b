//! Framing the events of a stream, in bytes per second.
//!
//! Owns how the stream is cut into reads. Does not handle what its events mean (see `stream_state`).

use criterion::{Criterion, Throughput};
use std::hint::black_box;
use tollgate::openai::sse::Parser;

use super::stream::{EVENT_BYTES, events};

const EVENTS: usize = 1000;
/// As much is read at once from a connection that has so much.
const READ_BYTES: usize = 16 << 10;

pub fn measure(criterion: &mut Criterion) {
    let stream = events(EVENTS);
    let (head, tail) = stream.split_at(EVENT_BYTES / 2);
    let whole = READ_BYTES / EVENT_BYTES * EVENT_BYTES;
    let reads: [(&str, Vec<&[u8]>); 4] = [
        ("whole events in 16 KiB", stream.chunks(whole).collect()),
        ("16 KiB", stream.chunks(READ_BYTES).collect()),
        ("one event", stream.chunks(EVENT_BYTES).collect()),
        (
            "each event cut in two",
            [head].into_iter().chain(tail.chunks(EVENT_BYTES)).collect(),
        ),
    ];
    let mut group = criterion.benchmark_group("sse");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for (name, reads) in reads {
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(count(&reads), EVENTS));
        });
    }
    group.finish();
}

/// How many events a stream has that comes in these reads.
fn count(reads: &[&[u8]]) -> usize {
    let mut parser = Parser::new();
    let mut count = 0;
    for read in reads {
        parser.push(black_box(read), |event| {
            black_box(&event);
            count += 1;
        });
    }
    count
}
