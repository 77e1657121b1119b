//! What was in flight when the process was told to stop is in the ledger.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::rows::{Row, assert_sound, rows};
use super::{CHAT, with_ledger};
use crate::support::client::{Client, post};
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;
use crate::support::{DONE, FINISHED, delta, streamed_chat};

/// So many streams are cut off.
const STREAMS: usize = 40;

/// An upstream that says one thing, and the rest when the test lets it.
async fn held(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |_, mut reply| {
        let step = Arc::clone(&step);
        async move {
            reply.begin_stream().await;
            reply.chunk(&delta("one, two, three, and four")).await;
            step.acquire().await.unwrap().forget();
            let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":7}}\n\n";
            reply.chunk(&[FINISHED, usage, DONE].concat()).await;
            reply.end_stream().await;
            reply
        }
    })
    .await
}

/// A client that has read the beginning of its stream, and the id of its request.
async fn streaming(gateway: &Gateway) -> (Client, String) {
    let mut client = gateway.connect().await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    let (_, headers) = client.head().await;
    client.chunk().await.unwrap();
    let id = headers.into_iter().find(|(name, _)| name == "x-request-id");
    (client, id.unwrap().1)
}

#[track_caller]
fn only_row(ledger: &Folder, id: &str) -> Row {
    assert_sound(ledger);
    let mut rows = rows(ledger);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = rows.remove(0);
    assert_eq!(row.id, id);
    row
}

#[tokio::test]
async fn a_stream_that_ends_while_the_process_stops_is_a_row() {
    let (step, ledger) = (Arc::new(Semaphore::new(0)), Folder::new());
    let upstream = held(&step).await;
    let mut gateway = Gateway::start(&with_ledger(upstream.address, &ledger, ""));
    let (mut client, id) = streaming(&gateway).await;
    gateway.signal("TERM");
    gateway.output().wait_for("1 requests in flight");
    step.add_permits(1);
    while client.chunk().await.is_some_and(|chunk| !chunk.is_empty()) {}
    assert!(gateway.wait().success());
    let row = only_row(&ledger, &id);
    assert_eq!((row.status, row.source), (200, 1), "{row:?}");
    assert_eq!((row.input, row.output), (30, 7), "{row:?}");
    assert!(!row.client_gone, "{row:?}");
}

#[tokio::test]
async fn streams_that_are_cut_off_when_the_grace_is_over_are_rows() {
    let (step, ledger) = (Arc::new(Semaphore::new(0)), Folder::new());
    let upstream = held(&step).await;
    let yaml = with_ledger(upstream.address, &ledger, "");
    let yaml = yaml.replace("max_body: 64MiB", "shutdown_grace: 100ms");
    let mut gateway = Gateway::start(&yaml);
    let (mut clients, mut ids) = (Vec::new(), HashSet::new());
    for _ in 0..STREAMS {
        let (client, id) = streaming(&gateway).await;
        clients.push(client);
        ids.insert(id);
    }
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    gateway
        .output()
        .wait_for(&format!("{STREAMS} requests were cut off"));
    // They are in the journal at least, and loaded after the next start.
    let mut gateway = Gateway::start(&yaml);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert_sound(&ledger);
    let rows = rows(&ledger);
    let there: HashSet<String> = rows.iter().map(|row| row.id.clone()).collect();
    assert_eq!(there, ids);
    for row in rows {
        // The upstream has told nothing of what it used so far.
        assert_eq!(row.source, 2, "{row:?}");
        assert!(row.input > 0 && row.output > 0, "{row:?}");
        assert_eq!(row.outcome, "restart", "{row:?}");
        assert!(!row.client_gone, "{row:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_read_on_without_its_client_is_a_row_when_the_process_stops() {
    let (step, ledger) = (Arc::new(Semaphore::new(0)), Folder::new());
    let upstream = held(&step).await;
    let yaml = with_ledger(upstream.address, &ledger, "");
    let mut gateway =
        Gateway::start(&yaml.replace("match: gpt-4o", "match: gpt-4o, on_client_gone: drain"));
    let (client, id) = streaming(&gateway).await;
    client.leave();
    gateway.access_line("error=client_gone");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let row = only_row(&ledger, &id);
    assert!(row.client_gone, "{row:?}");
    assert_eq!(row.source, 2, "{row:?}");
}
