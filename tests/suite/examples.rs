//! Every configuration that we ship loads.

use std::process::Command;

use crate::support::gateway::BINARY;
use crate::support::tools::{root, run};

/// Every variable that the shipped files name.
const VARIABLES: [&str; 8] = [
    "OPENAI_API_KEY",
    "DEEPSEEK_API_KEY",
    "GEMINI_API_KEY",
    "AZURE_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "INTERNAL_KEY",
    "CLIENT_KEY",
];

#[test]
fn each_shipped_configuration_is_right() {
    let mut files = vec![root().join("conf/tollgate.yaml")];
    for entry in std::fs::read_dir(root().join("conf/examples")).unwrap() {
        files.push(entry.unwrap().path());
    }
    assert!(files.len() > 5, "{files:?}");
    // A certificate only has to be there for a check.
    let certificate = root().join("Cargo.toml");
    for file in files {
        let mut command = Command::new(BINARY);
        command.arg("check").arg("-c").arg(&file);
        for (index, name) in VARIABLES.iter().enumerate() {
            command.env(name, format!("value-{index}-of-a-variable"));
        }
        command
            .env("TLS_CERT", &certificate)
            .env("TLS_KEY", &certificate);
        let said = run(&mut command);
        assert!(said.contains(": ok"), "{said}");
    }
}
