//! Keys as clients send them, right and wrong.

use super::*;

fn headers(name: &'static str, value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    headers
}

#[test]
fn a_key_is_found_in_each_of_its_headers() {
    for (name, value) in [
        ("authorization", "Bearer k1"),
        ("authorization", "bearer  k1 "),
        ("api-key", "k1"),
        ("x-api-key", "k1"),
        ("x-goog-api-key", "k1"),
    ] {
        assert_eq!(key_of(&headers(name, value)), Some(&b"k1"[..]), "{name}");
    }
    for (name, value) in [
        ("authorization", "Basic azE6"),
        ("authorization", "Bearer "),
        ("x-key", "k1"),
    ] {
        assert_eq!(key_of(&headers(name, value)), None, "{value}");
    }
}

#[test]
fn a_key_without_bearer_is_told_from_no_key() {
    for (value, lacks) in [
        ("sk-1234", true),
        ("Basic azE6", true),
        ("Token k1", true),
        ("Bearer", false),
        (" ", false),
    ] {
        assert_eq!(
            lacks_bearer(&headers("authorization", value)),
            lacks,
            "{value}"
        );
    }
    assert!(!lacks_bearer(&headers("x-key", "k1")));
}

/// Now, in seconds since the epoch.
const NOW: i64 = 1_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn until(second: i64) -> Validity {
    Validity {
        is_enabled: true,
        expires: Some(at(second)),
    }
}

const DISABLED: Validity = Validity {
    is_enabled: false,
    expires: None,
};

fn owner(id: &str, prefix: Option<&str>) -> Owner {
    Owner {
        id: id.into(),
        prefix: prefix.map(str::to_owned),
        validity: Validity::default(),
        methods: None,
        addresses: None,
    }
}

fn key(text: &str, tenant: usize) -> Key {
    Key {
        hash: KeyHash::of(text.as_bytes()),
        tenant,
        name: text.into(),
        logged_name: text.into(),
        validity: Validity::default(),
        models: None,
    }
}

/// What comes of a key: its position, or why it is refused.
fn find(keys: &Keys, text: &str) -> Result<usize, Refused> {
    keys.find(text.as_bytes(), at(NOW)).map(|found| {
        assert_eq!(&*found.key.name, text);
        found.position
    })
}

#[test]
fn the_owner_is_found_by_the_whole_key() {
    let keys = Keys::new(
        &[owner("a", None), owner("b", None)],
        vec![key("one", 1), key("two", 0)],
    );
    assert_eq!(find(&keys, "one"), Ok(0));
    assert_eq!(find(&keys, "two"), Ok(1));
    assert_eq!(keys.find(b"one", at(NOW)).unwrap().key.tenant, 1);
    for wrong in ["on", "one ", "", "ONE"] {
        assert_eq!(find(&keys, wrong), Err(Refused::Unknown(None)), "{wrong}");
    }
}

#[test]
fn a_key_over_the_bound_is_refused_even_if_it_were_known() {
    let longest = "k".repeat(MAX_CLIENT_KEY_BYTES);
    let long = format!("{longest}k");
    let keys = vec![key(&longest, 0), key(&long, 0)];
    let keys = Keys::new(&[owner("a", None)], keys);
    assert_eq!(find(&keys, &longest), Ok(0));
    assert_eq!(find(&keys, &long), Err(Refused::Impossible));
}

#[test]
fn a_prefix_names_a_tenant_and_grants_nothing() {
    let owners = [
        owner("a", Some("a1_")),
        owner("b", Some("bb")),
        owner("c", None),
    ];
    // `check` refuses the last two, except as hashes.
    let written = vec![
        key("a1_x", 0),
        key("bbx", 1),
        key("cx", 2),
        key("plain", 0),
        key("bbc", 2),
    ];
    let keys = Keys::new(&owners, written);
    assert_eq!(find(&keys, "a1_x"), Ok(0));
    assert_eq!(find(&keys, "bbx"), Ok(1));
    assert_eq!(find(&keys, "cx"), Ok(2));
    let of = |id: &str| Err(Refused::Unknown(Some(id.into())));
    assert_eq!(find(&keys, "a1_"), of("a"));
    assert_eq!(find(&keys, "a1_y"), of("a"));
    assert_eq!(find(&keys, "bb"), of("b"));
    assert_eq!(find(&keys, "b"), Err(Refused::Unknown(None)));
    assert_eq!(find(&keys, "plain"), Err(Refused::WrongPrefix("a".into())));
    assert_eq!(find(&keys, "bbc"), Err(Refused::WrongPrefix("c".into())));
}

#[test]
fn where_every_tenant_has_a_prefix_a_key_without_one_is_not_looked_up() {
    let owners = [owner("a", Some("a1_")), owner("b", Some("b1_"))];
    let keys = Keys::new(&owners, vec![key("a1_x", 0), key("plain", 0)]);
    assert_eq!(find(&keys, "a1_x"), Ok(0));
    assert_eq!(find(&keys, "plain"), Err(Refused::Impossible));
    assert_eq!(find(&keys, "b1_x"), Err(Refused::Unknown(Some("b".into()))));
    assert_eq!(find(&Keys::default(), "x"), Err(Refused::Unknown(None)));
}

#[test]
fn what_has_expired_or_is_disabled_is_refused_and_says_why() {
    let mut written = vec![key("good", 0), key("over", 0), key("off", 0)];
    written[0].validity = until(NOW + 1);
    written[1].validity = until(NOW);
    written[2].validity = DISABLED;
    let keys = Keys::new(&[owner("a", None)], written);
    assert_eq!(find(&keys, "good"), Ok(0));
    for (text, said) in [
        ("over", "the key over of tenant a is expired"),
        ("off", "the key off of tenant a is disabled"),
    ] {
        let refused = find(&keys, text).unwrap_err();
        assert_eq!(refused.to_string(), said);
        assert!(refused.is_known());
    }
    assert!(!find(&keys, "none").unwrap_err().is_known());
}
