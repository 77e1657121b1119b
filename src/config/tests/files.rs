//! The files that a configuration was read from.

use super::*;
use crate::config::document::{self, Context};
use crate::config::{FileKind, ReadFile, server};

/// Each file as its kind and its path below `folder`.
fn below<'f>(folder: &std::path::Path, files: &'f [ReadFile]) -> Vec<(FileKind, &'f str)> {
    let files = files.iter();
    // Where the tests run there may be a `.env`.
    let files = files.filter_map(|f| Some((f.kind, f.path.strip_prefix(folder).ok()?.to_str()?)));
    files.collect()
}

#[test]
fn every_file_that_a_configuration_was_read_from_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let own = write(
        "t.yaml",
        "upstreams: { a: { base_url: 'http://a', keys: ['${credential:one}', '${credential:one}'] } }
models: [{ match: m, targets: [{ upstream: a }] }]
tenants: [{ id: t, keys: ['${CLIENT}'], prices: { file: own.yaml } }]
prices: { file: prices.yaml }
",
    );
    write("prices.yaml", "- { model: '*', input: 1 }\n");
    write("own.yaml", "- { model: '*', input: 1 }\n");
    write("credentials/one", "sk-1\n");
    let directory = folder.join("credentials");
    let env_file = write(
        "unit.env",
        &format!("CLIENT=c\nCREDENTIALS_DIRECTORY={}\n", directory.display()),
    );
    let variables = Variables::read(Some(&env_file)).unwrap();
    let config = Config::load(&Source::File(own), &variables).unwrap();
    let configuration = FileKind::Configuration;
    assert_eq!(
        below(folder, config.files()),
        [
            (configuration, "t.yaml"),
            (configuration, "unit.env"),
            (configuration, "credentials/one"),
            (configuration, "own.yaml"),
            (configuration, "prices.yaml"),
        ]
    );
}

#[test]
fn a_certificate_and_its_key_are_named_and_not_part_of_the_configuration() {
    let variables = Variables::default();
    let context = Context::new("t.yaml", &variables);
    let text = "listen: [{ address: '127.0.0.1:0', tls: { cert: /x/c.pem, key: k.pem } }]";
    document::with_root(&context, text, |root| Some(server::read(&root)));
    let (problems, files) = context.into_noted();
    assert!(problems.is_empty(), "{problems:?}");
    let kinds: Vec<FileKind> = files.iter().map(|file| file.kind).collect();
    assert_eq!(kinds, [FileKind::Certificate; 2]);
    assert_eq!(files[0].path, std::path::Path::new("/x/c.pem"));
    // What is relative is found from the working directory.
    assert!(files[1].path.is_absolute() && files[1].path.ends_with("k.pem"));
}

#[test]
fn a_credential_that_is_missing_is_reported_at_its_key() {
    let text = "upstreams: { a: { base_url: http://a, keys: ['${credential:openai}'] } }
models: [{ match: m, targets: [{ upstream: a }] }]
";
    let problems = Config::parse("t.yaml", text, &Variables::default()).unwrap_err();
    let found = problems.to_string();
    let expected = "t.yaml:1: upstreams.a.keys[0]: there is no credential openai, because \
                    CREDENTIALS_DIRECTORY is not set (systemd sets it for a unit with \
                    LoadCredential=openai:FILE;";
    assert!(found.starts_with(expected), "{found}");
}
