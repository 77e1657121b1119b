//! The chat log on disk, and `tollgate chats convert`, which reads it again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tollgate::chatlog::{ChatLog, Entry};
use tollgate::config::{Config, Variables};
use tollgate::observe::chats::Chats;

use crate::support::gateway::{BINARY, Folder, Gateway, assert_no_secret, config};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, PROMPT, chat};

/// What a command did.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Converts, in the folder of a test; what it says on stderr holds no prompt.
fn convert(folder: &Folder, arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(BINARY)
        .args(["chats", "convert"])
        .args(arguments)
        .current_dir(&folder.0)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended without reading it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_no_secret(&err);
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err,
    }
}

fn answer(reason: &str, content: &str) -> Value {
    let message = json!({"role": "assistant", "content": content, "refusal": null});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": reason}]})
}

fn entry(id: &str) -> Entry {
    Entry {
        request_id: id.to_owned(),
        time: SystemTime::now(),
        tenant: Some("tester".to_owned()),
        endpoint: "chat_completions",
        model: "gpt-4o".to_owned(),
        sent_model: Some("gpt-4o-2024-11-20".to_owned()),
        upstream: Some("far".to_owned()),
        forwarded_for: Some("192.0.2.7".to_owned()),
        request: chat("gpt-4o").into(),
        answer: Some(answer("stop", "hi").to_string().into()),
        is_partial: false,
        usage: Some(json!({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4})),
        cost_nanos: None,
        status: 200,
    }
}

/// A configuration with a chat log, in a file of the folder's.
fn configured(folder: &Folder, more: &str) -> String {
    let chat_log = format!("chat_log: {{ path: logs/chats.jsonl{more} }}");
    let yaml = config("127.0.0.1:1".parse().unwrap(), "", &chat_log);
    folder.write("tollgate.yaml", &yaml);
    yaml
}

/// Writes entries as the gateway does.
fn log(folder: &Folder, entries: impl IntoIterator<Item = Entry>) -> PathBuf {
    let yaml = configured(folder, ", rotate: { size: 64KiB }");
    let config = Config::parse("test", &yaml, &Variables::default()).unwrap();
    let mut wanted = config.chat_log.unwrap();
    wanted.path.value = folder.0.join("logs/chats.jsonl");
    let log = ChatLog::start(&wanted, Chats::new().unwrap()).unwrap();
    entries.into_iter().for_each(|entry| log.record(entry));
    assert!(log.close(PATIENCE));
    wanted.path.value
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn without_a_file_the_log_of_the_configuration_is_converted_with_what_was_rotated() {
    let folder = Folder::new();
    let count = 400;
    let names: Vec<String> = (0..count).map(|number| format!("req_{number}")).collect();
    let path = log(&folder, names.iter().map(|name| entry(name)));
    assert!(fs::read_dir(path.parent().unwrap()).unwrap().count() > 2);
    for arguments in [&[][..], &["-c", "tollgate.yaml"], &["--format", "json"]] {
        let said = convert(&folder, arguments, "");
        assert_eq!((said.code, &*said.err), (Some(0), ""));
        let array: Vec<Value> = serde_json::from_str(&said.out).unwrap();
        assert_eq!(ids(&array), names);
        assert_eq!(array[0]["messages"][0]["content"], PROMPT);
        assert_eq!(array[0]["answer"]["choices"][0]["message"]["content"], "hi");
        assert_eq!(array[0]["forwarded_for"], "192.0.2.0");
        assert_eq!(array[0]["usage"]["total_tokens"], 4);
    }
}

#[test]
fn lines_are_chosen_by_time_tenant_and_model() {
    let folder = Folder::new();
    let hour = Duration::from_secs(3600);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_000_000);
    log(
        &folder,
        [
            Entry {
                time: old,
                ..entry("old")
            },
            Entry {
                time: SystemTime::now() - 2 * hour,
                ..entry("earlier")
            },
            Entry {
                tenant: Some("other".to_owned()),
                ..entry("other")
            },
            Entry {
                model: "same-x".to_owned(),
                ..entry("same")
            },
            entry("now"),
        ],
    );
    for (arguments, expected) in [
        (&[][..], &["old", "earlier", "other", "same", "now"][..]),
        (&["--since", "1h"], &["other", "same", "now"]),
        (&["--since", "3h"], &["earlier", "other", "same", "now"]),
        (
            &["--since", "2026-01-01"],
            &["old", "earlier", "other", "same", "now"],
        ),
        (
            &["--since", "2026-10-27T00:00:00Z", "--tenant", "other"],
            &["other"],
        ),
        (
            &["--tenant", "tester", "--model", "gpt-4o", "--since", "1d"],
            &["earlier", "now"],
        ),
        (&["--model", "nobody"], &[]),
    ] {
        let arguments = [&["--format", "jsonl"], arguments].concat();
        let said = convert(&folder, &arguments, "");
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}");
        assert_eq!(ids(&lines(&said.out)), expected, "{arguments:?}");
    }
    let said = convert(&folder, &["--model", "nobody"], "");
    assert_eq!(said.out, "[]\n");
}

#[test]
fn whole_chats_become_examples_and_the_others_are_counted() {
    let folder = Folder::new();
    let answered = |answer: Value| Entry {
        answer: Some(answer.to_string().into()),
        ..entry("a")
    };
    log(
        &folder,
        [
            entry("whole"),
            answered(answer("length", "cut")),
            Entry {
                status: 502,
                ..entry("failed")
            },
            Entry {
                is_partial: true,
                ..entry("partial")
            },
            Entry {
                endpoint: "embeddings",
                answer: None,
                ..entry("no chat")
            },
        ],
    );
    let said = convert(&folder, &["--format", "openai-finetune"], "");
    assert_eq!(said.code, Some(0));
    assert_eq!(
        said.err,
        "examples: 1; lines that make no example: 4 (another endpoint, not complete, or a status other than 200)\n"
    );
    let expected = json!({"messages": [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": "hi"},
    ]});
    assert_eq!(lines(&said.out), [expected]);
}

#[test]
fn a_line_that_is_none_is_told_and_the_rest_is_converted() {
    let folder = Folder::new();
    let path = log(&folder, [entry("one"), entry("two")]);
    let good = fs::read_to_string(&path).unwrap();
    let torn = &good[..good.len() - 20];
    let file = folder.write("torn.jsonl", format!("{good}{PROMPT}\n\n{torn}"));
    let file = file.to_str().unwrap();
    let said = convert(&folder, &["--format", "jsonl", file], "");
    assert_eq!(said.code, Some(65));
    assert_eq!(ids(&lines(&said.out)), ["one", "two", "one"]);
    let column = torn.lines().last().unwrap().len();
    assert_eq!(
        said.err,
        format!("{file}:3: not JSON, at column 1\n{file}:6: not JSON, at column {column}\n")
    );
    // It is valid JSON even so.
    let said = convert(&folder, &[file], "");
    let array: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, array.len()), (Some(65), 3));
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_the_others_are_converted() {
    let folder = Folder::new();
    let path = log(&folder, [entry("one")]);
    let said = convert(&folder, &["gone.jsonl", path.to_str().unwrap(), "."], "");
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("gone.jsonl cannot be read: "),
        "{}",
        said.err
    );
    assert!(said.err.contains(". cannot be read: "), "{}", said.err);
    let array: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(ids(&array), ["one"]);
}

#[test]
fn lines_may_come_from_standard_input() {
    let folder = Folder::new();
    let path = log(&folder, [entry("one"), entry("two")]);
    let input = fs::read_to_string(path).unwrap();
    let said = convert(&folder, &["--format", "jsonl", "-"], &input);
    assert_eq!((said.code, said.out), (Some(0), input));
}

#[test]
fn what_is_written_is_for_its_owner_alone_and_never_over_the_log() {
    let folder = Folder::new();
    let path = log(&folder, [entry("one")]);
    let before = fs::read(&path).unwrap();
    folder.write(
        "there.json",
        "what was there, and is longer than what comes".repeat(100),
    );
    for output in ["new.json", "there.json"] {
        let said = convert(&folder, &["-o", output], "");
        assert_eq!((said.code, &*said.out, &*said.err), (Some(0), "", ""));
        let output = folder.0.join(output);
        let array: Vec<Value> = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
        assert_eq!(ids(&array), ["one"]);
        assert_eq!(mode(&output), 0o600);
    }
    fs::hard_link(&path, folder.0.join("same")).unwrap();
    for output in ["logs/chats.jsonl", "./logs/../same"] {
        let said = convert(&folder, &["-o", output], "");
        assert_eq!(said.code, Some(1));
        assert!(
            said.err.contains("it is one of the input files"),
            "{}",
            said.err
        );
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    let said = convert(&folder, &["-o", "/dev/full"], "");
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("the output cannot be written"),
        "{}",
        said.err
    );
}

#[test]
fn without_a_file_and_without_a_chat_log_it_says_what_to_do() {
    let folder = Folder::new();
    folder.write(
        "tollgate.yaml",
        config("127.0.0.1:1".parse().unwrap(), "", ""),
    );
    let said = convert(&folder, &[], "");
    assert_eq!(said.code, Some(64));
    assert_eq!(
        said.err,
        "./tollgate.yaml has no chat_log: name the files to convert\n"
    );
    let said = convert(&folder, &["--since", "yesterday"], "");
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("expected a day, a time with its zone"),
        "{}",
        said.err
    );
}

#[test]
fn check_shows_the_chat_log_and_makes_nothing() {
    let folder = Folder::new();
    configured(
        &folder,
        ", sample: 0.5, rotate: { every: hour }, mask: [keys]",
    );
    let mut command = Command::new(BINARY);
    let output = command
        .arg("check")
        .current_dir(&folder.0)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let row = out
        .lines()
        .find(|line| line.contains("chats.jsonl"))
        .unwrap();
    let cells = row.split("  ").map(str::trim);
    let cells: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
    let expected = [
        "logs/chats.jsonl",
        "0.5",
        "each hour, 100MiB",
        "30days, 100 files",
        "keys",
    ];
    assert_eq!(cells, expected, "{out}");
    assert!(!folder.0.join("logs").exists());
}

#[tokio::test]
async fn the_gateway_opens_its_log_at_the_start_and_counts_its_lines() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let path = folder.0.join("logs/chats.jsonl");
    let chat_log = format!("chat_log: {{ path: '{}' }}", path.display());
    let mut gateway = Gateway::start(&config(upstream.address, "", &chat_log));
    gateway.output().wait_for("chats are written to ");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let metrics = gateway.get_admin("/metrics").await;
    let metrics = metrics.text();
    for outcome in ["written", "dropped", "failed"] {
        let series = format!("tollgate_chat_log_lines_total{{outcome=\"{outcome}\"}} ");
        assert!(metrics.contains(&series), "{series} is not in\n{metrics}");
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[test]
fn a_log_that_cannot_be_written_is_a_mistake_before_the_start() {
    let folder = Folder::new();
    folder.write("logs", "a file in the folder's place");
    configured(&folder, "");
    for command in ["check", "run"] {
        let mut tollgate = Command::new(BINARY);
        let output = tollgate
            .arg(command)
            .current_dir(&folder.0)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{err}");
        assert!(
            err.contains("chat_log.path: logs cannot be written: "),
            "{err}"
        );
    }
}
