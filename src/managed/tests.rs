//! Changes, their rules, and what is known after them.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::Variables;
use crate::secret::Secret;

const FILE: &str = "\
upstreams: { u: { base_url: http://a } }
models: [{ match: m, targets: [{ upstream: u }] }]
tenants:
  - { id: filed, keys: [{ key: of-the-file, name: main }], key_prefix: of- }
  - { id: plain, keys: [plain-key] }
";

struct Case {
    _folder: tempfile::TempDir,
    place: Place,
    managed: Arc<Managed>,
    config: Config,
}

fn config(text: &str) -> Config {
    Config::parse("t.yaml", text, &Variables::default()).unwrap()
}

fn case_with(bounds: Bounds) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("keys.db"));
    let managed = Managed::at(place.clone(), bounds).unwrap();
    Case {
        _folder: folder,
        place,
        managed,
        config: config(FILE),
    }
}

fn case() -> Case {
    case_with(Bounds::default())
}

fn object(value: Value) -> Definition {
    value.as_object().unwrap().clone()
}

impl Case {
    fn make(&self, change: Change) -> Result<Outcome, Refused> {
        let actor = Actor {
            name: "op".to_owned(),
            credential: "admin_token".to_owned(),
            source: "127.0.0.1".to_owned(),
        };
        self.managed.change(&change, &actor, &self.config)
    }

    fn tenant(&self, id: &str, definition: Value) -> Result<Outcome, Refused> {
        self.make(Change::CreateTenant(id.to_owned(), object(definition)))
    }

    fn key(&self, tenant: &str, definition: Value) -> Result<(String, Secret), Refused> {
        match self.make(Change::CreateKey(tenant.to_owned(), object(definition)))? {
            Outcome::Shown(entry, secret) => Ok((entry.row.id.clone(), secret)),
            other => unreachable!("{other:?}"),
        }
    }

    fn import(&self, text: &str) -> Result<Outcome, Refused> {
        self.make(Change::Import(read_import(text)?))
    }

    fn audit(&self) -> Vec<AuditRow> {
        self.managed.audit(None, None, 100).unwrap()
    }
}

fn told(refused: Result<impl std::fmt::Debug, Refused>) -> String {
    refused.unwrap_err().to_string()
}

#[test]
fn a_key_is_known_by_its_hash_and_its_text_is_not_kept() {
    let case = case();
    case.tenant("a", json!({ "name": "Team A", "key_prefix": "a_" }))
        .unwrap();
    let (id, secret) = case
        .key("a", json!({ "name": "ci", "labels": { "team": "x" } }))
        .unwrap();
    assert!(secret.expose().starts_with("a_"));
    let set = case.managed.set();
    let entry = set.key(&id).unwrap();
    assert_eq!(entry.row.hash, secret.hash());
    assert_eq!(entry.row.hint.chars().count(), 2 + 1 + 4);
    assert_eq!(entry.keys.len(), 1);
    assert!(
        secret
            .expose()
            .ends_with(&entry.row.hint[entry.row.hint.len() - 4..])
    );
    drop(set);
    // Another process knows it, too, and nowhere is the text.
    let other = Managed::at(case.place.clone(), Bounds::default()).unwrap();
    assert_eq!(other.set().key(&id).unwrap().row.hash, secret.hash());
    let Place::File(path) = &case.place else {
        unreachable!("it gives another outcome")
    };
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = secret.expose().as_bytes();
        assert!(!bytes.windows(text.len()).any(|window| window == text));
    }
    let audit = format!("{:?}", case.audit());
    assert!(!audit.contains(secret.expose()) && !audit.contains(&secret.hash().to_hex()));
}

#[test]
fn what_another_process_changes_is_seen() {
    let case = case();
    let other = Managed::at(case.place.clone(), Bounds::default()).unwrap();
    let mut versions = other.versions();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (id, _) = case.key("plain", json!({ "name": "ci" })).unwrap();
    let seen = versions.wait_for(|version| *version == 1);
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), seen).await })
        .unwrap()
        .unwrap();
    assert!(other.set().key(&id).is_some());
    // It checks against what it did not know.
    case.key("plain", json!({ "name": "cd" })).unwrap();
    let actor = Actor::default();
    let again = Change::CreateKey("plain".to_owned(), object(json!({ "name": "cd" })));
    let refused = other.change(&again, &actor, &case.config);
    assert_eq!(
        told(refused),
        "name: another key of the tenant has the name `cd` already"
    );
}

#[test]
fn a_patch_merges_and_null_removes() {
    let case = case();
    let (id, _) = case
        .key(
            "plain",
            json!({ "name": "ci", "limits": { "rpm": 5, "concurrent": 2 }, "models": ["m"] }),
        )
        .unwrap();
    let patch =
        json!({ "limits": { "rpm": 9, "concurrent": null }, "models": null, "enabled": false });
    case.make(Change::ChangeKey(id.clone(), object(patch)))
        .unwrap();
    let set = case.managed.set();
    let expected =
        json!({ "name": "ci", "limits": { "requests_per_minute": 9 }, "enabled": false });
    assert_eq!(
        Value::Object(set.key(&id).unwrap().row.definition.clone()),
        expected
    );
    let key = &set.key(&id).unwrap().keys[0];
    assert!(!key.validity.is_enabled && key.models.is_none());
    drop(set);
    let line = case.audit().remove(0);
    assert_eq!(
        (line.action.as_str(), line.key.as_deref()),
        ("key.change", Some(id.as_str()))
    );
    assert_eq!(line.after, Some(expected));
    assert_eq!(line.before.unwrap()["models"], json!(["m"]));
    assert_eq!(line.actor.name, "op");
    let refused = case.make(Change::ChangeKey(id, object(json!({ "name": null }))));
    assert_eq!(told(refused), "name: a key has a name");
}

#[test]
fn a_rotated_key_holds_for_the_overlap_and_another_rotation_ends_it() {
    let case = case();
    let (id, first) = case
        .key("plain", json!({ "name": "ci", "expires": "2200-01-01" }))
        .unwrap();
    let rotate = |overlap| match case
        .make(Change::RotateKey(id.clone(), Duration::from_secs(overlap)))
        .unwrap()
    {
        Outcome::Shown(_, secret) => secret,
        other => unreachable!("{other:?}"),
    };
    let second = rotate(3_600);
    let hashes = || {
        case.managed
            .set()
            .key(&id)
            .unwrap()
            .keys
            .iter()
            .map(|key| key.hash.value)
            .collect::<Vec<_>>()
    };
    assert_eq!(hashes(), [second.hash(), first.hash()]);
    let set = case.managed.set();
    let keys = &set.key(&id).unwrap().keys;
    assert_eq!(keys[0].shown(), keys[1].shown());
    assert!(keys[1].validity.expires < keys[0].validity.expires);
    drop(set);
    let third = rotate(0);
    assert_eq!(hashes(), [third.hash()]);
    assert!(case.managed.set().key_with(&first.hash()).is_none());
    let line = case.audit().remove(1);
    assert_eq!(line.action, "key.rotate");
    assert!(line.after.unwrap()["previous_until"].is_string());
}

#[test]
fn a_revoked_key_is_gone_for_good_and_its_name_is_free() {
    let case = case();
    case.import(r#"{"tenant": "plain", "name": "ci", "key": "sk-brought-along-0123456789"}"#)
        .unwrap();
    let id = case.managed.set().keys().next().unwrap().row.id.clone();
    case.make(Change::RevokeKey(id.clone())).unwrap();
    assert!(case.managed.set().key(&id).is_none());
    assert_eq!(
        told(case.make(Change::RevokeKey(id.clone()))),
        format!("there is no key `{id}`")
    );
    let again =
        case.import(r#"{"tenant": "plain", "name": "ci", "key": "sk-brought-along-0123456789"}"#);
    assert!(told(again).contains("line 1: key: it was revoked, and holds no more"));
    case.key("plain", json!({ "name": "ci" })).unwrap();
    // Another process that reads everything knows that, too.
    let other = Managed::at(case.place.clone(), Bounds::default()).unwrap();
    assert!(
        other
            .set()
            .is_revoked(&Secret::new("sk-brought-along-0123456789".into()).hash())
    );
}

#[test]
fn a_tenant_goes_with_its_keys_and_its_id_is_free() {
    let case = case();
    case.tenant("a", json!({})).unwrap();
    let (id, _) = case.key("a", json!({ "name": "ci" })).unwrap();
    let deleted = case.make(Change::DeleteTenant("a".into())).unwrap();
    assert!(matches!(deleted, Outcome::Deleted(1)));
    assert!(case.managed.set().key(&id).is_none() && case.managed.set().tenant("a").is_none());
    case.tenant("a", json!({ "name": "again" })).unwrap();
    assert_eq!(
        case.managed.set().tenant("a").unwrap().row.definition["name"],
        "again"
    );
    let actions: Vec<String> = case.audit().into_iter().map(|line| line.action).collect();
    assert_eq!(
        actions,
        [
            "tenant.create",
            "tenant.delete",
            "key.revoke",
            "key.create",
            "tenant.create"
        ]
    );
}

#[test]
fn what_the_file_defines_is_changed_there() {
    let case = case();
    let of_file = "the tenant `filed` is defined in the configuration file: change it there";
    assert_eq!(told(case.tenant("filed", json!({}))), of_file);
    assert_eq!(
        told(case.make(Change::ChangeTenant("filed".into(), object(json!({}))))),
        of_file
    );
    assert_eq!(
        told(case.make(Change::DeleteTenant("filed".into()))),
        of_file
    );
    let key = case.make(Change::RevokeKey("file_0123456789abcdef".into()));
    assert!(told(key).ends_with("is defined in the configuration file: change it there"));
    // Its keys can be made.
    let (_, secret) = case.key("filed", json!({ "name": "ci" })).unwrap();
    assert!(secret.expose().starts_with("of-"));
    assert_eq!(
        told(case.key("filed", json!({ "name": "main" }))),
        "name: another key of the tenant has the name `main` already, in the configuration file"
    );
}

#[test]
fn without_tenants_in_the_file_none_is_made() {
    let mut case = case();
    case.config = config(FILE.split("tenants:").next().unwrap());
    let refused = told(case.tenant("a", json!({})));
    assert!(
        refused.contains("write `tenants: []` to make all tenants at run time"),
        "{refused}"
    );
    case.config = config(&FILE.replace(&FILE[FILE.find("tenants:").unwrap()..], "tenants: []\n"));
    assert!(!case.config.is_open() && case.config.ledger.is_some());
    case.tenant("a", json!({})).unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_cannot_be_is_refused_with_what_to_write() {
    let case = case();
    case.tenant("a", json!({ "key_prefix": "a_" })).unwrap();
    for (id, definition, expected) in [
        ("a", json!({}), "id: another tenant has the id `a` already"),
        ("a b", json!({}), "id: an id has up to 64 letters"),
        (
            "b",
            json!({ "key_prefix": "a_b" }),
            "key_prefix: `a_b` clashes with `a_`, the key_prefix of the tenant `a`",
        ),
        (
            "b",
            json!({ "key_prefix": "o" }),
            "key_prefix: `o` clashes with `of-`",
        ),
        (
            "b",
            json!({ "key_prefix": "tg" }),
            "key_prefix: `tg` clashes with `tg_`",
        ),
        (
            "b",
            json!({ "quota": { "usd": 5 } }),
            "quota: a quota in dollars needs prices",
        ),
        (
            "b",
            json!({ "limits": {}, "modles": [] }),
            "limits: no limit is written",
        ),
        (
            "b",
            json!({ "webhook": "https://x" }),
            "webhook: this can be written in the configuration file alone",
        ),
    ] {
        let refused = told(case.tenant(id, definition));
        assert!(refused.starts_with(expected), "{refused}");
    }
    case.key("a", json!({ "name": "ci" })).unwrap();
    let moved = case.make(Change::ChangeTenant(
        "a".into(),
        object(json!({ "key_prefix": "x_" })),
    ));
    assert!(told(moved).starts_with("key_prefix: it cannot be changed while the tenant has keys"));
    for (tenant, definition, expected) in [
        (
            "none",
            json!({ "name": "x" }),
            "tenant: there is no tenant `none`",
        ),
        ("a", json!({}), "name: it is missing"),
        (
            "a",
            json!({ "name": "x", "quot": null }),
            "quot: unknown key",
        ),
        (
            "a",
            json!({ "name": "ci" }),
            "name: another key of the tenant has the name `ci` already",
        ),
        (
            // What a key of the file without a name is called.
            "plain",
            json!({ "name": Secret::new("plain-key".into()).hash().fingerprint() }),
            "name: another key of the tenant has the name",
        ),
        (
            "a",
            json!({ "name": "x", "quota": { "usd": 5 } }),
            "quota: a quota in dollars needs prices",
        ),
        (
            "a",
            json!({ "name": "x", "quota": 0 }),
            "quota: must be above 0",
        ),
    ] {
        let refused = told(case.key(tenant, definition));
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn an_import_takes_all_lines_or_none_and_tells_each_that_is_wrong() {
    let case = case();
    let hash = Secret::new("sk-hashed".into()).hash().to_hex();
    let lines = format!(
        "{{\"tenant\": \"filed\", \"name\": \"one\", \"key\": \"of-brought-along-0123456789\"}}\n\n\
         {{\"tenant\": \"plain\", \"name\": \"two\", \"hash\": \"sha256:{hash}\", \"limits\": {{\"rpm\": 5}}}}\n"
    );
    let Outcome::Imported(ids) = case.import(&lines).unwrap() else {
        unreachable!("it gives another outcome")
    };
    let set = case.managed.set();
    assert_eq!(set.key(&ids[0]).unwrap().row.hint, "of-…6789");
    assert_eq!(set.key(&ids[1]).unwrap().row.hash.to_hex(), hash);
    drop(set);
    let wrong = format!(
        "{{\"tenant\": \"plain\", \"name\": \"a\", \"key\": \"good-key-0123456789\"}}\n\
         not json with-a-secret\n\
         {{\"tenant\": \"plain\", \"name\": \"b\"}}\n\
         {{\"tenant\": \"plain\", \"name\": \"c\", \"key\": \"k\", \"hash\": \"{hash}\"}}\n\
         {{\"name\": \"d\", \"key\": \"k\"}}\n"
    );
    let refused = told(case.import(&wrong));
    for expected in [
        "nothing is imported: line 2: not a JSON object",
        "line 3: key: it is missing, and so is `hash`",
        "line 4: key: `hash` is written, too",
        "line 5: tenant: it is missing",
    ] {
        assert!(refused.contains(expected), "{refused}");
    }
    assert!(!refused.contains("with-a-secret"));
    let wrong = format!(
        "{{\"tenant\": \"filed\", \"name\": \"a\", \"key\": \"without-prefix\"}}\n\
         {{\"tenant\": \"plain\", \"name\": \"b\", \"key\": \"of-anothers\"}}\n\
         {{\"tenant\": \"plain\", \"name\": \"c\", \"key\": \"plain-key\"}}\n\
         {{\"tenant\": \"plain\", \"name\": \"d\", \"hash\": \"{hash}\"}}\n\
         {{\"tenant\": \"plain\", \"name\": \"e\", \"key\": \"same\"}}\n\
         {{\"tenant\": \"plain\", \"name\": \"f\", \"key\": \"same\"}}\n\
         {{\"tenant\": \"plain\", \"name\": \"e\", \"key\": \"other\"}}\n\
         {{\"tenant\": \"none\", \"name\": \"g\", \"key\": \"any\"}}\n"
    );
    let refused = told(case.import(&wrong));
    for expected in [
        "line 1: key: it does not begin with `of-`",
        "line 2: key: it begins with the key_prefix of the tenant `filed`",
        "line 3: key: it is in the configuration file already",
        "line 4: key: the key `key_",
        "line 6: key: line 5 has it, too",
        "line 7: name: line 5 has it, too",
        "line 8: tenant: there is no tenant `none`",
    ] {
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    assert_eq!(case.managed.set().key_count(), 2);
    assert!(told(case.import("\n")).starts_with("there is no line with a key"));
}

#[test]
fn there_is_a_bound_of_both() {
    let case = case_with(Bounds {
        tenants: 1,
        keys: 2,
    });
    case.tenant("a", json!({})).unwrap();
    let refused = told(case.tenant("b", json!({})));
    assert_eq!(
        refused,
        "there are 1 tenants that were made at run time, and no more can be: delete some"
    );
    let (id, _) = case.key("a", json!({ "name": "one" })).unwrap();
    let two = "{\"tenant\": \"a\", \"name\": \"x\", \"key\": \"k1\"}\n{\"tenant\": \"a\", \"name\": \"y\", \"key\": \"k2\"}";
    assert!(told(case.import(two)).starts_with("there may be 2 keys"));
    case.key("a", json!({ "name": "two" })).unwrap();
    assert!(told(case.key("a", json!({ "name": "three" }))).starts_with("there may be 2 keys"));
    case.make(Change::RevokeKey(id)).unwrap();
    case.key("a", json!({ "name": "three" })).unwrap();
}

#[test]
fn a_database_that_is_away_is_waited_for() {
    let url = Secret::new("postgres://u:s3cret@127.0.0.1:1/none?sslmode=disable".into());
    let managed = Managed::at(Place::Postgres(url), Bounds::default()).unwrap();
    assert!(!managed.is_loaded());
    assert!(managed.trouble().unwrap().contains("not known yet"));
    let change = Change::CreateTenant("a".into(), Definition::new());
    let refused = told(managed.change(&change, &Actor::default(), &config(FILE)));
    assert!(
        refused.contains("the database of the keys cannot be used") && !refused.contains("s3cret")
    );
}
