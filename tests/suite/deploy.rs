//! The image, compose, the chart and the workflows: checked as far as that is possible without running them.
//!
//! `tests/deploy/check.py` holds them against the schemas and linters that `make test` installs; it says what is wrong,
//! and where. Does not handle Prometheus and Grafana (see `monitoring`).

use std::process::Command;

use crate::support::gateway::{BINARY, Folder};
use crate::support::tools::{root, run, skip, test_environment};

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// Runs a part of the script.
fn check(part: &str) {
    let python = test_environment().join("linters/bin/python");
    if !python.exists() {
        skip("the linters of deploy/ are not installed (make test installs them)");
        return;
    }
    let folder = Folder::new();
    run(Command::new(python)
        .arg(root().join("tests/deploy/check.py"))
        .arg(part)
        .arg(BINARY)
        .current_dir(&folder.0));
}

#[test]
fn the_chart_renders_to_objects_of_kubernetes_and_refuses_wrong_values() {
    check("chart");
}

#[test]
fn compose_starts_what_its_files_name() {
    check("compose");
}

#[test]
fn the_image_follows_the_linters_rules() {
    check("image");
}

#[test]
fn workflows_have_pinned_actions_and_least_permissions() {
    check("workflows");
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = text("deploy/helm/tollgate/Chart.yaml");
    for key in ["version", "appVersion"] {
        let line = format!("\n{key}: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(chart.contains(&line), "{line} is not in\n{chart}");
    }
}
