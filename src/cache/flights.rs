//! Equal requests at the same time: one is asked, the others wait and get what it gets.
//!
//! Owns who leads and who follows, and handing each follower the head of an answer and its bytes, in order. What a
//! late follower has missed is handed on as well. A lead that ends without an answer sends its followers away: the
//! first of them to come back leads. Bounded by [`Bounds`]. A lead waits for slow followers, for a
//! limited time in all; then a follower that is too far behind is cut off, and told so. Does not handle what a head is,
//! nor which requests are equal (see `gateway::exchange::cache`). Never fails.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Key;

/// How long a lead waits, in all, for followers that are too far behind.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is held for requests that wait for others.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Answers that are waited for at a time.
    pub flights: usize,
    /// Requests that follow one.
    pub followers: usize,
    /// Bytes that are kept of an answer for followers that come later, and that one follower may be behind.
    pub bytes: usize,
}

/// What a request is, among equal ones.
pub enum Joined<H> {
    /// The first: it asks.
    Leads(Lead<H>),
    /// Another: it waits.
    Follows(Follower<H>),
    /// One too many: it asks for itself.
    Alone,
}

/// How what a follower gets has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is whole.
    Whole,
    /// It broke off.
    Broken,
}

/// The answers that are waited for.
pub struct Flights<H> {
    open: Arc<Mutex<HashMap<Key, Arc<Flight<H>>>>>,
    followers: Arc<AtomicUsize>,
    bounds: Bounds,
}

/// One answer.
struct Flight<H> {
    state: Mutex<State<H>>,
    /// A follower has taken something, or left.
    taken: Notify,
}

struct State<H> {
    head: Option<H>,
    /// What has come, for those that join; nothing where it is more than the bound.
    history: Option<Vec<Bytes>>,
    history_bytes: usize,
    end: Option<Ended>,
    seats: Vec<Arc<Seat<H>>>,
}

/// What one follower has not taken yet.
struct Seat<H> {
    queue: Mutex<Queue<H>>,
    /// Something has come.
    given: Notify,
}

struct Queue<H> {
    head: Option<H>,
    pieces: VecDeque<Bytes>,
    bytes: usize,
    end: Option<Ended>,
    has_left: bool,
}

impl<H: Clone> Flights<H> {
    /// None yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            open: Arc::default(),
            followers: Arc::default(),
            bounds,
        }
    }

    /// Takes part in the answer under a key.
    pub fn join(&self, key: Key) -> Joined<H> {
        let mut open = self.open.lock();
        let count = open.len();
        let flight = match open.entry(key) {
            Entry::Occupied(open) => Arc::clone(open.get()),
            Entry::Vacant(_) if count >= self.bounds.flights => return Joined::Alone,
            Entry::Vacant(place) => {
                let flight = Arc::new(Flight {
                    state: Mutex::new(State::new()),
                    taken: Notify::new(),
                });
                place.insert(Arc::clone(&flight));
                return Joined::Leads(Lead {
                    open: Arc::clone(&self.open),
                    key,
                    flight,
                    most_bytes: self.bounds.bytes,
                    patience: Mutex::new(PATIENCE),
                });
            }
        };
        drop(open);
        match flight.seat(self.bounds.followers) {
            Some(seat) => {
                self.followers.fetch_add(1, Ordering::Relaxed);
                let count = Arc::clone(&self.followers);
                Joined::Follows(Follower {
                    flight,
                    seat,
                    count,
                })
            }
            None => Joined::Alone,
        }
    }

    /// How many answers are waited for.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many requests follow another.
    pub fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }
}

impl<H> State<H> {
    fn new() -> Self {
        Self {
            head: None,
            history: Some(Vec::new()),
            history_bytes: 0,
            end: None,
            seats: Vec::new(),
        }
    }
}

impl<H: Clone> Flight<H> {
    /// A place for a follower, with all that has come; `None` where there is none, or some of it is not kept.
    fn seat(&self, most: usize) -> Option<Arc<Seat<H>>> {
        let mut state = self.state.lock();
        state.seats.retain(|seat| !seat.queue.lock().has_left);
        if state.seats.len() >= most {
            return None;
        }
        let seat = Arc::new(Seat {
            queue: Mutex::new(Queue {
                head: state.head.clone(),
                pieces: VecDeque::from(state.history.clone()?),
                bytes: state.history_bytes,
                end: state.end,
                has_left: false,
            }),
            given: Notify::new(),
        });
        state.seats.push(Arc::clone(&seat));
        Some(seat)
    }
}

impl<H> Seat<H> {
    fn give(&self, change: impl FnOnce(&mut Queue<H>)) {
        let mut queue = self.queue.lock();
        // What has ended stays as it is.
        if queue.end.is_none() {
            change(&mut queue);
        }
        drop(queue);
        self.given.notify_one();
    }
}

/// The request that asks. Dropped before [`begin`](Self::begin) it has had no answer, before [`end`](Self::end) the
/// answer has broken.
pub struct Lead<H> {
    open: Arc<Mutex<HashMap<Key, Arc<Flight<H>>>>>,
    key: Key,
    flight: Arc<Flight<H>>,
    most_bytes: usize,
    /// How long it may still wait for followers.
    patience: Mutex<Duration>,
}

impl<H: Clone> Lead<H> {
    /// An answer has begun.
    pub fn begin(&self, head: H) {
        let mut state = self.flight.state.lock();
        for seat in &state.seats {
            seat.give(|queue| queue.head = Some(head.clone()));
        }
        state.head = Some(head);
    }

    /// Some of it has come.
    pub fn push(&self, piece: &Bytes) {
        let mut state = self.flight.state.lock();
        state.history_bytes += piece.len();
        let is_too_long = state.history_bytes > self.most_bytes;
        match &mut state.history {
            Some(history) if !is_too_long => history.push(piece.clone()),
            _ => state.history = None,
        }
        for seat in &state.seats {
            seat.give(|queue| {
                queue.bytes += piece.len();
                queue.pieces.push_back(piece.clone());
            });
        }
        drop(state);
        if is_too_long {
            self.close();
        }
    }

    /// Waits until no follower is too far behind. Once its patience is at its end, whatever is too far behind is cut
    /// off: one that takes a little now and then would hold up all others. May be dropped while it waits.
    pub async fn room(&self) {
        loop {
            let mut taken = pin!(self.flight.taken.notified());
            // Before the look, so that what is taken after it wakes us.
            taken.as_mut().enable();
            if self.latest().is_none() {
                return;
            }
            let left = *self.patience.lock();
            let started = Instant::now();
            let has_taken = tokio::time::timeout(left, taken).await.is_ok();
            *self.patience.lock() = left.saturating_sub(started.elapsed());
            if !has_taken {
                while let Some(seat) = self.latest() {
                    seat.give(Queue::break_off);
                }
                return;
            }
        }
    }

    /// A follower that is too far behind.
    fn latest(&self) -> Option<Arc<Seat<H>>> {
        let state = self.flight.state.lock();
        let mut seats = state.seats.iter();
        let is_late = |seat: &&Arc<Seat<H>>| {
            let queue = seat.queue.lock();
            !queue.has_left && queue.end.is_none() && queue.bytes > self.most_bytes
        };
        seats.find(is_late).cloned()
    }

    /// How many bytes a follower may be behind.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Whether anyone follows.
    pub fn is_followed(&self) -> bool {
        let state = self.flight.state.lock();
        state.seats.iter().any(|seat| !seat.queue.lock().has_left)
    }

    /// The answer is whole. It can be joined until the lead is dropped.
    pub fn end(&self) {
        self.flight.end(Ended::Whole);
    }
}

impl<H> Lead<H> {
    /// No request joins any more.
    fn close(&self) {
        let mut open = self.open.lock();
        let is_ours = |flight: &Arc<Flight<H>>| Arc::ptr_eq(flight, &self.flight);
        if open.get(&self.key).is_some_and(is_ours) {
            open.remove(&self.key);
        }
    }
}

impl<H> Flight<H> {
    fn end(&self, how: Ended) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(how);
        for seat in &state.seats {
            seat.give(|queue| queue.end = Some(how));
        }
    }
}

impl<H> Drop for Lead<H> {
    fn drop(&mut self) {
        self.close();
        self.flight.end(Ended::Broken);
    }
}

impl<H> Queue<H> {
    /// Forgets what has not been taken.
    fn break_off(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
        self.end = Some(Ended::Broken);
    }
}

/// A request that waits for the answer to another.
pub struct Follower<H> {
    flight: Arc<Flight<H>>,
    seat: Arc<Seat<H>>,
    count: Arc<AtomicUsize>,
}

impl<H: Clone> Follower<H> {
    /// Waits until the answer has begun; `None` where there is none. May be dropped while it waits.
    pub async fn begun(&mut self) -> Option<H> {
        loop {
            {
                let queue = self.seat.queue.lock();
                if queue.head.is_some() || queue.end.is_some() {
                    return queue.head.clone();
                }
            }
            self.seat.given.notified().await;
        }
    }
}

impl<H> Follower<H> {
    /// Waits for the next bytes; at their end, for how they have ended. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Bytes, Ended> {
        loop {
            if let Some(next) = self.at_hand() {
                return next;
            }
            self.seat.given.notified().await;
        }
    }

    /// The same, where nothing has to be waited for.
    pub fn at_hand(&mut self) -> Option<Result<Bytes, Ended>> {
        let mut queue = self.seat.queue.lock();
        let Some(piece) = queue.pieces.pop_front() else {
            return queue.end.map(Err);
        };
        queue.bytes -= piece.len();
        drop(queue);
        self.flight.taken.notify_waiters();
        Some(Ok(piece))
    }
}

impl<H> Drop for Follower<H> {
    fn drop(&mut self) {
        let mut queue = self.seat.queue.lock();
        queue.has_left = true;
        queue.pieces.clear();
        drop(queue);
        self.flight.taken.notify_waiters();
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KeyParts;

    const BOUNDS: Bounds = Bounds {
        flights: 2,
        followers: 2,
        bytes: 10,
    };

    fn key(name: &str) -> Key {
        let mut parts = KeyParts::new("test");
        parts.add(name.as_bytes());
        parts.finish()
    }

    fn lead(flights: &Flights<u8>, name: &str) -> Lead<u8> {
        match flights.join(key(name)) {
            Joined::Leads(lead) => lead,
            Joined::Follows(_) | Joined::Alone => unreachable!("{name} is led already"),
        }
    }

    fn follow(flights: &Flights<u8>, name: &str) -> Follower<u8> {
        match flights.join(key(name)) {
            Joined::Follows(follower) => follower,
            Joined::Leads(_) | Joined::Alone => unreachable!("{name} is not led, or full"),
        }
    }

    fn is_alone(flights: &Flights<u8>, name: &str) -> bool {
        matches!(flights.join(key(name)), Joined::Alone)
    }

    async fn all(follower: &mut Follower<u8>) -> (Vec<u8>, Ended) {
        let mut got = Vec::new();
        loop {
            match follower.next().await {
                Ok(piece) => got.extend_from_slice(&piece),
                Err(ended) => return (got, ended),
            }
        }
    }

    #[tokio::test]
    async fn one_that_joins_late_gets_all_of_it() {
        let flights = Flights::new(BOUNDS);
        let lead = lead(&flights, "a");
        let mut early = follow(&flights, "a");
        lead.begin(7);
        lead.push(&Bytes::from_static(b"one "));
        let mut late = follow(&flights, "a");
        assert_eq!(flights.followers(), 2);
        lead.push(&Bytes::from_static(b"two"));
        lead.end();
        drop(lead);
        for follower in [&mut early, &mut late] {
            assert_eq!(follower.begun().await, Some(7));
            assert_eq!(all(follower).await, (b"one two".to_vec(), Ended::Whole));
        }
        assert!(flights.is_empty());
        drop((early, late));
        assert_eq!(flights.followers(), 0);
    }

    #[tokio::test]
    async fn one_that_waits_is_woken_by_each_piece() {
        let flights = Flights::new(BOUNDS);
        let lead = lead(&flights, "a");
        let mut follower = follow(&flights, "a");
        let reading =
            tokio::spawn(async move { (follower.begun().await, all(&mut follower).await) });
        tokio::task::yield_now().await;
        lead.begin(1);
        for piece in [&b"x"[..], b"y"] {
            lead.push(&Bytes::from_static(piece));
            tokio::task::yield_now().await;
        }
        lead.end();
        assert_eq!(
            reading.await.unwrap(),
            (Some(1), (b"xy".to_vec(), Ended::Whole))
        );
    }

    #[tokio::test]
    async fn without_an_answer_the_next_to_come_leads() {
        let flights = Flights::new(BOUNDS);
        let first = lead(&flights, "a");
        let (mut one, mut other) = (follow(&flights, "a"), follow(&flights, "a"));
        drop(first);
        assert_eq!((one.begun().await, other.begun().await), (None, None));
        drop(one);
        let second = lead(&flights, "a");
        let mut other = follow(&flights, "a");
        second.begin(2);
        assert_eq!(other.begun().await, Some(2));
        // It breaks after it has begun.
        second.push(&Bytes::from_static(b"x"));
        drop(second);
        assert_eq!(all(&mut other).await, (b"x".to_vec(), Ended::Broken));
    }

    #[tokio::test]
    async fn at_each_bound_a_request_asks_for_itself() {
        let flights = Flights::new(BOUNDS);
        let a = lead(&flights, "a");
        let b = lead(&flights, "b");
        assert!(is_alone(&flights, "c"), "there are two flights");
        let (one, _other) = (follow(&flights, "a"), follow(&flights, "a"));
        assert!(is_alone(&flights, "a"), "two follow");
        drop(one);
        let mut third = follow(&flights, "a");
        // More than is kept for those that come later.
        a.begin(1);
        a.push(&Bytes::from_static(b"0123456789"));
        a.push(&Bytes::from_static(b"x"));
        drop(b);
        let again = lead(&flights, "a");
        a.end();
        assert_eq!(
            all(&mut third).await,
            (b"0123456789x".to_vec(), Ended::Whole)
        );
        drop(a);
        // The end of the first is not the end of the second.
        assert!(matches!(flights.join(key("a")), Joined::Follows(_)));
        drop(again);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_is_cut_off_and_the_others_are_not() {
        let flights = Flights::new(BOUNDS);
        let lead = lead(&flights, "a");
        let (mut slow, mut quick) = (follow(&flights, "a"), follow(&flights, "a"));
        lead.begin(1);
        let text = Bytes::from_static(b"0123456789x");
        lead.push(&text);
        assert_eq!(quick.next().await, Ok(text));
        // Waits for the slow one, and then no longer.
        lead.room().await;
        lead.room().await;
        assert_eq!(slow.next().await, Err(Ended::Broken));
        lead.push(&Bytes::from_static(b"y"));
        lead.end();
        assert_eq!(all(&mut quick).await, (b"y".to_vec(), Ended::Whole));
        assert_eq!(slow.next().await, Err(Ended::Broken));
        assert!(lead.is_followed());
        drop(quick);
        drop(slow);
        assert!(!lead.is_followed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_a_little_now_and_then_is_cut_off_as_well() {
        let flights = Flights::new(BOUNDS);
        let lead = lead(&flights, "a");
        let mut slow = follow(&flights, "a");
        lead.begin(1);
        for _ in 0..20 {
            lead.push(&Bytes::from_static(b"01234"));
        }
        let taking = async {
            let mut taken = 0;
            while slow.next().await.is_ok() {
                taken += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            taken
        };
        let ((), taken) = tokio::join!(lead.room(), taking);
        assert!((3..8).contains(&taken), "{taken}");
    }

    #[tokio::test]
    async fn a_lead_waits_until_a_follower_has_taken_what_it_has() {
        let flights = Flights::new(BOUNDS);
        let lead = lead(&flights, "a");
        let mut follower = follow(&flights, "a");
        lead.begin(1);
        lead.push(&Bytes::from_static(b"0123456789x"));
        let took = tokio::join!(lead.room(), follower.next());
        assert!(took.1.is_ok());
    }
}
