//! The description of the API: Schemathesis asks for what it allows and for what it does not.

use std::process::Command;

use super::{TOKEN, make_key, upstream, with_ledger};
use crate::support::gateway::{Folder, Gateway};
use crate::support::tools::{skip, test_environment};

#[tokio::test]
async fn what_the_description_says_is_what_is_answered() {
    let schemathesis = test_environment().join("schemathesis/bin/schemathesis");
    if !schemathesis.exists() {
        skip("schemathesis is missing (tests/install.sh test)");
        return;
    }
    let upstream = upstream().await;
    let ledger = Folder::new();
    let gateway = Gateway::start_quietly(&with_ledger(upstream.address, &ledger));
    make_key(&gateway, "tester", "ci").await;
    let admin = gateway.admin.unwrap();
    let mut command = Command::new(schemathesis);
    command.args(["run", &format!("http://{admin}/admin/openapi.json")]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    command.args([
        "--max-time",
        "30",
        "--max-examples",
        "40",
        "--seed",
        "1",
        "--no-color",
    ]);
    // What is right by itself may be wrong beside what there is: it may name a tenant that does not exist.
    command.args(["--exclude-checks", "positive_data_acceptance"]);
    command.current_dir(&gateway.folder().0);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
