//! The log in files: what is in which, rotation under load, two processes at the same files, and a folder that is
//! gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::logs::load;
use crate::support::gateway::{BINARY, Folder, Gateway, assert_no_secret, config};
use crate::support::upstream::Upstream;
use crate::support::{chat, until};

/// The tests' configuration with a log in files.
fn with_files(upstream: &Upstream, log: &Path, more: &str) -> String {
    let files = format!("files: {{ path: '{}'{more} }}", log.display());
    let yaml = config(upstream.address, "", "");
    yaml.replace(
        "log: { mask: false }",
        &format!("log: {{ mask: false, {files} }}"),
    )
}

fn start(yaml: &str, log: &Path) -> Gateway {
    let folder = Folder::new();
    let mut command = Command::new(BINARY);
    command
        .args(["run", "-c"])
        .arg(folder.write("tollgate.yaml", yaml));
    command.env("RUST_LOG", "");
    Gateway::spawn_logging_to(command, folder, log)
}

/// What the files of one name hold, in the order in which it was written, and how many there are.
fn read(log: &Path, name: &str) -> (String, usize) {
    let paths = tollgate::rotation::all(&log.join(name)).unwrap();
    let texts = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    let text: String = texts.collect();
    assert_no_secret(&text);
    (text, paths.len())
}

/// The ids of the requests whose lines a text has. None is there twice.
fn ids(text: &str) -> BTreeSet<&str> {
    let lines = text
        .lines()
        .filter_map(|line| line.split_once(" access id="));
    let ids: Vec<&str> = lines.map(|(_, rest)| &rest[..36]).collect();
    let each: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(each.len(), ids.len(), "lines are doubled");
    each
}

fn folder_of(folder: &Folder) -> PathBuf {
    folder.0.join("a/log")
}

#[tokio::test]
async fn all_lines_are_in_one_file_and_warnings_in_another_too() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let log = folder_of(&folder);
    let mut gateway = start(&with_files(&upstream, &log, ""), &log);
    load(&gateway, 1, 2).await;
    upstream.stop().await;
    let broken = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(broken.status, 502);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let (info, _) = read(&log, "info.log");
    let (error, _) = read(&log, "error.log");
    assert_eq!(ids(&info).len(), 3);
    assert!(info.ends_with("tollgate::server::stop stopped\n"), "{info}");
    let warnings = info
        .lines()
        .filter(|line| line[25..].starts_with("WARN") || line[25..].starts_with("ERROR"));
    let warnings: Vec<&str> = warnings.collect();
    assert!(!warnings.is_empty());
    assert_eq!(error.lines().collect::<Vec<_>>(), warnings);
    assert_eq!(gateway.output().text(), "", "nothing is on stderr");
}

#[tokio::test]
async fn rotation_under_load_loses_and_doubles_nothing() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let log = folder_of(&folder);
    let small = ", rotate: { size: 64KiB }, retention: { files: 1000 }";
    let mut gateway = start(&with_files(&upstream, &log, small), &log);
    load(&gateway, 8, 250).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let (info, files) = read(&log, "info.log");
    assert_eq!(ids(&info).len(), 2000);
    assert!(files >= 8, "{files}");
}

#[tokio::test]
async fn two_processes_may_write_to_the_same_files() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let log = folder_of(&folder);
    let small = ", rotate: { size: 64KiB }, retention: { files: 1000 }";
    let yaml = with_files(&upstream, &log, small);
    let mut one = start(&yaml, &log);
    let mut two = start(&yaml, &log);
    // The first line with an address is that of the first process.
    let addresses = || {
        let text = read(&log, "info.log").0;
        let lines = text
            .lines()
            .filter_map(|line| line.split_once(" listening on http://"));
        lines
            .map(|(_, address)| address.parse().unwrap())
            .collect::<Vec<_>>()
    };
    until("the second process", || addresses().len() == 2).await;
    two.address = addresses()[1];
    tokio::join!(load(&one, 4, 250), load(&two, 2, 250));
    for process in [&mut one, &mut two] {
        process.signal("TERM");
        assert!(process.wait().success());
    }
    let (info, files) = read(&log, "info.log");
    assert_eq!(ids(&info).len(), 1500);
    assert!(files >= 6, "{files}");
}

#[tokio::test]
async fn a_folder_that_is_gone_costs_lines_and_no_requests() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let log = folder_of(&folder);
    let gateway = start(&with_files(&upstream, &log, ""), &log);
    load(&gateway, 1, 1).await;
    until("the first line", || {
        ids(&read(&log, "info.log").0).len() == 1
    })
    .await;
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::write(&log, "a file in the folder's place").unwrap();
    load(&gateway, 1, 20).await;
    let said = gateway.output().wait_for(" cannot be written: ");
    assert!(
        said.contains("ERROR tollgate::observe::logging log: "),
        "{said}"
    );
    assert!(
        said.contains("a/log/info.log cannot be written: "),
        "{said}"
    );
    gateway
        .metric_becomes(r#"tollgate_log_lines_lost_total{outcome="failed"}"#, 20.0)
        .await;
    std::fs::remove_file(&log).unwrap();
    load(&gateway, 1, 1).await;
    until("lines again", || {
        log.is_dir()
            && read(&log, "info.log")
                .0
                .contains("can be written again; 20 lines were lost")
    })
    .await;
    assert_eq!(ids(&read(&log, "info.log").0).len(), 1);
    let all = gateway.output().text();
    assert_eq!(all.lines().count(), 1, "said once: {all}");
}

#[test]
fn files_that_cannot_be_opened_are_told_at_the_start() {
    let folder = Folder::new();
    let log = folder_of(&folder);
    std::fs::create_dir_all(log.join("info.log")).unwrap();
    let address = "127.0.0.1:1".parse().unwrap();
    let files = format!("log: {{ files: {{ path: '{}' }} }}", log.display());
    let yaml = config(address, "", "").replace("log: { mask: false }", &files);
    let run = |yaml: &str| {
        let file = folder.write("tollgate.yaml", yaml);
        let said = Command::new(BINARY)
            .args(["run", "-c"])
            .arg(file)
            .output()
            .unwrap();
        (said.status.code(), String::from_utf8(said.stderr).unwrap())
    };
    let (code, said) = run(&yaml);
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "server.log.files.path: ",
        "cannot be written: ",
        "or remove `files` to log to stderr",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let (code, said) = run(&yaml.replace("a/log", "tollgate.yaml"));
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("tollgate.yaml is not a folder (name the folder of the log files"),
        "{said}"
    );
}
