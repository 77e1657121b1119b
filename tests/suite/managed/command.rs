//! `tollgate keys` and `tollgate tenants`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{status_with, upstream, with_ledger};
use crate::support::gateway::{BINARY, Folder, Gateway};

fn command(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("-c");
    command.arg(gateway.folder().0.join("tollgate.yaml"));
    command.args(["--admin", &gateway.admin.unwrap().to_string()]);
    command.env("USER", "op").stdin(Stdio::null());
    command
}

fn run(gateway: &Gateway, arguments: &[&str]) -> (i32, String, String) {
    told(&command(gateway, arguments).output().unwrap())
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test]
async fn a_key_that_is_made_stands_alone_on_stdout() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    let made = run(
        &gateway,
        &[
            "tenants",
            "create",
            "team-a",
            "--name",
            "Team A",
            "--key-prefix",
            "ta_",
            "--quota",
            "tokens=500000,per=week",
            "--limit",
            "rpm=60",
            "--model",
            "gpt-4o",
        ],
    );
    assert_eq!(
        (made.0, made.1.as_str()),
        (0, "the tenant team-a is in force"),
        "{made:?}"
    );
    let (code, key, said) = run(
        &gateway,
        &[
            "keys",
            "create",
            "--tenant",
            "team-a",
            "--name",
            "ci",
            "--label",
            "team=search",
            "--limit",
            "concurrent=2",
            "--quota",
            "tokens=40000,per=day",
        ],
    );
    assert_eq!(code, 0, "{said}");
    assert!(
        key.starts_with("ta_") && !key.contains(char::is_whitespace),
        "{key}"
    );
    assert!(
        said.contains("it is not shown again") && !said.contains(&key),
        "{said}"
    );
    assert_eq!(status_with(&gateway, &key).await, 200);

    let (_, listed, _) = run(&gateway, &["keys", "list"]);
    assert!(
        listed.starts_with("ID") && listed.contains("team-a") && listed.contains("file"),
        "{listed}"
    );
    assert!(
        listed.contains("QUOTA") && listed.contains("40000 tokens per day"),
        "{listed}"
    );
    let (_, json, _) = run(&gateway, &["keys", "list", "--tenant", "team-a", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let id = json[0]["id"].as_str().unwrap();
    assert_eq!(
        (json.as_array().unwrap().len(), &json[0]["labels"]["team"]),
        (1, &Value::from("search"))
    );
    let (_, shown, _) = run(&gateway, &["keys", "show", id]);
    let shown = serde_json::from_str::<Value>(&shown).unwrap();
    assert_eq!(
        (
            &shown["limits"]["concurrent"],
            &shown["usage"]["tokens"]["limit"]
        ),
        (&2.into(), &40_000.into())
    );

    let (code, second, said) = run(&gateway, &["keys", "rotate", id, "--overlap", "0"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(status_with(&gateway, &key).await, 401);
    assert_eq!(status_with(&gateway, &second).await, 200);
    let (code, told, _) = run(&gateway, &["keys", "revoke", id]);
    assert_eq!(
        (code, told.as_str()),
        (0, "the key ci of team-a is revoked")
    );
    assert_eq!(status_with(&gateway, &second).await, 401);
    let (code, _, said) = run(&gateway, &["keys", "revoke", id]);
    assert_eq!((code, said), (1, format!("there is no key `{id}`")));
    let audit = super::ask(&gateway, "GET", "/admin/audit?limit=1", Value::Null)
        .await
        .json();
    let actor = audit["data"][0]["actor"].as_str().unwrap();
    assert!(actor.starts_with("op@"), "{actor}");

    let (_, listed, _) = run(&gateway, &["tenants", "list"]);
    assert!(
        listed.contains("Team A") && listed.contains("tester"),
        "{listed}"
    );
    let (_, shown, _) = run(&gateway, &["tenants", "show", "team-a"]);
    assert_eq!(
        serde_json::from_str::<Value>(&shown).unwrap()["quota"]["per"],
        "week"
    );
    let (code, told, _) = run(&gateway, &["tenants", "delete", "team-a"]);
    assert_eq!(
        (code, told.as_str()),
        (
            0,
            "the tenant team-a is deleted; keys that were revoked with it: 0"
        )
    );
}

#[tokio::test]
async fn keys_are_imported_from_a_file_or_from_stdin() {
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start(&with_ledger(upstream.address, &ledger));
    let lines = "{\"tenant\": \"tester\", \"name\": \"a\", \"key\": \"brought-along-a\"}\n{\"tenant\": \"tester\", \"name\": \"b\", \"key\": \"brought-along-b\"}\n";
    let file = gateway.folder().write("keys.jsonl", lines);
    let (code, told_by, said) = run(&gateway, &["keys", "import", file.to_str().unwrap()]);
    assert_eq!(
        (code, told_by.as_str()),
        (0, "2 keys are imported"),
        "{said}"
    );
    assert_eq!(status_with(&gateway, "brought-along-b").await, 200);
    let mut again = command(&gateway, &["keys", "import", "-"]);
    let mut again = again
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    again
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let (code, _, said) = told(&again.wait_with_output().unwrap());
    assert_eq!(code, 1);
    assert!(
        said.contains("line 1: key: the key `key_") && said.contains("is this one already"),
        "{said}"
    );
}
