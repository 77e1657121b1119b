//! Webhooks of several gateways with one PostgreSQL: what waits is in it, and one of them sends.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::limits::{ANSWER, CHAT};
use crate::support::gateway::{BINARY, Folder, Gateway, config};
use crate::support::line::Line;
use crate::support::postgres::Postgres;
use crate::support::tools::run;
use crate::support::upstream::{Received, Upstream};
use crate::support::{chat, soon, until};

/// Longer than a silent session lasts, and an answer of a database that is cut off is waited for.
const LONG: Duration = Duration::from_secs(90);
/// The second request of a tenant reaches the threshold.
const QUOTA: &str = ", quota: { tokens: 100, per: total, warn_at: [20] }";

/// The far end of a webhook, which refuses messages or accepts them.
struct Receiver {
    far_end: Upstream,
    accepts: Arc<AtomicBool>,
    accepted: Mutex<UnboundedReceiver<Received>>,
}

/// What a receiver has accepted, and how often: requests by their ids, other events by their kind.
type Accepted = BTreeMap<String, usize>;

impl Receiver {
    async fn start() -> Self {
        let accepts = Arc::new(AtomicBool::new(true));
        let (tell, accepted) = unbounded_channel();
        let script = Arc::clone(&accepts);
        let far_end = Upstream::start(move |message, mut reply| {
            let (accepts, tell) = (script.load(Ordering::SeqCst), tell.clone());
            async move {
                if accepts {
                    tell.send(message).unwrap();
                }
                let status = if accepts { "200 OK" } else { "503 No" };
                reply.json(status, "{}").await;
                reply
            }
        })
        .await;
        Self {
            far_end,
            accepts,
            accepted: Mutex::new(accepted),
        }
    }

    fn accept(&self, accepts: bool) {
        self.accepts.store(accepts, Ordering::SeqCst);
    }

    /// A section of the configuration.
    fn webhook(&self) -> String {
        format!(
            "webhook: {{ url: 'http://{}/hook' }}\n",
            self.far_end.address
        )
    }

    /// The next message that it has accepted.
    async fn next(&self) -> Received {
        let mut accepted = self.accepted.lock().await;
        let next = tokio::time::timeout(LONG, accepted.recv()).await;
        next.expect("a message is accepted").unwrap()
    }

    /// Takes messages until each of these events has come.
    async fn take(&self, accepted: &mut Accepted, wanted: &BTreeSet<String>) {
        while !wanted.iter().all(|name| accepted.contains_key(name)) {
            for name in told(&self.next().await) {
                *accepted.entry(name).or_default() += 1;
            }
        }
    }
}

/// What a message tells of: the ids of requests, or its kind.
fn told(message: &Received) -> Vec<String> {
    let json: Value = serde_json::from_slice(&message.body).unwrap();
    match json["type"].as_str().unwrap() {
        "usage.recorded" => {
            let events = json["data"]["events"].as_array().unwrap().iter();
            let ids = events.map(|event| event["id"].as_str().unwrap().to_owned());
            ids.collect()
        }
        kind => vec![kind.to_owned()],
    }
}

/// What the configuration of a gateway has beside its name: a tenant's members, and sections.
#[derive(Clone, Copy, Default)]
struct Setup<'s> {
    tenant: &'s str,
    more: &'s str,
}

fn yaml(
    name: &str,
    upstream: &Upstream,
    url: Option<&str>,
    folder: &Folder,
    setup: Setup<'_>,
) -> String {
    let Setup { tenant, more } = setup;
    let postgres = url.map_or_else(String::new, |url| format!(", postgres: '{url}'"));
    let path = folder.0.display();
    let more = format!("{more}ledger: {{ path: '{path}'{postgres} }}\n");
    let yaml = config(upstream.address, "", &more);
    let yaml = yaml.replacen("server:\n", &format!("server:\n  node: {name}\n"), 1);
    yaml.replace("missing] }", &format!("missing]{tenant} }}"))
}

/// A gateway that is told of by `webhook`, with the database of the others.
fn start(
    name: &str,
    upstream: &Upstream,
    postgres: &Postgres,
    folder: &Folder,
    more: &str,
) -> Gateway {
    let setup = Setup {
        more,
        ..Setup::default()
    };
    Gateway::start_quietly(&yaml(name, upstream, Some(&postgres.url()), folder, setup))
}

/// Has a request served. Returns its id.
async fn serve(gateway: &Gateway) -> String {
    let response = gateway.post(CHAT, &chat("gpt-4o")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.header("x-request-id").unwrap().to_owned()
}

/// Waits until a gateway sends.
async fn someone_sends(postgres: &Postgres) {
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    until("a gateway sends", || postgres.query(held) == "1").await;
}

async fn loaded(postgres: &Postgres, requests: usize) {
    let sql = "SELECT count(*) FROM tollgate.requests";
    let wanted = requests.to_string();
    until("all requests in the database", || {
        postgres.query(sql) == wanted
    })
    .await;
}

fn waiting(postgres: &Postgres) -> String {
    postgres.query("SELECT coalesce(sum(events), 0) FROM tollgate.outbox_receivers")
}

async fn nothing_waits(postgres: &Postgres) {
    until("nothing waits", || waiting(postgres) == "0").await;
}

#[track_caller]
fn assert_each_once(accepted: &Accepted, wanted: &BTreeSet<String>) {
    assert!(accepted.values().all(|times| *times == 1), "{accepted:?}");
    let names: BTreeSet<String> = accepted.keys().cloned().collect();
    assert_eq!(&names, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_comes_once_and_what_waits_survives_the_machine_that_sends() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Receiver::start().await;
    let folders = [(); 2].map(|()| Folder::new());
    let mut sender = start("a", &upstream, &postgres, &folders[0], &receiver.webhook());
    someone_sends(&postgres).await;
    let other = start("b", &upstream, &postgres, &folders[1], &receiver.webhook());
    let (mut wanted, mut accepted) = (BTreeSet::new(), Accepted::new());
    for _ in 0..10 {
        wanted.insert(serve(&sender).await);
        wanted.insert(serve(&other).await);
    }
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
    let failed = "tollgate_webhook_deliveries_total{outcome=\"failed\"}";
    let ok = "tollgate_webhook_deliveries_total{outcome=\"ok\"}";
    assert!(sender.metric(ok).await >= 1.0);
    other.metric_becomes(ok, 0.0).await;

    receiver.accept(false);
    wanted.insert(serve(&sender).await);
    sender.metric_becomes(failed, 1.0).await;
    for _ in 0..3 {
        wanted.insert(serve(&sender).await);
        wanted.insert(serve(&other).await);
    }
    loaded(&postgres, wanted.len()).await;
    assert_eq!(waiting(&postgres), "7");
    sender.metric_becomes("tollgate_webhook_waiting", 7.0).await;
    other.metric_becomes("tollgate_webhook_waiting", 0.0).await;
    sender.signal("KILL");
    sender.wait();
    let [lost, _kept] = folders;
    drop(lost);
    receiver.accept(true);
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
    other.metric_becomes("tollgate_webhook_waiting", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_while_the_database_is_away_comes_when_it_is_back_also_after_a_crash() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Receiver::start().await;
    let folder = Folder::new();
    let setup = Setup {
        tenant: QUOTA,
        more: &receiver.webhook(),
    };
    let yaml = yaml("a", &upstream, Some(&postgres.url()), &folder, setup);
    let mut gateway = Gateway::start_quietly(&yaml);
    let (mut wanted, mut accepted) = (BTreeSet::new(), Accepted::new());
    wanted.insert(serve_short(&gateway).await);
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;

    postgres.stop();
    wanted.insert(serve_short(&gateway).await);
    wanted.insert("quota.threshold".to_owned());
    gateway.output().wait_for("the outbox fails");
    let file = folder.0.join("outbox.db");
    until("the event of the quota is on the disk", || {
        in_file(&file) == 1
    })
    .await;
    gateway.signal("KILL");
    gateway.wait();
    let gateway = Gateway::start_quietly(&yaml);
    gateway.output().wait_for("it starts without its database");
    postgres.resume();
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
    assert_eq!(in_file(&file), 0);

    // The same without a crash, once balances are known again.
    wanted.insert(serve_short(&gateway).await);
    receiver.take(&mut accepted, &wanted).await;
    postgres.stop();
    wanted.insert(serve_short(&gateway).await);
    postgres.resume();
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
}

/// Has a request served for which little is set aside of a quota.
async fn serve_short(gateway: &Gateway) -> String {
    let body = chat("gpt-4o").replace(r#"{"model""#, r#"{"max_tokens":1,"model""#);
    let serving = async {
        loop {
            let response = gateway.post(CHAT, &body).await;
            // Until balances are known.
            if response.status != 503 {
                assert_eq!(response.status, 200, "{response:?}");
                return response.header("x-request-id").unwrap().to_owned();
            }
        }
    };
    soon("an answer", serving).await
}

/// How many events wait in a file.
fn in_file(path: &std::path::Path) -> i64 {
    let sql = "SELECT count(*) FROM events";
    let counted =
        rusqlite::Connection::open(path).and_then(|file| file.query_row(sql, [], |row| row.get(0)));
    counted.unwrap_or(-1)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_release_has_left_in_its_file_is_sent_from_postgresql_under_the_same_id() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Receiver::start().await;
    let folder = Folder::new();
    let webhook = receiver.webhook();
    let setup = Setup {
        more: &webhook,
        ..Setup::default()
    };
    receiver.accept(false);
    let mut before = Gateway::start_quietly(&yaml("a", &upstream, None, &folder, setup));
    let mut wanted = BTreeSet::from([serve(&before).await]);
    let refused = receiver.far_end.request().await;
    wanted.insert(serve(&before).await);
    before.signal("TERM");
    assert!(before.wait().success());
    let file = folder.0.join("outbox.db");
    assert_eq!(in_file(&file), 2);
    // As with an earlier release whose ledger was in PostgreSQL: what is in the journal is loaded.
    std::fs::remove_dir_all(folder.0.join("journal")).unwrap();

    let after = start("a", &upstream, &postgres, &folder, &webhook);
    until("the file is moved", || in_file(&file) == 0).await;
    receiver.accept(true);
    let (mut accepted, mut names) = (Accepted::new(), BTreeSet::new());
    while accepted.len() < wanted.len() {
        let message = receiver.next().await;
        names.insert(message.header("webhook-id")[0].to_owned());
        for id in told(&message) {
            *accepted.entry(id).or_default() += 1;
        }
    }
    assert!(names.contains(refused.header("webhook-id")[0]));
    // The new ledger has what is served from now on.
    wanted.insert(serve(&after).await);
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_webhook_that_the_sender_does_not_have_is_kept_for_a_gateway_that_has_it()
{
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let (all, own) = (Receiver::start().await, Receiver::start().await);
    let folders = [(); 2].map(|()| Folder::new());
    let mut sender = start("a", &upstream, &postgres, &folders[0], &all.webhook());
    someone_sends(&postgres).await;
    let of_tenant = format!(", webhook: {{ url: 'http://{}/own' }}", own.far_end.address);
    let setup = Setup {
        tenant: &of_tenant,
        more: &all.webhook(),
    };
    let newer = yaml("b", &upstream, Some(&postgres.url()), &folders[1], setup);
    let newer = Gateway::start_quietly(&newer);
    let wanted = BTreeSet::from([serve(&newer).await]);
    let mut accepted = Accepted::new();
    all.take(&mut accepted, &wanted).await;
    assert_each_once(&accepted, &wanted);
    // The other one is behind it in no queue: it waits until a gateway sends that knows of it.
    until("the other one waits", || waiting(&postgres) == "1").await;
    assert_eq!(own.far_end.requests(), 0);
    sender.signal("TERM");
    assert!(sender.wait().success());
    let mut accepted = Accepted::new();
    own.take(&mut accepted, &wanted).await;
    assert_each_once(&accepted, &wanted);
    nothing_waits(&postgres).await;
    assert_eq!(all.far_end.requests(), 1);
}

/// A process that a test has not started itself, and that ends with it.
struct Successor(String);

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = Command::new("kill").args(["-s", "KILL", &self.0]).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_sends_what_its_predecessor_and_it_have_told() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Receiver::start().await;
    let folder = Folder::new();
    let mut gateway = start("a", &upstream, &postgres, &folder, &receiver.webhook());
    let (mut wanted, mut accepted) = (BTreeSet::new(), Accepted::new());
    let mut kept = gateway.connect().await;
    wanted.insert(serve(&gateway).await);
    receiver.take(&mut accepted, &wanted).await;
    gateway.signal("USR2");
    let line = gateway.output().wait_for("serves new connections");
    let pid = line.split("process ").nth(1).unwrap();
    let _successor = Successor(pid.split(' ').next().unwrap().to_owned());
    // By the predecessor, over a connection that it has kept, and by the successor.
    let response = kept.post(CHAT, &chat("gpt-4o")).await;
    assert_eq!(response.status, 200, "{response:?}");
    wanted.insert(response.header("x-request-id").unwrap().to_owned());
    drop(kept);
    wanted.insert(serve(&gateway).await);
    gateway.wait();
    wanted.insert(serve(&gateway).await);
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
    assert!(
        gateway
            .metric("tollgate_webhook_deliveries_total{outcome=\"ok\"}")
            .await
            >= 1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_gateway_has_recorded_and_told_is_sent_when_its_folder_is_loaded() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Receiver::start().await;
    let folders = [(); 2].map(|()| Folder::new());
    let webhook = receiver.webhook();
    let setup = Setup {
        tenant: QUOTA,
        more: &webhook,
    };
    let lost = yaml("a", &upstream, Some(&postgres.url()), &folders[0], setup);
    let mut lost = Gateway::start_quietly(&lost);
    let other = start("b", &upstream, &postgres, &folders[1], &webhook);
    let (mut wanted, mut accepted) = (BTreeSet::new(), Accepted::new());
    wanted.insert(serve_short(&lost).await);
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    postgres.stop();
    wanted.insert(serve_short(&lost).await);
    wanted.insert("quota.threshold".to_owned());
    let file = folders[0].0.join("outbox.db");
    until("the event of the quota is on the disk", || {
        in_file(&file) == 1
    })
    .await;
    lost.signal("KILL");
    lost.wait();
    postgres.resume();
    let mut load = Command::new(BINARY);
    load.args(["ledger", "load"]).arg(&folders[0].0);
    load.arg("-c").arg(other.folder().0.join("tollgate.yaml"));
    let said = run(&mut load);
    assert_eq!(
        said.trim(),
        "loaded what a has left: 1 journal, 1 event for webhooks"
    );
    receiver.take(&mut accepted, &wanted).await;
    let said = run(&mut load);
    assert_eq!(said.trim(), "loaded what a has left: 1 journal");
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_off_sends_no_more_and_another_one_takes_over() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let upstream = Upstream::answering(ANSWER).await;
    let receiver = Receiver::start().await;
    let line = Line::to(postgres.socket()).await;
    let folders = [(); 2].map(|()| Folder::new());
    let url = format!(
        "postgres://tollgate@{}/postgres?sslmode=disable",
        line.address
    );
    let webhook = receiver.webhook();
    let setup = Setup {
        more: &webhook,
        ..Setup::default()
    };
    let cut_off = Gateway::start_quietly(&yaml("a", &upstream, Some(&url), &folders[0], setup));
    someone_sends(&postgres).await;
    let other = start("b", &upstream, &postgres, &folders[1], &webhook);
    let (mut wanted, mut accepted) = (BTreeSet::new(), Accepted::new());
    wanted.insert(serve(&cut_off).await);
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    line.cut(true);
    wanted.insert(serve(&other).await);
    // It is served while its database is silent.
    let later = serve(&cut_off).await;
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
    cut_off.output().wait_for("the outbox fails");
    line.cut(false);
    wanted.insert(later);
    receiver.take(&mut accepted, &wanted).await;
    nothing_waits(&postgres).await;
    assert_each_once(&accepted, &wanted);
}
