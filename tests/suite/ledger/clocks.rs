//! Periods begin and end by the calendar, whatever the clock does. libfaketime moves it.

use std::path::PathBuf;

use super::{ask_as, assert_exhausted, capped, kill, used, with_ledger};
use crate::support::gateway::{Folder, Gateway};
use crate::support::tools::faketime_library;
use crate::support::upstream::Upstream;

/// A wall clock that stands still until it is set.
struct Clock {
    library: PathBuf,
    folder: Folder,
}

impl Clock {
    /// `None` where the test is to be skipped.
    fn new() -> Option<Self> {
        Some(Self {
            library: faketime_library()?,
            folder: Folder::new(),
        })
    }

    /// Sets it to a time of UTC, as in `2026-01-31 23:59:59`.
    fn set(&self, time: &str) {
        let new = self.folder.write("new", time);
        std::fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.0.join("time")
    }

    fn start(&self, yaml: &str) -> Gateway {
        Gateway::start_with(yaml, |command| {
            command
                .env("LD_PRELOAD", &self.library)
                .env("FAKETIME_TIMESTAMP_FILE", self.file())
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("TZ", "UTC");
        })
    }
}

/// An upstream whose answers use all of a quota of 400 tokens.
async fn using_all() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &used(400)).await;
        reply
    })
    .await
}

/// Asserts that there is a quota, once.
async fn assert_new(gateway: &Gateway) {
    assert_eq!(ask_as("one", gateway).await.status, 200);
    assert_exhausted(&ask_as("one", gateway).await);
}

async fn assert_old(gateway: &Gateway) {
    assert_exhausted(&ask_as("one", gateway).await);
}

#[tokio::test]
async fn a_month_ends_at_midnight_of_its_time_zone_and_a_clock_that_goes_back_gives_nothing_back() {
    let Some(clock) = Clock::new() else { return };
    let (upstream, ledger) = (using_all().await, Folder::new());
    let quota = "{ tokens: 400, per: month, timezone: America/New_York }";
    let yaml = with_ledger(upstream.address, &ledger, &capped("one", quota));
    clock.set("2026-01-31 23:30:00");
    let mut gateway = clock.start(&yaml);
    assert_new(&gateway).await;
    for still in ["2026-02-01 00:00:00", "2026-02-01 04:59:59"] {
        clock.set(still);
        assert_old(&gateway).await;
    }
    clock.set("2026-02-01 05:00:00");
    assert_new(&gateway).await;
    // Back across the border: neither while it runs nor after a restart is there anything.
    clock.set("2026-01-31 23:40:00");
    assert_old(&gateway).await;
    kill(&mut gateway);
    let mut gateway = clock.start(&yaml);
    assert_old(&gateway).await;
    clock.set("2026-02-01 05:00:01");
    assert_old(&gateway).await;
    kill(&mut gateway);
    let mut gateway = clock.start(&yaml);
    assert_old(&gateway).await;
    kill(&mut gateway);
    // A month that begins while no process runs.
    clock.set("2026-03-01 05:00:00");
    let gateway = clock.start(&yaml);
    assert_new(&gateway).await;
}

#[tokio::test]
async fn a_day_on_which_clocks_change_ends_once() {
    let Some(clock) = Clock::new() else { return };
    let upstream = using_all().await;
    // The first instant of a day, the last two of it, and the first of the next one. Berlin's has 23 hours, then 25;
    // Cairo's begins at one o'clock, and ends after an hour that comes twice.
    for (zone, begin, ends, next) in [
        (
            "Europe/Berlin",
            "2026-03-28 23:00:00",
            ["2026-03-29 00:59:59", "2026-03-29 21:59:59"],
            "2026-03-29 22:00:00",
        ),
        (
            "Europe/Berlin",
            "2026-10-24 22:00:00",
            ["2026-10-25 22:00:00", "2026-10-25 22:59:59"],
            "2026-10-25 23:00:00",
        ),
        (
            "Africa/Cairo",
            "2026-04-23 22:00:00",
            ["2026-04-23 23:00:00", "2026-04-24 20:59:59"],
            "2026-04-24 21:00:00",
        ),
        (
            "Africa/Cairo",
            "2026-10-28 21:00:00",
            ["2026-10-29 21:00:00", "2026-10-29 21:59:59"],
            "2026-10-29 22:00:00",
        ),
    ] {
        let ledger = Folder::new();
        let quota = format!("{{ tokens: 400, per: day, timezone: {zone} }}");
        let yaml = with_ledger(upstream.address, &ledger, &capped("one", &quota));
        clock.set(begin);
        let mut gateway = clock.start(&yaml);
        assert_new(&gateway).await;
        for end in ends {
            clock.set(end);
            assert_old(&gateway).await;
            kill(&mut gateway);
            gateway = clock.start(&yaml);
            assert_old(&gateway).await;
        }
        clock.set(next);
        assert_new(&gateway).await;
        kill(&mut gateway);
        gateway = clock.start(&yaml);
        assert_old(&gateway).await;
    }
}
