//! A disk without room: who has a quota is refused, others as the operator wants it, and it heals by itself.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use super::rows::{assert_sound, rows_become};
use super::{CHAT, ask_as, capped, stop, used, with_ledger};
use crate::support::client::Response;
use crate::support::gateway::{Folder, Gateway};
use crate::support::tools::skip;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, chat};

const FAILING: &str = "tollgate_ledger_failing";
const RECORDED: &str = r#"tollgate_ledger_records_total{outcome="recorded"}"#;
const LOST: &str = r#"tollgate_ledger_records_total{outcome="failed"}"#;

/// A disk of a megabyte.
struct SmallDisk(Folder);

impl SmallDisk {
    /// `None` where the test is to be skipped.
    fn mount() -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            skip("a small disk is mounted by root alone");
            return None;
        }
        let folder = Folder::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        let mounted = mount.arg(&folder.0).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            skip("a tmpfs cannot be mounted here");
            return None;
        }
        Some(Self(folder))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.0.join("filler")).unwrap();
        for block in [[0_u8; 4096].as_slice(), &[0]] {
            while file.write_all(block).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0.0).status();
        drop(unmounted);
    }
}

/// What has been answered, and whether that may be in the ledger.
#[derive(Default)]
struct Answered {
    ids: HashSet<String>,
}

impl Answered {
    /// Notes an answer with success.
    #[track_caller]
    fn note(&mut self, response: &Response) {
        assert_eq!(response.status, 200, "{response:?}");
        let id = response.header("x-request-id").unwrap();
        self.ids.insert(id.to_owned());
    }
}

async fn upstream() -> Upstream {
    Upstream::start(|_, mut reply| async move {
        reply.json("200 OK", &used(5)).await;
        reply
    })
    .await
}

fn gateway(upstream: &Upstream, disk: &SmallDisk, on_failure: &str) -> Gateway {
    let yaml = with_ledger(upstream.address, &disk.0, &capped("one", "1000000"));
    // The log tells each piece of what passes, and it is many requests.
    Gateway::start_quietly(&yaml.replace("path:", &format!("on_failure: {on_failure}, path:")))
}

#[track_caller]
fn assert_unavailable(response: &Response) {
    response.assert_error(503, "server_error", Some("quota_unavailable"), None);
}

/// A counter of the metrics.
async fn count(gateway: &Gateway, series: &str) -> usize {
    let value = gateway.metric(series).await;
    format!("{value:.0}").parse().unwrap()
}

async fn health(gateway: &Gateway) -> (String, String) {
    let health = gateway.get_admin("/health").await.json();
    let member = |name: &str| health[name].as_str().unwrap_or_default().to_owned();
    (member("status"), member("reason"))
}

#[tokio::test]
async fn whoever_has_a_quota_waits_until_there_is_room_and_others_are_served() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let upstream = upstream().await;
    let mut gateway = gateway(&upstream, &disk, "serve");
    let mut kept = Answered::default();
    for _ in 0..3 {
        kept.note(&gateway.post(CHAT, &chat("gpt-4o")).await);
        kept.note(&ask_as("one", &gateway).await);
    }
    rows_become(&disk.0, kept.ids.len()).await;
    assert_eq!(health(&gateway).await.0, "ok");

    disk.fill();
    // What fits behind the last record's end in its block is still recorded.
    let mut unsure = Answered::default();
    let deadline = Instant::now() + PATIENCE;
    while gateway.metric(FAILING).await < 0.5 {
        unsure.note(&gateway.post(CHAT, &chat("gpt-4o")).await);
        assert!(Instant::now() < deadline, "it does not fail");
    }
    let recorded = count(&gateway, RECORDED).await;
    let asked = upstream.requests();
    assert_unavailable(&ask_as("one", &gateway).await);
    assert_eq!(upstream.requests(), asked, "nobody pays for it");
    unsure.note(&gateway.post(CHAT, &chat("gpt-4o")).await);
    let (status, reason) = health(&gateway).await;
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("degraded", "usage cannot be recorded")
    );
    assert!(count(&gateway, LOST).await >= 1);
    gateway.output().wait_for("usage records cannot be written");

    disk.make_room();
    gateway.metric_becomes(FAILING, 0.0).await;
    gateway.output().wait_for("it works again");
    kept.note(&ask_as("one", &gateway).await);
    kept.note(&gateway.post(CHAT, &chat("gpt-4o")).await);
    assert_eq!(count(&gateway, RECORDED).await, recorded + 2);
    let lost = count(&gateway, LOST).await;
    assert_eq!(recorded + 2 + lost, kept.ids.len() + unsure.ids.len());
    stop(&mut gateway);
    let rows = rows_become(&disk.0, recorded + 2).await;
    let there: HashSet<String> = rows.into_iter().map(|row| row.id).collect();
    assert!(there.is_superset(&kept.ids), "something is lost");
    kept.ids.extend(unsure.ids);
    assert!(there.is_subset(&kept.ids), "something was never answered");
    assert_sound(&disk.0);
}

#[tokio::test]
async fn everybody_waits_where_the_operator_wants_no_request_without_a_record() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let upstream = upstream().await;
    let mut gateway = gateway(&upstream, &disk, "refuse");
    let mut answered = Answered::default();
    answered.note(&gateway.post(CHAT, &chat("gpt-4o")).await);
    disk.fill();
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let response = gateway.post(CHAT, &chat("gpt-4o")).await;
        if response.status != 200 {
            break response;
        }
        answered.note(&response);
        assert!(Instant::now() < deadline, "it does not fail");
    };
    assert_unavailable(&refused);
    assert_unavailable(&ask_as("one", &gateway).await);
    disk.make_room();
    gateway.metric_becomes(FAILING, 0.0).await;
    answered.note(&gateway.post(CHAT, &chat("gpt-4o")).await);
    // The one during which the disk became full could not be recorded any more.
    assert_eq!(count(&gateway, LOST).await, 1);
    stop(&mut gateway);
    let rows = rows_become(&disk.0, answered.ids.len() - 1).await;
    assert!(rows.iter().all(|row| answered.ids.contains(&row.id)));
    assert_sound(&disk.0);
}
