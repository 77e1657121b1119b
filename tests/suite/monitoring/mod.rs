//! What we ship for Prometheus and Grafana: rules, alerts and boards.
//!
//! `load` has a gateway to which everything happens, and `prometheus` the real program. Does not handle the names of
//! metrics in the pages (see `metrics` and `documents`).

mod load;
mod prometheus;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::documents::anchors;
use crate::support::tools::{require, root, run};
use load::Scene;
use prometheus::Prometheus;

/// How long the queries may take to find something.
const LONGEST: Duration = Duration::from_secs(90);

/// Metrics that only something in the life of a process brings about: no test here reloads a configuration.
const NOT_IN_THIS_LOAD: [&str; 1] = ["tollgate_config_last_reload_successful"];

/// A query of a board, and where it is.
struct Shown {
    place: String,
    query: String,
}

fn boards() -> Vec<(String, Value)> {
    let folder = root().join("deploy/grafana/boards");
    let mut boards: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let board = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, board)
        })
        .collect();
    boards.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(boards.len(), 5);
    boards
}

fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    board["panels"].as_array().unwrap().iter()
}

/// Every query, with what Grafana would put in place of its variables.
fn shown() -> Vec<Shown> {
    let mut shown = Vec::new();
    for (name, board) in boards() {
        for panel in panels(&board).filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap();
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{name}: {title} asks nothing");
            for target in targets {
                let query = target["expr"].as_str().unwrap();
                // It stands for what has not happened; here everything has.
                let query = query.strip_suffix(" or vector(0)").unwrap_or(query);
                let mut query = query
                    .replace("$__rate_interval", "15s")
                    .replace("$__range", "1m");
                for variable in board["templating"]["list"].as_array().unwrap() {
                    let name = variable["name"].as_str().unwrap();
                    query = query.replace(&format!("${name}"), ".*");
                }
                assert!(!query.contains('$'), "{name}: {title}: {query}");
                let place = format!("{name}: {title}");
                shown.push(Shown { place, query });
            }
        }
    }
    shown
}

fn rules_text(name: &str) -> String {
    std::fs::read_to_string(root().join("deploy/prometheus").join(name)).unwrap()
}

/// The values of a key in a file of rules.
fn values<'a>(text: &'a str, key: &'a str) -> Vec<&'a str> {
    let lines = text.lines();
    lines
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key))
        .map(str::trim)
        .collect()
}

/// The metrics of a program that a text names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let is_metric = |word: &&str| {
        let begins = ["tollgate_", "gen_ai_", "process_"];
        !word.contains(':') && begins.iter().any(|begin| word.starts_with(begin))
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_finds_data_and_every_rule_is_evaluated() {
    let Some(program) = require(&["prometheus"], "prometheus") else {
        return;
    };
    let scene = Scene::new().await;
    let prometheus = Prometheus::scraping(&program, scene.gateway.admin.unwrap()).await;
    let asking = scene.keep_asking();
    let mut pending = shown();
    assert!(pending.len() > 80, "{}", pending.len());
    // What the rules read is there, or a name in them is wrong. Gauges and counters have their own name.
    let named = metrics_in(&(expressions("alerts") + &expressions("recording")));
    let missing = named
        .iter()
        .filter(|name| !NOT_IN_THIS_LOAD.contains(&name.as_str()));
    pending.extend(missing.map(|name| Shown {
        place: format!("deploy/prometheus/rules: {name}"),
        query: format!("count({name})"),
    }));
    for record in values(&rules_text("rules/recording.yaml"), "record:") {
        let place = format!("deploy/prometheus/rules: {record}");
        pending.push(Shown {
            place,
            query: record.to_owned(),
        });
    }
    let deadline = Instant::now() + LONGEST;
    while !pending.is_empty() {
        let mut still = Vec::new();
        for Shown { place, query } in pending {
            let found = prometheus.query(&query).await;
            let found = found.unwrap_or_else(|e| panic!("{place}: {e}\n{query}"));
            if found.iter().all(|value| value.is_nan()) {
                still.push(Shown { place, query });
            }
        }
        pending = still;
        assert!(
            Instant::now() < deadline,
            "these find nothing:\n{}\n{}",
            pending
                .iter()
                .map(|shown| format!("{}\n    {}\n", shown.place, shown.query))
                .collect::<String>(),
            prometheus.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(asking);
    let rules = prometheus.rules().await;
    let alerts = values(&rules_text("rules/alerts.yaml"), "alert:").len();
    let records = values(&rules_text("rules/recording.yaml"), "record:").len();
    assert_eq!(rules.len(), alerts + records);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// Every expression of a file of rules.
fn expressions(name: &str) -> String {
    let text = rules_text(&format!("rules/{name}.yaml"));
    let mut kept = String::new();
    let mut within = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(rest) = trimmed.trim_start_matches("- ").strip_prefix("expr:") {
            within = true;
            kept.push_str(rest);
        } else if ["for:", "labels:", "annotations:", "- ", "#"]
            .iter()
            .any(|w| trimmed.starts_with(w))
        {
            within = false;
        } else if within {
            kept.push_str(trimmed);
        }
        kept.push('\n');
    }
    kept
}

#[test]
fn the_rules_do_what_their_tests_say() {
    let Some(promtool) = require(&["promtool"], "prometheus") else {
        return;
    };
    let folder = root().join("deploy/prometheus");
    let mut check = Command::new(&promtool);
    run(check
        .args(["check", "config"])
        .arg(folder.join("prometheus.yml")));
    let mut test = Command::new(&promtool);
    run(test
        .args(["test", "rules"])
        .arg(folder.join("tests/alerts.yaml")));
}

#[test]
fn each_alert_has_a_test_that_it_fires_and_one_that_it_does_not() {
    let tests = rules_text("tests/alerts.yaml");
    for alert in values(&rules_text("rules/alerts.yaml"), "alert:") {
        for outcome in ["fires", "is silent"] {
            let name = format!("  - name: {alert} {outcome}\n");
            assert!(tests.contains(&name), "{name}");
        }
    }
}

#[test]
fn each_alert_leads_to_a_section_of_the_runbook() {
    let text = rules_text("rules/alerts.yaml");
    let alerts = values(&text, "alert:");
    let urls = values(&text, "runbook_url:");
    assert_eq!(alerts.len(), urls.len());
    let anchors = anchors("docs/runbook.md");
    for (alert, url) in alerts.iter().zip(urls) {
        let anchor = url.strip_prefix("docs/runbook.md#").unwrap();
        assert_eq!(anchor, alert.to_lowercase());
        assert!(anchors.iter().any(|known| known == anchor), "{anchor}");
    }
    let severities = values(&text, "labels:");
    for severity in severities {
        assert!(["{ severity: critical }", "{ severity: warning }"].contains(&severity));
    }
}

#[test]
fn the_boards_are_whole() {
    let mut uids = BTreeSet::new();
    for (name, board) in boards() {
        assert!(uids.insert(board["uid"].to_string()), "{name}");
        assert_eq!(board["tags"][0], "tollgate", "{name}");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&board) {
            let title = format!("{name}: {}", panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(x < 24 && taken.insert((x, y)), "{title} covers another");
                }
            }
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap();
                let all = query.matches("tollgate_").count()
                    + query.matches("gen_ai_client_").count()
                    + query.matches("gen_ai_server_").count()
                    + query.matches("process_").count();
                let chosen = query
                    .matches(r#"{job=~"$job", instance=~"$instance""#)
                    .count();
                assert_eq!(
                    chosen, all,
                    "{title}: each series is of the chosen instance"
                );
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            }
        }
    }
}
