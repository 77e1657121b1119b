//! Two processes with one outbox, of which one sends.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;

use super::*;

struct Process {
    webhooks: Arc<Webhooks>,
    counts: Counts,
}

impl Process {
    fn start(plan: &WebhookPlan, folder: &tempfile::TempDir, timing: Timing) -> Self {
        let counts = Counts::new().unwrap();
        let webhooks = start(plan, folder, &counts, timing);
        Self { webhooks, counts }
    }

    fn add(&self, ids: std::ops::Range<u128>) {
        for id in ids {
            let record = Record {
                id,
                tenant: "a",
                outcome: "ok",
                ..Record::default()
            };
            tell(&self.webhooks, &[record]);
        }
    }

    fn stop(&self) {
        assert!(self.webhooks.stop(END));
    }
}

/// Takes messages until these records have come, each once.
#[track_caller]
fn expect(far_end: &FarEnd, ids: std::ops::Range<u128>) {
    let wanted: BTreeSet<String> = ids.map(id).collect();
    let mut got = BTreeSet::new();
    while got.len() < wanted.len() {
        for record in far_end.next().records() {
            assert!(wanted.contains(&record), "{record} was not expected");
            assert!(got.insert(record.clone()), "{record} came twice");
        }
    }
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let by = Instant::now() + END;
    while !is_so() {
        assert!(Instant::now() < by, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn each_event_comes_once_whichever_process_has_it_and_whichever_sends() {
    let far_end = FarEnd::answering(&["200 OK"]);
    let plan = plan(&[("a", &far_end.url())]);
    let folder = tempfile::tempdir().unwrap();
    let before = Process::start(&plan, &folder, quick());
    before.add(0..10);
    let after = Process::start(&plan, &folder, quick());
    after.add(10..20);
    before.add(20..30);
    expect(&far_end, 0..30);
    assert_eq!(after.counts.ok.get(), 0, "the predecessor sends");
    before.webhooks.hand_over();
    before.add(30..40);
    after.add(40..50);
    // Told by both, as of a record that is loaded by both.
    before.add(40..50);
    expect(&far_end, 30..50);
    wait_until("the successor sends", || after.counts.ok.get() > 0);
    before.webhooks.tell(threshold("a"));
    assert_eq!(far_end.next().json()["type"], "quota.threshold");
    before.stop();
    after.stop();
    assert!(!far_end.has_next());
}

#[test]
fn a_request_that_runs_ends_before_another_process_sends() {
    let ((come, arrival), (go, gate)) = (channel(), channel());
    let (come, gate) = (Mutex::new(come), Mutex::new(gate));
    let far_end = FarEnd::scripted(move |number, _| {
        if number == 0 {
            come.lock().send(()).unwrap();
            gate.lock().recv().unwrap();
        }
        Some(answer("200 OK", ""))
    });
    let plan = plan(&[("a", &far_end.url())]);
    let folder = tempfile::tempdir().unwrap();
    let before = Process::start(&plan, &folder, quick());
    before.add(0..1);
    arrival.recv_timeout(END).unwrap();
    before.webhooks.hand_over();
    let after = Process::start(&plan, &folder, quick());
    after.add(1..2);
    go.send(()).unwrap();
    expect(&far_end, 0..2);
    before.stop();
    after.stop();
    assert_eq!((before.counts.ok.get(), after.counts.ok.get()), (1, 1));
}

#[test]
fn what_waits_for_a_webhook_that_the_successor_does_not_have_is_kept_until_it_sends() {
    let far_end = FarEnd::answering(&["500 No"]);
    let plan = plan(&[("a", &far_end.url())]);
    let folder = tempfile::tempdir().unwrap();
    let before = Process::start(&plan, &folder, once());
    before.add(0..1);
    far_end.next();
    let after = Process::start(&WebhookPlan::default(), &folder, once());
    assert_eq!(after.counts.dropped.get(), 0);
    before.webhooks.hand_over();
    wait_until("it is dropped", || after.counts.dropped.get() == 1);
    // The receiver is gone, and no event comes back for it.
    before.add(1..2);
    before.stop();
    after.stop();
    assert_eq!(after.counts.waiting.get(), 0);
}

#[test]
fn what_an_ended_process_has_left_is_sent_by_the_other_one() {
    let far_end = FarEnd::answering(&["200 OK"]);
    let plan = plan(&[("a", &far_end.url())]);
    let folder = tempfile::tempdir().unwrap();
    let before = Process::start(&plan, &folder, quick());
    let after = Process::start(&plan, &folder, quick());
    // Without a hand-over, as by a kill.
    before.add(0..10);
    before.stop();
    drop(before);
    expect(&far_end, 0..10);
    after.stop();
}
