//! What the operator sees of the cache and removes from it: `/admin/cache`, `tollgate cache`.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{CHAT, answer, ask, ask_with, asking, certain, configured, counting, is, result};
use crate::support::CLIENT_KEY;
use crate::support::client::{Client, Response, post};
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::upstream::Upstream;

const TOKEN: &str = "token-of-the-operator";
const PRICES: &str = "prices: [{ model: gpt-4o-2024-11-20, input: 1000000, output: 2000000 }]\n";
const SAVED: &str = r#"tollgate_cache_saved_dollars_total{rule="gpt-4o"}"#;
const OTHER_TENANT: &str = "  - { id: other-one, keys: [key-of-another-1234] }\n";

/// Two rules that use the cache, and two tenants.
fn with_two_rules(upstream: &Upstream) -> Gateway {
    let yaml = configured(upstream, "cache: true", OTHER_TENANT).replace(
        "{ match: { prefix: same- }, targets",
        "{ match: { prefix: same- }, cache: true, targets",
    );
    Gateway::start(&yaml)
}

async fn order(gateway: &Gateway, method: &str, target: &str, headers: &str) -> Response {
    let mut client = gateway.connect_admin().await;
    let head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    client.send(head).await;
    client.response().await
}

async fn remove(gateway: &Gateway, query: &str) -> Value {
    let removed = order(gateway, "DELETE", &format!("/admin/cache{query}"), "").await;
    assert_eq!(removed.status, 200, "{query}: {}", removed.text());
    removed.json()
}

async fn shown(gateway: &Gateway) -> Value {
    let shown = gateway.get_admin("/admin/cache").await;
    assert_eq!(shown.status, 200, "{shown:?}");
    shown.json()
}

async fn ask_as_other(client: &mut Client, body: &str) -> Response {
    let request = post(CHAT, "", body).replace(CLIENT_KEY, "key-of-another-1234");
    client.send(request).await;
    client.response().await
}

#[tokio::test]
async fn what_is_kept_and_what_was_counted_is_shown_by_rule() {
    let upstream = counting().await;
    let more = [PRICES, "cache: { memory: 32MiB }\n"].concat();
    let gateway = Gateway::start(&configured(&upstream, "cache: true", &more));
    let empty = json!({
        "rule": "gpt-4o", "hits": 0, "semantic": 0, "joined": 0, "misses": 0, "bypasses": 0, "bypass_reasons": {},
        "not_stored": 0, "not_stored_reasons": {}, "evictions": 0, "saved_dollars": 0.0,
    });
    assert_eq!(
        shown(&gateway).await,
        json!({
            "entries": 0, "bytes": 0, "limit_bytes": 32 << 20, "flights": 0, "followers": 0, "questions": null,
            "rules": [empty],
        })
    );
    let mut client = gateway.connect().await;
    for cache in ["miss", "hit", "hit"] {
        assert_eq!(result(&ask(&mut client, &certain("a")).await), cache);
    }
    let maybe = asking("a", r#","temperature":1"#);
    assert_eq!(result(&ask(&mut client, &maybe).await), "bypass");
    let none = ask_with(&mut client, "cache-control: no-store\r\n", &certain("a")).await;
    assert_eq!(result(&none), "bypass");
    gateway.metric_becomes(SAVED, 38.0).await;
    let shown = shown(&gateway).await;
    assert_eq!(
        (&shown["entries"], &shown["flights"]),
        (&json!(1), &json!(0))
    );
    let bytes = shown["bytes"].as_u64().unwrap();
    assert!((300..2000).contains(&bytes), "{shown}");
    let rule = &shown["rules"][0];
    let counts = [
        "hits",
        "joined",
        "misses",
        "bypasses",
        "not_stored",
        "evictions",
    ];
    assert_eq!(
        counts.map(|name| rule[name].as_u64().unwrap()),
        [2, 0, 1, 2, 0, 0],
        "{rule}"
    );
    assert_eq!(
        rule["bypass_reasons"],
        json!({"not_deterministic": 1, "no_store": 1})
    );
    assert_eq!(rule["saved_dollars"], json!(38.0));
}

#[tokio::test]
async fn answers_that_are_waited_for_and_those_that_were_not_kept_are_shown() {
    let upstream = Upstream::start(|request, mut reply| async move {
        match request.text().contains("held") {
            true => reply.wait_for_close().await,
            false => reply.json("200 OK", r#"{"choices":[]}"#).await,
        }
        reply
    })
    .await;
    let gateway = Gateway::start(&configured(&upstream, "cache: true", ""));
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &certain("held"))).await;
    upstream.request().await;
    assert_eq!(shown(&gateway).await["flights"], 1);
    client.leave();
    upstream.closed().await;
    let mut client = gateway.connect().await;
    assert_eq!(result(&ask(&mut client, &certain("a")).await), "miss");
    let shown = async {
        loop {
            let shown = shown(&gateway).await;
            if shown["rules"][0]["not_stored"] == 1 && shown["flights"] == 0 {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    };
    let shown = crate::support::soon("the count", shown).await;
    assert_eq!(
        shown["rules"][0]["not_stored_reasons"],
        json!({"not_whole": 1})
    );
}

#[tokio::test]
async fn answers_are_removed_by_tenant_rule_and_id() {
    let upstream = counting().await;
    let gateway = with_two_rules(&upstream);
    let mut client = gateway.connect().await;
    let other_rule = certain("a").replace("\"gpt-4o\"", "\"same-x\"");
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
    is(&ask(&mut client, &certain("b")).await, "answer 2", "miss");
    is(&ask(&mut client, &other_rule).await, "answer 3", "miss");
    is(
        &ask_as_other(&mut client, &certain("a")).await,
        "answer 4",
        "miss",
    );
    let hit = ask(&mut client, &certain("b")).await;
    is(&hit, "answer 2", "hit");
    let id = hit.header("x-tollgate-cache-id").unwrap();

    // Each part has to fit.
    let nothing = json!({"removed": 0});
    assert_eq!(
        remove(&gateway, &format!("?tenant=other%2Done&id={id}")).await,
        nothing
    );
    assert_eq!(remove(&gateway, "?rule=gpt-4").await, nothing);
    assert_eq!(
        remove(&gateway, &format!("?id={id}")).await,
        json!({"removed": 1})
    );
    gateway.output().wait_for(&format!(
        "the operator removes answers of id \"{id}\" from the cache: 1 removed"
    ));
    is(&ask(&mut client, &certain("b")).await, "answer 5", "miss");
    is(&ask(&mut client, &certain("a")).await, "answer 1", "hit");

    assert_eq!(
        remove(&gateway, "?tenant=tester&rule=gpt-4o").await,
        json!({"removed": 2})
    );
    is(&ask(&mut client, &certain("a")).await, "answer 6", "miss");
    is(&ask(&mut client, &other_rule).await, "answer 3", "hit");
    assert_eq!(
        remove(&gateway, "?tenant=other%2Done").await,
        json!({"removed": 1})
    );
    assert_eq!(
        remove(&gateway, "?rule=same-%2A").await,
        json!({"removed": 1})
    );
    is(&ask(&mut client, &certain("a")).await, "answer 6", "hit");
    assert_eq!(remove(&gateway, "").await, json!({"removed": 1}));
    gateway
        .output()
        .wait_for("the operator removes all answers from the cache: 1 removed");
    assert_eq!(shown(&gateway).await["entries"], 0);
}

#[tokio::test]
async fn what_is_not_clear_removes_nothing() {
    let upstream = counting().await;
    let gateway = with_two_rules(&upstream);
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
    for (query, headers, why) in [
        ("?tenant=", "", "tenant is empty"),
        ("?tenant=tester&id", "", "id is empty"),
        ("?tennant=tester", "", "no others"),
        ("?id=a&id=b", "", "id is given twice"),
        ("?rule=%FF", "", "no UTF-8"),
        ("", "content-length: 2\r\n", "a body is not read"),
    ] {
        let body = if headers.is_empty() { "" } else { "{}" };
        let mut operator = gateway.connect_admin().await;
        let head = format!(
            "DELETE /admin/cache{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}"
        );
        operator.send(head).await;
        let refused = operator.response().await;
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
        let error = refused.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(why), "{query}: {message}");
        assert!(message.contains("tenant, rule and id"), "{message}");
    }
    for method in ["POST", "PUT"] {
        let refused = order(&gateway, method, "/admin/cache", "content-length: 0\r\n").await;
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, DELETE"));
        assert!(
            refused.text().contains("use GET or DELETE"),
            "{}",
            refused.text()
        );
    }
    is(&ask(&mut client, &certain("a")).await, "answer 1", "hit");
}

#[tokio::test]
async fn only_the_operator_may_ask() {
    let upstream = counting().await;
    let yaml = configured(&upstream, "cache: true", "").replacen(
        "server:\n",
        &format!("server:\n  admin_token: {TOKEN}\n"),
        1,
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
    for method in ["GET", "DELETE"] {
        let refused = order(&gateway, method, "/admin/cache", "").await;
        assert_eq!(refused.status, 401, "{method}");
    }
    is(&ask(&mut client, &certain("a")).await, "answer 1", "hit");
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let removed = order(&gateway, "DELETE", "/admin/cache", &token).await;
    assert_eq!(removed.json(), json!({"removed": 1}));
}

/// Runs `tollgate cache` for a gateway that runs.
fn cache(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String, String) {
    let admin = gateway.admin.unwrap().to_string();
    let named = [arguments, &["--admin", &admin, "-c", "tollgate.yaml"]].concat();
    run(gateway.folder(), &named)
}

fn run(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = Command::new(BINARY)
        .arg("cache")
        .args(arguments)
        .current_dir(&folder.0)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn done(said: &str) -> (Option<i32>, String, String) {
    (Some(0), format!("{said}\n"), String::new())
}

#[tokio::test]
async fn the_commands_ask_the_gateway_that_runs() {
    let upstream = counting().await;
    let more = [OTHER_TENANT, PRICES].concat();
    let yaml = configured(&upstream, "cache: true", &more)
        .replacen(
            "server:\n",
            &format!("server:\n  admin_token: {TOKEN}\n"),
            1,
        )
        .replace(
            "{ match: { prefix: same- }, targets",
            "{ match: { prefix: same- }, coalesce: true, targets",
        );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for (text, cache) in [("a", "miss"), ("a", "hit"), ("a", "hit"), ("b", "miss")] {
        assert_eq!(result(&ask(&mut client, &certain(text)).await), cache);
    }
    let hit = ask(&mut client, &certain("b")).await;
    let id = hit.header("x-tollgate-cache-id").unwrap();
    assert_eq!(
        result(&ask_as_other(&mut client, &certain("a")).await),
        "miss"
    );
    let no_store = "cache-control: no-store\r\n";
    ask_with(&mut client, no_store, &certain("a")).await;

    gateway.metric_becomes(SAVED, 57.0).await;
    let (code, out, err) = cache(&gateway, &["stats"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let expected = [
        "RULE    REQUESTS  HIT RATE  BY MEANING  JOINED  BYPASSES  SAVED (USD)",
        "gpt-4o  7         42.9%     0           0       1         57",
        "same-*  0         -         0           0       0         0",
        "",
        "answers kept       3",
    ];
    assert_eq!(lines[..5], expected, "{out}");
    assert!(lines[5].starts_with("memory  "), "{out}");
    assert!(lines[5].ends_with(" KiB of 256 MiB (0.0%)"), "{out}");
    assert_eq!(lines[6], "being asked now    0");

    let nothing = "nothing is removed: no answer that is kept fits all options";
    let clear = |arguments: &[&str]| cache(&gateway, &[&["clear"], arguments].concat());
    assert_eq!(clear(&["--rule", "gpt-4"]), done(nothing));
    assert_eq!(clear(&["--tenant", "other-one", "--id", id]), done(nothing));
    assert_eq!(clear(&["--id", id]), done("1 answer is removed"));
    is(&ask(&mut client, &certain("a")).await, "answer 1", "hit");
    assert_eq!(
        clear(&["--tenant", "other-one", "--rule", "gpt-4o"]),
        done("1 answer is removed")
    );
    assert_eq!(result(&ask(&mut client, &certain("b")).await), "miss");
    assert_eq!(clear(&["--all"]), done("2 answers are removed"));
    assert_eq!(
        clear(&["--all"]),
        done("nothing is removed: no answer is kept")
    );
    assert_eq!(result(&ask(&mut client, &certain("a")).await), "miss");

    // What says nothing clearly asks nothing.
    for (arguments, says) in [
        (&[][..], "--tenant <ID>|--rule <RULE>|--id <ID>|--all"),
        (&["--tenant", ""], "--tenant"),
        (&["--all", "--rule", "gpt-4o"], "cannot be used with"),
    ] {
        let (code, _, err) = clear(arguments);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(says), "{err}");
    }
    is_refused_with_other_tokens(&gateway);
    assert_eq!(result(&ask(&mut client, &certain("a")).await), "hit");
}

fn is_refused_with_other_tokens(gateway: &Gateway) {
    let folder = gateway.folder();
    let admin = gateway.admin.unwrap().to_string();
    for (server, says) in [
        ("admin_token: another-token-of-an-operator", "send SIGHUP"),
        ("{}", "other.yaml has no server.admin_token"),
    ] {
        let server = server.replace("admin_token", "\n  admin_token");
        folder.write("other.yaml", format!("server: {server}\n"));
        for command in [&["stats"][..], &["clear", "--all"]] {
            let named = [command, &["-c", "other.yaml", "--admin", &admin]].concat();
            let (code, out, err) = run(folder, &named);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
            assert!(
                err.contains("Send the token of server.admin_token") && err.contains(says),
                "{err}"
            );
        }
    }
}

#[tokio::test]
async fn the_commands_say_that_no_rule_uses_the_cache() {
    let upstream = counting().await;
    let gateway = Gateway::before(&upstream);
    let (code, out, err) = cache(&gateway, &["stats"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let first = "no rule uses the cache: set `cache: true` for a rule below `models`\n\nanswers kept       0\n";
    assert!(out.starts_with(first), "{out}");
    let said =
        "nothing is removed: no rule uses the cache: set `cache: true` for a rule below `models`";
    assert_eq!(cache(&gateway, &["clear", "--all"]), done(said));
}

#[tokio::test]
async fn the_commands_say_why_no_gateway_can_be_asked() {
    let folder = Folder::new();
    // It takes connections no more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let other = Upstream::answering(answer("x").leak()).await;
    let elsewhere = other.address;
    for (server, code, says) in [
        (
            format!("server: {{ admin: '{address}' }}"),
            1,
            "is it running?",
        ),
        (
            "server: { admin: off }".to_owned(),
            64,
            "server.admin is off",
        ),
        (
            "server: { admin: '127.0.0.1:0' }".to_owned(),
            64,
            "name the one in use with --admin",
        ),
        (
            format!("server: {{ admin: '{elsewhere}' }}"),
            1,
            "is not that of a gateway of this version",
        ),
    ] {
        folder.write("tollgate.yaml", server);
        for command in [&["stats"][..], &["clear", "--all"]] {
            let (folder, command) = (folder.0.clone(), command.to_vec());
            // The other server answers meanwhile.
            let asking = tokio::task::spawn_blocking(move || {
                let named = [&["cache"], &command[..], &["-c", "tollgate.yaml"]].concat();
                let mut command = Command::new(BINARY);
                command.args(named).current_dir(folder).output().unwrap()
            });
            let output = asking.await.unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{err}");
            assert!(err.contains(says) && output.stdout.is_empty(), "{err}");
        }
    }
}
