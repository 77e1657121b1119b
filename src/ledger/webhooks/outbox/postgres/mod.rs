//! The outbox in the ledger's PostgreSQL, which all gateways share.
//!
//! Owns what the process that sends knows of it in memory, and the way of events into it. Usage events are added in the
//! transaction that loads their records (see `ledger::store`), so that a record is told of once, by whichever gateway
//! loads it. Other events are put into the file in the ledger's folder first (see `sqlite`), and moved from there
//! (see `moving`): while PostgreSQL is away they wait in it, and a restart loses none.
//!
//! One gateway sends: the one whose session has a lock (see `link`). It knows receivers by their names. Messages for
//! those that it does not have stay until they are too old: another gateway may have been given a new configuration
//! already. Bounds are enforced by the gateway that sends, at each look. Does not handle SQL (see `tables`,
//! `messages`). While PostgreSQL is away nothing is sent; what has become of messages is noted when it is back.

mod link;
mod messages;
mod moving;
mod tables;
#[cfg(test)]
mod tests;
mod turn;

use std::time::{Duration, SystemTime};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio_postgres::Transaction;

use super::sqlite::Sqlite;
use super::{Added, Bounds, Dropped, Message, Outbox, STEP, add};
use crate::clock;
use crate::ledger::webhooks::event;
use crate::secret::Secret;
use crate::store::StoreError;
use crate::store::postgres::Session;
use link::Link;
use messages::Messages;
pub use moving::move_left;
use tables::{Excess, TABLES};
use turn::Turn;

/// How often a process that does not send asks whether it may.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often the process that sends looks at what waits, at most.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it looks for messages that are too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(2);
/// The number of all receivers that this process does not have.
const UNKNOWN: i64 = -1;

/// Makes or upgrades the tables.
///
/// # Errors
/// They cannot be changed, or a newer release wrote them.
pub fn prepare(session: &mut Session) -> Result<(), StoreError> {
    session.upgrade(&TABLES)
}

/// Adds usage events, each with the name of its receiver, in a transaction.
///
/// # Errors
/// PostgreSQL fails.
pub async fn add_usage<'e>(
    transaction: &Transaction<'_>,
    events: impl IntoIterator<Item = (&'e str, &'e str)>,
    now_ms: i64,
) -> Result<(), StoreError> {
    let messages = Messages::of_usage(events, now_ms);
    messages.insert(transaction).await
}

/// The outbox.
pub struct Postgres {
    link: Link,
    /// Where events wait until they are there.
    file: Sqlite,
    bounds: Bounds,
    /// The receivers of this process, by their numbers, which are those of the file.
    names: FxHashMap<i64, String>,
    numbers: FxHashMap<String, i64>,
    /// What waits for them, and when the first of it is due; as of the last look.
    waiting: FxHashMap<i64, Option<i64>>,
    /// Receivers that more waits for than may: how many events and bytes.
    beyond: Vec<(String, u64, u64)>,
    /// All events that wait, and their bytes.
    events: u64,
    bytes: u64,
    /// What has become of messages that PostgreSQL does not know of yet: as many as requests run at a time, at most.
    ended: Vec<(i64, Option<i64>)>,
    /// Receivers whose messages are to be due.
    hurried: FxHashSet<i64>,
    asked: Turn,
    looked: Turn,
    expired: Turn,
}

impl Postgres {
    /// With a file for what waits to be put there. There is no connection yet.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(url: Secret, mut file: Sqlite, bounds: Bounds) -> Result<Self, StoreError> {
        file.set_sending(false)?;
        Ok(Self {
            link: Link::new(url),
            file,
            bounds,
            names: FxHashMap::default(),
            numbers: FxHashMap::default(),
            waiting: FxHashMap::default(),
            beyond: Vec::new(),
            events: 0,
            bytes: 0,
            ended: Vec::new(),
            hurried: FxHashSet::default(),
            asked: Turn::default(),
            looked: Turn::default(),
            expired: Turn::default(),
        })
    }

    /// Moves what waits in the file.
    fn move_file(&mut self) -> Result<(), StoreError> {
        self.file.look()?;
        if self.file.events() == 0 {
            return Ok(());
        }
        let link = &mut self.link;
        let moved = moving::move_all(&mut self.file, |messages| {
            link.run(async |client| messages.insert(client).await)
        })?;
        if moved > 0 {
            self.looked.hurry();
        }
        Ok(())
    }

    /// Notes what has become of messages while PostgreSQL was away.
    fn note_ended(&mut self) -> Result<(), StoreError> {
        while let Some((message, due_ms)) = self.ended.last().copied() {
            self.link.run(async |client| match due_ms {
                None => tables::remove(client, message).await.map(drop),
                Some(due_ms) => tables::set_failed(client, message, due_ms).await,
            })?;
            self.ended.pop();
        }
        Ok(())
    }

    /// Takes the duty where it is time, and learns what waits.
    fn ask(&mut self, now_ms: i64) -> Result<(), StoreError> {
        if !self.link.has_duty() {
            if !self.asked.takes(ASK_EVERY) || !self.link.take_duty()? {
                return Ok(());
            }
            let names: Vec<String> = self.names.values().cloned().collect();
            self.link
                .run(async |client| tables::tidy(client, &names, now_ms).await)?;
            self.looked.hurry();
        }
        let hurried = std::mem::take(&mut self.hurried);
        for name in hurried.iter().filter_map(|number| self.names.get(number)) {
            while self
                .link
                .run(async |client| tables::hurry(client, name, now_ms).await)?
            {}
            self.looked.hurry();
        }
        if self.looked.takes(LOOK_EVERY) {
            self.look()?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let found = self
            .link
            .run(async |client| tables::waiting(client).await)?;
        self.waiting.clear();
        self.beyond.clear();
        (self.events, self.bytes) = (0, 0);
        for one in found {
            self.events = self.events.saturating_add(one.events);
            self.bytes = self.bytes.saturating_add(one.bytes);
            if let Some(number) = self.numbers.get(&one.name) {
                self.waiting.insert(*number, one.next_ms);
            }
            if one.events > self.bounds.events || one.bytes > self.bounds.bytes {
                self.beyond.push((one.name, one.events, one.bytes));
            }
        }
        Ok(())
    }

    /// Drops what is beyond the bounds of one receiver, or of all. Returns how many events there were of which.
    fn drop_excess(&mut self, excess: Excess<'_>) -> Result<tables::Removed, StoreError> {
        let removed = self
            .link
            .run(async |client| tables::remove_oldest_usage(client, excess).await)?;
        if !removed.is_empty() || excess.receiver.is_none() {
            return Ok(removed);
        }
        self.link
            .run(async |client| tables::remove_newest_others(client, excess).await)
    }

    /// Takes removed messages out of what is known to wait.
    fn forget(&mut self, removed: &tables::Removed) -> Dropped {
        let mut dropped = Dropped::default();
        for (name, events) in removed {
            self.events = self.events.saturating_sub(*events);
            let number = self.numbers.get(name).copied();
            add(&mut dropped, number.unwrap_or(UNKNOWN), *events);
        }
        dropped
    }

    /// Notes what has become of a message, now or when PostgreSQL is back.
    fn end(&mut self, message: i64, due_ms: Option<i64>) {
        self.ended.push((message, due_ms));
        if self.link.is_open() {
            // A failure ends the connection: it is told when that cannot be opened again.
            let _ = self.note_ended();
        }
    }
}

impl Outbox for Postgres {
    fn take_duty(&mut self, now_ms: i64) -> Result<bool, StoreError> {
        if !self.link.open()? {
            return Ok(false);
        }
        self.note_ended()?;
        // A file that fails keeps nothing from being sent that is elsewhere.
        let moved = self.move_file();
        if self.link.is_open() {
            self.ask(now_ms)?;
        }
        moved.map(|()| self.link.has_duty())
    }

    fn has_duty(&self) -> bool {
        self.link.has_duty()
    }

    fn give_up_duty(&mut self) -> Result<(), StoreError> {
        let mut done = Ok(());
        if self.link.is_open() {
            done = self.note_ended().and_then(|()| self.move_file());
        }
        self.link.close();
        done
    }

    fn set_receivers(&mut self, names: &[&str]) -> Result<(Vec<i64>, u64), StoreError> {
        let (numbers, dropped) = self.file.set_receivers(names)?;
        let named = names.iter().map(|name| (*name).to_owned());
        self.names = numbers.iter().copied().zip(named).collect();
        let by_name = self.names.iter();
        self.numbers = by_name.map(|(n, name)| (name.clone(), *n)).collect();
        self.hurried
            .retain(|number| self.names.contains_key(number));
        self.looked.hurry();
        Ok((numbers, dropped))
    }

    fn add(&mut self, events: &[Added], now_ms: i64) -> Result<Dropped, StoreError> {
        self.file.add(events, now_ms)
    }

    fn trim(&mut self) -> Result<Dropped, StoreError> {
        let mut dropped = Dropped::default();
        if !self.has_duty() {
            return Ok(dropped);
        }
        for (name, events, bytes) in std::mem::take(&mut self.beyond) {
            let excess = Excess {
                receiver: Some(&name),
                events: events.saturating_sub(self.bounds.events),
                bytes: bytes.saturating_sub(self.bounds.bytes),
            };
            let removed = self.drop_excess(excess)?;
            for (number, events) in self.forget(&removed) {
                add(&mut dropped, number, events);
            }
            self.looked.hurry();
        }
        let beyond = self.bytes.saturating_sub(self.bounds.all_bytes);
        if dropped.is_empty() && beyond > 0 {
            let excess = Excess {
                receiver: None,
                events: 0,
                bytes: beyond,
            };
            let removed = self.drop_excess(excess)?;
            dropped = self.forget(&removed);
            // Until the next look.
            self.bytes = 0;
            self.looked.hurry();
        }
        Ok(dropped)
    }

    fn expire(&mut self, before_ms: i64) -> Result<Dropped, StoreError> {
        if !self.has_duty() || !self.expired.takes(EXPIRE_EVERY) {
            return Ok(Dropped::default());
        }
        let limit = i64::try_from(STEP).unwrap_or(i64::MAX);
        // The clock of this machine may be wrong, and would give up what others have just put in.
        let now = clock::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
        let age_ms = now_ms.saturating_sub(before_ms);
        let removed = self
            .link
            .run(async |client| tables::remove_older(client, age_ms, limit).await)?;
        if !removed.is_empty() {
            self.expired.hurry();
            self.looked.hurry();
        }
        Ok(self.forget(&removed))
    }

    fn waiting(&self) -> Vec<(i64, i64)> {
        if !self.has_duty() {
            return Vec::new();
        }
        let all = self.waiting.iter();
        all.filter_map(|(number, next_ms)| Some((*number, (*next_ms)?)))
            .collect()
    }

    fn due(&mut self, receiver: i64, now_ms: i64) -> Result<Option<Message>, StoreError> {
        let Some(name) = self.names.get(&receiver) else {
            self.waiting.remove(&receiver);
            return Ok(None);
        };
        if !self.link.has_duty() {
            return Ok(None);
        }
        let first = self
            .link
            .run(async |client| tables::first_due(client, name).await)?;
        let next_ms = first.as_ref().map(|first| first.due_ms);
        self.waiting.insert(receiver, next_ms);
        let first = first.filter(|first| first.due_ms <= now_ms);
        Ok(first.map(|first| Message {
            id: first.id,
            name: first.name,
            body: event::body(first.kind, first.made_ms, &[first.data]),
            events: first.events,
            attempts: first.attempts,
        }))
    }

    fn delivered(&mut self, message: i64) -> Result<bool, StoreError> {
        if self.ended.is_empty() && self.link.is_open() {
            let removed = self
                .link
                .run(async |client| tables::remove(client, message).await);
            if let Ok(removed) = removed {
                self.forget(&removed);
                return Ok(!removed.is_empty());
            }
        }
        // Its receiver has it, whatever becomes of the connection.
        self.end(message, None);
        Ok(true)
    }

    fn failed(&mut self, message: i64, due_ms: i64) -> Result<(), StoreError> {
        self.end(message, Some(due_ms));
        Ok(())
    }

    fn hurry(&mut self, receiver: i64, _now_ms: i64) -> Result<(), StoreError> {
        // It is done where messages are sent: here, or where the same configuration comes to.
        self.hurried.insert(receiver);
        Ok(())
    }

    fn events(&self) -> u64 {
        let shared = match self.has_duty() {
            true => self.events,
            false => 0,
        };
        shared.saturating_add(self.file.events())
    }
}

/// Counts and sizes are far too small not to fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
