//! What is written can be read, and nothing else.

use super::*;

const MOST: usize = 1 << 20;

fn key(byte: u8) -> Key {
    Key([byte; 32])
}

fn entry(body: &[u8]) -> Entry {
    let head = Head {
        tenant: "reseller_01".into(),
        rule: "gpt-4o".into(),
        id: "r1".into(),
        content_type: "text/event-stream".into(),
        is_stream: true,
        rewrites: Rewrites {
            model: Some("gpt-4o".to_owned()),
            prefix: None,
        },
        upstream: "far".into(),
        model: "gpt-4o-2024-11-20".into(),
    };
    let usage = Usage {
        input: 11,
        output: 4,
        searches: 2,
        tier: Some("flex".to_owned()),
        ..Usage::default()
    };
    Entry {
        head: Arc::new(head),
        body: Bytes::copy_from_slice(body),
        usage: Some(usage),
        stored: SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123),
        ttl: Duration::from_secs(3600),
        similarity: None,
    }
}

fn plain() -> Sealing {
    Sealing::new(None)
}

fn sealed_with(byte: u8) -> Sealing {
    Sealing::new(Some(&Secret::new(format!("{byte:02x}").repeat(32))))
}

/// A random number from a seed, which repeats in a failing run.
fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    *state >> 33
}

/// Bytes that do not get smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7;
    (0..length)
        .map(|_| next(&mut state).to_le_bytes()[0])
        .collect()
}

#[test]
fn an_entry_comes_back_as_it_was() {
    for sealing in [plain(), sealed_with(1)] {
        for body in [&b""[..], b"data: {}\n\n", &[b'x'; 100_000], &noise(5000)] {
            let entry = entry(body);
            let value = sealing.seal(&key(1), &entry).unwrap();
            assert_eq!(sealing.open(&key(1), &value, MOST), Ok(entry));
        }
    }
}

#[test]
fn it_is_compressed_where_that_makes_it_smaller() {
    for sealing in [plain(), sealed_with(1)] {
        let value = sealing.seal(&key(1), &entry(&[b'x'; 100_000])).unwrap();
        assert!(value.len() < 1000, "{}", value.len());
        let value = sealing.seal(&key(1), &entry(&noise(5000))).unwrap();
        assert!(value.len() < 5000 + 200, "{}", value.len());
    }
}

#[test]
fn with_a_key_nothing_of_it_can_be_read_and_each_value_differs() {
    let has = |value: &[u8], text: &str| value.windows(text.len()).any(|w| w == text.as_bytes());
    let body = [b"the answer ".as_slice(), &noise(5000)].concat();
    let value = plain().seal(&key(1), &entry(&body)).unwrap();
    assert!(has(&value, "the answer") && has(&value, "reseller_01"));
    let sealing = sealed_with(1);
    let values = [(); 2].map(|()| sealing.seal(&key(1), &entry(&body)).unwrap());
    for value in &values {
        assert!(!has(value, "the answer") && !has(value, "reseller_01"));
    }
    assert_ne!(values[0], values[1]);
}

#[test]
fn another_key_and_another_name_open_nothing() {
    for (writes, reads, name, fault) in [
        (plain(), plain(), 2, Fault::Damaged),
        (sealed_with(1), sealed_with(1), 2, Fault::Damaged),
        (sealed_with(1), sealed_with(2), 1, Fault::Damaged),
        (sealed_with(1), plain(), 1, Fault::Encryption),
        (plain(), sealed_with(1), 1, Fault::Encryption),
    ] {
        let value = writes.seal(&key(1), &entry(b"data: {}\n\n")).unwrap();
        assert_eq!(reads.open(&key(name), &value, MOST), Err(fault));
    }
}

#[test]
fn one_that_is_too_large_is_not_opened() {
    for sealing in [plain(), sealed_with(1)] {
        for body in [vec![b'x'; 100_000], noise(100_000)] {
            let value = sealing.seal(&key(1), &entry(&body)).unwrap();
            let most = body.len();
            assert!(sealing.open(&key(1), &value, most).is_ok());
            for most in [most - 1, 1000, 0] {
                let found = sealing.open(&key(1), &value, most);
                assert_eq!(found, Err(Fault::TooLarge), "{most}");
            }
        }
    }
    let mut long = entry(b"");
    Arc::make_mut(&mut long.head).model = "m".repeat(MAX_HEAD_BYTES).into();
    assert_eq!(plain().seal(&key(1), &long), None);
}

#[test]
fn what_is_damaged_cut_or_foreign_is_never_an_entry() {
    let mut state = 42;
    for sealing in [plain(), sealed_with(1)] {
        for body in [&b"data: {}\n\n"[..], &[b'x'; 3000], &noise(300)] {
            let value = sealing.seal(&key(1), &entry(body)).unwrap();
            for length in 0..value.len() {
                assert!(sealing.open(&key(1), &value[..length], MOST).is_err());
            }
            for at in 0..value.len() {
                let mut damaged = value.clone();
                damaged[at] ^= 1 << (next(&mut state) % 8);
                assert!(sealing.open(&key(1), &damaged, MOST).is_err(), "{at}");
            }
            for _ in 0..2000 {
                let mut damaged = value.clone();
                for _ in 0..=next(&mut state) % 8 {
                    let at = usize::try_from(next(&mut state)).unwrap() % damaged.len();
                    damaged[at] =
                        damaged[at].wrapping_add(1 + next(&mut state).to_le_bytes()[0] % 255);
                }
                if damaged != value {
                    assert!(sealing.open(&key(1), &damaged, MOST).is_err());
                }
            }
            let mut longer = value.clone();
            longer.push(0);
            assert!(sealing.open(&key(1), &longer, MOST).is_err());
        }
        for foreign in [&b"hello"[..], b"{\"id\":1}", &noise(1000), &[VERSION; 50]] {
            assert!(sealing.open(&key(1), foreign, MOST).is_err());
        }
    }
}

/// Who can write to Redis can make a check. What stands behind it is bounded all the same.
#[test]
fn a_text_that_somebody_has_made_is_an_error_and_takes_no_more_memory_than_the_bound() {
    let made = |flags: u8, text: &[u8]| {
        let label = [VERSION, flags];
        [&label[..], &check(&key(1), label, text), text].concat()
    };
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], LEVEL).unwrap();
    assert!(bomb.len() < MOST);
    for (value, fault) in [
        (made(COMPRESSED, &bomb), Fault::TooLarge),
        (made(0, b""), Fault::Damaged),
        (made(0, &[0xff; 500]), Fault::Damaged),
        (made(4, b""), Fault::Foreign),
    ] {
        assert_eq!(plain().open(&key(1), &value, MOST), Err(fault));
    }
    let mut state = 1;
    for length in 0..500 {
        let text: Vec<u8> = (0..length)
            .map(|_| next(&mut state).to_le_bytes()[0])
            .collect();
        for flags in [0, COMPRESSED] {
            // It may be an entry by chance; it must not panic.
            let _ = plain().open(&key(1), &made(flags, &text), MOST);
        }
    }
}
