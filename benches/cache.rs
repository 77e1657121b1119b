//! What the cache itself costs: the key of a request, a look-up, keeping an answer; and its memory.
//!
//! `cargo bench --bench cache`. After the times it keeps a million answers of different sizes in a bound of 64 MiB, and
//! prints what they weigh and what the process has taken for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for developers"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it serves nobody"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use criterion::Criterion;
use tollgate::cache::{Cache, Entry, Head, Key, KeyParts};
use tollgate::openai::canonical::Canonical;
use tollgate::openai::reusable;
use tollgate::openai::rewrite::Rewrites;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MIB: u64 = 1 << 20;

fn entry(bytes: usize) -> Entry {
    let head = Head {
        tenant: "internal".into(),
        rule: "gpt-4o".into(),
        id: "req_01a1fd21565f75f0a5be06562110645d".into(),
        content_type: "application/json".into(),
        is_stream: false,
        rewrites: Rewrites::default(),
        upstream: "openai".into(),
        model: "gpt-4o-2024-11-20".into(),
    };
    Entry {
        head: Arc::new(head),
        body: Bytes::from(vec![b'x'; bytes]),
        usage: None,
        stored: SystemTime::UNIX_EPOCH,
        ttl: Duration::from_secs(3600),
        similarity: None,
    }
}

fn key(number: usize) -> Key {
    let mut parts = KeyParts::new("bench");
    parts.add(&number.to_le_bytes());
    parts.finish()
}

fn key_of(body: &[u8]) -> Key {
    let left_out = |name: &str| reusable::UNRELATED.contains(&name);
    let mut parts = KeyParts::new("bench");
    parts.add(Canonical::of(body, left_out).unwrap().bytes());
    parts.finish()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let content = "word ".repeat(190);
    let body = format!(
        r#"{{"model":"gpt-4o","temperature":0,"messages":[{{"role":"user","content":"{content}"}}]}}"#
    );
    criterion.bench_function("key of a request of 1 KB", |bencher| {
        bencher.iter(|| key_of(black_box(body.as_bytes())));
    });
    let cache = Cache::new(64 * MIB, |_| {});
    let now = Instant::now();
    cache.put(key(1), entry(1024), (now, now));
    criterion.bench_function("look-up that finds", |bencher| {
        bencher.iter(|| cache.get(black_box(&key(1)), now));
    });
    criterion.bench_function("look-up that finds nothing", |bencher| {
        bencher.iter(|| cache.get(black_box(&key(2)), now));
    });
    let mut number = 0;
    criterion.bench_function("keeping an answer of 1 KB", |bencher| {
        bencher.iter(|| {
            number += 1;
            cache.put(key(number), entry(1024), (now, now))
        });
    });
    criterion.final_summary();
    drop(cache);
    memory();
}

/// A million answers in a bound that fits a few of them.
fn memory() {
    let most = 64 * MIB;
    let before = resident_bytes();
    let cache = Cache::new(most, |_| {});
    let now = Instant::now();
    let mut heaviest = 0;
    for number in 0..1_000_000 {
        // From 200 bytes to 8 KiB.
        cache.put(key(number), entry(200 + number * 7919 % 8000), (now, now));
        heaviest = heaviest.max(cache.fill().bytes);
    }
    let fill = cache.fill();
    let taken = resident_bytes().saturating_sub(before);
    let share = |bytes: u64| bytes as f64 / most as f64;
    println!(
        "a million answers: {} kept, weighing {:.3} of the bound at the end and {:.3} at most; the process has taken \
         {:.3} of it ({taken} bytes)",
        fill.entries,
        share(fill.bytes),
        share(heaviest),
        share(taken)
    );
}
