//! The command line, as a stranger meets it.

use std::process::{Command, Output};

use crate::support::gateway::{BINARY, Folder, Gateway, assert_no_secret, config};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROVIDER_KEY, chat};

fn tollgate(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .current_dir(&folder.0)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_prints_what_the_configuration_amounts_to_without_its_keys() {
    let folder = Folder::new();
    let yaml = config("127.0.0.1:1".parse().unwrap(), "", "");
    folder.write("tollgate.yaml", yaml);
    let output = tollgate(&folder, &["check"], &[]);
    let (out, err) = said(&output);
    assert!(output.status.success(), "{err}");
    for part in [
        "./tollgate.yaml: ok",
        "http://127.0.0.1:1/v1",
        "gpt-4o-2024-11-20",
        "same-*",
        "tester",
        "prov…",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert_no_secret(&out);
}

#[test]
fn check_and_run_tell_every_mistake_and_exit_with_64() {
    let folder = Folder::new();
    let file = folder.write("bad.yaml", "upstreams:\n  a: { basurl: x }\nmodles: []\n");
    let file = file.to_str().unwrap();
    for command in ["check", "run"] {
        let output = tollgate(&folder, &[command, "-c", file], &[]);
        let (out, err) = said(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(64), ""));
        for line in [
            format!("{file}:2: upstreams.a.basurl: unknown key (did you mean `base_url`?)"),
            format!("{file}:3: modles: unknown key (did you mean `models`?)"),
        ] {
            assert!(err.lines().any(|l| l == line), "{line} is not in\n{err}");
        }
    }
}

#[test]
fn the_configuration_is_looked_for_in_its_order() {
    let folder = Folder::new();
    let yaml = config("127.0.0.1:1".parse().unwrap(), "", "");
    let named = folder.write("named.yaml", &yaml);
    let named = named.to_str().unwrap();
    let nothing = tollgate(&folder, &["check"], &[]);
    let (_, err) = said(&nothing);
    // A file of the machine's own, at /etc/tollgate, would be found here.
    if !std::path::Path::new("/etc/tollgate/tollgate.yaml").exists() {
        assert_eq!(nothing.status.code(), Some(64));
        assert!(
            err.contains("OPENAI_API_KEY") && err.contains("--demo"),
            "{err}"
        );
        let key = [("OPENAI_API_KEY", "sk-x")];
        let (out, _) = said(&tollgate(&folder, &["check"], &key));
        assert!(out.starts_with("environment: ok"), "{out}");
        folder.write(
            ".env",
            "OPENAI_BASE_URL=http://10.9.8.7:1/v1\nFORWARD_KEY=a,b\n",
        );
        let (out, _) = said(&tollgate(&folder, &["check"], &key));
        assert!(
            out.contains("http://10.9.8.7:1/v1") && out.contains("http://0.0.0.0:8080"),
            "{out}"
        );
    }
    folder.write("tollgate.yaml", &yaml);
    let (out, _) = said(&tollgate(&folder, &["check"], &[]));
    assert!(out.starts_with("./tollgate.yaml: ok"), "{out}");
    let (out, _) = said(&tollgate(&folder, &["check"], &[("CONFIG_PATH", named)]));
    assert!(out.starts_with(&format!("{named}: ok")), "{out}");
    let (out, _) = said(&tollgate(
        &folder,
        &["check", "-c", named],
        &[("CONFIG_PATH", "gone")],
    ));
    assert!(out.starts_with(&format!("{named}: ok")), "{out}");
    let gone = tollgate(&folder, &["check", "-c", "gone.yaml"], &[]);
    assert_eq!(gone.status.code(), Some(64));
    assert!(
        said(&gone).1.starts_with("gone.yaml: cannot be read"),
        "{:?}",
        said(&gone)
    );
}

#[test]
fn a_broken_line_of_dot_env_is_named_without_its_value() {
    let folder = Folder::new();
    folder.write(
        ".env",
        format!("A=1\nOPENAI_API_KEY={PROVIDER_KEY} and more\n"),
    );
    let output = tollgate(&folder, &["check"], &[]);
    let (out, err) = said(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(64), ""));
    assert!(err.contains(".env:2: the line cannot be parsed"), "{err}");
    assert_no_secret(&err);
}

#[test]
fn version_and_help_are_there() {
    let folder = Folder::new();
    let (out, _) = said(&tollgate(&folder, &["--version"], &[]));
    assert_eq!(
        out.trim(),
        format!("tollgate {}", env!("CARGO_PKG_VERSION"))
    );
    let (out, _) = said(&tollgate(&folder, &["--help"], &[]));
    assert!(out.contains("run") && out.contains("check"));
}

#[tokio::test]
async fn a_port_on_the_command_line_goes_first() {
    let upstream = Upstream::answering("{}").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let yaml = config(upstream.address, "", "");
    let gateway = Gateway::start_with(&yaml, |command| {
        command.args(["--port", &port.to_string()]);
    });
    assert_eq!(gateway.address.port(), port);
    assert_eq!(
        gateway
            .post("/v1/chat/completions", &chat("gpt-4o"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_says_what_to_do() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let folder = Folder::new();
    let output = tollgate(&folder, &["run", "--demo", "--port", &port], &[]);
    let (_, err) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{err}"
    );
    assert!(err.contains("--port"), "{err}");
}

#[tokio::test]
async fn the_environment_alone_is_enough() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--port", "0"])
        .env("CONFIG_PATH", "")
        .env("OPENAI_API_KEY", PROVIDER_KEY)
        .env("OPENAI_BASE_URL", format!("http://{}/v1", upstream.address))
        .env("FORWARD_KEY", format!("other-key,{CLIENT_KEY}"));
    if std::path::Path::new("/etc/tollgate/tollgate.yaml").exists() {
        return;
    }
    let gateway = Gateway::spawn(command, folder);
    assert_eq!(
        gateway
            .post("/v1/chat/completions", &chat("any-model"))
            .await
            .status,
        200
    );
    let seen = upstream.request().await;
    assert_eq!(
        seen.header("authorization"),
        [format!("Bearer {PROVIDER_KEY}")]
    );
}
