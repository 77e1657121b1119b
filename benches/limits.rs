//! What limits cost: one request's reservation and its settlement, on one core.
//!
//! Owns the measurements of `limits` by itself, without I/O. Does not handle what a request costs as a whole (see
//! `benches/gateway`). `cargo bench --bench limits -- [FILTER]`; Criterion keeps its figures under `target/criterion`
//! and compares with the last ones there.
//!
//! ```text
//! three scopes    gateway, tenant and key, each with three rates, permits and a quota: what is asked of limits
//! tenants         the gateway and one of so many tenants, in random order
//! sliding         one tenant whose windows slide
//! refusal         one tenant with nothing left
//! standing        what the headers of an answer tell
//! pacer           one piece of a paced stream
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use tollgate::config::{Period, Quota, RateLimits, Window};
use tollgate::limits::{Demand, Limits, Local, Now, Scope, ScopeName};

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DEMAND: Demand = Demand {
    tokens: 2_000,
    nanos: 900_000,
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    three_scopes(&mut criterion);
    tenants(&mut criterion);
    one_tenant(&mut criterion);
    criterion.final_summary();
}

fn rates(window: Window) -> RateLimits {
    RateLimits {
        requests_per_second: Some(1_000_000_000),
        requests_per_minute: Some(1_000_000_000),
        tokens_per_minute: Some(1_000_000_000_000),
        concurrent: Some(1_000),
        window,
        ..RateLimits::default()
    }
}

fn quota() -> Quota {
    Quota {
        tokens: Some(u64::MAX / 2),
        nanos: Some(u64::MAX / 2),
        per: Period::Month,
        timezone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(),
        warn_at: vec![80, 95],
    }
}

fn tenant(id: usize) -> ScopeName {
    ScopeName::Tenant(format!("tenant-{id}"))
}

fn reserve_and_settle(scopes: &[Arc<Scope>], now: Now) {
    let mut held = Local.reserve(black_box(scopes), DEMAND, now).unwrap();
    black_box(held.settle(1_200, 500_000, now));
}

fn three_scopes(criterion: &mut Criterion) {
    let limits = Limits::new();
    let (rates, quota) = (rates(Window::Gcra), quota());
    let key = ScopeName::Key {
        tenant: "tenant-0".to_owned(),
        key: "one".to_owned(),
    };
    let scopes = [ScopeName::Gateway, tenant(0), key]
        .map(|name| limits.scope(name, Some(&rates), Some(&quota)));
    let now = Now::read();
    criterion.bench_function("three scopes", |bench| {
        bench.iter(|| reserve_and_settle(&scopes, now));
    });
    criterion.bench_function("three scopes, with both clocks read twice", |bench| {
        bench.iter(|| {
            let mut held = Local.reserve(&scopes, DEMAND, Now::read()).unwrap();
            black_box(held.settle(1_200, 500_000, Now::read()));
        });
    });
}

fn tenants(criterion: &mut Criterion) {
    let (rates, quota) = (rates(Window::Gcra), quota());
    for count in [10, 1_000, 100_000] {
        let limits = Limits::new();
        let gateway = limits.scope(ScopeName::Gateway, Some(&rates), None);
        let tenants: Vec<_> = (0..count)
            .map(|id| limits.scope(tenant(id), Some(&rates), Some(&quota)))
            .collect();
        let mut random = fastrand::Rng::with_seed(1);
        let now = Now::read();
        criterion.bench_function(&format!("tenants/{count}"), |bench| {
            bench.iter(|| {
                let one = &tenants[random.usize(..count)];
                reserve_and_settle(&[Arc::clone(&gateway), Arc::clone(one)], now);
            });
        });
    }
}

fn one_tenant(criterion: &mut Criterion) {
    let limits = Limits::new();
    let sliding = [limits.scope(tenant(0), Some(&rates(Window::Sliding)), None)];
    let mut now = Now::read();
    criterion.bench_function("sliding", |bench| {
        bench.iter(|| {
            now.monotonic += Duration::from_millis(3);
            reserve_and_settle(&sliding, now);
        });
    });
    let empty = RateLimits {
        requests_per_minute: Some(1),
        ..rates(Window::Gcra)
    };
    let full = [limits.scope(tenant(1), Some(&empty), None)];
    let now = Now::read();
    drop(Local.reserve(&full, DEMAND, now).unwrap());
    criterion.bench_function("refusal", |bench| {
        bench.iter(|| Local.reserve(black_box(&full), DEMAND, now).is_err());
    });
    let paced = RateLimits {
        stream_tokens_per_minute: Some(1_000_000),
        ..rates(Window::Gcra)
    };
    let scopes = [limits.scope(tenant(2), Some(&paced), None)];
    let held = Local.reserve(&scopes, DEMAND, now).unwrap();
    criterion.bench_function("standing", |bench| bench.iter(|| held.standing(now)));
    let pacer = held.pacer().unwrap();
    criterion.bench_function("pacer", |bench| bench.iter(|| pacer.take(3, now)));
}
