//! The commands and programs in the pages work, against a gateway with the built-in provider.
//!
//! The commands of a page run in one shell and one folder, in their order. The ports 8080 and 9464 in them
//! become those of the gateway, and paths of a server lead into its folder. Variables of the examples
//! have the values that `tests/fixtures/documents_gateway.yaml` knows.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::page::{fences, pages};
use super::{assert_none, fixture, moved};
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::tools::{program, require, skip, test_environment};

/// The key that the examples give to their clients.
const MY_TEAM_KEY: &str = "choose-something-long";
/// The secret that the examples sign requests with.
const BATCH_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A gateway for the commands of a page, and the folder that they run in.
struct Scene {
    gateway: Gateway,
    folder: Folder,
}

impl Scene {
    fn new() -> Self {
        let home = Folder::new();
        let yaml = moved(&fixture("documents_gateway.yaml"), &home);
        let mut command = Command::new(BINARY);
        command
            .arg("run")
            .arg(home.write("tollgate.yaml", yaml))
            .env("RUST_LOG", "info");
        home.write("environment", "");
        let gateway = Gateway::spawn(command, home);
        let folder = Folder::new();
        // A status that tells of an error is one, as is one in the middle of a pipe.
        folder.write(".curlrc", "fail-with-body\nsilent\nshow-error\n");
        Self { gateway, folder }
    }

    /// The text of a page, for this gateway.
    fn placed(&self, text: &str) -> String {
        let admin = self.gateway.admin.unwrap().port().to_string();
        let text = text.replace("8080", &self.gateway.address.port().to_string());
        moved(&text.replace("9464", &admin), self.gateway.folder())
    }

    /// Runs what was made of a page; a page that waits for ever fails too.
    fn run(&self, program: &Path, script: &Path) -> Result<(), String> {
        let binaries = Path::new(BINARY).parent().unwrap().to_path_buf();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [binaries].into_iter().chain(std::env::split_paths(&path));
        let output = Command::new("timeout")
            .arg("60")
            .arg(program)
            .arg(script)
            .current_dir(&self.folder.0)
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("HOME", &self.folder.0)
            .env("OPENAI_API_KEY", "sk-of-a-page")
            .env("MY_TEAM_KEY", MY_TEAM_KEY)
            .env("BATCH_SECRET", BATCH_SECRET)
            .output()
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "{}\n{}{}",
                output.status,
                said(&output.stdout),
                said(&output.stderr)
            )),
        }
    }
}

#[test]
fn each_command_works() {
    let tools = [("curl", "curl"), ("jq", "jq")].map(|(name, package)| require(&[name], package));
    let (Some(shell), true) = (program(&["bash"]), tools.iter().all(Option::is_some)) else {
        return;
    };
    let mut mistakes = Vec::new();
    for page in pages() {
        let fences = page.fences().into_iter().filter(|f| f.label == "sh");
        let mut script = "set -euo pipefail\n".to_owned();
        let empty = script.len();
        for fence in fences {
            let _ = writeln!(script, "echo '{}' >.place\n{}", fence.place, fence.text);
        }
        if script.len() == empty {
            continue;
        }
        let scene = Scene::new();
        let file = scene.folder.write("page.sh", scene.placed(&script));
        if let Err(why) = scene.run(&shell, &file) {
            let place = std::fs::read_to_string(scene.folder.0.join(".place"));
            let place = place.unwrap_or_default();
            mistakes.push(format!("{}: {why}", place.trim()));
        }
    }
    assert_none(&mistakes);
}

#[test]
fn each_program_works() {
    let python = test_environment().join("venv/bin/python");
    if !python.exists() {
        skip("the Python SDK is not installed (make test installs it)");
        return;
    }
    let mut mistakes = Vec::new();
    for fence in fences("python") {
        let scene = Scene::new();
        let file = scene.folder.write("page.py", scene.placed(&fence.text));
        if let Err(why) = scene.run(&python, &file) {
            mistakes.push(format!("{}: {why}", fence.place));
        }
    }
    assert_none(&mistakes);
}

#[test]
fn each_program_for_node_works() {
    let Some(node) = require(&["node"], "nodejs") else {
        return;
    };
    let modules = test_environment().join("node/node_modules");
    if !modules.join("openai").exists() {
        skip("the Node SDK is not installed (make test installs it)");
        return;
    }
    let mut mistakes = Vec::new();
    for fence in fences("js") {
        let scene = Scene::new();
        // Modules are looked for beside the program.
        std::os::unix::fs::symlink(&modules, scene.folder.0.join("node_modules")).unwrap();
        let file = scene.folder.write("page.mjs", scene.placed(&fence.text));
        if let Err(why) = scene.run(&node, &file) {
            mistakes.push(format!("{}: {why}", fence.place));
        }
    }
    assert_none(&mistakes);
}
