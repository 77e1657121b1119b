//! Quotas of single keys hold over all gateways, and outlive them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{DIME, ask_at_once, know_each_other, with_status};
use crate::limits::{ANSWER, Setup, ask, ask_as, gated};
use crate::support::gateway::{Folder, Gateway};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;
use crate::support::{chat, soon, until};

/// A dollar for one key; three dollars for its tenant, which has a second key.
fn yaml(name: &str, far: SocketAddr, redis: &Redis, ledger: &str) -> String {
    let setup = Setup {
        server: &format!(", node: {name}"),
        tenant: ", quota: { usd: 3, per: month }",
        key: ", quota: { usd: 1, per: total }",
        more: &format!("{DIME}store: {{ redis: '{}' }}\n{ledger}", redis.url()),
        ..Setup::default()
    };
    let yaml = setup.yaml(far);
    yaml.replace("keys: [{ key", &format!("keys: [{SECOND}, {{ key"))
}

const SECOND: &str = "a-second-key-of-it";

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_requests_with_a_key_at_three_gateways_as_many_pass_as_its_quota_is_for() {
    let Some(redis) = Redis::start() else { return };
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let gateways = ["a", "b", "c"]
        .map(|name| Gateway::start_quietly(&yaml(name, upstream.address, &redis, "")));
    know_each_other(&gateways).await;
    let mut asking = ask_at_once(&gateways, 100, &chat("gpt-4o"));
    let mut answers = Vec::new();
    while answers.len() < 90 {
        answers.push(asking.join_next().await.unwrap().unwrap());
    }
    assert_eq!(with_status(&answers, 429), 90);
    gate.add_permits(1_000);
    assert_eq!(with_status(&asking.join_all().await, 200), 10);
    assert_eq!(upstream.requests(), 10);
    for gateway in &gateways {
        assert_eq!(ask(gateway, &chat("gpt-4o")).await.status, 429);
    }
    // One of them tells of the end.
    let told = "key `ci` of tenant `tester`: its quota of $1 is used up";
    let times = |gateway: &Gateway| gateway.output().text().matches(told).count();
    let all = || gateways.iter().map(times).sum::<usize>();
    until(told, || all() > 0).await;
    // The tenant has two dollars left for its other key.
    let mut passed = 0;
    let others = async {
        while passed < 20 {
            for gateway in &gateways {
                let answer = ask_as(gateway, SECOND, &chat("gpt-4o")).await;
                passed += usize::from(answer.status == 200);
            }
        }
    };
    soon("what the tenant has left", others).await;
    for gateway in &gateways {
        assert_eq!(ask_as(gateway, SECOND, &chat("gpt-4o")).await.status, 429);
    }
    assert_eq!(upstream.requests(), 30);
    assert_eq!(all(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_gateways_have_used_with_a_key_outlives_both_and_the_store() {
    let (Some(redis), Some(postgres)) = (Redis::start(), Postgres::start()) else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let folders = [(); 2].map(|()| Folder::new());
    let yamls = [("a", &folders[0]), ("b", &folders[1])].map(|(name, folder)| {
        let (path, url) = (folder.0.display(), postgres.url());
        let ledger = format!("ledger: {{ path: '{path}', postgres: '{url}' }}\n");
        yaml(name, upstream.address, &redis, &ledger)
    });
    let start = || yamls.each_ref().map(|yaml| Gateway::start_quietly(yaml));
    let mut gateways = start();
    know_each_other(&gateways).await;
    for turn in 0..6 {
        assert_eq!(ask(&gateways[turn % 2], &chat("gpt-4o")).await.status, 200);
    }
    for gateway in &mut gateways {
        gateway.signal("KILL");
        gateway.wait();
    }
    redis.say(&["flushall"]);
    let gateways = start();
    know_each_other(&gateways).await;
    let mut passed = 0;
    let rest = async {
        while passed < 4 {
            for gateway in &gateways {
                let answer = ask(gateway, &chat("gpt-4o")).await;
                passed += usize::from(answer.status == 200);
            }
        }
    };
    soon("what is left of the key's quota", rest).await;
    for gateway in &gateways {
        assert_eq!(ask(gateway, &chat("gpt-4o")).await.status, 429);
    }
    assert_eq!(upstream.requests(), 10);
    until("all records in the database", || {
        postgres.query("SELECT count(*) FROM tollgate.requests") == "10"
    })
    .await;
    // A number for each node, of the tenant and of the key.
    let sums = "SELECT coalesce(keys.name, '-'), count(*), sum(charge_nanos) FROM tollgate.periods \
                LEFT JOIN tollgate.names AS keys ON keys.id = key GROUP BY 1 ORDER BY 1";
    assert_eq!(postgres.query(sums), "-|2|1000000000\nci|2|1000000000");
}
