//! Configurations beside each other, their schema, and what they take from systemd and the environment.

use std::process::{Command, Output};

use crate::sdk;
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::tools::{root, run};
use crate::support::upstream::Upstream;
use crate::support::{PROVIDER_KEY, chat};

const ANSWER: &str = r#"{"object":"chat.completion","choices":[]}"#;
const OLD: &str = "upstreams:
  one: { base_url: 'https://one.example', keys: ['${KEY}'] }
models:
  - { match: gpt-4o, targets: [{ upstream: one }] }
tenants:
  - { id: red, keys: [r] }
";

fn tollgate(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .current_dir(&folder.0)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The exit code, and what was printed to both outputs.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn diff_prints_what_a_reload_would_change_and_what_it_would_not() {
    let folder = Folder::new();
    folder.write("tollgate.yaml", OLD);
    let new = OLD
        .replace("'${KEY}'", "other-secret-key")
        .replace("id: red", "id: blue");
    folder.write("new.yaml", format!("server: {{ threads: 3 }}\n{new}"));
    let key = [("KEY", "sk-secret-key")];
    let (code, out, err) = said(&tollgate(&folder, &["diff", "-c", "new.yaml"], &key));
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    let expected = "\
from ./tollgate.yaml to new.yaml

a reload applies:
  upstreams.one: changed (keys)
  tenants.blue: added
  tenants.red: removed

a reload does not apply, restart for:
  server.threads: changed
";
    assert_eq!(out, expected);
    // Both ways of naming the file, and the other way round.
    let arguments = ["diff", "tollgate.yaml", "--against", "new.yaml"];
    let (code, out, _) = said(&tollgate(&folder, &arguments, &key));
    assert_eq!(code, Some(1));
    assert!(out.contains("tenants.red: added"), "{out}");
}

#[test]
fn diff_exits_as_diff_does() {
    let folder = Folder::new();
    folder.write("tollgate.yaml", OLD);
    folder.write("same.yaml", format!("# A comment\n{OLD}"));
    folder.write("wrong.yaml", OLD.replace("upstream: one", "upstream: two"));
    let key = [("KEY", "k")];
    let (code, out, err) = said(&tollgate(&folder, &["diff", "same.yaml"], &key));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "./tollgate.yaml and same.yaml mean the same: a reload changes nothing\n"
    );
    let (code, out, err) = said(&tollgate(&folder, &["diff", "wrong.yaml"], &key));
    assert_eq!((code, out.as_str()), (Some(64), ""));
    assert!(
        err.starts_with("wrong.yaml:4: models[0].targets[0].upstream: "),
        "{err}"
    );
    // What is in use may be invalid as well.
    let (code, _, err) = said(&tollgate(&folder, &["diff", "same.yaml"], &[]));
    assert_eq!(code, Some(64));
    assert!(
        err.contains("./tollgate.yaml:2: ") && err.contains("same.yaml:3: "),
        "{err}"
    );
    let (code, _, err) = said(&tollgate(&folder, &["diff"], &key));
    assert_eq!(code, Some(2), "{err}");
}

#[test]
fn a_variable_of_a_file_is_read_for_both_sides_of_a_diff() {
    let folder = Folder::new();
    folder.write("tollgate.yaml", OLD);
    folder.write("unit.env", "KEY=k\nNEW=k\n");
    folder.write("new.yaml", OLD.replace("${KEY}", "${NEW}"));
    let arguments = ["diff", "new.yaml", "--env-file", "unit.env"];
    let (code, out, err) = said(&tollgate(&folder, &arguments, &[]));
    assert_eq!(code, Some(0), "{out}{err}");
}

#[test]
fn each_shipped_configuration_fits_the_schema() {
    let Some(mut validate) = sdk::python("validate.py") else {
        return;
    };
    let folder = Folder::new();
    let schema = folder.write("schema.json", run(Command::new(BINARY).arg("schema")));
    validate.arg(schema);
    validate.arg(root().join("conf/tollgate.yaml"));
    for entry in std::fs::read_dir(root().join("conf/examples")).unwrap() {
        validate.arg(entry.unwrap().path());
    }
    validate.arg(root().join("src/config/schema/everything.yaml"));
    assert_eq!(run(&mut validate), "");
}

#[test]
fn the_schema_refuses_what_the_readers_refuse() {
    let Some(mut validate) = sdk::python("validate.py") else {
        return;
    };
    let folder = Folder::new();
    validate.arg(root().join("conf/tollgate.schema.json"));
    let wrong = [
        ("unknown", "server: { max_bodies: 1MiB }"),
        ("number", "server: { threads: 2000 }"),
        ("duration", "server: { shutdown_grace: 30 }"),
        ("word", "server: { log: { level: loud } }"),
        ("missing", "routes: [{ prefix: /a }]"),
        ("mapping", "limits: 60"),
    ];
    for (name, section) in wrong {
        let text = OLD.replace("${KEY}", "k") + section + "\n";
        let file = folder.write(&format!("{name}.yaml"), text);
        let (code, _, err) = said(&tollgate(&folder, &["check", file.to_str().unwrap()], &[]));
        assert_eq!(code, Some(64), "{name}: {err}");
        validate.arg(file);
    }
    let found = run(&mut validate);
    for (name, _) in wrong {
        assert!(
            found.contains(&format!("/{name}.yaml: ")),
            "{name} is not in {found}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_key_may_be_a_credential() {
    let upstream = Upstream::answering(ANSWER).await;
    let folder = Folder::new();
    std::fs::create_dir(folder.0.join("credentials")).unwrap();
    folder.write("credentials/openai", "sk-of-a-credential\n");
    let yaml = config(upstream.address, "", "").replace(PROVIDER_KEY, "${credential:openai}");
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = Command::new(BINARY);
    command
        .arg("run")
        .arg(file)
        .env("CREDENTIALS_DIRECTORY", folder.0.join("credentials"));
    let gateway = Gateway::spawn(command, folder);
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    let asked = upstream.request().await;
    assert_eq!(asked.header("authorization"), ["Bearer sk-of-a-credential"]);
}

#[test]
fn a_credential_that_is_missing_is_told() {
    let folder = Folder::new();
    folder.write(
        "tollgate.yaml",
        OLD.replace("${KEY}", "${credential:openai}"),
    );
    let (code, _, err) = said(&tollgate(&folder, &["check"], &[]));
    assert_eq!(code, Some(64));
    assert!(
        err.starts_with(
            "./tollgate.yaml:2: upstreams.one.keys[0]: there is no credential openai, because"
        ) && err.contains("LoadCredential=openai:FILE"),
        "{err}"
    );
}

/// What `check` prints above the line of dashes can be saved, and then means the same.
#[test]
fn the_file_that_check_prints_of_the_environment_means_the_same() {
    if std::path::Path::new("/etc/tollgate/tollgate.yaml").exists() {
        return;
    }
    let folder = Folder::new();
    let environment = [
        ("OPENAI_KEYS", "sk-one,sk-two"),
        ("UPSTREAM_API_URL", "http://a,http://b"),
        ("FORWARD_KEY", "f"),
        ("WORKERS", "2"),
        ("UPSTREAM_STREAM", "always"),
        ("MASK_LOG", "false"),
        ("LOG_CHAT", "true"),
        ("EXTRA_BASE_URL", "http://x"),
        ("EXTRA_ROUTE_PREFIX", "x"),
    ];
    let (code, printed, err) = said(&tollgate(&folder, &["check"], &environment));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{printed}");
    let (file, _) = printed.split_once("# ----").unwrap();
    folder.write("saved.yaml", file);
    // There is no other file: the environment is what it is compared with.
    let (code, out, err) = said(&tollgate(&folder, &["diff", "saved.yaml"], &environment));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(
        out,
        "environment and saved.yaml mean the same: a reload changes nothing\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn run_takes_threads_and_a_chat_log_from_its_command_line() {
    let upstream = Upstream::answering(ANSWER).await;
    let folder = Folder::new();
    let home = folder.0.clone();
    let file = folder.write("tollgate.yaml", config(upstream.address, "", ""));
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--workers", "1", "--log-chat"])
        .arg(file)
        .current_dir(&home);
    let mut gateway = Gateway::spawn(command, folder);
    let answer = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    gateway.signal("TERM");
    gateway.wait();
    let log = std::fs::read_to_string(home.join("chats.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
}
