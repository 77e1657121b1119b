//! Questions in a database of vectors that is asked over REST.
//!
//! Owns sending calls, how long they may take and how many are made at a time, whether the database is asked at all,
//! and making collections: one for each dimension. What calls look like is the matter of an [`Api`], which has no I/O.
//! Redirects are not followed. Fails with what is counted, and tells the log of it once a minute.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use ureq::Agent;
use ureq::http::{Method, Request};

use super::{LONGEST_COMMAND, Near, Record, Wanted};
use crate::cache::Key;
use crate::cache::breaker::Breaker;
use crate::https;
use crate::observe::cache::StoreResult;
use crate::observe::log_interval::LogInterval;
use crate::secret::Secret;

/// As many calls are made at a time. One more is not made.
const MOST_CALLS: usize = 64;
/// The most bytes of an answer that has no value in it.
const MOST_BYTES: usize = 1 << 20;
/// Calls that remove questions of one collection.
const MOST_TURNS: u32 = 1000;
/// What JSON and base64 add to a value, and what stands around it.
const AROUND_VALUE: usize = 64 << 10;

/// One request to a database.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// The body.
    pub body: Option<Value>,
}

/// What a database has answered.
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// The body; `Null` where it is no JSON.
    pub body: Value,
}

/// How one kind of database is asked. What it answers is not trusted: any of it may be missing or of another type.
pub(super) trait Api: Send + Sync {
    /// The header with the key.
    fn credential(&self, key: &Secret) -> (&'static str, String);
    /// Makes the collection of a dimension, in this order.
    fn make(&self, dimension: usize) -> Vec<Call>;
    /// Whether what was to be made is there: now, or already.
    fn is_made(&self, answer: &Answer) -> bool;
    /// Looks for the nearest questions of a scope whose time has not passed.
    fn nearest(&self, wanted: &Wanted<'_>) -> Call;
    /// Those that were found; `None` where the answer is no such list.
    fn read_near(&self, answer: &Answer) -> Option<Vec<Near>>;
    /// Asks for the answer of a question.
    fn answer(&self, id: &Key, dimension: usize) -> Call;
    /// It, sealed; the inner `None` where there is none, the outer where what was answered is something else.
    fn read_answer(&self, answer: &Answer) -> Option<Option<Vec<u8>>>;
    /// Writes a question, in the place of one with the same id.
    fn put(&self, record: &Record) -> Call;
    /// Asks which collections there are.
    fn list(&self) -> Call;
    /// Ours among them; `None` where the answer is no such list.
    fn read_list(&self, answer: &Answer) -> Option<Vec<String>>;
    /// Removes the questions of a collection that have all of these members.
    fn remove(&self, collection: &str, members: &[(&'static str, String)]) -> Call;
    /// Removes those of a collection whose time has passed.
    fn remove_expired(&self, collection: &str, now: i64) -> Call;
    /// Whether it was written or removed.
    fn is_done(&self, answer: &Answer) -> bool;
}

/// One database.
pub(super) struct Rest {
    api: &'static dyn Api,
    agent: Agent,
    base: String,
    key: Option<Secret>,
    turns: Arc<Semaphore>,
    breaker: Breaker,
    /// The dimensions whose collection is there.
    made: Mutex<HashSet<usize>>,
    logged: Mutex<LogInterval>,
}

impl Rest {
    /// At a URL that was checked.
    pub(super) fn new(api: &'static dyn Api, url: &Secret, key: Option<&Secret>) -> Self {
        let config = https::config(LONGEST_COMMAND, https::system_roots());
        Self {
            api,
            agent: Agent::new_with_config(config.build()),
            base: url.expose().trim_end_matches('/').to_owned(),
            key: key.cloned(),
            turns: Arc::new(Semaphore::new(MOST_CALLS)),
            breaker: Breaker::default(),
            made: Mutex::default(),
            logged: Mutex::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.breaker.is_closed()
    }

    pub(super) async fn nearest(
        &self,
        wanted: &Wanted<'_>,
        within: Duration,
    ) -> Result<Vec<Near>, StoreResult> {
        let dimension = wanted.vector.numbers().len();
        let until = Instant::now() + within;
        self.make(dimension, until).await?;
        let call = self.api.nearest(wanted);
        let answer = self.call(call, MOST_BYTES, until).await?;
        let near = self.api.read_near(&answer);
        near.ok_or_else(|| self.unexpected(&answer, Some(dimension)))
    }

    pub(super) async fn answer(
        &self,
        id: &Key,
        dimension: usize,
        most_bytes: usize,
        within: Duration,
    ) -> Result<Option<Vec<u8>>, StoreResult> {
        let call = self.api.answer(id, dimension);
        let most_bytes = 2 * most_bytes + AROUND_VALUE;
        let answer = self.call(call, most_bytes, Instant::now() + within).await?;
        let value = self.api.read_answer(&answer);
        value.ok_or_else(|| self.unexpected(&answer, None))
    }

    pub(super) async fn put(&self, record: &Record) -> Result<(), StoreResult> {
        let dimension = record.vector.numbers().len();
        let until = Instant::now() + LONGEST_COMMAND;
        self.make(dimension, until).await?;
        // It may repeat what was written.
        let most_bytes = MOST_BYTES + 2 * record.weight();
        let answer = self.call(self.api.put(record), most_bytes, until).await?;
        match self.api.is_done(&answer) {
            true => Ok(()),
            false => Err(self.unexpected(&answer, Some(dimension))),
        }
    }

    pub(super) async fn remove(
        &self,
        members: &[(&'static str, String)],
    ) -> Result<(), StoreResult> {
        self.remove_by(|collection| self.api.remove(collection, members))
            .await
    }

    pub(super) async fn remove_expired(&self, now: i64) -> Result<(), StoreResult> {
        self.remove_by(|collection| self.api.remove_expired(collection, now))
            .await
    }

    /// Removes questions of each collection.
    async fn remove_by(&self, call: impl Fn(&str) -> Call) -> Result<(), StoreResult> {
        let until = || Instant::now() + LONGEST_COMMAND;
        let answer = self.call(self.api.list(), MOST_BYTES, until()).await?;
        let collections = self.api.read_list(&answer);
        let collections = collections.ok_or_else(|| self.unexpected(&answer, None))?;
        for collection in collections {
            // Some remove a part of them with each call.
            for turn in 1.. {
                let answer = self.call(call(&collection), MOST_BYTES, until()).await?;
                if self.api.is_done(&answer) {
                    break;
                }
                if answer.status != 200 || turn == MOST_TURNS {
                    return Err(self.unexpected(&answer, None));
                }
            }
        }
        Ok(())
    }

    /// Makes the collection of a dimension, unless that was done.
    async fn make(&self, dimension: usize, until: Instant) -> Result<(), StoreResult> {
        if self.made.lock().contains(&dimension) {
            return Ok(());
        }
        for call in self.api.make(dimension) {
            let answer = self.call(call, MOST_BYTES, until).await?;
            if !self.api.is_made(&answer) {
                return Err(self.unexpected(&answer, None));
            }
        }
        self.made.lock().insert(dimension);
        Ok(())
    }

    /// It has answered something else, perhaps because its collection was removed.
    fn unexpected(&self, answer: &Answer, dimension: Option<usize>) -> StoreResult {
        if let Some(dimension) = dimension {
            self.made.lock().remove(&dimension);
        }
        let status = answer.status;
        let mut said = answer.body.to_string();
        said.truncate(said.floor_char_boundary(200));
        self.warn(format_args!("answers with {status}: {said}"));
        StoreResult::Error
    }

    async fn call(
        &self,
        call: Call,
        most_bytes: usize,
        until: Instant,
    ) -> Result<Answer, StoreResult> {
        let turn = Arc::clone(&self.turns).try_acquire_owned();
        let turn = turn.map_err(|_| StoreResult::Dropped)?;
        let admission = self.breaker.admit(Instant::now());
        let admission = admission.ok_or(StoreResult::Skipped)?;
        let within = until.saturating_duration_since(Instant::now());
        if within.is_zero() {
            return Err(StoreResult::Timeout);
        }
        let credential = self.key.as_ref().map(|key| self.api.credential(key));
        let (agent, url) = (self.agent.clone(), format!("{}{}", self.base, call.path));
        let asking = tokio::task::spawn_blocking(move || {
            let answer = send(&agent, &url, &call, credential, (most_bytes, within));
            drop(turn);
            answer
        });
        let (result, why) = match timeout(within, asking).await {
            Ok(Ok(Ok(answer))) if answer.status < 500 => {
                admission.succeeded();
                return Ok(answer);
            }
            Ok(Ok(Ok(answer))) => (
                StoreResult::Error,
                format!("answers with {}", answer.status),
            ),
            Ok(Ok(Err(ureq::Error::Timeout(_)))) | Err(_) => {
                (StoreResult::Timeout, "does not answer in time".to_owned())
            }
            Ok(Ok(Err(error))) => (StoreResult::Error, format!("cannot be asked: {error}")),
            Ok(Err(error)) => (StoreResult::Error, format!("cannot be asked: {error}")),
        };
        admission.failed(Instant::now());
        self.warn(format_args!("{why}"));
        Err(result)
    }

    fn warn(&self, what: std::fmt::Arguments<'_>) {
        if self.logged.lock().has_passed() {
            log::warn!("cache: the database of vectors {what}; requests go on without it");
        }
    }
}

/// What is written of a question, but for its vector. Sealed bytes stand there in base64.
pub(super) fn members(record: &Record) -> Map<String, Value> {
    let names = record.names.members();
    let names = names.map(|(name, value)| (name, value.into()));
    let others = [
        ("key", record.id.to_hex().into()),
        ("scope", Key(record.scope).to_hex().into()),
        ("expires", record.expires.into()),
        ("text", STANDARD.encode(&record.text).into()),
        ("value", STANDARD.encode(&record.value).into()),
    ];
    let members = names.into_iter().chain(others);
    members
        .map(|(name, value): (_, Value)| (name.to_owned(), value))
        .collect()
}

/// Bytes that stand in base64.
pub(super) fn bytes(text: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(text.as_str()?).ok()
}

/// Whether a collection is one of ours: `prefix` and a dimension.
pub(super) fn is_ours(name: &str, prefix: &str) -> bool {
    let dimension = name.strip_prefix(prefix);
    dimension.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Sends a call. Blocks for `within` at most.
fn send(
    agent: &Agent,
    url: &str,
    call: &Call,
    credential: Option<(&'static str, String)>,
    (most_bytes, within): (usize, Duration),
) -> Result<Answer, ureq::Error> {
    let body = call.body.as_ref().map(Value::to_string);
    let mut request = Request::builder().method(&call.method).uri(url);
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    if let Some((name, value)) = credential {
        request = request.header(name, value);
    }
    let request = request.body(body.unwrap_or_default())?;
    let configured = agent.configure_request(request);
    let configured = configured.timeout_global(Some(within)).build();
    let mut answer = agent.run(configured)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(most_bytes as u64);
    let body = body.read_to_vec()?;
    Ok(Answer {
        status,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}
