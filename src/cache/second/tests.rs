//! What waits for a Redis that is away is bounded, and costs nobody more than its time.

use std::time::{Duration, Instant};

use super::*;
use crate::cache::sample;
use crate::observe::cache::CacheMetrics;

fn entry(bytes: usize) -> Entry {
    sample("", vec![b'x'; bytes])
}

/// A port that nothing listens on.
fn away() -> Secret {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    Secret::new(format!("redis://:s3cret@{address}"))
}

fn place(url: &Secret) -> (Place, StoreCounts) {
    let counts = CacheMetrics::new().unwrap().redis().counts();
    let level = SecondLevel::start(url, None, counts.clone()).unwrap();
    let place = Place {
        level,
        scope: Scope::of("a"),
        key: Key([1; 32]),
    };
    (place, counts)
}

#[tokio::test]
async fn what_is_more_than_may_wait_is_dropped_and_counted() {
    // Nothing is carried out: this task gives its thread to no other.
    let (place, counts) = place(&away());
    for _ in 0..queue::MOST_QUEUED {
        place.clone().put(entry(10));
    }
    assert_eq!(counts.value(StoreResult::Dropped), 0);
    place.clone().put(entry(10));
    assert_eq!(counts.value(StoreResult::Dropped), 1);
    assert!(!place.level.remove(Which::default()));
}

#[tokio::test]
async fn what_is_larger_than_all_that_may_wait_is_dropped_and_counted() {
    let (place, counts) = place(&away());
    for _ in 0..63 {
        place.clone().put(entry(1 << 20));
    }
    assert_eq!(counts.value(StoreResult::Dropped), 0);
    place.clone().put(entry(1 << 20));
    assert_eq!(counts.value(StoreResult::Dropped), 1);
    // A smaller one still fits.
    place.clone().put(entry(1 << 10));
    assert_eq!(counts.value(StoreResult::Dropped), 1);
}

#[tokio::test]
async fn one_that_is_away_is_a_counted_error_and_then_left_alone() {
    let (place, counts) = place(&away());
    for _ in 0..6 {
        assert_eq!(place.get(1000).await, None);
    }
    assert_eq!(counts.value(StoreResult::Error), 5);
    assert_eq!(counts.value(StoreResult::Skipped), 1);
    assert!(!place.level.is_up());
}

#[tokio::test]
async fn one_that_is_silent_costs_its_time_and_no_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (place, counts) = place(&Secret::new(format!("redis://{address}")));
    let begin = Instant::now();
    assert_eq!(place.get(1000).await, None);
    assert_eq!(counts.value(StoreResult::Timeout), 1);
    assert!(begin.elapsed() >= LONGEST_LOOK);
    // The machine may be slow; a connection that is waited for takes two seconds.
    assert!(begin.elapsed() < Duration::from_secs(1));
}

/// A real server in a folder of its own, ended with the test.
struct Server {
    child: std::process::Child,
    folder: tempfile::TempDir,
}

impl Server {
    /// `None` where there is none, and the test is to be skipped.
    #[allow(clippy::disallowed_methods, reason = "a test is told so")]
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("redis-server");
        command.args(["--save", "", "--port", "0", "--logfile", "/dev/null"]);
        command.args(["--unixsocket", "redis.sock", "--dir"]);
        let child = command.arg(folder.path()).current_dir(&folder).spawn();
        let must_be = std::env::var("TOLLGATE_REQUIRE_ALL").as_deref() == Ok("1");
        assert!(child.is_ok() || !must_be, "redis-server is missing");
        let child = child.ok()?;
        Some(Self { child, folder })
    }

    fn url(&self) -> Secret {
        let socket = self.folder.path().join("redis.sock");
        Secret::new(format!("unix://{}", socket.display()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer of a tenant, in a scope, under a key.
type Row = (&'static str, &'static str, &'static str);

const ROWS: [Row; 5] = [
    ("a", "a", "1"),
    ("a", "a", "2"),
    ("", "a", "3"),
    ("", "b", "4"),
    ("b", "b", "5"),
];

/// Where a row is.
fn at(of: &Place, (scope, _, id): Row) -> Place {
    Place {
        level: Arc::clone(&of.level),
        scope: Scope::of(scope),
        key: Key([id.as_bytes()[0]; 32]),
    }
}

/// The value of a row.
fn row((_, tenant, id): Row) -> Entry {
    let mut entry = entry(100);
    let head = Arc::make_mut(&mut entry.head);
    (head.tenant, head.id) = (tenant.into(), id.into());
    entry.stored = clock::now();
    entry
}

/// Waits until so many have been written: all that was asked for before is done then.
async fn stored(counts: &StoreCounts, wanted: u64) {
    let waiting = async {
        while counts.value(StoreResult::Stored) < wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
}

async fn up(place: &Place) {
    let waiting = async {
        while !place.level.is_up() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
}

#[tokio::test]
async fn answers_are_removed_by_tenant_rule_and_id_and_nothing_else_is() {
    let Some(server) = Server::start() else {
        return;
    };
    let (place, counts) = place(&server.url());
    up(&place).await;
    let link = &place.level.inner.link;
    let long = Duration::from_secs(10);
    for name in ["other", &(place::pattern(None).replace('*', "foreign"))] {
        let mut command = redis::cmd("SET");
        link.ask::<()>(command.arg(name).arg("x"), long)
            .await
            .unwrap();
    }
    let which = |tenant: Option<&str>, rule: Option<&str>, id: Option<&str>| Which {
        tenant: tenant.map(str::to_owned),
        rule: rule.map(str::to_owned),
        id: id.map(str::to_owned),
    };
    let mut written = 0;
    for (which, left) in [
        (which(Some("a"), None, None), "45"),
        (which(Some("a"), Some("m"), Some("3")), "1245"),
        (which(Some("b"), None, Some("1")), "12345"),
        (which(None, Some("other"), None), "12345"),
        (which(None, None, Some("5")), "1234"),
        (which(None, None, None), ""),
    ] {
        for of in ROWS {
            at(&place, of).put(row(of));
        }
        assert!(place.level.remove(which.clone()));
        // What is written behind it is there when it is done.
        at(&place, ("", "", "9")).put(row(("", "", "9")));
        written += 6;
        stored(&counts, written).await;
        let mut found = String::new();
        for of in ROWS {
            let at = at(&place, of);
            let name = place::name(&at.scope, &at.key);
            if link.read(&name, 10_000, long).await.unwrap().is_some() {
                found.push_str(of.2);
            }
        }
        assert_eq!(found, left, "{which}");
    }
    assert!(link.read("other", 10, long).await.unwrap().is_some());
}
