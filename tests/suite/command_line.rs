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

/// A file of the machine's own would be found before the environment is asked.
fn machine_has_a_file() -> bool {
    std::path::Path::new("/etc/tollgate/tollgate.yaml").exists()
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

/// What `check` prints of a file, with nothing on stderr.
#[track_caller]
fn checked(folder: &Folder, arguments: &[&str]) -> String {
    let output = tollgate(folder, &[&["check"], arguments].concat(), &[]);
    let (out, err) = said(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
    out
}

#[test]
fn check_shows_how_upstreams_are_asked_and_each_key_as_logs_have_it() {
    let folder = Folder::new();
    let yaml = format!(
        "upstreams:
  far:
    base_url: https://far.example
    keys: ['{PROVIDER_KEY}', 'short']
    dialect: {{ name: azure, api_version: 2024-10-21 }}
    timeouts: {{ connect: 250ms, total: 90s }}
  near:
    servers: ['http://10.0.0.1:8000', 'http://10.0.0.2:8000']
    balance: consistent
    consistent_by: tenant
    health_check: {{ path: /health, method: HEAD, expect: [200, 300-399], interval: 7s }}
  third: {{ base_url: 'http://10.0.0.3', balance: least_requests, health_check: {{ interval: 1m }} }}
models:
  - {{ match: gpt-*, targets: [{{ upstream: far }}] }}
  - {{ match: {{ prefix: same-* }}, targets: [{{ upstream: near }}] }}
"
    );
    folder.write("tollgate.yaml", yaml);
    let out = checked(&folder, &["tollgate.yaml"]);
    assert_no_secret(&out);
    for line in [
        "UPSTREAM  DIALECT           SERVER                      WEIGHT  KEYS (AS IN LOGS)",
        "far       azure 2024-10-21  https://far.example/openai  1       prov… 11cbda1d, … f9b0078b",
        "near      openai            http://10.0.0.1:8000/v1     1       none",
        "UPSTREAM  BALANCE               HEALTH CHECK                                                            CONNECT  FIRST TOKEN  ANSWER  IDLE  TOTAL",
        "far       weighted              none                                                                    250ms    1m           -       1m    1m 30s",
        "near      consistent by tenant  HEAD /health 200,300-399, every 7s, unhealthy after 3, healthy after 2  5s       1m           -       1m    10m",
        "third     least_requests        a connection, every 1m, unhealthy after 3, healthy after 2              5s       1m           -       1m    10m",
        "gpt-*   far     the same    0         1       -",
        "same-*  near    the same    0         1       -",
    ] {
        assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
    }
    assert_eq!(checked(&folder, &["-c", "tollgate.yaml"]), out);
    let both = tollgate(
        &folder,
        &["check", "tollgate.yaml", "-c", "tollgate.yaml"],
        &[],
    );
    assert_eq!(both.status.code(), Some(2));
}

/// `run` takes its file as `check` does. It ends where the file is wrong, before it listens.
#[test]
fn run_takes_a_file_as_check_does() {
    let folder = Folder::new();
    folder.write("mine.yaml", "upstreams: {}\n");
    let refusal = |arguments: &[&str]| {
        let output = tollgate(&folder, arguments, &[]);
        (output.status.code(), said(&output).1)
    };
    let expected = refusal(&["check", "mine.yaml"]);
    assert_eq!(expected.0, Some(64));
    assert!(expected.1.starts_with("mine.yaml:1: "), "{}", expected.1);
    assert_eq!(refusal(&["run", "mine.yaml"]), expected);
    assert_eq!(refusal(&["run", "-c", "mine.yaml"]), expected);
    for twice in [["-c", "mine.yaml"].as_slice(), &["--demo"]] {
        let (code, _) = refusal(&[&["run", "mine.yaml"], twice].concat());
        assert_eq!(code, Some(2), "{twice:?}");
    }
}

const ROUTES: &str = "upstreams:
  one: { base_url: 'https://one.example', keys: [k1] }
  two: { base_url: 'https://two.example', keys: [k2] }
models:
  - match: gpt-4o
    targets:
      - { upstream: one, model: gpt-4o-2024-11-20, weight: 3 }
      - { upstream: two, weight: 1 }
      - { upstream: two, model: late, priority: 1 }
      - { upstream: one, model: never, weight: 0 }
    fallback:
      - { model: gpt-long, on: [context_length] }
      - small
    on: [overloaded, server_error]
  - { match: gpt-*, targets: [{ upstream: two }] }
  - { match: { keyword: '4o' }, targets: [{ upstream: one }] }
  - { match: small, targets: [{ upstream: one, model: tiny }] }
tenants:
  - { id: red, keys: [r], models: [gpt-4o, 'small*'] }
  - { id: blue, keys: [b] }
";

#[test]
fn check_prints_the_way_that_a_request_would_take_and_why() {
    let folder = Folder::new();
    folder.write("tollgate.yaml", ROUTES);
    let out = checked(&folder, &["--model", "gpt-4o", "--tenant", "red"]);
    let expected = "\
model      gpt-4o
tenant     red may ask for gpt-4o, small* only
rule       gpt-4o, models[0] in line 5: exactly this name
overrides  gpt-*, *4o*

ORDER  UPSTREAM  SENT MODEL         PRIORITY  WEIGHT  FALLBACK  ASKED
1      one       gpt-4o-2024-11-20  0         3       -         first, 3 of 4 requests
1      two       the same           0         1       -         first, 1 of 4 requests
2      two       late               1         1       -         after a failure
3      two       gpt-long           0         1       gpt-long  after context_length
4      one       tiny               0         1       small     after a failure

Failures here are overloaded, server_error. After any other failure no other target is asked.
";
    assert_eq!(out, expected);
    for (model, rule) in [
        (
            "gpt-5",
            "gpt-*, models[1] in line 15: the longest prefix that the name begins with",
        ),
        (
            "chat-4o",
            "*4o*, models[2] in line 16: the first keyword that the name contains",
        ),
    ] {
        let out = checked(&folder, &["--model", model]);
        let rule = format!("rule    {rule}");
        let tenant = "tenant  blue; red may not ask for it";
        for line in [
            rule.as_str(),
            tenant,
            "No other target is asked after a failure.",
        ] {
            assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
        }
    }
}

#[test]
fn check_says_why_a_request_would_be_refused() {
    let folder = Folder::new();
    folder.write("tollgate.yaml", ROUTES);
    for (model, tenant, why) in [
        (
            "gpt-5",
            "red",
            "404 model_not_found: it is not in the tenant's `models`",
        ),
        (
            "claude",
            "blue",
            "404 model_not_found: no rule serves it, and there is none for \"*\"",
        ),
        (
            "gpt-4o\n",
            "blue",
            "400 invalid_value: the name of the model is invalid: it has a control character",
        ),
    ] {
        let arguments = ["check", "--model", model, "--tenant", tenant];
        let output = tollgate(&folder, &arguments, &[]);
        let (out, err) = said(&output);
        assert_eq!((output.status.code(), err.as_str()), (Some(1), ""), "{out}");
        assert_eq!(
            out.lines().last(),
            Some(&*format!("refused  {why}")),
            "{out}"
        );
    }
    for (tenant, hint) in [
        ("rde", "did you mean `red`?"),
        ("x-y-z", "tenants are: red, blue"),
    ] {
        let output = tollgate(&folder, &["check", "--model", "m", "--tenant", tenant], &[]);
        let (out, err) = said(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(64), ""));
        assert_eq!(
            err,
            format!("--tenant: no tenant has the id `{tenant}` ({hint})\n")
        );
    }
    let alone = tollgate(&folder, &["check", "--tenant", "red"], &[]);
    assert_eq!(alone.status.code(), Some(2));
}

/// The plan that `check` prints is the one that requests go by.
#[tokio::test]
async fn the_way_that_check_prints_is_the_way_that_requests_take() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "");
    let gateway = Gateway::start(&yaml);
    for (model, asked, code) in [
        ("gpt-4o", "gpt-4o-2024-11-20", Some(0)),
        ("same-x", "the same", Some(0)),
        ("forbidden", "", Some(1)),
        ("missing", "", Some(1)),
    ] {
        let arguments = ["check", "--model", model, "--tenant", "tester"];
        let output = tollgate(gateway.folder(), &arguments, &[]);
        let (out, _) = said(&output);
        assert_eq!(output.status.code(), code, "{out}");
        let response = gateway.post("/v1/chat/completions", &chat(model)).await;
        let served = code == Some(0);
        assert_eq!(response.status, if served { 200 } else { 404 }, "{model}");
        if served {
            assert!(
                out.contains(&format!("\n1      far       {asked}")),
                "{out}"
            );
            let sent = if asked == "the same" { model } else { asked };
            let body = upstream.request().await.body;
            let body = String::from_utf8(body).unwrap();
            assert!(body.contains(&format!("\"model\":\"{sent}\"")), "{body}");
        }
    }
}

#[tokio::test]
async fn warnings_are_printed_by_check_and_logged_at_the_start() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "");
    let gateway = Gateway::start(&yaml);
    let file = gateway.folder().0.join("tollgate.yaml");
    let warning = format!(
        "{}:13: warning: tenants[0].models[2]: no rule under `models` serves `missing` (add a rule \
         for it, or remove the name: the tenant gets 404)",
        file.display()
    );
    let logged = gateway.output().wait_for("no rule under `models` serves");
    assert!(
        logged.ends_with(&format!(" WARN  tollgate::cli::run {warning}")),
        "{logged}"
    );
    let output = tollgate(gateway.folder(), &["check", file.to_str().unwrap()], &[]);
    let (out, err) = said(&output);
    assert_eq!(
        (output.status.code(), err),
        (Some(0), format!("{warning}\n"))
    );
    assert!(out.contains(": ok\n"), "{out}");
}

#[tokio::test]
async fn keys_may_live_in_the_file_of_a_unit() {
    let upstream = Upstream::answering("{}").await;
    let yaml = config(upstream.address, "", "")
        .replace(PROVIDER_KEY, "${UNIT_KEY}")
        .replace(", missing]", "]");
    let folder = Folder::new();
    folder.write("tollgate.yaml", &yaml);
    let unset = tollgate(&folder, &["check"], &[]);
    assert!(said(&unset).1.contains("UNIT_KEY is not set"));
    // Nothing expands in it, and it goes before the variables of the process.
    let key = "a key$with=all of \"that\"#";
    folder.write("unit.env", format!("# the unit's\nUNIT_KEY={key}\n"));
    let arguments = ["check", "--env-file", "unit.env"];
    let (out, err) = said(&tollgate(&folder, &arguments, &[("UNIT_KEY", "other")]));
    // Such a key is taken as it is written, with a warning that has nothing of it.
    assert_eq!(
        err,
        "./tollgate.yaml:7: warning: upstreams.far.keys[0]: character 25 of the key is a `#`, which \
         keys do not have (remove the comment: a `#` begins none within quotes, or in a file of \
         variables)\n"
    );
    assert!(out.contains("a ke… 8be6f4b6"), "{out}");
    let gone = tollgate(&folder, &["check", "--env-file", "gone.env"], &[]);
    let (out, err) = said(&gone);
    assert_eq!((gone.status.code(), out.as_str()), (Some(64), ""));
    assert!(err.starts_with("gone.env: cannot be read: "), "{err}");
    let gateway = Gateway::start_with(&yaml, |command| {
        command.arg("--env-file").arg(folder.0.join("unit.env"));
    });
    let response = gateway.post("/v1/chat/completions", &chat("gpt-4o")).await;
    assert_eq!(response.status, 200);
    let seen = upstream.request().await;
    assert_eq!(seen.header("authorization"), [format!("Bearer {key}")]);
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
    if !machine_has_a_file() {
        assert_eq!(nothing.status.code(), Some(64));
        assert!(
            err.contains("OPENAI_API_KEY") && err.contains("--demo"),
            "{err}"
        );
        let key = [("OPENAI_API_KEY", "sk-x")];
        let (out, _) = said(&tollgate(&folder, &["check"], &key));
        assert!(out.contains("\nenvironment: ok\n"), "{out}");
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
    // What people type first.
    let (help, err) = said(&tollgate(&folder, &["help"], &[]));
    assert_eq!((help, err.as_str()), (out, ""));
    let (out, _) = said(&tollgate(&folder, &["help", "ledger", "export"], &[]));
    assert!(out.contains("--format"), "{out}");
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

#[test]
fn why_it_does_not_start_is_the_last_line() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let folder = Folder::new();
    // Several times, since the log has a thread of its own.
    for _ in 0..5 {
        let output = tollgate(&folder, &["run", "--demo", "--port", &port], &[]);
        let (_, err) = said(&output);
        let lines: Vec<&str> = err.lines().collect();
        assert!(lines[0].contains(" INFO "), "{err}");
        let last = lines.last().unwrap();
        assert!(last.starts_with("tollgate: cannot listen on "), "{err}");
    }
}

#[tokio::test]
async fn the_environment_alone_is_enough() {
    let upstream = Upstream::answering("{}").await;
    let folder = Folder::new();
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--port", "0"])
        .env_clear()
        .env("OPENAI_API_KEY", PROVIDER_KEY)
        .env("ADMIN", "0")
        .env("LOG_CHAT", "true")
        .env("CACHE_BACKEND", "memory")
        .env("OPENAI_BASE_URL", format!("http://{}/v1", upstream.address))
        .env("FORWARD_KEY", format!("other-key,{CLIENT_KEY}"));
    if machine_has_a_file() {
        return;
    }
    let gateway = Gateway::spawn(command, folder);
    let told = gateway.output().wait_for("CACHE_BACKEND: ");
    assert!(told.contains("not in force in this version"), "{told}");
    assert_eq!(gateway.get_admin("/health").await.status, 200);
    assert!(gateway.folder().0.join("chats.jsonl").is_file());
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

/// The file that `check` prints for an environment, and what it says of it.
fn file_of(folder: &Folder, environment: &[(&str, &str)]) -> (String, String) {
    let (out, err) = said(&tollgate(folder, &["check"], environment));
    assert_eq!(err, "", "{environment:?}");
    assert_no_secret(&out);
    let (file, tables) = out.split_once("environment: ok").unwrap();
    let last = file.lines().rfind(|line| !line.is_empty()).unwrap();
    assert!(
        last.starts_with("# ---") && last.contains(" end of tollgate.yaml "),
        "{out}"
    );
    (file.to_owned(), tables.to_owned())
}

#[test]
fn what_the_environment_amounts_to_can_be_saved() {
    if machine_has_a_file() {
        return;
    }
    let folder = Folder::new();
    let keys = format!("{PROVIDER_KEY}, {PROVIDER_KEY}-2");
    let urls = "http://10.0.0.1:8000, http://10.0.0.2/api/chat/completions";
    let [key, keys, url, urls, clients, extra, prefix] = [
        ("OPENAI_API_KEY", PROVIDER_KEY),
        ("OPENAI_KEYS", &*keys),
        ("OPENAI_BASE_URL", "https://a.example/v1/"),
        ("UPSTREAM_API_URL", urls),
        ("FORWARD_KEY", CLIENT_KEY),
        ("EXTRA_BASE_URL", "http://10.0.0.3/v1"),
        ("EXTRA_ROUTE_PREFIX", "other"),
    ];
    for environment in [
        &[key][..],
        &[keys, clients, ("PORT", "0")],
        &[urls],
        &[keys, urls, clients],
        &[keys, url, extra, prefix],
        &[urls, clients, extra, prefix],
        &[key, ("LOG_CHAT", "yes")],
    ] {
        let (file, tables) = file_of(&folder, environment);
        let saved = folder.write("saved.yaml", &file);
        let saved = saved.to_str().unwrap();
        let (again, err) = said(&tollgate(&folder, &["check", "-c", saved], environment));
        assert_eq!(err, "", "{file}");
        assert_eq!(again, format!("{saved}: ok{tables}"));
    }
}

/// Starts the gateway with the file that an environment amounts to, and with any free ports.
fn start_saved(environment: &[(&str, &str)]) -> Gateway {
    let environment = [environment, &[("PORT", "0")]].concat();
    let (file, _) = file_of(&Folder::new(), &environment);
    let yaml = file.replace("server:\n", "server:\n  admin: 127.0.0.1:0\n");
    Gateway::start_with(&yaml, |command| {
        command.env_clear().envs(environment);
    })
}

#[tokio::test]
async fn each_key_of_the_environment_goes_to_its_own_url() {
    if machine_has_a_file() {
        return;
    }
    let first = Upstream::answering("{}").await;
    let second = Upstream::answering("{}").await;
    let (a, b) = (first.address, second.address);
    let gateway = start_saved(&[
        (
            "OPENAI_KEYS",
            &format!("{PROVIDER_KEY}-1, {PROVIDER_KEY}-2"),
        ),
        (
            "UPSTREAM_API_URL",
            &format!("http://{a}, http://{b}/chat/completions/"),
        ),
        ("FORWARD_KEY", &format!("other-key,{CLIENT_KEY}")),
    ]);
    for _ in 0..2 {
        let answer = gateway
            .post("/v1/chat/completions", &chat("any-model"))
            .await;
        assert_eq!(answer.status, 200);
    }
    for (upstream, path, key) in [
        (first, "/v1/chat/completions", "1"),
        // What is written whole stays whole.
        (second, "/chat/completions", "2"),
    ] {
        let seen = upstream.request().await;
        assert_eq!(seen.path, path);
        let expected = format!("Bearer {PROVIDER_KEY}-{key}");
        assert_eq!(seen.header("authorization"), [expected]);
    }
}

#[tokio::test]
async fn the_clients_own_key_is_sent_on_only_where_it_is_not_ours() {
    if machine_has_a_file() {
        return;
    }
    let upstream = Upstream::answering("{}").await;
    let url = format!("http://{}", upstream.address);
    let own = format!("Bearer {CLIENT_KEY}");
    for (more, expected) in [
        (&[][..], &[own.as_str()][..]),
        (&[("FORWARD_KEY", CLIENT_KEY)], &[]),
    ] {
        let gateway = start_saved(&[&[("OPENAI_BASE_URL", url.as_str())], more].concat());
        let answer = gateway
            .post("/v1/chat/completions", &chat("any-model"))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(upstream.request().await.header("authorization"), expected);
    }
}

#[test]
fn admin_moves_the_operators_listener_or_turns_it_off() {
    if machine_has_a_file() {
        return;
    }
    let folder = Folder::new();
    let operator = |admin: &str| {
        let environment = [("OPENAI_API_KEY", PROVIDER_KEY), ("ADMIN", admin)];
        let output = tollgate(&folder, &["check"], &environment);
        let (out, err) = said(&output);
        assert!(output.status.success(), "{err}");
        let line = out.lines().find_map(|line| line.strip_prefix("operator "));
        (line.map(|address| address.trim().to_owned()), err)
    };
    let quiet = |address: Option<&str>| (address.map(str::to_owned), String::new());
    assert_eq!(operator(""), quiet(Some("http://127.0.0.1:9464")));
    assert_eq!(operator("9465"), quiet(Some("http://127.0.0.1:9465")));
    assert_eq!(operator("10.0.0.7:80"), quiet(Some("http://10.0.0.7:80")));
    assert_eq!(operator("off"), quiet(None));
    let (address, warning) = operator("0.0.0.0:9464");
    assert_eq!(address.as_deref(), Some("http://0.0.0.0:9464"));
    assert!(
        warning.contains("warning: server.admin: the operator's listener is on every address"),
        "{warning}"
    );
}

#[test]
fn every_mistake_of_the_environment_is_told_under_its_name() {
    if machine_has_a_file() {
        return;
    }
    let folder = Folder::new();
    let environment = [
        ("OPENAI_API_KEY", PROVIDER_KEY),
        ("OPENAI_KEYS", CLIENT_KEY),
        ("OPENAI_BASE_URL", "a.example"),
        ("PORT", "eighty"),
    ];
    for command in ["check", "run"] {
        let output = tollgate(&folder, &[command], &environment);
        let (out, err) = said(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(64), ""));
        assert_no_secret(&err);
        assert_eq!(err.lines().count(), 3, "{err}");
        for (name, _) in &environment[1..] {
            assert!(err.contains(name), "{name} is not in\n{err}");
        }
    }
}
