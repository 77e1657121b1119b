//! The bounds of what is kept, and what is removed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

const MIB: usize = 1 << 20;

fn entry(tenant: &str, id: &str, bytes: usize) -> Entry {
    let sample = sample(tenant, vec![b'x'; bytes]);
    let head = Head {
        id: id.into(),
        rule: "gpt-4o".into(),
        ..(*sample.head).clone()
    };
    Entry {
        head: Arc::new(head),
        ..sample
    }
}

fn key(number: usize) -> Key {
    let mut parts = KeyParts::new("test");
    parts.add(&number.to_le_bytes());
    parts.finish()
}

fn cache(most_bytes: usize) -> (Cache, Arc<AtomicUsize>) {
    let evicted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&evicted);
    let cache = Cache::new(most_bytes as u64, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (cache, evicted)
}

#[test]
fn an_entry_is_used_until_its_time_has_passed() {
    let (cache, _) = cache(MIB);
    let now = Instant::now();
    assert!(cache.put(key(1), entry("a", "r1", 100), (now, now)));
    let soon = now + Duration::from_secs(59);
    assert_eq!(&*cache.get(&key(1), soon).unwrap().head.id, "r1");
    assert!(cache.get(&key(2), soon).is_none());
    let late = now + Duration::from_secs(60);
    assert!(cache.get(&key(1), late).is_none());
    assert_eq!(cache.fill().entries, 0, "it has been removed");
    assert!(cache.put(key(1), entry("a", "r2", 100), (late, late)));
    assert!(cache.put(
        key(2),
        entry("a", "r3", 100),
        (late, late + Duration::from_secs(30))
    ));
    assert_eq!(cache.remove_expired(late + Duration::from_secs(60)), 1);
    assert_eq!(cache.fill().entries, 1);
}

#[test]
fn the_bound_holds_and_others_give_way() {
    let (cache, evicted) = cache(MIB);
    let now = Instant::now();
    for number in 0..20_000 {
        assert!(cache.put(key(number), entry("a", "r", number % 3000), (now, now)));
        assert!(cache.fill().bytes <= MIB as u64);
    }
    let kept = cache.fill().entries;
    assert!(kept > 100, "{kept}");
    assert_eq!(kept + evicted.load(Ordering::Relaxed), 20_000);
}

#[test]
fn one_that_is_too_large_is_not_kept_and_moves_no_other() {
    let (cache, evicted) = cache(MIB);
    let now = Instant::now();
    for number in 0..10 {
        assert!(cache.put(key(number), entry("a", "r", 1000), (now, now)));
    }
    assert!(!cache.put(key(11), entry("a", "r", MIB), (now, now)));
    // What was kept in its place would be older than what the client has got.
    assert!(!cache.put(key(0), entry("a", "r", MIB), (now, now)));
    assert!(cache.get(&key(0), now).is_none());
    assert_eq!(
        (cache.fill().entries, evicted.load(Ordering::Relaxed)),
        (9, 0)
    );
}

#[test]
fn a_smaller_bound_holds_at_once() {
    let (cache, _) = cache(MIB);
    let now = Instant::now();
    for number in 0..500 {
        cache.put(key(number), entry("a", "r", 1000), (now, now));
    }
    cache.set_most_bytes(100_000);
    assert!(cache.fill().bytes <= 100_000);
    assert!(cache.fill().entries > 10);
}

#[test]
fn entries_are_removed_by_tenant_rule_and_id() {
    let (cache, evicted) = cache(MIB);
    let now = Instant::now();
    let fill = || {
        for (number, (tenant, id)) in [("a", "1"), ("a", "2"), ("b", "3")].iter().enumerate() {
            cache.put(key(number), entry(tenant, id, 10), (now, now));
        }
    };
    let which = |tenant: Option<&str>, rule: Option<&str>, id: Option<&str>| Which {
        tenant: tenant.map(str::to_owned),
        rule: rule.map(str::to_owned),
        id: id.map(str::to_owned),
    };
    for (which, removed) in [
        (which(Some("a"), None, None), 2),
        (which(Some("b"), Some("gpt-4o"), None), 1),
        (which(None, Some("other"), None), 0),
        (which(None, None, Some("2")), 1),
        (which(Some("b"), None, Some("2")), 0),
        (which(None, None, None), 3),
    ] {
        fill();
        assert_eq!(cache.remove(&which), removed, "{which:?}");
    }
    assert_eq!(evicted.load(Ordering::Relaxed), 0, "none gave way");
}
