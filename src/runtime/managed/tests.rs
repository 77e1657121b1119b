//! What a change of keys replaces, and what it leaves.

use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::json;

use super::*;
use crate::auth::{CallerState, Refused as NotFound, Shown};
use crate::config::Variables;
use crate::limits::Limits;
use crate::managed::{Bounds, Definition, Managed, Place};
use crate::runtime::{Orders, Principal};
use crate::upstreams::Registry;

const FILE: &str = "\
upstreams: { u: { base_url: http://a } }
models: [{ match: m, targets: [{ upstream: u }], limits: { rpm: 5 } }]
tenants:
  - { id: filed, keys: [{ key: of-the-file, name: main, models: [m], labels: { a: b } }] }
";

fn config(text: &str) -> Config {
    Config::parse("t.yaml", text, &Variables::default()).unwrap()
}

struct Case {
    _folder: tempfile::TempDir,
    shared: Arc<Shared>,
}

fn runtime(config: &Config, shared: &Shared) -> Runtime {
    Runtime::new(
        config,
        None,
        &shared.registry,
        &shared.limits,
        &shared.callers,
    )
}

fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let config = config(FILE);
    let (registry, limits, callers) = (Registry::default(), Limits::new(), CallerState::default());
    let first = Runtime::new(&config, None, &registry, &limits, &callers);
    let shared = Shared::new(first, registry, (limits, callers), Orders::queue().0).unwrap();
    let place = Place::File(folder.path().join("keys.db"));
    let managed = Managed::at(place, Bounds::default()).unwrap();
    shared.make_keys_in(Keys::new(managed, &config));
    shared.follow_keys();
    Case {
        _folder: folder,
        shared,
    }
}

fn object(value: serde_json::Value) -> Definition {
    value.as_object().unwrap().clone()
}

impl Case {
    fn make(&self, change: &Change) -> Outcome {
        let made = self.shared.change_keys(change, &Actor::default());
        made.unwrap().unwrap()
    }

    fn key(&self, tenant: &str, definition: serde_json::Value) -> (String, String) {
        match self.make(&Change::CreateKey(tenant.to_owned(), object(definition))) {
            Outcome::Shown(entry, secret) => (entry.row.id.clone(), secret.expose().to_owned()),
            other => unreachable!("{other:?}"),
        }
    }

    fn caller(&self, key: &str) -> Result<Principal, NotFound> {
        let uri = Uri::from_static("/v1/chat/completions");
        let mut headers = HeaderMap::new();
        headers.insert("api-key", HeaderValue::from_str(key).unwrap());
        self.shared.pin().principal(&Shown {
            method: &Method::POST,
            uri: &uri,
            headers: &headers,
            key: Some(key.as_bytes()),
            certificate: None,
            certificate_counts: false,
            listener: 0,
            address: None,
        })
    }
}

#[test]
fn a_change_replaces_callers_and_shares_the_rest() {
    let case = case();
    let before = case.shared.pin();
    case.make(&Change::CreateTenant(
        "made".into(),
        object(json!({ "limits": { "rpm": 9 } })),
    ));
    let (_, key) = case.key("made", json!({ "name": "ci", "models": ["m"] }));
    let after = case.shared.pin();
    assert!(Arc::ptr_eq(&before.rules()[0], &after.rules()[0]));
    assert!(Arc::ptr_eq(&before.upstreams()[0], &after.upstreams()[0]));
    assert!(Arc::ptr_eq(&before.settings, &after.settings));
    assert!(after.rule("m").is_some());
    let caller = case.caller(&key).unwrap();
    assert_eq!(
        (caller.tenant.id.as_str(), caller.credential_name()),
        ("made", "ci")
    );
    assert!(caller.tenant.allows("m") && !caller.tenant.allows("n"));
    let of_file = case.caller("of-the-file").unwrap();
    assert!(of_file.tenant.allows("m") && !of_file.tenant.allows("n"));
    // A request that is pinned to the state before does not know it.
    assert!(before.tenant_called("made").is_none());
}

#[test]
fn both_texts_of_a_rotated_key_count_in_the_same_limits() {
    let case = case();
    let (id, first) = case.key("filed", json!({ "name": "ci", "limits": { "rpm": 1 } }));
    let rotated = case.make(&Change::RotateKey(id, std::time::Duration::from_secs(60)));
    let Outcome::Shown(_, second) = rotated else {
        unreachable!("it gives another outcome")
    };
    let scope = |key: &str| {
        let caller = case.caller(key).unwrap();
        let runtime = case.shared.pin();
        let scopes = runtime
            .metering
            .scopes(Some(&caller), None, &case.shared.limits);
        Arc::clone(scopes.all.last().unwrap())
    };
    assert!(Arc::ptr_eq(&scope(&first), &scope(second.expose())));
}

#[test]
fn a_reload_and_a_change_of_keys_do_not_undo_each_other() {
    let case = case();
    let (id, key) = case.key("filed", json!({ "name": "ci" }));
    // It was built before a key is revoked, and comes in force after that.
    let next = config(&FILE.replace("match: m", "match: n"));
    let built = runtime(&next, &case.shared);
    case.make(&Change::RevokeKey(id));
    let (_, other) = case.key("filed", json!({ "name": "other" }));
    case.shared.put_in_force(built, next);
    assert!(case.shared.pin().rule("n").is_some());
    assert!(case.caller(&key).is_err());
    assert!(case.caller(&other).is_ok());
    let (_, later) = case.key("filed", json!({ "name": "later" }));
    assert!(case.shared.pin().rule("n").is_some());
    assert!(case.caller(&later).is_ok());
}

#[test]
fn what_a_later_file_defines_too_is_left_out_and_comes_back() {
    let case = case();
    case.make(&Change::CreateTenant(
        "a".into(),
        object(json!({ "key_prefix": "a_" })),
    ));
    case.make(&Change::CreateTenant(
        "b".into(),
        object(json!({ "models": ["m"] })),
    ));
    let (_, of_a) = case.key("a", json!({ "name": "ci" }));
    let (_, of_b) = case.key("b", json!({ "name": "ci" }));
    let (_, of_file) = case.key("filed", json!({ "name": "ci" }));
    let next = "\
upstreams: { u: { base_url: http://a } }
models: [{ match: m, targets: [{ upstream: u }] }]
tenants:
  - { id: b, keys: [b-key] }
  - { id: c, key_prefix: a_x, keys: [] }
";
    let next = config(next);
    case.shared.put_in_force(runtime(&next, &case.shared), next);
    // Its prefix clashes; its definition is the file's; its tenant is gone.
    assert!(case.caller(&of_a).is_err());
    assert!(case.caller(&of_b).unwrap().tenant.allows_all());
    assert!(case.caller(&of_file).is_err());
    let again = config(FILE);
    case.shared
        .put_in_force(runtime(&again, &case.shared), again);
    for key in [of_a, of_b, of_file] {
        assert!(case.caller(&key).is_ok());
    }
}

#[test]
fn the_quota_in_dollars_of_a_key_is_told_once_where_a_later_file_has_no_prices() {
    let case = case();
    let priced = config(&format!("{FILE}prices: [{{ model: m, input: 1 }}]\n"));
    let put = |config: Config| {
        case.shared
            .put_in_force(runtime(&config, &case.shared), config)
    };
    let left_out = || case.shared.keys().unwrap().in_force.lock().left_out.clone();
    put(priced);
    let quota = json!({ "name": "ci", "quota": { "usd": 5 } });
    let (id, _) = case.key("filed", quota);
    case.make(&Change::RotateKey(
        id,
        std::time::Duration::from_secs(3_600),
    ));
    assert_eq!(left_out(), [""; 0]);
    put(config(FILE));
    let told = left_out();
    assert_eq!(told.len(), 1, "{told:?}");
    let expected = "the quota in dollars of the key `ci` of the tenant `filed`, which was made at run time, is never \
                    reached";
    assert!(told[0].starts_with(expected), "{told:?}");
}

#[test]
fn keys_that_are_not_known_yet_are_told_from_those_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let case = case();
    let url = "postgres://u@127.0.0.1:1/none?sslmode=disable".to_owned();
    let place = Place::Postgres(crate::secret::Secret::new(url));
    let managed = Managed::at(place, Bounds::default()).unwrap();
    let keys = Keys::new(managed, &config(FILE));
    follow(&keys, &case.shared);
    assert_eq!(case.caller("wrong").unwrap_err(), NotFound::KeysNotLoaded);
    assert!(case.caller("of-the-file").is_ok());
    drop(folder);
}
