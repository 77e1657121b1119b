//! What the journal costs: appending a record, by one thread and by several, and recovery at the start.
//!
//! Owns these measurements. The folder is under the system's one for temporary files: a figure holds for its
//! file system. Does not handle what the journal costs a request (see `benches/gateway`).
//!
//! `cargo bench --bench journal -- [FILTER]`. It prints the CPU time of an append beside criterion's wall time.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads files, fails by panicking, and prints"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
use tollgate::ledger::journal::{Journal, Options, Position};
use tollgate::ledger::{Record, Source, Tokens};

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: u32 = 100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    append(&mut criterion);
    cpu_of_an_append();
    recover(&mut criterion);
    criterion.final_summary();
}

/// A record of about 300 bytes.
fn record(id: u32) -> Record<'static> {
    Record {
        id: (1_764_000_000_000_u128 << 80) | u128::from(id),
        at_ms: 1_764_000_000_000,
        tenant: "a-reseller-with-a-long-name",
        key: "production-2026-11-with-a-description-of-what-it-is-for",
        endpoint: "chat_completions",
        rule: "the-rule-that-serves-the-model-for-this-reseller",
        model: "gpt-5-for-resellers-in-the-european-region",
        served_model: "gpt-5-2026-08-07-regional-deployment-number-2",
        upstream: "openai-account-2",
        status: 200,
        outcome: "ok",
        attempts: 1,
        tokens: Tokens {
            input: 1234,
            cache_read: 1024,
            output: 567,
            reasoning: 128,
            ..Tokens::default()
        },
        source: Source::Upstream,
        cost_nanos: 12_345_678,
        charge_nanos: 14_814_813,
        first_byte_ms: 345,
        total_ms: 6789,
        period: Some(1_764_547_200),
        ..Record::default()
    }
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder, Options::default(), Position::default())
        .unwrap()
        .0
}

fn append(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let position = journal.append(&record(0)).unwrap();
    println!(
        "a record has {} bytes",
        journal.end().offset - position.offset
    );
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one thread", |bencher| {
        bencher.iter(|| journal.append(&record(1)).unwrap());
        journal.remove_before(journal.end());
    });
    for threads in [2_u32, 8] {
        group.bench_function(format!("{threads} threads"), |bencher| {
            bencher.iter_custom(|count| by_threads(&journal, threads, count));
            journal.remove_before(journal.end());
        });
    }
    group.finish();
}

/// How long so many appends take when they are shared by threads.
fn by_threads(journal: &Journal, threads: u32, count: u64) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..count.div_ceil(u64::from(threads)) {
                    journal.append(&record(1)).unwrap();
                }
            });
        }
    });
    start.elapsed()
}

/// Prints the CPU time of an append by one thread, that of the journal's own thread included.
fn cpu_of_an_append() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let start = cpu();
    for id in 0..10 * RECORDS {
        journal.append(&record(id)).unwrap();
    }
    println!("append: CPU {:?}", (cpu() - start) / (10 * RECORDS));
}

/// The CPU time of all threads that live.
fn cpu() -> Duration {
    let threads = Path::new("/proc/self/task").read_dir().unwrap();
    let nanos = threads.map(|thread| {
        let times = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        times.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanos.sum())
}

fn recover(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    for id in 0..RECORDS {
        journal.append(&record(id)).unwrap();
    }
    drop(journal);
    let mut group = criterion.benchmark_group("recover");
    group.sample_size(20);
    group.throughput(Throughput::Elements(RECORDS.into()));
    group.bench_function("100,000 records", |bencher| {
        bencher.iter_batched(|| (), |()| open(folder.path()), BatchSize::PerIteration);
    });
    group.finish();
}
