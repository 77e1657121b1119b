//! Which method counts, and what holds for a tenant whichever it is.

use std::time::Duration;

use super::*;
use crate::observe::callers::REASONS;
use crate::secret::KeyHash;

const NOW: i64 = 1_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn owner(id: &str) -> Owner {
    Owner {
        id: id.into(),
        prefix: None,
        validity: Validity::default(),
        methods: None,
        addresses: None,
    }
}

/// A tenant for each owner, with its id as its key, and listeners with these methods.
fn callers(owners: Vec<Owner>, listeners: Vec<Option<Methods>>) -> Callers {
    let keys = owners.iter().enumerate().map(|(tenant, owner)| Key {
        hash: KeyHash::of(owner.id.as_bytes()),
        tenant,
        name: Arc::clone(&owner.id),
        logged_name: Arc::clone(&owner.id),
        validity: Validity::default(),
        models: None,
    });
    let keys = keys.collect();
    let configured = Configured {
        owners,
        listeners,
        keys,
        issuers: &[],
        signature_keys: Vec::new(),
        signature_terms: SignatureTerms {
            window: Duration::from_secs(300),
            nonces: 10,
        },
        certificate_names: Vec::new(),
        masks_names: false,
    };
    Callers::new(configured, &CallerState::default())
}

/// The tenant that is found by a key at a listener.
fn find(callers: &Callers, key: Option<&str>, listener: usize) -> Result<usize, Refused> {
    let (uri, headers) = (Uri::from_static("/v1/models"), HeaderMap::new());
    let shown = Shown {
        method: &HttpMethod::GET,
        uri: &uri,
        headers: &headers,
        key: key.map(str::as_bytes),
        certificate: None,
        certificate_counts: true,
        listener,
        address: "10.0.0.1".parse().ok(),
    };
    let found = callers.find(&shown, at(NOW));
    if let Err(refused) = &found {
        let method = refused.method().map_or("none", Method::name);
        let known = REASONS.iter().find(|(of, _)| *of == method);
        assert!(known.unwrap().1.contains(&refused.reason()), "{refused}");
    }
    found.map(|found| found.tenant)
}

#[test]
fn a_tenant_that_does_not_hold_is_refused_and_the_log_says_why() {
    let mut owners = vec![owner("a"), owner("b"), owner("c")];
    owners[1].validity.expires = Some(at(NOW));
    owners[2].validity.is_enabled = false;
    let callers = callers(owners, vec![None]);
    assert_eq!(find(&callers, Some("a"), 0), Ok(0));
    for (key, said) in [
        ("b", "the tenant b is expired"),
        ("c", "the tenant c is disabled"),
    ] {
        let refused = find(&callers, Some(key), 0).unwrap_err();
        assert_eq!(refused.to_string(), said);
        assert!(refused.is_known());
        assert_eq!(refused.tenant(), Some(key));
    }
    let refused = find(&callers, Some("d"), 0).unwrap_err();
    assert!(!refused.is_known());
    assert_eq!(refused.tenant(), None);
}

#[test]
fn a_listener_and_a_tenant_take_the_methods_that_they_name() {
    let other = Methods::of(&[Method::Jwt]);
    let mut owners = vec![owner("a"), owner("b")];
    owners[1].methods = Some(other);
    let callers = callers(
        owners,
        vec![None, Some(Methods::of(&[Method::Key])), Some(other)],
    );
    for listener in [0, 1] {
        assert_eq!(find(&callers, Some("a"), listener), Ok(0));
        let refused = find(&callers, Some("b"), listener).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the tenant b does not take client keys"
        );
    }
    let refused = find(&callers, Some("a"), 2).unwrap_err();
    assert_eq!(refused, Refused::MethodOfListener(Method::Key));
    // A method that is not taken is refused before the credential is looked at.
    assert_eq!(find(&callers, Some("unknown"), 2), Err(refused));
}

#[test]
fn a_tenant_s_callers_come_from_its_addresses() {
    let rules = |allow: &str| {
        Some(AddressRules {
            allow: Some([allow.parse().unwrap()].into_iter().collect()),
            ..AddressRules::default()
        })
    };
    let mut owners = vec![owner("a"), owner("b")];
    owners[0].addresses = rules("10.0.0.0/8");
    owners[1].addresses = rules("192.0.2.0/24");
    let callers = callers(owners, vec![None]);
    assert_eq!(find(&callers, Some("a"), 0), Ok(0));
    let refused = find(&callers, Some("b"), 0).unwrap_err();
    assert_eq!(refused, Refused::Address(Method::Key, "b".into()));
    assert!(refused.is_known());
}

#[test]
fn what_shows_nothing_is_told_so() {
    let callers = callers(vec![owner("a")], vec![None]);
    assert_eq!(find(&callers, None, 0), Err(Refused::Missing));
}
