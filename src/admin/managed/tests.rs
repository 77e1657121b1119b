//! The description of the paths and the paths themselves say the same.

use std::collections::BTreeSet;

use super::*;

fn routes() -> [(Route, &'static str); 8] {
    let id = || "{id}".to_owned();
    [
        (Route::Keys, "/admin/keys"),
        (Route::Import, "/admin/keys/import"),
        (Route::Key(id()), "/admin/keys/{id}"),
        (Route::Rotate(id()), "/admin/keys/{id}/rotate"),
        (Route::Tenants, "/admin/tenants"),
        (Route::Tenant(id()), "/admin/tenants/{id}"),
        (Route::Audit, "/admin/audit"),
        (Route::OpenApi, "/admin/openapi.json"),
    ]
}

#[test]
fn each_path_and_method_of_the_description_is_served_and_the_other_way_round() {
    let described: Value = serde_json::from_str(OPENAPI).unwrap();
    let paths = described["paths"].as_object().unwrap();
    let mut in_description = BTreeSet::new();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            in_description.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let mut served = BTreeSet::new();
    for (route, path) in routes() {
        assert_eq!(Route::of(path).as_ref(), Some(&route));
        let methods = route
            .methods()
            .iter()
            .filter(|method| *method != Method::HEAD);
        served.extend(methods.map(|method| format!("{method} {path}")));
    }
    assert_eq!(in_description, served);
}

#[test]
fn each_reference_of_the_description_leads_somewhere() {
    let described: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut references = 0;
    let mut left = vec![&described];
    while let Some(value) = left.pop() {
        if let Some(Value::String(to)) = value.get("$ref") {
            assert!(
                described.pointer(to.strip_prefix('#').unwrap()).is_some(),
                "{to}"
            );
            references += 1;
        }
        match value {
            Value::Object(members) => left.extend(members.values()),
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(references > 50);
}

#[test]
fn an_id_may_be_encoded_and_anything_else_is_no_route() {
    assert_eq!(
        Route::of("/admin/tenants/team%2Da"),
        Some(Route::Tenant("team-a".into()))
    );
    for path in [
        "/admin/key",
        "/admin/keys/",
        "/admin/keys/a/b",
        "/admin/keys/a/rotate/c",
        "/admin/audit/1",
        "/keys",
        "/admin/keys/%ff",
    ] {
        assert_eq!(Route::of(path), None, "{path}");
    }
}
