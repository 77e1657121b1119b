//! What reading costs: each reader of `openai/` by itself, on one core.
//!
//! Owns the order of the measurements; each file beside this one owns one reader:
//!
//! ```text
//! stream       a chat's stream, which all of them read
//! sse          framing its events
//! stream_state what each event means
//! usage        what an answer has used
//! aggregate    one answer made of a stream, and a stream of one
//! ```
//!
//! `cargo bench --bench parsing -- [FILTER]`, where the filter is a part of a measurement's name.
//! Criterion keeps its figures under `target/criterion` and compares with the last ones there. No
//! I/O is measured: that is `benches/gateway`.

mod aggregate;
mod sse;
mod stream;
mod stream_state;
mod usage;

use criterion::Criterion;

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    sse::measure(&mut criterion);
    stream_state::measure(&mut criterion);
    usage::measure(&mut criterion);
    aggregate::measure(&mut criterion);
    criterion.final_summary();
}
