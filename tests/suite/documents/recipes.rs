//! The recipes that need more than one machine are served: the gateway runs with the configuration of the page,
//! nginx with the file that we ship, and a scripted upstream stands where the page has a provider.
//!
//! Nothing of an example is changed but addresses and ports, and what it leaves out is added. Does not handle
//! recipes whose commands run against the built-in provider (see `commands`).

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::configurations::{completed, folder_with_certificate, set_variables};
use super::page::pages;
use crate::nginx::Nginx;
use crate::proxy_protocol::HaProxy;
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::tools::{require, root};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat};

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"theirs","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;

/// The configurations of a recipe, in their order, each with what it leaves out.
fn recipe(name: &str) -> Vec<String> {
    let file = root().join("docs/recipes").join(name);
    let page = pages().into_iter().find(|page| page.path == file).unwrap();
    let fences = page.fences().into_iter().filter(|f| f.label == "yaml");
    fences.map(|fence| completed(&fence.text)).collect()
}

/// Replaces what has to stand in a text.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in\n{text}");
    text.replace(from, to)
}

/// Runs the gateway with a configuration, on ports of its own and for the tests' key.
fn serve(yaml: &str, folder: Folder) -> Gateway {
    let yaml = super::moved(yaml, &folder).replace("choose-something-long", CLIENT_KEY);
    let yaml = match yaml.contains("server:\n  ") && yaml.contains("listen:") {
        true => yaml.replacen("server:\n", "server:\n  admin: 127.0.0.1:0\n", 1),
        false => format!("{yaml}server: {{ listen: ['127.0.0.1:0'], admin: 127.0.0.1:0 }}\n"),
    };
    let mut command = Command::new(BINARY);
    set_variables(&mut command, &yaml);
    command
        .env("MY_TEAM_KEY", CLIENT_KEY)
        .env("CLIENT_KEY", CLIENT_KEY)
        .args(["run", "-c"])
        .arg(folder.write("tollgate.yaml", &yaml));
    Gateway::spawn(command, folder)
}

/// Asks at `https://localhost` with curl. Gives the HTTP version, the status and the body.
fn asked_over_tls(port: u16, authority: &Path, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "-w", "\n%{http_version} %{http_code}", "--cacert"])
        .arg(authority)
        .args(["-H", &format!("Authorization: Bearer {CLIENT_KEY}")])
        .args(["-H", "Content-Type: application/json"])
        .args(["-d", &chat("gpt-4o")])
        .args(more)
        .arg(format!("https://localhost:{port}{CHAT}"));
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_is_served_through_nginx_with_tls() {
    let tools =
        [("nginx", "nginx"), ("curl", "curl")].map(|(name, package)| require(&[name], package));
    let ([Some(program), Some(_)], Some(folder)) = (tools, folder_with_certificate()) else {
        return;
    };
    let far = Upstream::answering(ANSWER).await;
    let shipped = std::fs::read_to_string(root().join("conf/examples/behind-nginx.yaml")).unwrap();
    let yaml = replaced(
        &shipped,
        "https://api.openai.com",
        &format!("http://{}", far.address),
    );
    let gateway = serve(
        &replaced(&yaml, "127.0.0.1:8080", "127.0.0.1:0"),
        Folder::new(),
    );
    // What the page shows of the file is in it.
    for line in recipe("behind-nginx.md")[0]
        .lines()
        .take_while(|line| !line.starts_with("upstreams"))
    {
        assert!(shipped.contains(line.trim()), "{line}");
    }
    let conf = std::fs::read_to_string(root().join("conf/nginx/tollgate.conf")).unwrap();
    let conf = replaced(
        &conf,
        "server 127.0.0.1:8080;",
        &format!("server {};", gateway.address),
    );
    let conf = replaced(&conf, "/etc/nginx", &folder.0.display().to_string());
    let conf = replaced(&conf, "    listen 80;\n", "");
    let conf = ["listen 443 ssl", "ssl_certificate ", "ssl_certificate_key "]
        .iter()
        .fold(conf, |conf, line| {
            replaced(&conf, &format!("#   {line}"), line)
        });
    let front = Nginx::start(&program, |port| {
        replaced(
            &conf,
            "listen 443 ssl",
            &format!("listen 127.0.0.1:{port} ssl"),
        )
    });
    // From another address than nginx itself.
    let from = ["-4", "--interface", "127.0.1.7"];
    let said = asked_over_tls(front.address.port(), &folder.0.join("ca.pem"), &from);
    assert_eq!(said, format!("{ANSWER}\n1.1 200"));
    gateway.access_line("client=127.0.1.0 ");
    assert_eq!(
        far.request().await.header("authorization"),
        ["Bearer the-value-of-a-variable-called-OPENAI_API_KEY"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_is_served_with_tls() {
    let (Some(folder), Some(_)) = (folder_with_certificate(), require(&["curl"], "curl")) else {
        return;
    };
    let far = Upstream::answering(ANSWER).await;
    let [yaml] = recipe("edge-tls.md").try_into().unwrap();
    let yaml = replaced(&yaml, "0.0.0.0:443", "127.0.0.1:0");
    let yaml = replaced(
        &yaml,
        "https://api.openai.com",
        &format!("http://{}", far.address),
    );
    let authority = folder.0.join("ca.pem");
    let gateway = serve(&yaml, folder);
    for (version, said) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
        let answer = asked_over_tls(gateway.address.port(), &authority, &[version]);
        assert_eq!(answer, format!("{ANSWER}\n{said}"));
    }
    // A client that speaks plain HTTP to this port.
    let refused = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("tls_required"),
        "{}",
        refused.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_is_served_with_tls() {
    let tools =
        [("haproxy", "haproxy"), ("curl", "curl")].map(|(name, package)| require(&[name], package));
    let ([Some(program), Some(_)], Some(folder)) = (tools, folder_with_certificate()) else {
        return;
    };
    let far = Upstream::answering(ANSWER).await;
    let [yaml] = recipe("haproxy.md").try_into().unwrap();
    let yaml = replaced(&yaml, "10.0.0.5", "127.0.0.1");
    let yaml = replaced(&yaml, "0.0.0.0:8443", "127.0.0.1:0");
    let yaml = replaced(
        &yaml,
        "https://api.openai.com",
        &format!("http://{}", far.address),
    );
    let authority = folder.0.join("ca.pem");
    let gateway = serve(&yaml, folder);
    let file = root().join("docs/recipes/haproxy.md");
    let page = pages().into_iter().find(|page| page.path == file).unwrap();
    let shown = page.fences().into_iter().find(|f| f.label == "text");
    let theirs = replaced(
        &shown.unwrap().text,
        "10.0.0.6:8443",
        &gateway.address.to_string(),
    );
    let front = HaProxy::start(&program, |address| {
        replaced(&theirs, "0.0.0.0:443", &address.to_string())
    });
    let from = ["-4", "--interface", "127.0.1.8"];
    let said = asked_over_tls(front.address.port(), &authority, &from);
    assert_eq!(said, format!("{ANSWER}\n2 200"));
    gateway.access_line("client=127.0.1.0 ");
}

#[tokio::test]
async fn azure_is_asked_by_both_of_its_apis() {
    let paths = [
        "/openai/v1/chat/completions",
        "/openai/deployments/my-gpt-4o-deployment/chat/completions?api-version=2024-10-21",
    ];
    let examples = recipe("azure.md");
    assert_eq!(examples.len(), paths.len());
    for (yaml, path) in examples.iter().zip(paths) {
        let far = Upstream::answering(ANSWER).await;
        let resource = "https://my-resource.openai.azure.com";
        let yaml = replaced(yaml, resource, &format!("http://{}", far.address));
        let gateway = serve(&yaml, Folder::new());
        let response = gateway.post(CHAT, &chat("gpt-4o")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["model"], "gpt-4o");
        let seen = far.request().await;
        assert_eq!(seen.path, path);
        assert_eq!(
            seen.header("api-key"),
            ["the-value-of-a-variable-called-AZURE_API_KEY"]
        );
        assert!(seen.header("authorization").is_empty());
        assert!(
            seen.text().contains("my-gpt-4o-deployment"),
            "{}",
            seen.text()
        );
    }
}

#[tokio::test]
async fn a_pool_of_vllm_servers_is_checked_and_asked() {
    let servers = [
        Upstream::answering(ANSWER).await,
        Upstream::answering(ANSWER).await,
        Upstream::answering(ANSWER).await,
    ];
    let addresses = servers.each_ref().map(|server| server.address);
    let [yaml] = recipe("vllm-pool.md").try_into().unwrap();
    let yaml = (11..)
        .zip(addresses)
        .fold(yaml, |yaml, (host, address): (u8, SocketAddr)| {
            replaced(&yaml, &format!("10.0.0.{host}:8000"), &address.to_string())
        });
    let gateway = serve(&yaml, Folder::new());
    // So many that a server which is chosen at random is not left out.
    for _ in 0..90 {
        let response = gateway.post(CHAT, &chat("qwen3-32b")).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    for server in &servers {
        let mut paths = vec![server.request().await.path];
        while !(paths.iter().any(|path| path == "/health") && paths.iter().any(|path| path == CHAT))
        {
            paths.push(server.request().await.path);
        }
    }
}
