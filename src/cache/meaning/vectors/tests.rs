//! What is found, what leaves at a bound, and files that are written, read and damaged.

use std::path::PathBuf;

use super::*;

const ROOMY: Bounds = Bounds {
    bytes: 64 << 20,
    scopes: 100,
    entries: MAX_ENTRIES,
};

const ONE: ScopeKey = [1; 32];
const TWO: ScopeKey = [2; 32];

fn stored(text: &str) -> Stored {
    Stored {
        tenant: "t".into(),
        rule: "r".into(),
        id: format!("id of {text}").into(),
        text: text.into(),
        answer: Bytes::from(format!("answer to {text}")),
        expires: 100,
    }
}

/// A direction in the plane, in degrees.
fn at(degrees: f32) -> Vector {
    let (sine, cosine) = degrees.to_radians().sin_cos();
    Vector::new(&[cosine, sine]).unwrap()
}

fn texts(vectors: &Vectors) -> Vec<String> {
    let all = vectors.all().into_iter();
    all.map(|(_, entry)| entry.stored.text.to_string())
        .collect()
}

fn found(vectors: &Vectors, degrees: f32, threshold: f32) -> Option<String> {
    let nearest = vectors.nearest(&ONE, &at(degrees), threshold, 0, |_| true);
    nearest
        .unwrap()
        .map(|nearest| nearest.stored.text.to_string())
}

#[test]
fn the_nearest_of_the_scope_is_found_if_it_is_near_enough() {
    let vectors = Vectors::new(ROOMY);
    for (degrees, text) in [(0.0, "a"), (30.0, "b"), (60.0, "c")] {
        vectors.insert(ONE, at(degrees), stored(text)).unwrap();
    }
    vectors
        .insert(TWO, at(41.0), stored("other scope"))
        .unwrap();
    assert_eq!(found(&vectors, 40.0, 0.9).as_deref(), Some("b"));
    assert_eq!(found(&vectors, 50.0, 0.9).as_deref(), Some("c"));
    assert_eq!(found(&vectors, 180.0, 0.9), None);
    let exact = vectors.nearest(&TWO, &at(41.0), 0.9999, 0, |_| true);
    let exact = exact.unwrap().unwrap();
    assert!(exact.similarity > 0.9999);
    assert_eq!(exact.stored.answer, "answer to other scope");
    assert_eq!(
        vectors.nearest(&[3; 32], &at(0.0), -1.0, 0, |_| true),
        Ok(None)
    );
}

#[test]
fn the_nearest_that_is_accepted_counts_and_not_all_are_shown() {
    let vectors = Vectors::new(ROOMY);
    for degrees in 0..40_u8 {
        let text = degrees.to_string();
        vectors
            .insert(ONE, at(f32::from(degrees)), stored(&text))
            .unwrap();
    }
    let accept = |wanted: &'static str| {
        let nearest = vectors.nearest(&ONE, &at(0.0), 0.5, 0, |stored| &*stored.text == wanted);
        nearest
            .unwrap()
            .map(|nearest| nearest.stored.text.to_string())
    };
    assert_eq!(accept("7").as_deref(), Some("7"));
    assert_eq!(accept("15").as_deref(), Some("15"));
    assert_eq!(accept("16"), None);
}

#[test]
fn of_two_that_are_equally_near_the_newer_is_taken() {
    let vectors = Vectors::new(ROOMY);
    vectors.insert(ONE, at(0.0), stored("older")).unwrap();
    vectors.insert(ONE, at(0.0), stored("newer")).unwrap();
    assert_eq!(found(&vectors, 0.0, 0.9).as_deref(), Some("newer"));
}

#[test]
fn an_entry_replaces_that_of_the_same_text() {
    let vectors = Vectors::new(ROOMY);
    vectors.insert(ONE, at(0.0), stored("a")).unwrap();
    let again = Stored {
        answer: "new".into(),
        ..stored("a")
    };
    vectors.insert(ONE, at(0.0), again).unwrap();
    vectors.insert(TWO, at(0.0), stored("a")).unwrap();
    assert_eq!(vectors.len(), 2);
    let nearest = vectors.nearest(&ONE, &at(0.0), 0.9, 0, |_| true).unwrap();
    assert_eq!(nearest.unwrap().stored.answer, "new");
}

#[test]
fn what_has_expired_is_not_found_and_can_be_removed() {
    let vectors = Vectors::new(ROOMY);
    vectors.insert(ONE, at(0.0), stored("a")).unwrap();
    let later = Stored {
        expires: 200,
        ..stored("b")
    };
    vectors.insert(ONE, at(20.0), later).unwrap();
    let at_time = |now| {
        let nearest = vectors.nearest(&ONE, &at(0.0), 0.5, now, |_| true).unwrap();
        nearest.map(|nearest| nearest.stored.text.to_string())
    };
    assert_eq!(at_time(99).as_deref(), Some("a"));
    assert_eq!(at_time(100).as_deref(), Some("b"));
    assert_eq!(at_time(200), None);
    assert_eq!(vectors.remove_expired(100), 1);
    assert_eq!(texts(&vectors), ["b"]);
    assert_eq!(vectors.remove_expired(200), 1);
    assert_eq!(
        (vectors.len(), vectors.scopes(), vectors.bytes()),
        (0, 0, 0)
    );
}

#[test]
fn another_dimension_is_an_error_and_takes_the_place_of_the_one_before() {
    let vectors = Vectors::new(ROOMY);
    vectors.insert(ONE, at(0.0), stored("a")).unwrap();
    let longer = Vector::new(&[1.0, 2.0, 3.0]).unwrap();
    let error = VectorError::Dimension {
        expected: 2,
        found: 3,
    };
    let nearest = vectors.nearest(&ONE, &longer, 0.5, 0, |_| true);
    assert_eq!(nearest, Err(error));
    vectors.insert(TWO, at(0.0), stored("b")).unwrap();
    vectors.insert(ONE, longer.clone(), stored("c")).unwrap();
    assert_eq!(texts(&vectors), ["b", "c"]);
    let nearest = vectors.nearest(&ONE, &longer, 0.5, 0, |_| true).unwrap();
    assert_eq!(nearest.unwrap().stored.text, stored("c").text);
}

#[test]
fn at_the_bound_of_a_scope_its_oldest_entry_leaves() {
    let vectors = Vectors::new(Bounds {
        entries: 3,
        ..ROOMY
    });
    vectors.insert(TWO, at(0.0), stored("other")).unwrap();
    for text in ["a", "b", "c", "d"] {
        vectors.insert(ONE, at(0.0), stored(text)).unwrap();
    }
    assert_eq!(texts(&vectors), ["other", "b", "c", "d"]);
    vectors.insert(ONE, at(0.0), stored("c")).unwrap();
    assert_eq!(texts(&vectors), ["other", "b", "d", "c"]);
}

#[test]
fn a_scope_has_at_most_as_many_entries_as_can_be_scanned() {
    let vectors = Vectors::new(Bounds {
        entries: usize::MAX,
        ..ROOMY
    });
    for n in 0..=MAX_ENTRIES {
        vectors
            .insert(ONE, at(0.0), stored(&n.to_string()))
            .unwrap();
    }
    assert_eq!(vectors.len(), MAX_ENTRIES);
    assert_eq!(texts(&vectors).first().map(String::as_str), Some("1"));
}

#[test]
fn at_the_bound_of_bytes_the_oldest_of_all_leave() {
    let one = SCOPE_BYTES + bytes_of(&at(0.0), &stored("a"));
    let vectors = Vectors::new(Bounds {
        bytes: 3 * one,
        ..ROOMY
    });
    for (scope, text) in [(ONE, "a"), (TWO, "b"), ([3; 32], "c")] {
        vectors.insert(scope, at(0.0), stored(text)).unwrap();
        assert!(vectors.bytes() <= 3 * one);
    }
    assert_eq!(vectors.bytes(), 3 * one);
    vectors.insert([4; 32], at(0.0), stored("d")).unwrap();
    assert_eq!(texts(&vectors), ["b", "c", "d"]);
    let large = Stored {
        answer: vec![0; one].into(),
        ..stored("e")
    };
    vectors.insert(TWO, at(0.0), large).unwrap();
    assert_eq!(texts(&vectors), ["d", "e"]);
    let too_large = Stored {
        answer: vec![0; 3 * one].into(),
        ..stored("f")
    };
    let inserted = vectors.insert(TWO, at(0.0), too_large);
    assert_eq!(inserted, Err(TooLarge));
    assert_eq!(texts(&vectors), ["d", "e"]);
}

#[test]
fn at_the_bound_of_scopes_the_one_without_news_leaves() {
    let vectors = Vectors::new(Bounds { scopes: 2, ..ROOMY });
    vectors.insert(ONE, at(0.0), stored("a")).unwrap();
    vectors.insert(TWO, at(0.0), stored("b")).unwrap();
    vectors.insert(ONE, at(0.0), stored("c")).unwrap();
    vectors.insert([3; 32], at(0.0), stored("d")).unwrap();
    assert_eq!(texts(&vectors), ["a", "c", "d"]);
    for nothing in [
        Bounds { scopes: 0, ..ROOMY },
        Bounds {
            entries: 0,
            ..ROOMY
        },
    ] {
        let inserted = Vectors::new(nothing).insert(ONE, at(0.0), stored("a"));
        assert_eq!(inserted, Err(TooLarge));
    }
}

#[test]
fn entries_are_removed_by_what_the_caller_says() {
    let vectors = Vectors::new(ROOMY);
    for (scope, tenant, text) in [(ONE, "t1", "a"), (ONE, "t2", "b"), (TWO, "t1", "c")] {
        let entry = Stored {
            tenant: tenant.into(),
            ..stored(text)
        };
        vectors.insert(scope, at(0.0), entry).unwrap();
    }
    assert_eq!(vectors.remove(|_, stored| &*stored.id == "id of b"), 1);
    assert_eq!(texts(&vectors), ["a", "c"]);
    assert_eq!(vectors.remove(|scope, _| *scope == TWO), 1);
    assert_eq!(vectors.remove(|_, stored| &*stored.tenant == "t1"), 1);
    assert_eq!(
        (vectors.len(), vectors.scopes(), vectors.bytes()),
        (0, 0, 0)
    );
}

#[test]
fn the_counts_agree_with_what_is_there_after_any_changes() {
    let mut random = fastrand::Rng::with_seed(7);
    let bounds = Bounds {
        bytes: 20_000,
        scopes: 5,
        entries: 8,
    };
    let vectors = Vectors::new(bounds);
    for _ in 0..3000 {
        let scope = [random.u8(..8); 32];
        match random.u8(..10) {
            0 => drop(vectors.remove(|_, stored| stored.text.ends_with('3'))),
            1 => drop(vectors.remove_expired(random.i64(..120))),
            _ => {
                let mut entry = stored(&random.u8(..40).to_string());
                entry.expires = random.i64(..200);
                entry.answer = vec![0; random.usize(..1500)].into();
                vectors
                    .insert(scope, at(random.f32() * 360.0), entry)
                    .unwrap();
            }
        }
        let inner = vectors.inner.lock();
        let scopes = || inner.scopes.values();
        let entries = || scopes().flat_map(|scope| &scope.entries);
        let bytes = entries().map(|entry| entry.bytes()).sum::<usize>();
        assert_eq!(inner.bytes, SCOPE_BYTES * inner.scopes.len() + bytes);
        assert_eq!(inner.entries, entries().count());
        assert!(scopes().all(|s| (1..=bounds.entries).contains(&s.entries.len())));
        assert!(inner.bytes <= bounds.bytes && inner.scopes.len() <= bounds.scopes);
        assert_eq!(inner.by_oldest.len(), inner.scopes.len());
        assert_eq!(inner.by_newest.len(), inner.scopes.len());
    }
}

#[test]
fn a_search_goes_on_while_entries_change() {
    let vectors = Vectors::new(ROOMY);
    vectors.insert(ONE, at(0.0), stored("a")).unwrap();
    let nearest = vectors.nearest(&ONE, &at(0.0), 0.5, 0, |_| {
        vectors.remove(|_, _| true);
        vectors.insert(ONE, at(0.0), stored("b")).unwrap();
        true
    });
    assert_eq!(&*nearest.unwrap().unwrap().stored.text, "a");
    assert_eq!(texts(&vectors), ["b"]);
}

/// A file with three entries of two scopes, one of which expires sooner.
fn saved() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions");
    let vectors = Vectors::new(ROOMY);
    vectors.insert(ONE, at(0.0), stored("a")).unwrap();
    vectors
        .insert(
            TWO,
            at(10.0),
            Stored {
                expires: 50,
                ..stored("b")
            },
        )
        .unwrap();
    vectors.insert(ONE, at(90.0), stored("c")).unwrap();
    assert_eq!(vectors.save(&path, 0).unwrap(), 3);
    (folder, path)
}

#[test]
fn entries_come_back_from_a_file_in_their_order_without_those_that_expired() {
    let (folder, path) = saved();
    let vectors = Vectors::load(&path, ROOMY, 0).unwrap();
    assert_eq!(texts(&vectors), ["a", "b", "c"]);
    let nearest = vectors.nearest(&ONE, &at(80.0), 0.9, 0, |_| true).unwrap();
    assert_eq!(*nearest.unwrap().stored, stored("c"));
    assert_eq!(texts(&Vectors::load(&path, ROOMY, 50).unwrap()), ["a", "c"]);
    let small = Bounds {
        entries: 1,
        ..ROOMY
    };
    assert_eq!(texts(&Vectors::load(&path, small, 50).unwrap()), ["c"]);
    assert_eq!(vectors.save(&path, 50).unwrap(), 2);
    assert_eq!(texts(&Vectors::load(&path, ROOMY, 0).unwrap()), ["a", "c"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = saved();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_that_is_foreign_newer_or_damaged_anywhere_is_refused() {
    let (folder, path) = saved();
    let bytes = std::fs::read(&path).unwrap();
    let other = folder.path().join("other");
    let load = |bytes: &[u8]| {
        std::fs::write(&other, bytes).unwrap();
        Vectors::load(&other, ROOMY, 0)
    };
    assert!(load(&bytes).is_ok());
    for end in 0..bytes.len() {
        let cut = load(&bytes[..end]);
        assert!(
            matches!(cut, Err(FileError::Foreign | FileError::Damaged(_))),
            "{end}"
        );
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        let read = load(&changed);
        assert!(
            matches!(read, Err(FileError::Foreign | FileError::Damaged(_))),
            "{at}"
        );
    }
    assert!(matches!(
        load(&[&bytes[..], b"x"].concat()),
        Err(FileError::Damaged(3))
    ));
    assert!(matches!(
        load(b"{\"a\": 1}\n{\"a\": 2}"),
        Err(FileError::Foreign)
    ));
    let mut newer = bytes[..20].to_vec();
    newer[8] = 9;
    let checksum = crc32fast::hash(&newer).to_le_bytes();
    newer.extend(checksum);
    assert!(matches!(load(&newer), Err(FileError::Version(9))));
    let missing = Vectors::load(&folder.path().join("missing"), ROOMY, 0);
    assert!(matches!(missing, Err(FileError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let saved = Vectors::new(ROOMY).save(&folder.path().join("none/questions"), 0);
    assert!(matches!(saved, Err(FileError::Io(_))));
}
