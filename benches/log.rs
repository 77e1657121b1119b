//! What the line of a request costs the thread that serves it: putting it together, and handing it over.
//!
//! Owns the measurement of `observe::logging` by itself. Does not handle what a request costs as a whole (see
//! `benches/gateway`). `cargo bench --bench log`; Criterion keeps its figures under `target/criterion` and compares
//! with the last ones there. Lines go to files in a folder of its own, so that what Criterion says can be read. Runs
//! as fast as it can, so the queue may be full and drop lines, which costs less than to keep them: compare like with
//! like.
//!
//! ```text
//! text    a line of text
//! json    the same as JSON
//! ```

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::time::Duration;

use criterion::Criterion;
use tollgate::config::{Config, Log, Variables};
use tollgate::observe::access::AccessLine;
use tollgate::observe::logging;

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let files = format!(
        "files: {{ path: '{}', retention: {{ files: 1 }} }}",
        folder.path().display()
    );
    let guard = logging::start(&configured(&format!("{{ {files} }}")), None).unwrap();
    let mut criterion = Criterion::default().configure_from_args();
    let line = line();
    criterion.bench_function("text", |bencher| bencher.iter(|| line.write()));
    logging::apply(&configured(&format!("{{ format: json, {files} }}")));
    criterion.bench_function("json", |bencher| bencher.iter(|| line.write()));
    criterion.final_summary();
    drop(guard);
}

fn configured(log: &str) -> Log {
    let text = format!(
        "upstreams: {{ a: {{ base_url: http://a }} }}\n\
         models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
         server: {{ log: {log} }}\n"
    );
    let read = Config::parse("bench.yaml", &text, &Variables::default());
    read.unwrap().server.log
}

fn line() -> AccessLine<'static> {
    AccessLine {
        request_id: "req_01a1fd21565f75f0a5be06562110645d",
        client: Some("203.0.113.0".parse().unwrap()),
        tenant: Some("internal"),
        key: Some("1a2b3c4d"),
        method: "POST",
        path: "/v1/chat/completions",
        model: Some("gpt-4o"),
        sent_model: Some("gpt-4o-2024-11-20"),
        upstream: Some("openai"),
        trail: "openai/1a2b3c4d:ok:140.0",
        status: 200,
        error: None,
        bytes_in: 82,
        bytes_out: 1269,
        tokens: Some((7, 3)),
        cost_nanos: Some(12_500),
        cache: None,
        total: Duration::from_micros(140_123),
        first_byte: Some(Duration::from_micros(15_916)),
        own: Some(Duration::from_micros(33)),
    }
}
