//! What an answer has used: per event of a stream, and in bytes per second of a large body.
//!
//! Owns the bodies. Does not handle what their counts mean (see `tollgate::openai::usage`).

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tollgate::openai::usage::{StreamUsage, UsageScanner};

use super::stream::data;

/// As much of a body comes at once.
const READ_BYTES: usize = 16 << 10;
const USAGE: &str = r#""usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306}"#;

pub fn measure(criterion: &mut Criterion) {
    let plain = data(0);
    let last = format!(r#"{{"choices":[],{USAGE}}}"#);
    let mut group = criterion.benchmark_group("usage of a stream");
    group.throughput(Throughput::Elements(1));
    for (name, data, tells) in [
        ("event without it", plain, false),
        ("event with it", last, true),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut stream_usage = StreamUsage::default();
                stream_usage.see(black_box(data.as_bytes()));
                assert_eq!(stream_usage.usage().is_some(), tells);
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("usage of a body");
    for (name, body) in [
        ("embeddings", embeddings(1000)),
        ("image", image(1 << 20)),
        ("long chat", long_chat(4000)),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut scanner = UsageScanner::default();
                let reads = body.as_bytes().chunks(READ_BYTES);
                reads.for_each(|read| scanner.push(black_box(read)));
                assert!(scanner.usage().is_some());
            });
        });
    }
    group.finish();
}

/// Numbers by the thousand: structure all the way.
fn embeddings(vectors: usize) -> String {
    let mut body = r#"{"object":"list","data":["#.to_owned();
    for vector in 0..vectors {
        let comma = if vector == 0 { "" } else { "," };
        let _ = write!(body, r#"{comma}{{"index":{vector},"embedding":[0.0"#);
        for nth in 1..64 {
            let _ = write!(body, ",-0.0{:07}", nth * 104_729 + vector);
        }
        body += "]}";
    }
    body + "]," + USAGE + "}"
}

/// One string without an escape.
fn image(bytes: usize) -> String {
    let pixels = "iVBORw0KGgo".repeat(bytes / 11);
    format!(r#"{{"created":1,"data":[{{"b64_json":"{pixels}"}}],{USAGE}}}"#)
}

/// One string with many.
fn long_chat(lines: usize) -> String {
    let text = r#"He said \"no\", and went on about it.\n"#.repeat(lines);
    format!(r#"{{"choices":[{{"message":{{"role":"assistant","content":"{text}"}}}}],{USAGE}}}"#)
}
