//! Sixteen ways in which a provider fails, streamed and not, with one fallback model: what the client gets, and how
//! often each upstream is asked. Three configurations: as it comes, ten seconds for silence, and whole answers.
//!
//! A complete answer is a pass, and so is a clear error where the request itself is what is wrong. An honest error is
//! safe. What looks complete and is not, or does not end, is a failure.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{CHAT, Told, answer, at, error, gateway, nobody, outcomes, rule, serve, token, tokens};
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{chat, streamed_chat};

/// No request makes more attempts.
const MOST_ATTEMPTS: usize = 6;
/// A client that has waited for so long gives up.
const CLIENT_PATIENCE: Duration = Duration::from_secs(150);

/// How a provider fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused,
    Reset,
    ErrorOnce,
    Error,
    Overloaded,
    LimitedOnce,
    Limited,
    BadKey,
    Silent,
    SilentAfterHeader,
    Cut,
    CutAndNoPrefill,
    Stall,
    Malformed,
    ErrorInStream,
    TooLong,
}

/// All of them, and the names of their rules.
const FAULTS: [(Fault, &str); 16] = [
    (Fault::Refused, "refused"),
    (Fault::Reset, "reset"),
    (Fault::ErrorOnce, "error-once"),
    (Fault::Error, "error"),
    (Fault::Overloaded, "overloaded"),
    (Fault::LimitedOnce, "limited-once"),
    (Fault::Limited, "limited"),
    (Fault::BadKey, "bad-key"),
    (Fault::Silent, "silent"),
    (Fault::SilentAfterHeader, "silent-after-header"),
    (Fault::Cut, "cut"),
    (Fault::CutAndNoPrefill, "cut-and-no-prefill"),
    (Fault::Stall, "stall"),
    (Fault::Malformed, "malformed"),
    (Fault::ErrorInStream, "error-in-stream"),
    (Fault::TooLong, "too-long"),
];

/// What a client makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Pass,
    Safe,
    Fail,
}

impl Fault {
    async fn play(self, turn: usize, request: Received, mut reply: Reply) -> Reply {
        let streams = request.text().contains(r#""stream":true"#);
        let failed = error("The server had an error.", "server_error", None);
        let limited = error("Too many.", "rate_limit_error", Some("rate_limit_exceeded"));
        match self {
            Self::Refused => {}
            Self::Reset => reply.reset(),
            Self::ErrorOnce | Self::LimitedOnce if turn > 0 => {
                serve("first", &request, &mut reply).await;
            }
            Self::ErrorOnce | Self::Error => reply.json("500 Internal Server Error", &failed).await,
            Self::Overloaded => {
                let status = "503 Service Unavailable";
                reply
                    .json_with(status, "retry-after: 30\r\n", &failed)
                    .await;
            }
            Self::LimitedOnce => {
                let status = "429 Too Many Requests";
                reply
                    .json_with(status, "retry-after: 2\r\n", &limited)
                    .await;
            }
            Self::Limited => {
                let status = "429 Too Many Requests";
                reply
                    .json_with(status, "retry-after: 60\r\n", &limited)
                    .await;
            }
            Self::BadKey => {
                let refused = error("No.", "invalid_request_error", Some("invalid_api_key"));
                reply.json("401 Unauthorized", &refused).await;
            }
            Self::TooLong => {
                let code = Some("context_length_exceeded");
                let refused = error("It is too long.", "invalid_request_error", code);
                reply.json("400 Bad Request", &refused).await;
            }
            Self::Silent => reply.wait_for_close().await,
            Self::SilentAfterHeader if streams => {
                reply.begin_stream().await;
                reply.event(&super::role()).await;
                reply.wait_for_close().await;
            }
            _ if streams => {
                reply.begin_stream().await;
                tokens("first", 0..40, &mut reply).await;
                self.break_stream(&mut reply, &failed).await;
            }
            _ => self.break_body(&mut reply, &failed).await,
        }
        reply
    }

    async fn break_stream(self, reply: &mut Reply, failed: &str) {
        match self {
            Self::Stall => reply.wait_for_close().await,
            Self::Malformed => {
                reply.chunk("data: {\"choices\":[{\"delta\":\n\n").await;
                for n in 40..super::TOKENS {
                    reply.event(&token("first", n)).await;
                }
                reply.event(&super::finish()).await;
                reply.event("[DONE]").await;
                reply.end_stream().await;
            }
            Self::ErrorInStream => {
                reply.event(failed).await;
                reply.end_stream().await;
            }
            _ => reply.close(),
        }
    }

    async fn break_body(self, reply: &mut Reply, failed: &str) {
        let whole = answer("first");
        let half = whole.get(..whole.len() / 2).unwrap();
        let head = |length: usize| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            )
        };
        match self {
            Self::SilentAfterHeader => {
                reply.raw(head(whole.len())).await;
                reply.wait_for_close().await;
            }
            Self::Stall => {
                reply.raw(head(whole.len()) + half).await;
                reply.wait_for_close().await;
            }
            Self::Malformed => reply.json("200 OK", half).await,
            Self::ErrorInStream => reply.json("200 OK", failed).await,
            _ => {
                reply.raw(head(whole.len()) + half).await;
                reply.close();
            }
        }
    }
}

/// When a provider was asked.
type Asked = Arc<Mutex<Vec<Instant>>>;

/// A provider that fails in this way, and when it was asked.
async fn failing(fault: Fault) -> (Upstream, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let upstream = Upstream::start(move |request, reply| {
        let mut seen = seen.lock().unwrap();
        seen.push(Instant::now());
        fault.play(seen.len() - 1, request, reply)
    });
    (upstream.await, asked)
}

/// A provider that is well, but takes no message that an assistant has begun.
async fn spare() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        match request.text().contains("\"assistant\"") {
            true => {
                let refused = error("No prefill.", "invalid_request_error", None);
                reply.json("400 Bad Request", &refused).await;
            }
            false => serve("spare", &request, &mut reply).await,
        }
        reply
    })
    .await
}

/// All faults, each with an upstream and a rule of its own.
struct House {
    gateway: Gateway,
    upstreams: BTreeMap<&'static str, (Upstream, Asked)>,
    spare: Upstream,
}

impl House {
    async fn new(of_upstream: &str, of_rule: &str) -> Self {
        let spare = spare().await;
        let more = format!(", fallback: [spare]{of_rule}");
        let mut written = vec![at("spare", spare.address, of_upstream)];
        let mut rules = vec![rule("spare", "{ upstream: spare }", "")];
        let mut upstreams = BTreeMap::new();
        for (fault, name) in FAULTS {
            let address = match fault {
                Fault::Refused => nobody(),
                _ => {
                    let (upstream, asked) = failing(fault).await;
                    let address = upstream.address;
                    upstreams.insert(name, (upstream, asked));
                    address
                }
            };
            let prefill = ", prefill: assistant";
            written.push(at(name, address, &format!("{of_upstream}{prefill}")));
            rules.push(rule(name, &format!("{{ upstream: {name} }}"), &more));
        }
        Self {
            gateway: gateway("backoff: 100ms", &written, &rules),
            upstreams,
            spare,
        }
    }

    /// Asks each model at once. Gives for each fault the grade, and what was tried.
    async fn ask(&self, streamed: bool) -> BTreeMap<&'static str, (Grade, String)> {
        let mut asking = JoinSet::new();
        for (fault, name) in FAULTS {
            let mut client = self.gateway.connect().await;
            client.patience = CLIENT_PATIENCE;
            let body = match streamed {
                true => streamed_chat(name),
                false => chat(name),
            };
            asking.spawn(async move { (fault, name, client.post(CHAT, &body).await) });
        }
        let mut all = BTreeMap::new();
        while let Some(asked) = asking.join_next().await {
            let (fault, name, response) = asked.unwrap();
            let tried = outcomes(&self.gateway, &response);
            let tried: Vec<_> = tried
                .split(' ')
                .map(|one| one.replacen(name, "first", 1))
                .collect();
            assert!(tried.len() <= MOST_ATTEMPTS, "{name}: {tried:?}");
            all.insert(name, (grade(fault, &response), tried.join(" ")));
        }
        all
    }
}

fn grade(fault: Fault, response: &Response) -> Grade {
    if response.status != 200 {
        let error = &response.json()["error"];
        let is_told = error["message"].is_string() && error["code"] != "context_length_exceeded";
        return match is_told || fault == Fault::TooLong {
            true => Grade::Safe,
            false => Grade::Fail,
        };
    }
    let told = Told::of(response);
    let is_whole = ["first", "spare"]
        .iter()
        .any(|speaker| told.text == super::whole(speaker));
    match told.error {
        // An error in a stream that says nothing of an end.
        Some(_) if !told.is_done && !told.is_finished => Grade::Safe,
        None if is_whole && told.is_finished && told.malformed == 0 => Grade::Pass,
        // Some clients pass over an event that they cannot read.
        None if is_whole && told.is_finished => Grade::Safe,
        _ => Grade::Fail,
    }
}

/// The faults that are graded so.
fn graded(all: &BTreeMap<&'static str, (Grade, String)>, grade: Grade) -> Vec<&'static str> {
    let of_grade = all.iter().filter(|(_, (found, _))| *found == grade);
    of_grade.map(|(name, _)| *name).collect()
}

const TEN_SECONDS: &str = ", ejection: off, timeouts: { first_token: 10s, idle: 10s, answer: 10s }";

#[tokio::test]
async fn whole_answers_pass_all_sixteen_streamed_and_not() {
    for streamed in [true, false] {
        let house = House::new(TEN_SECONDS, ", commit: whole").await;
        let all = house.ask(streamed).await;
        assert_eq!(graded(&all, Grade::Pass).len(), 16, "{streamed}: {all:#?}");
        for (name, tried) in [
            ("refused", "first:unreachable spare:ok"),
            ("error-once", "first:server_error first:ok"),
            ("error", "first:server_error first:server_error spare:ok"),
            ("limited-once", "first:rate_limited first:ok"),
            ("limited", "first:rate_limited spare:ok"),
            ("bad-key", "first:key_refused spare:ok"),
            ("silent", "first:silent spare:ok"),
            ("cut", "first:cut first:cut spare:ok"),
            ("stall", "first:silent spare:ok"),
            ("too-long", "first:context_length spare:ok"),
        ] {
            assert_eq!(all[name].1, tried, "{name}, streamed: {streamed}");
        }
        for (name, times) in [("error", 2), ("limited", 1), ("silent", 1), ("cut", 2)] {
            assert_eq!(house.upstreams[name].0.requests(), times, "{name}");
        }
        // It was waited for as long as the provider has said, and otherwise for a moment.
        for (name, least, most) in [("limited-once", 2000, 4000), ("error-once", 40, 2000)] {
            let asked = house.upstreams[name].1.lock().unwrap();
            let waited = asked[1].duration_since(asked[0]).as_millis();
            assert!((least..most).contains(&waited), "{name}: {waited} ms");
        }
        assert!(house.spare.requests() <= 16);
    }
}

#[tokio::test]
async fn streams_with_ten_seconds_pass_or_end_honestly() {
    let house = House::new(TEN_SECONDS, "").await;
    let all = house.ask(true).await;
    assert_eq!(graded(&all, Grade::Fail), [""; 0], "{all:#?}");
    let safe = [
        "cut",
        "cut-and-no-prefill",
        "error-in-stream",
        "malformed",
        "stall",
    ];
    assert_eq!(graded(&all, Grade::Safe), safe, "{all:#?}");
}

#[tokio::test]
async fn whole_bodies_with_ten_seconds_pass_or_end_honestly() {
    let house = House::new(TEN_SECONDS, "").await;
    let all = house.ask(false).await;
    assert_eq!(graded(&all, Grade::Fail), [""; 0], "{all:#?}");
}

/// It takes as long as the default timeouts.
#[tokio::test]
async fn streams_with_the_defaults_pass_or_end_honestly() {
    let house = House::new("", "").await;
    let all = house.ask(true).await;
    assert_eq!(graded(&all, Grade::Fail), [""; 0], "{all:#?}");
}
