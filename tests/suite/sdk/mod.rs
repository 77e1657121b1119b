//! The official OpenAI SDKs and packages of others, unchanged but for their base URL.
//!
//! `make test` installs them; the scripts in `tests/sdk` do the asking, and assert on what an
//! application sees. The provider's end is scripted here: `exchange` answers `check`, `store` and
//! `media` answer `objects` and `media`, and `seen` asserts on what reached them; `accumulated` gives
//! what was recorded of many providers, `broken` streams that break off, and `others` compares what
//! packages that are not OpenAI's make of it.

pub mod accumulated;
mod answer;
mod broken;
pub mod exchange;
mod form;
mod media;
mod others;
mod place;
mod samples;
mod seen;
mod store;

use std::process::Command;
use std::sync::Arc;

use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, root, run, skip, test_environment};
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, PROMPT, PROVIDER_KEY};
use samples::Samples;
use store::Store;

/// Runs a script of `tests/sdk` against the API at `base`.
pub fn ask(command: Command, base: &str) {
    ask_as(command, base, CLIENT_KEY);
}

/// The same with another key than that of the tests' tenant.
pub fn ask_as(mut command: Command, base: &str, key: &str) {
    command
        .env("OPENAI_BASE_URL", base)
        .env("OPENAI_API_KEY", key)
        .env("PROMPT", PROMPT);
    let said = tokio::task::block_in_place(|| run(&mut command));
    assert!(said.trim_end().ends_with("all good"), "{said}");
}

/// A script for Python, where its SDK is installed.
pub fn python(script: &str) -> Option<Command> {
    let python = test_environment().join("venv/bin/python");
    if !python.exists() {
        skip("the Python SDK is not installed (make test installs it)");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(root().join("tests/sdk").join(script));
    Some(command)
}

/// A script for Node, where its SDK is installed, to be run from `folder`.
pub fn node(script: &str, folder: &Folder) -> Option<Command> {
    let node = require(&["node"], "nodejs")?;
    let modules = test_environment().join("node/node_modules");
    if !modules.join("openai").exists() {
        skip("the Node SDK is not installed (make test installs it)");
        return None;
    }
    // Modules are looked for beside the script.
    let copy = folder.0.join(script);
    std::fs::copy(root().join("tests/sdk").join(script), &copy).unwrap();
    std::os::unix::fs::symlink(modules, folder.0.join("node_modules")).unwrap();
    let mut command = Command::new(&node);
    // What browsers have is behind a flag in Node 20, and no longer known by later ones.
    let has_socket = run(Command::new(node).args(["-p", "typeof WebSocket"]));
    if has_socket.trim() == "undefined" {
        command.arg("--experimental-websocket");
    }
    command.arg(copy);
    Some(command)
}

/// Runs a script in `folder` against a provider that keeps what it is given, each key's for itself,
/// with a gateway that has several keys and a home for every tenant. Asserts that the provider saw
/// `operations` among others.
async fn keep(script: Option<Command>, folder: &Folder, operations: &[&str]) {
    let Some(mut script) = script else { return };
    let samples = Samples::write(folder);
    let store = Arc::new(Store::new(samples.clone()));
    let upstream = Upstream::start(move |request, mut reply| {
        let store = Arc::clone(&store);
        async move {
            store.answer(&request, &mut reply).await;
            reply
        }
    })
    .await;
    let keys: Vec<String> = (0..8).map(|n| format!("'{PROVIDER_KEY}-{n}'")).collect();
    let yaml = config(upstream.address, "", "")
        .replace(&format!("'{PROVIDER_KEY}'"), &keys.join(", "))
        .replace(
            "server:\n",
            "server:\n  passthrough: far\n  forms: { max: 24MiB }\n",
        );
    let gateway = Gateway::start(&yaml);
    script.current_dir(&folder.0);
    ask(script, &format!("http://{}/v1", gateway.address));
    // Each script leaves something early, and the upstream is let go.
    upstream.closed().await;
    seen::check(&upstream, &samples, operations).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_unchanged() {
    let Some(command) = python("check.py") else {
        return;
    };
    let upstream = exchange::provider().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    ask(command, &format!("http://{}/v1", gateway.address));
    upstream.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_works_unchanged() {
    let folder = Folder::new();
    let Some(command) = node("check.mjs", &folder) else {
        return;
    };
    let upstream = exchange::provider().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    ask(command, &format!("http://{}/v1", gateway.address));
    upstream.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_python_sdk_stores_is_found_again() {
    let folder = Folder::new();
    keep(python("objects.py"), &folder, &seen::OBJECTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_sdk_stores_is_found_again() {
    let folder = Folder::new();
    let operations = [&seen::OBJECTS[..], &["POST /files, in chunks"]].concat();
    keep(node("objects.mjs", &folder), &folder, &operations).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_images_pass_through_the_python_sdk() {
    let folder = Folder::new();
    keep(python("media.py"), &folder, &seen::MEDIA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_images_pass_through_the_node_sdk() {
    let folder = Folder::new();
    let file_first = ["POST /audio/transcriptions, the file first"];
    let operations = [&seen::MEDIA[..], &file_first].concat();
    keep(node("media.mjs", &folder), &folder, &operations).await;
}
