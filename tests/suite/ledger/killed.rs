//! `kill -9` under load, again and again: what a client has read to its end is in the ledger, once, and nothing is
//! there that no upstream has served.
//!
//! Each request asks for a model of its own, so that the client, the upstream and the ledger can be compared.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::rows::{Row, assert_sound, rows};
use super::{CHAT, kill, stop, with_ledger};
use crate::support::client::post;
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{DONE, FINISHED, chat, delta, soon, streamed_chat, until};

/// Where the random numbers begin, unless this variable says another place.
const SEED: u64 = 20_261_128;
const SEED_VARIABLE: &str = "TOLLGATE_STORM_SEED";
const KILLS: usize = 50;
const CLIENTS: usize = 8;
/// Between the start of a process and its end, as many things happen at the upstream at most.
const MOST_EVENTS: u64 = 200;
/// A streamed answer says as many things.
const DELTAS: usize = 6;

/// What the upstream has done.
#[derive(Default)]
struct Served {
    /// Requests and pieces of answers, as they happen.
    events: AtomicU64,
    /// The models that were asked for.
    models: Mutex<HashSet<String>>,
}

/// The number of a request, which its model is called after and which it uses as input.
fn number(model: &str) -> i64 {
    model.strip_prefix("same-").unwrap().parse().unwrap()
}

/// Answers a request with JSON or a stream, which uses its number as input and three tokens of output.
async fn serve(served: Arc<Served>, request: Received, mut reply: Reply) -> Reply {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let model = body["model"].as_str().unwrap();
    served.models.lock().unwrap().insert(model.to_owned());
    served.events.fetch_add(1, Ordering::SeqCst);
    let usage = format!(
        r#""usage":{{"prompt_tokens":{},"completion_tokens":3}}"#,
        number(model)
    );
    if body["stream"] == true {
        reply.begin_stream().await;
        for _ in 0..DELTAS {
            reply.chunk(&delta("x")).await;
            served.events.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        let usage = format!("data: {{\"choices\":[],{usage}}}\n\n");
        reply.chunk(&[FINISHED, &usage, DONE].concat()).await;
        reply.end_stream().await;
    } else {
        let answer = format!(r#"{{"choices":[{{"message":{{"content":"x"}}}}],{usage}}}"#);
        reply.json("200 OK", &answer).await;
    }
    reply
}

/// An answer that has come to its end: the request's id, and its model.
type Whole = (String, String);

/// Asks for a model once. `None` if the answer does not come to its end.
async fn ask(address: SocketAddr, model: &str, streamed: bool) -> Option<Whole> {
    let body = if streamed {
        streamed_chat(model)
    } else {
        chat(model)
    };
    let request = post(CHAT, "connection: close\r\n", &body);
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // A process that was killed may reset the connection behind a whole answer.
    while let Ok(1..) = stream.read_buf(&mut answer).await {}
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    };
    let is_whole = match header("content-length") {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        // Clients take this for the end of a stream.
        None => body.contains(DONE),
    };
    let id = header("x-request-id").unwrap().to_owned();
    is_whole.then(|| (id, model.to_owned()))
}

/// Asks again and again, whichever process there is, until there is none any more.
async fn keep_asking(
    numbers: Arc<AtomicU64>,
    mut addresses: watch::Receiver<Option<SocketAddr>>,
) -> Vec<Whole> {
    let mut whole = Vec::new();
    loop {
        let Some(address) = *addresses.borrow_and_update() else {
            return whole;
        };
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let model = format!("same-{number}");
        let asked = ask(address, &model, number.is_multiple_of(2));
        match soon("an answer or its end", asked).await {
            Some(answer) => whole.push(answer),
            // Killed: there is another one soon.
            None => soon("another gateway", addresses.changed()).await.unwrap(),
        }
    }
}

/// Asserts that three lists of the same requests agree.
fn compare(whole: &[Whole], served: &HashSet<String>, rows: &[Row]) {
    let by_id: HashMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    for (id, model) in whole {
        let row = by_id.get(id.as_str());
        let row = row.unwrap_or_else(|| panic!("{id} ({model}) is lost"));
        assert_eq!(
            (&row.model, row.status, row.source),
            (model, 200, 1),
            "{row:?}"
        );
        assert_eq!((row.input, row.output), (number(model), 3), "{row:?}");
    }
    let mut models = HashSet::new();
    for row in rows {
        assert!(
            served.contains(&row.model),
            "no upstream has served {row:?}"
        );
        assert!(models.insert(&row.model), "it is there twice: {row:?}");
        // One that was not delivered may be there; what the upstream has told of it is right.
        assert!(
            row.source != 1 || row.input == number(&row.model),
            "{row:?}"
        );
    }
}

#[tokio::test]
#[allow(
    clippy::print_stdout,
    reason = "a test that fails is repeated with this seed"
)]
async fn gateways_that_are_killed_under_load_lose_and_double_nothing() {
    let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |seed| seed.parse().unwrap());
    println!("{SEED_VARIABLE}={seed}");
    let mut random = Rng::with_seed(seed);
    let served = Arc::new(Served::default());
    let serving = Arc::clone(&served);
    let upstream =
        Upstream::start(move |request, reply| serve(Arc::clone(&serving), request, reply)).await;
    let ledger = Folder::new();
    let yaml = with_ledger(upstream.address, &ledger, "");
    let yaml = yaml.replace("models: [gpt-4o,", "quota: 1000000000000, models: [gpt-4o,");

    let mut gateway = Gateway::start_quietly(&yaml);
    let (address, addresses) = watch::channel(Some(gateway.address));
    let numbers = Arc::new(AtomicU64::new(1));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(keep_asking(Arc::clone(&numbers), addresses.clone()));
    }
    for _ in 0..KILLS {
        let end = served.events.load(Ordering::SeqCst) + random.u64(0..MOST_EVENTS);
        until("load", || served.events.load(Ordering::SeqCst) >= end).await;
        for _ in 0..random.u64(0..50) {
            tokio::task::yield_now().await;
        }
        kill(&mut gateway);
        gateway = Gateway::start_quietly(&yaml);
        address.send(Some(gateway.address)).unwrap();
    }
    // The last ones have all the time that they need.
    address.send(None).unwrap();
    let mut whole = Vec::new();
    while let Some(answers) = soon("the end of a client", clients.join_next()).await {
        whole.extend(answers.unwrap());
    }
    stop(&mut gateway);
    assert_sound(&ledger);
    compare(&whole, &served.models.lock().unwrap(), &rows(&ledger));
    assert!(
        whole.len() > KILLS,
        "there was hardly any load: {}",
        whole.len()
    );
    println!("{} answers came to their end", whole.len());
}
