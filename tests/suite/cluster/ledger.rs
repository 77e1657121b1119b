//! Several gateways load what they record into one PostgreSQL, and tell webhooks of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::{know_each_other, node};
use crate::limits::{ANSWER, ask};
use crate::support::chat;
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::tools::run;
use crate::support::until;
use crate::support::upstream::Upstream;

const QUOTA: &str = ", quota: { usd: 1, per: total, warn_at: [50] }";

fn start(
    name: &str,
    far: SocketAddr,
    (redis, postgres): (&Redis, &Postgres),
    (folder, webhook): (&Folder, &str),
) -> Gateway {
    let (path, url) = (folder.0.display(), postgres.url());
    let more = format!(" }}\n{webhook}ledger: {{ path: '{path}', postgres: '{url}'");
    node(name, far, &redis.url(), (QUOTA, &more))
}

fn loaded(postgres: &Postgres) -> String {
    let has_tables = postgres.query("SELECT to_regclass('tollgate.requests') IS NOT NULL");
    match has_tables.as_str() {
        "t" => postgres.query("SELECT count(*) FROM tollgate.requests"),
        _ => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_told_by_one_of_the_gateways_and_the_report_has_what_all_have_recorded() {
    let (Some(redis), Some(postgres)) = (Redis::start(), Postgres::start()) else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Upstream::answering("{}").await;
    let webhook = format!("webhook: {{ url: 'http://{}/all' }}\n", receiver.address);
    let folders = [(); 2].map(|()| Folder::new());
    let gateways = [("a", &folders[0]), ("b", &folders[1])].map(|(name, folder)| {
        start(
            name,
            upstream.address,
            (&redis, &postgres),
            (folder, &webhook),
        )
    });
    know_each_other(&gateways).await;
    let mut ids = HashSet::new();
    for turn in 0..14 {
        let answer = ask(&gateways[turn % 2], &chat("gpt-4o")).await;
        if answer.status == 200 {
            ids.insert(answer.header("x-request-id").unwrap().to_owned());
        }
    }
    assert_eq!(ids.len(), 10);
    let (mut used, mut told) = (Vec::new(), Vec::new());
    while used.len() < 10 || told.len() < 2 {
        let message: Value = serde_json::from_slice(&receiver.request().await.body).unwrap();
        match message["type"].as_str().unwrap() {
            "usage.recorded" => {
                let events = message["data"]["events"].as_array().unwrap().iter();
                let served = events.filter(|event| event["status"] == 200);
                used.extend(served.map(|event| event["id"].as_str().unwrap().to_owned()));
            }
            kind => told.push(kind.to_owned()),
        }
    }
    assert_eq!(used.len(), 10, "{used:?}");
    assert_eq!(used.into_iter().collect::<HashSet<_>>().len(), 10);
    told.sort();
    assert_eq!(told, ["quota.exhausted", "quota.threshold"]);
    until("all records in the database", || loaded(&postgres) == "10").await;
    let config = gateways[1].folder().0.join("tollgate.yaml");
    let mut usage = Command::new(BINARY);
    usage.args(["usage", "--format", "json", "-c"]).arg(config);
    let report: Value = serde_json::from_str(&run(&mut usage)).unwrap();
    assert_eq!(report["rows"][0]["requests"], 10, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_gateway_has_left_is_loaded_from_its_folder_once() {
    let (Some(redis), Some(mut postgres)) = (Redis::start(), Postgres::start()) else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let folders = [(); 2].map(|()| Folder::new());
    let servers = (&redis, &postgres);
    let mut lost = start("a", upstream.address, servers, (&folders[0], ""));
    let other = start("b", upstream.address, servers, (&folders[1], ""));
    assert_eq!(ask(&other, &chat("gpt-4o")).await.status, 200);
    until("a record in the database", || loaded(&postgres) == "1").await;
    // What it records from now on is in its journal alone.
    postgres.stop();
    for _ in 0..3 {
        assert_eq!(ask(&lost, &chat("gpt-4o")).await.status, 200);
    }
    lost.signal("KILL");
    lost.wait();
    postgres.resume();
    let config = other.folder().0.join("tollgate.yaml");
    let load = || {
        let mut load = Command::new(BINARY);
        load.args(["ledger", "load"]).arg(&folders[0].0);
        load.arg("-c").arg(&config);
        load
    };
    assert_eq!(run(&mut load()).trim(), "loaded what a has left: 1 journal");
    assert_eq!(loaded(&postgres), "4");
    run(&mut load());
    assert_eq!(loaded(&postgres), "4");
    let refused = |load: &mut Command| {
        let output = load.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(
        Command::new(BINARY)
            .args(["ledger", "load", "/nowhere", "-c"])
            .arg(&config),
    );
    assert!(said.contains("there is no journal in /nowhere"), "{said}");
    let mut in_use = Command::new(BINARY);
    in_use.args(["ledger", "load"]).arg(&folders[1].0).arg("-c");
    let said = refused(in_use.arg(&config));
    assert!(said.contains("in use"), "{said}");
}
