//! Every configuration that we ship loads, without a warning.

use std::process::Command;

use crate::support::certificate::certificate;
use crate::support::gateway::{BINARY, Folder};
use crate::support::tools::{require, root};

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
    if require(&["openssl"], "openssl").is_none() {
        return;
    }
    let folder = Folder::new();
    let certificate = certificate(&folder);
    for file in files {
        let mut command = Command::new(BINARY);
        command.arg("check").arg("-c").arg(&file);
        for (index, name) in VARIABLES.iter().enumerate() {
            command.env(name, format!("value-{index}-of-a-variable"));
        }
        command
            .env("TLS_CERT", &certificate.cert)
            .env("TLS_KEY", &certificate.key);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{file:?}");
        assert!(said.contains(": ok"), "{said}");
    }
}
