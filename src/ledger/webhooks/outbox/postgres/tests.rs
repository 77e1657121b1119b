//! The outbox in a real PostgreSQL: what is added, sent, dropped and moved, and which process sends.

#[path = "../../../../../tests/suite/support/postgres.rs"]
#[allow(
    dead_code,
    clippy::panic,
    reason = "tests of the whole gateway use more of it"
)]
mod server;
#[path = "../../../../../tests/suite/support/tools.rs"]
#[allow(
    dead_code,
    clippy::panic,
    reason = "tests of the whole gateway use more of it"
)]
mod tools;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use super::*;
use crate::ledger::webhooks::event::Kind;
use crate::ledger::webhooks::shared::now_ms;
use server::Postgres as Server;

const PATIENCE: Duration = Duration::from_secs(30);
const AGES_MS: i64 = 4_000_000_000_000;

/// An outbox of a gateway, which knows the receivers `a` and `b`.
struct Gateway {
    outbox: Postgres,
    a: i64,
    b: i64,
    folder: tempfile::TempDir,
}

fn secret(server: &Server) -> Secret {
    Secret::new(server.url())
}

impl Gateway {
    fn new(server: &Server, bounds: Bounds) -> Self {
        Self::with(server, bounds, tempfile::tempdir().unwrap())
    }

    fn with(server: &Server, bounds: Bounds, folder: tempfile::TempDir) -> Self {
        let path = folder.path().join(super::super::FILE);
        let file = Sqlite::open(&path, bounds, now_ms()).unwrap();
        let mut outbox = Postgres::new(secret(server), file, bounds).unwrap();
        let (numbers, _) = outbox.set_receivers(&["a", "b"]).unwrap();
        let (a, b) = (numbers[0], numbers[1]);
        Self {
            outbox,
            a,
            b,
            folder,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(super::super::FILE)
    }

    /// Asks for the duty until it has it, and looks at what waits.
    #[track_caller]
    fn begin(&mut self) {
        wait_until("it sends", || {
            self.outbox.looked.hurry();
            self.outbox.take_duty(now_ms()).unwrap_or(false)
        });
    }

    fn look(&mut self) {
        self.outbox.looked.hurry();
        assert!(self.outbox.take_duty(now_ms()).unwrap());
    }

    /// The records in the messages of a receiver, which are removed.
    fn drain(&mut self, receiver: i64) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        while let Some(message) = self.outbox.due(receiver, AGES_MS).unwrap() {
            let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
            for event in body["data"]["events"].as_array().unwrap() {
                assert!(found.insert(event["n"].as_u64().unwrap()));
            }
            assert!(self.outbox.delivered(message.id).unwrap());
        }
        found
    }
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let by = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < by, "{what}");
        std::thread::yield_now();
    }
}

/// What loads records into the database.
struct Loader(Session);

impl Loader {
    fn new(server: &Server) -> Self {
        let mut session = Session::open(&secret(server)).unwrap();
        prepare(&mut session).unwrap();
        Self(session)
    }

    /// Adds usage events in a transaction of their own.
    fn add(&mut self, receiver: &str, records: std::ops::Range<u64>) {
        let json: Vec<String> = records.map(|n| format!(r#"{{"n":{n}}}"#)).collect();
        self.add_all(json.iter().map(|json| (receiver, json.as_str())));
    }

    fn add_all<'e>(&mut self, events: impl IntoIterator<Item = (&'e str, &'e str)>) {
        let added = self.0.run(async |client| {
            let transaction = client.transaction().await?;
            add_usage(&transaction, events, now_ms()).await?;
            transaction.commit().await?;
            Ok(())
        });
        added.unwrap();
    }
}

fn quota(receiver: i64, percent: u32) -> Added {
    Added {
        receiver,
        record: None,
        kind: Kind::Threshold,
        json: format!(r#"{{"percent":{percent}}}"#).into(),
    }
}

/// Whether the numbers of receivers are those of their messages.
fn is_counted(server: &Server) -> bool {
    server.query(
        "SELECT count(*) FROM tollgate.outbox_receivers r WHERE (events, bytes) <> \
         (SELECT coalesce(sum(events), 0), coalesce(sum(bytes), 0) FROM tollgate.outbox_messages WHERE receiver = r.name)",
    ) == "0"
}

#[test]
fn what_is_added_is_sent_until_it_is_delivered() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut loader = Loader::new(&server);
    let mut gateway = Gateway::new(&server, Bounds::default());
    let (a, b) = (gateway.a, gateway.b);
    loader.add("a", 0..250);
    loader.add("elsewhere", 0..3);
    gateway.begin();
    assert_eq!(gateway.outbox.events(), 253);
    assert_eq!(gateway.outbox.waiting(), [(a, 0)]);
    assert!(gateway.outbox.due(b, AGES_MS).unwrap().is_none());
    let first = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    assert_eq!((first.events, first.attempts), (100, 0));
    let due_ms = now_ms() + 3_600_000;
    gateway.outbox.failed(first.id, due_ms).unwrap();
    // The others come first.
    let second = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    assert_ne!(second.id, first.id);
    assert!(gateway.outbox.delivered(second.id).unwrap());
    assert!(!gateway.outbox.delivered(second.id).unwrap());
    let third = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    assert_eq!(third.events, 50);
    assert!(gateway.outbox.delivered(third.id).unwrap());
    assert!(gateway.outbox.due(a, now_ms()).unwrap().is_none());
    assert_eq!(gateway.outbox.waiting(), [(a, due_ms)]);
    gateway.outbox.hurry(a, now_ms()).unwrap();
    gateway.look();
    let again = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    assert_eq!((&again.name, &again.body), (&first.name, &first.body));
    assert_eq!(again.attempts, 1);
    assert_eq!(gateway.drain(a).len(), 100);
    gateway.look();
    assert_eq!(gateway.outbox.events(), 3);
    assert!(is_counted(&server));
    // Those of another gateway's receiver stay until they are too old.
    let expired = gateway.outbox.expire(now_ms() + 1).unwrap();
    assert_eq!(expired, Dropped::from_iter([(UNKNOWN, 3)]));
    assert!(gateway.outbox.expire(now_ms() + 1).unwrap().is_empty());
    assert!(is_counted(&server));
}

#[test]
fn at_the_bounds_the_oldest_usage_messages_are_dropped_and_then_the_newest_others() {
    let Some(server) = Server::start() else {
        return;
    };
    let bounds = Bounds {
        events: 300,
        all_bytes: 600 * 300,
        ..Bounds::default()
    };
    let mut loader = Loader::new(&server);
    let mut gateway = Gateway::new(&server, bounds);
    let (a, b) = (gateway.a, gateway.b);
    loader.add("b", 0..250);
    gateway.outbox.add(&[quota(a, 80)], now_ms()).unwrap();
    gateway.begin();
    loader.add("a", 0..299);
    gateway.look();
    assert!(gateway.outbox.trim().unwrap().is_empty());
    loader.add("a", 299..301);
    gateway.look();
    let dropped = gateway.outbox.trim().unwrap();
    assert_eq!(dropped, Dropped::from_iter([(a, 100)]));
    gateway.look();
    assert_eq!(gateway.outbox.events(), 250 + 1 + 201);
    // Beyond the bound of all, the oldest of any go.
    loader.add("elsewhere", 0..300);
    gateway.look();
    let dropped = gateway.outbox.trim().unwrap();
    assert_eq!(dropped, Dropped::from_iter([(b, 100)]));
    assert!(is_counted(&server));
    assert_eq!(gateway.drain(b), (100..250).collect());
    let told = gateway.outbox.due(a, AGES_MS).unwrap().unwrap();
    assert!(told.body.contains("percent"), "a quota's event is kept");
    assert!(gateway.outbox.delivered(told.id).unwrap());
    assert_eq!(gateway.drain(a), (100..301).collect());

    let only_two = Bounds {
        events: 2,
        ..Bounds::default()
    };
    gateway.outbox.bounds = only_two;
    let events: Vec<Added> = (1..=4).map(|percent| quota(a, percent)).collect();
    gateway.outbox.add(&events, now_ms()).unwrap();
    loader.add("a", 0..1);
    gateway.look();
    let dropped = gateway.outbox.trim().unwrap();
    assert_eq!(dropped.get(&a), Some(&1), "the usage event");
    gateway.look();
    assert_eq!(gateway.outbox.trim().unwrap().get(&a), Some(&2));
    gateway.look();
    assert!(gateway.outbox.trim().unwrap().is_empty());
    for percent in 1..=2 {
        let kept = gateway.outbox.due(a, AGES_MS).unwrap().unwrap();
        assert!(kept.body.contains(&format!(r#"{{"percent":{percent}}}"#)));
        gateway.outbox.delivered(kept.id).unwrap();
    }
    assert!(is_counted(&server));
}

#[test]
fn one_process_sends_until_its_connection_ends_and_then_another_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut first = Gateway::new(&server, Bounds::default());
    let mut second = Gateway::new(&server, Bounds::default());
    first.begin();
    assert!(!second.outbox.take_duty(now_ms()).unwrap());
    Loader::new(&server).add("a", 0..5);
    first.look();
    assert!(!first.outbox.waiting().is_empty());
    let sent = first.outbox.due(first.a, now_ms()).unwrap().unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.query(kill), "1");
    second.begin();
    // Until it knows that its connection has ended, it may send what it has. It gets no more.
    wait_until("it knows", || {
        first.outbox.looked.hurry();
        !first.outbox.take_duty(now_ms()).unwrap_or(false)
    });
    assert!(!first.outbox.has_duty());
    assert!(first.outbox.waiting().is_empty());
    assert!(first.outbox.due(first.a, now_ms()).unwrap().is_none());
    // What it had sent meanwhile is noted all the same.
    assert!(first.outbox.delivered(sent.id).unwrap());
    wait_until("it is noted", || {
        let _ = first.outbox.take_duty(now_ms());
        first.outbox.ended.is_empty()
    });
    second.look();
    assert_eq!(second.outbox.events(), 0);
    assert_eq!(second.drain(second.a), BTreeSet::new());
    second.outbox.give_up_duty().unwrap();
    first.begin();
}

#[test]
fn what_is_told_while_the_server_is_away_waits_in_the_file_and_no_message_is_delivered_twice() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut gateway = Gateway::new(&server, Bounds::default());
    let a = gateway.a;
    Loader::new(&server).add("a", 0..5);
    gateway.begin();
    let sent = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    server.stop();
    assert!(gateway.outbox.due(a, now_ms()).is_err());
    assert!(!gateway.outbox.has_duty());
    assert!(gateway.outbox.delivered(sent.id).unwrap());
    gateway.outbox.add(&[quota(a, 80)], now_ms()).unwrap();
    let _ = gateway.outbox.take_duty(now_ms());
    assert_eq!(gateway.outbox.events(), 1);
    server.resume();
    gateway.begin();
    let told = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    assert!(told.body.contains(r#"{"percent":80}"#), "{}", told.body);
    assert!(gateway.outbox.delivered(told.id).unwrap());
    assert!(gateway.outbox.due(a, now_ms()).unwrap().is_none());

    server.stop();
    gateway.outbox.add(&[quota(a, 90)], now_ms()).unwrap();
    // A restart loses nothing of it.
    let Gateway { outbox, folder, .. } = gateway;
    drop(outbox);
    let mut gateway = Gateway::with(&server, Bounds::default(), folder);
    assert!(gateway.outbox.take_duty(now_ms()).is_err());
    let asked_again = gateway.outbox.take_duty(now_ms());
    assert!(!asked_again.unwrap(), "it waits for a while");
    server.resume();
    gateway.begin();
    let told = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    assert!(told.body.contains(r#"{"percent":90}"#), "{}", told.body);
    assert!(gateway.outbox.delivered(told.id).unwrap());
    gateway.look();
    assert_eq!(gateway.outbox.events(), 0);
    assert!(is_counted(&server));
}

#[test]
fn what_an_earlier_release_has_left_is_moved_once_and_only_when_nothing_else_sends_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(super::super::FILE);
    let mut before = Sqlite::open(&path, Bounds::default(), now_ms()).unwrap();
    assert!(before.take_duty(now_ms()).unwrap());
    let (numbers, _) = before.set_receivers(&["a", "gone"]).unwrap();
    let usage = |receiver, record| Added {
        receiver,
        record: Some(record),
        kind: Kind::Usage,
        json: format!(r#"{{"n":{record}}}"#).into(),
    };
    let events: Vec<Added> = (0..150).map(|n| usage(numbers[0], n)).collect();
    before.add(&events, now_ms()).unwrap();
    before.add(&[usage(numbers[1], 1)], now_ms()).unwrap();
    let failed = before.due(numbers[0], now_ms()).unwrap().unwrap();
    before.failed(failed.id, now_ms() + 3_600_000).unwrap();

    let mut gateway = Gateway::with(&server, Bounds::default(), folder);
    gateway.begin();
    assert_eq!(gateway.outbox.file.events(), 151, "it is not moved yet");
    assert!(gateway.outbox.waiting().is_empty());
    before.give_up_duty().unwrap();
    // It puts events in after that, too.
    before.add(&[usage(numbers[0], 200)], now_ms()).unwrap();
    let left = gateway.outbox.file.left(1).unwrap();
    gateway.look();
    assert_eq!(gateway.outbox.file.events(), 0);
    // As after a commit that no answer came to.
    let again = Messages::left(&left);
    let insert = gateway
        .outbox
        .link
        .run(async |client| again.insert(client).await);
    insert.unwrap();
    gateway.look();
    assert_eq!(gateway.outbox.events(), 152);
    assert!(is_counted(&server));
    let a = gateway.a;
    let first = gateway.outbox.due(a, now_ms()).unwrap().unwrap();
    assert_ne!(first.name, failed.name, "it is due later, as before");
    let mut expected: BTreeSet<u64> = (0..150).collect();
    expected.insert(200);
    assert_eq!(gateway.drain(a), expected);
    drop(before);

    let mut left = Sqlite::open(&gateway.file(), Bounds::default(), now_ms()).unwrap();
    let (numbers, _) = left.set_receivers(&["a"]).unwrap();
    left.add(&[usage(numbers[0], 300)], now_ms()).unwrap();
    drop(left);
    let url = secret(&server);
    assert_eq!(move_left(gateway.folder.path(), &url, now_ms()).unwrap(), 1);
    assert_eq!(move_left(gateway.folder.path(), &url, now_ms()).unwrap(), 0);
    gateway.look();
    assert_eq!(gateway.drain(a), BTreeSet::from([300]));
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(move_left(nowhere.path(), &url, now_ms()).unwrap(), 0);
}

#[test]
fn gateways_that_load_while_another_one_sends_neither_wait_for_each_other_nor_miscount() {
    const LOADS: u64 = 50;
    let Some(server) = Server::start() else {
        return;
    };
    let names: Vec<String> = (0..20).map(|n| format!("tenant {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut gateway = Gateway::new(&server, Bounds::default());
    let (numbers, _) = gateway.outbox.set_receivers(&names).unwrap();
    gateway.begin();
    let mut sent = 0;
    std::thread::scope(|scope| {
        for seed in 0..3_u64 {
            let (server, names) = (&server, &names);
            scope.spawn(move || {
                let mut loader = Loader::new(server);
                for load in 0..LOADS {
                    // Each has them in another order.
                    let order = (0..20_u64).map(|n| (n * 7 + seed * 3 + load) % 20);
                    let order = order.map(|n| names[usize::try_from(n).unwrap()]);
                    loader.add_all(order.map(|name| (name, "{}")));
                }
            });
        }
        wait_until("all are sent", || {
            gateway.look();
            for number in &numbers {
                if let Some(message) = gateway.outbox.due(*number, now_ms()).unwrap() {
                    sent += message.events;
                    assert!(gateway.outbox.delivered(message.id).unwrap());
                }
            }
            sent == 3 * LOADS * 20
        });
    });
    gateway.look();
    assert_eq!(gateway.outbox.events(), 0);
    assert!(is_counted(&server));
}

#[test]
fn a_message_of_a_newer_release_is_left_to_it_and_newer_tables_are_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut gateway = Gateway::new(&server, Bounds::default());
    Loader::new(&server).add("a", 0..1);
    server.query(
        "INSERT INTO tollgate.outbox_messages (receiver, name, kind, made_ms, attempts, due_ms, events, bytes, data) \
         VALUES ('a', 'msg_new', 'key.revoked', 0, 0, -1, 1, 300, '{}'); \
         UPDATE tollgate.outbox_receivers SET events = events + 1, bytes = bytes + 300",
    );
    gateway.begin();
    assert_eq!(gateway.drain(gateway.a), BTreeSet::from([0]));
    gateway.look();
    assert_eq!(gateway.outbox.events(), 1);
    server.query("UPDATE tollgate.outbox_schema_version SET version = 9");
    gateway.outbox.give_up_duty().unwrap();
    let refused = gateway.outbox.take_duty(now_ms());
    assert!(matches!(refused, Err(StoreError::Newer { found: 9, .. })));
    gateway
        .outbox
        .add(&[quota(gateway.a, 80)], now_ms())
        .unwrap();
    assert_eq!(gateway.outbox.events(), 1);
}
