//! Keys that clients have already, and long lists.

use serde_json::{Value, json};

use super::{ask, assert_refused, make_key, status_with, taken, upstream, with_ledger};
use crate::support::gateway::{Folder, Gateway};

#[tokio::test]
async fn keys_that_clients_have_are_taken_all_or_none() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    let good = json!({ "tenant": "tester", "name": "old", "key": "sk-brought-along-0123456789" });
    let wrong = json!({ "tenant": "tester", "name": "old", "key": "sk-another-0123456789" });
    let refused = ask(
        &gateway,
        "POST",
        "/admin/keys/import",
        json!(format!("{good}\n{wrong}\n")),
    )
    .await;
    let first = "line 2: name: line 1 has it, too";
    assert_refused(&refused, 400, "invalid_definition", None, first);
    assert_eq!(
        status_with(&gateway, "sk-brought-along-0123456789").await,
        401
    );
    let done = taken(
        &ask(
            &gateway,
            "POST",
            "/admin/keys/import",
            json!(good.to_string()),
        )
        .await,
        200,
    );
    assert_eq!(done["imported"], 1);
    assert_eq!(
        status_with(&gateway, "sk-brought-along-0123456789").await,
        200
    );
    let log = gateway.output().text();
    assert!(!log.contains("sk-brought-along-0123456789") && !refused.text().contains("sk-another"));
}

#[tokio::test]
async fn a_text_that_was_rotated_away_is_never_taken_again() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    let (first, replaced) = make_key(&gateway, "tester", "first").await;
    let (second, overlapped) = make_key(&gateway, "tester", "second").await;
    for (id, overlap) in [(&first, "0"), (&second, "1h")] {
        let rotate = format!("/admin/keys/{id}/rotate");
        let rotated = ask(&gateway, "POST", &rotate, json!({ "overlap": overlap })).await;
        taken(&rotated, 200);
    }
    let path = format!("/admin/keys/{second}");
    taken(&ask(&gateway, "DELETE", &path, Value::Null).await, 200);
    for text in [replaced, overlapped] {
        let line = json!({ "tenant": "tester", "name": "again", "key": text });
        let again = ask(
            &gateway,
            "POST",
            "/admin/keys/import",
            json!(line.to_string()),
        )
        .await;
        let message = "line 1: key: it was revoked, and holds no more";
        assert_refused(&again, 400, "invalid_definition", None, message);
        assert_eq!(status_with(&gateway, &text).await, 401);
    }
    // What would be no key of a client, or the hash of one.
    let hash = format!("sha256:{}", "0".repeat(64));
    for (key, message) in [
        (hash.as_str(), "this is a hash: write it as `hash`"),
        ("a\u{0}b", "it has control characters"),
    ] {
        let line = json!({ "tenant": "tester", "name": "odd", "key": key });
        let odd = ask(
            &gateway,
            "POST",
            "/admin/keys/import",
            json!(line.to_string()),
        )
        .await;
        assert_refused(&odd, 400, "invalid_definition", None, message);
    }
}

#[tokio::test]
async fn a_long_list_comes_in_pages_and_of_one_tenant() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start_quietly(&with_ledger(upstream.address, &ledger));
    taken(
        &ask(&gateway, "POST", "/admin/tenants", json!({ "id": "many" })).await,
        201,
    );
    let lines: Vec<String> = (0..2_500)
        .map(|n| {
            json!({ "tenant": "many", "name": format!("k{n}"), "key": format!("key-of-many-{n}") })
                .to_string()
        })
        .collect();
    taken(
        &ask(
            &gateway,
            "POST",
            "/admin/keys/import",
            json!(lines.join("\n")),
        )
        .await,
        200,
    );
    assert_eq!(status_with(&gateway, "key-of-many-2499").await, 200);
    let mut seen = std::collections::BTreeSet::new();
    let mut after = String::new();
    let mut pages = 0;
    loop {
        let path = format!("/admin/keys?tenant=many&limit=1000{after}");
        let page = taken(&ask(&gateway, "GET", &path, Value::Null).await, 200);
        pages += 1;
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key["id"].to_string()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (2_500, 3));
}
