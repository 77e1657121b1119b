//! Delivery: what a receiver gets, and when it gets it again.

pub mod far_end;
mod hand_over;

use std::net::TcpListener;

use super::*;
use crate::config::{Events, Located, Place, Webhook};
use crate::ledger::Record;
use crate::secret::Secret;
use far_end::{FarEnd, answer};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==";
const HOUR: Duration = Duration::from_secs(3_600);
const END: Duration = Duration::from_secs(30);

/// A webhook with a secret, for all events.
pub fn webhook(url: &str) -> Webhook {
    let place = Place::default();
    Webhook {
        url: Located {
            value: url.to_owned(),
            place,
        },
        secret: Some(Secret::new(SECRET.to_owned())),
        events: Events::default(),
        allow_private: false,
    }
}

fn plan(tenants: &[(&str, &str)]) -> WebhookPlan {
    let tenants = tenants.iter();
    let tenants = tenants.map(|(tenant, url)| ((*tenant).to_owned(), webhook(url)));
    WebhookPlan {
        global: None,
        tenants: tenants.collect(),
    }
}

/// With pauses of a few milliseconds.
fn quick() -> Timing {
    Timing {
        delays: vec![Duration::from_millis(20)],
        ..Timing::default()
    }
}

/// Nothing is tried again while a test runs.
fn once() -> Timing {
    Timing {
        delays: vec![HOUR],
        ..Timing::default()
    }
}

struct Fixture {
    webhooks: Arc<Webhooks>,
    counts: Counts,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(plan: &WebhookPlan, timing: Timing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let counts = Counts::new().unwrap();
        Self {
            webhooks: start(plan, &folder, &counts, timing),
            counts,
            folder,
        }
    }

    fn restarted(self, plan: &WebhookPlan, timing: Timing) -> Self {
        assert!(self.webhooks.stop(END));
        Self {
            webhooks: start(plan, &self.folder, &self.counts, timing),
            ..self
        }
    }

    fn add(&self, tenant: &str, id: u128) {
        self.add_all(tenant, id..id + 1);
    }

    fn add_all(&self, tenant: &str, ids: std::ops::Range<u128>) {
        let record = |id| Record {
            id,
            tenant,
            outcome: "ok",
            ..Record::default()
        };
        let records: Vec<Record<'_>> = ids.map(record).collect();
        tell(&self.webhooks, &records);
    }

    /// Waits until the dispatcher has done what it was given.
    fn stop(&self) {
        assert!(self.webhooks.stop(END));
    }

    /// How long from now the messages are due, in milliseconds.
    fn due_in_ms(&self) -> Vec<i64> {
        let outbox = rusqlite::Connection::open(self.folder.path().join("outbox.db")).unwrap();
        let mut find = outbox.prepare("SELECT due_ms FROM messages").unwrap();
        let found = find.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        found.map(|due_ms| due_ms.unwrap() - now_ms()).collect()
    }
}

fn start(
    plan: &WebhookPlan,
    folder: &tempfile::TempDir,
    counts: &Counts,
    timing: Timing,
) -> Arc<Webhooks> {
    let location = Location {
        folder: folder.path().to_owned(),
        postgres: None,
    };
    Webhooks::start_with(plan, location, counts.clone(), timing, Bounds::default()).unwrap()
}

/// Tells of records, as what loads them does.
fn tell(webhooks: &Webhooks, records: &[Record<'_>]) {
    if let Some(telling) = webhooks.telling() {
        telling.tell(records).unwrap();
        telling.told();
    }
}

fn id(id: u128) -> String {
    format!("req_{id:032x}")
}

fn threshold(tenant: &str) -> QuotaEvent {
    QuotaEvent {
        is_exhausted: false,
        tenant: tenant.to_owned(),
        key: None,
        percent: 80,
        spent: Spent::Tokens {
            spent: 8,
            limit: 10,
        },
        period: None,
        at: crate::clock::now(),
    }
}

#[test]
fn a_message_that_fails_is_sent_again_as_it_was_and_signed_anew() {
    let far_end = FarEnd::answering(&["500 No", "503 No", "204 Yes"]);
    let f = Fixture::new(&plan(&[("a", &far_end.url())]), quick());
    f.add("a", 1);
    let got: Vec<_> = (0..3).map(|_| far_end.next()).collect();
    assert_eq!(got[0].records(), [id(1)]);
    assert_eq!(got[0].json()["type"], "usage.recorded");
    let name = got[0].header("webhook-id").unwrap();
    assert!(name.starts_with("msg_"));
    for attempt in &got {
        assert_eq!(attempt.header("webhook-id"), Some(name));
        assert_eq!(attempt.body, got[0].body);
        assert_eq!(attempt.header("content-type"), Some("application/json"));
        let timestamp_s = attempt
            .header("webhook-timestamp")
            .unwrap()
            .parse()
            .unwrap();
        let secret = Secret::new(SECRET.to_owned());
        let expected = signature::signature(&secret, name, timestamp_s, attempt.body.as_bytes());
        assert_eq!(attempt.header("webhook-signature"), Some(&*expected));
    }
    f.stop();
    let counts = &f.counts;
    assert_eq!((counts.failed.get(), counts.ok.get()), (2, 1));
    assert_eq!((counts.delivered.get(), counts.waiting.get()), (1, 0));
}

#[test]
fn without_a_secret_there_is_no_signature() {
    let far_end = FarEnd::answering(&["200 OK"]);
    let mut plan = plan(&[("a", &far_end.url())]);
    plan.tenants[0].1.secret = None;
    let f = Fixture::new(&plan, quick());
    f.add("a", 1);
    assert_eq!(far_end.next().header("webhook-signature"), None);
}

#[test]
fn those_that_hang_do_not_hold_up_another() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    // More of them than requests that run at a time.
    let hanging: Vec<FarEnd> = (0..12).map(|_| FarEnd::scripted(|_, _| None)).collect();
    let quick_one = FarEnd::answering(&["200 OK"]);
    let urls: Vec<String> = hanging.iter().map(FarEnd::url).collect();
    let names: Vec<String> = (0..12).map(|n| format!("h{n}")).collect();
    let mut tenants: Vec<(&str, &str)> = Vec::new();
    tenants.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(urls.iter().map(String::as_str)),
    );
    let url = quick_one.url();
    tenants.push(("quick", &url));
    let timing = Timing {
        timeout: TIMEOUT,
        delays: vec![Duration::ZERO],
        ..Timing::default()
    };
    let f = Fixture::new(&plan(&tenants), timing);
    for name in &names {
        f.add(name, 1);
    }
    // Those that have failed are tried again at once, four at a time.
    for far_end in &hanging {
        far_end.next();
    }
    let begun = Instant::now();
    for message in 0..20 {
        // As many are sent at once.
        f.add_all("quick", message * 100..message * 100 + 100);
        quick_one.next();
    }
    assert!(f.counts.ok.get() >= 19);
    // One after the other with those that hang, they would take a timeout each.
    assert!(begun.elapsed() < 10 * TIMEOUT);
}

#[test]
fn a_message_that_is_never_accepted_does_not_keep_the_others_back() {
    let far_end = FarEnd::scripted(|_, got| {
        let status = if got.body.contains(&id(666)) {
            "400 No"
        } else {
            "200 OK"
        };
        Some(answer(status, ""))
    });
    let f = Fixture::new(&plan(&[("a", &far_end.url())]), quick());
    f.add("a", 666);
    assert_eq!(far_end.next().records(), [id(666)]);
    f.add("a", 1);
    while far_end.next().records() != [id(1)] {}
}

#[test]
fn a_redirect_is_not_followed() {
    for status in [
        "301 Moved",
        "302 Found",
        "303 See",
        "307 Temporary",
        "308 Permanent",
    ] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let to = elsewhere.local_addr().unwrap();
        let far_end = FarEnd::scripted(move |number, _| {
            Some(match number {
                0 => answer(status, &format!("location: http://{to}/\r\n")),
                _ => answer("200 OK", ""),
            })
        });
        let f = Fixture::new(&plan(&[("a", &far_end.url())]), quick());
        f.webhooks.tell(threshold("a"));
        far_end.next();
        far_end.next();
        f.stop();
        assert!(elsewhere.accept().is_err(), "{status}");
        assert_eq!(
            (f.counts.failed.get(), f.counts.ok.get()),
            (1, 1),
            "{status}"
        );
    }
}

#[test]
fn a_receiver_is_not_asked_before_it_says() {
    let far_end = FarEnd::scripted(|_, _| Some(answer("429 No", "retry-after: 600\r\n")));
    let f = Fixture::new(&plan(&[("a", &far_end.url())]), quick());
    f.webhooks.tell(threshold("a"));
    far_end.next();
    f.stop();
    let due_in_ms = f.due_in_ms()[0];
    assert!((500_000..=600_000).contains(&due_in_ms), "{due_in_ms}");
}

#[test]
fn a_receiver_that_is_gone_is_left_alone_until_its_messages_are_too_old() {
    let far_end = FarEnd::answering(&["410 Gone"]);
    let f = Fixture::new(&plan(&[("a", &far_end.url())]), quick());
    f.webhooks.tell(threshold("a"));
    far_end.next();
    f.webhooks.tell(threshold("a"));
    f.stop();
    assert!(!far_end.has_next());
    assert_eq!((f.counts.failed.get(), f.counts.waiting.get()), (1, 2));
    assert!(
        f.due_in_ms()
            .iter()
            .any(|due_in_ms| *due_in_ms > 2 * 86_400_000)
    );
}

#[test]
fn a_restart_keeps_what_waits() {
    let far_end = FarEnd::answering(&["500 No", "200 OK"]);
    let plan = plan(&[("a", &far_end.url())]);
    let f = Fixture::new(&plan, quick());
    f.add("a", 1);
    let before = far_end.next();
    let f = f.restarted(&plan, quick());
    let after = far_end.next();
    assert_eq!(after.body, before.body);
    assert_eq!(after.header("webhook-id"), before.header("webhook-id"));
    f.stop();
    assert_eq!((f.counts.delivered.get(), f.counts.waiting.get()), (1, 0));
}

#[test]
fn a_corrected_address_is_tried_at_once() {
    let wrong = FarEnd::answering(&["404 No"]);
    let right = FarEnd::answering(&["200 OK"]);
    let f = Fixture::new(&plan(&[("a", &wrong.url())]), once());
    f.webhooks.tell(threshold("a"));
    let before = wrong.next();
    f.webhooks.reload(&plan(&[("a", &right.url())])).unwrap();
    assert_eq!(right.next().body, before.body);
}

#[test]
fn what_waits_for_a_webhook_that_was_removed_is_dropped() {
    let far_end = FarEnd::answering(&["500 No"]);
    let f = Fixture::new(&plan(&[("a", &far_end.url())]), once());
    f.webhooks.tell(threshold("a"));
    far_end.next();
    f.webhooks.reload(&WebhookPlan::default()).unwrap();
    assert_eq!((f.counts.dropped.get(), f.counts.waiting.get()), (1, 0));
    f.add("a", 1);
    f.webhooks.tell(threshold("a"));
    f.stop();
    assert_eq!((f.counts.dropped.get(), f.counts.waiting.get()), (1, 0));
}

#[test]
fn each_receiver_gets_what_it_asked_for_of_its_tenant() {
    let (own, global) = (
        FarEnd::answering(&["200 OK"]),
        FarEnd::answering(&["200 OK"]),
    );
    let mut plan = plan(&[("a", &own.url())]);
    plan.tenants[0].1.events = Events {
        usage: true,
        threshold: false,
        exhausted: true,
    };
    plan.global = Some(webhook(&global.url()));
    let f = Fixture::new(&plan, quick());
    f.webhooks.tell(threshold("a"));
    assert_eq!(global.next().json()["type"], "quota.threshold");
    let exhausted = QuotaEvent {
        is_exhausted: true,
        ..threshold("a")
    };
    f.webhooks.tell(exhausted);
    for far_end in [&global, &own] {
        assert_eq!(far_end.next().json()["type"], "quota.exhausted");
    }
    f.add("b", 1);
    assert_eq!(global.next().records(), [id(1)]);
    f.add("a", 2);
    assert_eq!(global.next().records(), [id(2)]);
    assert_eq!(own.next().records(), [id(2)]);
}

#[test]
fn what_was_told_before_the_end_is_delivered_after_the_next_start() {
    let far_end = FarEnd::answering(&["200 OK"]);
    let plan = plan(&[("a", &far_end.url())]);
    let f = Fixture::new(&WebhookPlan::default(), quick());
    f.webhooks.reload(&plan).unwrap();
    f.webhooks.tell(threshold("a"));
    // Which may have come before it was sent, or after.
    let f = f.restarted(&plan, quick());
    far_end.next();
    f.stop();
    assert_eq!((f.counts.delivered.get(), f.counts.waiting.get()), (1, 0));
}

#[test]
fn while_no_webhook_is_configured_there_is_no_outbox() {
    let f = Fixture::new(&WebhookPlan::default(), quick());
    f.add("a", 1);
    f.webhooks.tell(threshold("a"));
    assert_eq!(std::fs::read_dir(f.folder.path()).unwrap().count(), 0);
    f.stop();
}

#[test]
fn what_no_receiver_accepts_in_time_is_given_up() {
    let far_end = FarEnd::answering(&["500 No"]);
    let plan = plan(&[("a", &far_end.url())]);
    let f = Fixture::new(&plan, once());
    f.webhooks.tell(QuotaEvent {
        at: crate::clock::now() - 2 * HOUR,
        ..threshold("a")
    });
    far_end.next();
    let timing = Timing {
        retention: HOUR,
        ..once()
    };
    let f = f.restarted(&plan, timing);
    // What is old is given up before anything is sent.
    f.webhooks.tell(threshold("a"));
    far_end.next();
    f.stop();
    assert_eq!((f.counts.expired.get(), f.counts.waiting.get()), (1, 1));
}
