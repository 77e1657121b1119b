//! The example receiver in `docs/` bills each request once, and nothing that Tollgate has not signed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tollgate::config::{Events, Located, Place, Webhook};
use tollgate::ledger::store::Teller;
use tollgate::ledger::webhooks::{QuotaEvent, Spent, WebhookPlan, Webhooks};
use tollgate::ledger::{Record, Tokens};
use tollgate::observe::webhooks::Webhooks as Counts;
use tollgate::secret::Secret;

use crate::support::gateway::Folder;
use crate::support::tools::{require, root};
use crate::support::until;
use crate::support::upstream::{Received, Upstream};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==";

/// The receiver as a process. It ends with the test.
struct Receiver {
    process: Child,
    output: Option<BufReader<std::process::ChildStdout>>,
    url: String,
}

impl Receiver {
    fn start(python: &Path, folder: &Folder, billing: &Upstream) -> Self {
        let mut process = Command::new(python)
            .arg(root().join("docs/reference/webhook_receiver.py"))
            .arg("0")
            .current_dir(&folder.0)
            .env("WEBHOOK_SECRET", SECRET)
            .env("BILLING_URL", format!("http://{}/usage", billing.address))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap();
        Self {
            process,
            url: format!("http://127.0.0.1:{port}/"),
            output: Some(output),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn webhooks(url: &str, secret: &str, folder: &Folder) -> (Arc<Webhooks>, Counts) {
    let webhook = Webhook {
        url: Located {
            value: url.to_owned(),
            place: Place::default(),
        },
        secret: Some(Secret::new(secret.to_owned())),
        events: Events::default(),
        allow_private: false,
    };
    let plan = WebhookPlan {
        global: Some(webhook),
        tenants: Vec::new(),
    };
    let counts = Counts::new().unwrap();
    let webhooks = Webhooks::start(&plan, &folder.0, None, counts.clone()).unwrap();
    (webhooks, counts)
}

/// Tells of records, as what loads them does.
fn tell(webhooks: &Webhooks, records: &[Record<'_>]) {
    let telling = webhooks.telling().unwrap();
    telling.tell(records).unwrap();
    telling.told();
}

fn record(id: u128) -> Record<'static> {
    Record {
        id,
        at_ms: 1_793_872_800_000,
        tenant: "acme",
        model: "gpt-4o",
        outcome: "ok",
        status: 200,
        tokens: Tokens {
            input: 100,
            cache_read: 20,
            output: 7,
            cached_answer: 5,
            ..Tokens::default()
        },
        charge_nanos: match id {
            2 => 999_999_123_456_789,
            _ => 1_500_000,
        },
        ..Record::default()
    }
}

fn billed(request: &Received) -> (String, serde_json::Value) {
    let key = request.header("idempotency-key")[0].to_owned();
    (key, serde_json::from_slice(&request.body).unwrap())
}

#[tokio::test]
async fn the_example_receiver_bills_each_request_once() {
    let Some(python) = require(&["python3"], "python3") else {
        return;
    };
    let billing = Upstream::answering("{}").await;
    let folder = Folder::new();
    let mut receiver = Receiver::start(&python, &folder, &billing);
    let (webhooks, counts) = webhooks(&receiver.url, SECRET, &folder);
    tell(&webhooks, &[record(1), record(2)]);
    for id in [1, 2] {
        let (key, usage) = billed(&billing.request().await);
        assert_eq!(key, format!("req_{id:032x}"));
        assert_eq!(usage["customer"], "acme");
        assert_eq!(usage["model"], "gpt-4o");
        assert_eq!(usage["time"], "2026-11-05T10:00:00.000Z");
        assert_eq!(
            (&usage["input_tokens"], &usage["output_tokens"]),
            (&120.into(), &7.into())
        );
        assert_eq!(usage["cached_answer_tokens"], 5);
        // Text with every digit of the nano-dollars.
        let usd = if id == 1 {
            "0.0015"
        } else {
            "999999.123456789"
        };
        assert_eq!(usage["usd"], usd);
    }
    until("the receiver's answer", || counts.delivered.get() == 2).await;
    // After a crash, the first comes again, with another one.
    tell(&webhooks, &[record(1), record(3)]);
    let (key, _) = billed(&billing.request().await);
    assert_eq!(key, format!("req_{:032x}", 3));
    webhooks.tell(QuotaEvent {
        is_exhausted: true,
        tenant: "acme".to_owned(),
        key: None,
        percent: 100,
        spent: Spent::Tokens {
            spent: 10,
            limit: 10,
        },
        period: None,
        at: tollgate::clock::now(),
    });
    let mut output = receiver.output.take().unwrap();
    let told = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        output.read_line(&mut line).map(|_| line)
    });
    let told = told.await.unwrap().unwrap();
    assert!(told.starts_with("quota.exhausted {"), "{told}");
    let stopped = tokio::task::spawn_blocking(move || webhooks.stop(Duration::from_secs(30)));
    assert!(stopped.await.unwrap());
    assert_eq!(billing.requests(), 3);
    assert_eq!((counts.failed.get(), counts.waiting.get()), (0, 0));
}

#[tokio::test]
async fn the_example_receiver_bills_nothing_that_another_has_signed() {
    let Some(python) = require(&["python3"], "python3") else {
        return;
    };
    let billing = Upstream::answering("{}").await;
    let folder = Folder::new();
    let receiver = Receiver::start(&python, &folder, &billing);
    let forged = "whsec_b3RoZXIgc2VjcmV0IG90aGVy";
    let (forger, refused) = webhooks(&receiver.url, forged, &folder);
    tell(&forger, &[record(1)]);
    until("a refusal", || refused.failed.get() > 0).await;
    assert_eq!((refused.failed.get(), refused.delivered.get()), (1, 0));
    assert_eq!(billing.requests(), 0);
}
