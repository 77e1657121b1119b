//! Answers by meaning with a real embedding model, and the command that proposes its threshold.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use super::{answer, ask, is, result};
use crate::support::embeddings::Embeddings;
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::tools::root;
use crate::support::upstream::Upstream;

const PAIRS: &str = "tests/data/question_pairs.jsonl";
const UNSEEN: &str = "tests/data/question_pairs_unseen.jsonl";

/// A configuration whose model `small` is the embedding model at an address.
fn configured(upstream: SocketAddr, model: SocketAddr, section: &str) -> String {
    config(upstream, "", section)
        .replace(
            "\nmodels:",
            &format!("\n  e5: {{ base_url: 'http://{model}/v1' }}\nmodels:"),
        )
        .replace(
            "{ match: gpt-4o, targets",
            "{ match: gpt-4o, cache: { when: always, by_meaning: true }, targets",
        )
        .replace(
            "{ match: forbidden, targets: [{ upstream: far }] }",
            "{ match: small, targets: [{ upstream: e5, model: e5-query }] }",
        )
}

fn calibrate(yaml: &str, pairs: &Path, more: &[&str]) -> Output {
    let folder = Folder::new();
    let file = folder.write("tollgate.yaml", yaml);
    let mut command = Command::new(BINARY);
    command.args(["cache", "calibrate", "--config"]);
    command.arg(file).arg(pairs).args(more);
    tokio::task::block_in_place(|| command.output().unwrap())
}

fn nowhere() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

/// The pairs of a file: two texts, and whether one answer serves both.
fn pairs(file: &str) -> Vec<(String, String, bool)> {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let pairs = text.lines().map(|line| {
        let pair: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| pair[name].as_str().unwrap().to_owned();
        (text("a"), text("b"), pair["same"].as_bool().unwrap())
    });
    pairs.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_threshold_that_is_proposed_gives_right_answers_to_questions_that_it_has_not_seen() {
    let Some(model) = Embeddings::start() else {
        return;
    };
    let section = "vector_cache: { embedding_model: small }\n";
    let yaml = configured(nowhere(), model.address, section);
    let output = calibrate(&yaml, &root().join(PAIRS), &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said} {:?}", output.stderr);
    assert!(said.contains("311 pairs"), "{said}");
    let threshold = said.split("threshold: ").nth(1).unwrap();
    let threshold = threshold.lines().next().unwrap();

    // Each pair is asked with a system message of its own, so that no two pairs are compared.
    let upstream = Upstream::start(|request, mut reply| async move {
        let text = request.text();
        let number = text.split("pair ").nth(1).unwrap();
        let number = number.split('"').next().unwrap();
        reply
            .json("200 OK", &answer(&format!("answer {number}")))
            .await;
        reply
    })
    .await;
    let section = format!(
        "vector_cache: {{ embedding_model: small, threshold: {threshold}, timeout: 60s }}\n"
    );
    let gateway = Gateway::start(&configured(upstream.address, model.address, &section));
    let mut client = gateway.connect().await;
    let (mut right, mut wrong, mut same) = (0_u32, 0_u32, 0_u32);
    for (number, (a, b, is_same)) in pairs(UNSEEN).into_iter().enumerate() {
        let asking = |text: &str| {
            serde_json::json!({
                "model": "gpt-4o",
                "messages": [
                    { "role": "system", "content": format!("pair {number}") },
                    { "role": "user", "content": text },
                ],
            })
            .to_string()
        };
        let text = format!("answer {number}");
        is(&ask(&mut client, &asking(&a)).await, &text, "miss");
        let other = ask(&mut client, &asking(&b)).await;
        let hit = result(&other) == "semantic";
        right += u32::from(hit && is_same);
        wrong += u32::from(hit && !is_same);
        same += u32::from(is_same);
    }
    let share = |part: u32, all: u32| f64::from(part) / f64::from(all);
    let (precision, recall) = (share(right, right + wrong), share(right, same));
    let found = format!("{right} right, {wrong} wrong, recall {recall:.3}");
    assert!(precision >= 0.98 && recall >= 0.5, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calibrate_cannot_do_is_said_with_what_to_change() {
    let folder = Folder::new();
    let good = folder.write(
        "good.jsonl",
        "{\"a\": \"x\", \"b\": \"y\", \"same\": true}\n{\"a\": \"x\", \"b\": \"z\", \"same\": false}\n",
    );
    let alike = folder.write(
        "alike.jsonl",
        "{\"a\": \"x\", \"b\": \"y\", \"same\": true}\n",
    );
    let broken = folder.write("broken.jsonl", "\n{\"a\": \"x\"}\n");
    let without = configured(nowhere(), nowhere(), "").replace(", by_meaning: true", "");
    let with = configured(
        nowhere(),
        nowhere(),
        "vector_cache: { embedding_model: small }\n",
    );
    let missing = folder.0.join("missing.jsonl");
    for (yaml, file, more, code, expected) in [
        (
            &without,
            &good,
            &[][..],
            64,
            "has no section `vector_cache`",
        ),
        (&with, &missing, &[], 1, "missing.jsonl: No such file"),
        (&with, &broken, &[], 1, "broken.jsonl: line 2 is not"),
        (&with, &good, &[], 1, "no vector for \""),
        (
            &with,
            &alike,
            &[],
            1,
            "alike.jsonl: no pair has `same: false`",
        ),
        (
            &with,
            &good,
            &["--precision", "2"],
            2,
            "above 0 and at most 1",
        ),
    ] {
        let output = calibrate(yaml, file, more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
