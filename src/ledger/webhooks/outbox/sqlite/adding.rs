//! How events are added to the outbox.
//!
//! Owns when a message is complete, and what is dropped at the bounds. Does not handle what happens to messages then
//! (see the head of this folder). A failure adds nothing.

use super::super::{EVENT_BYTES, MESSAGE_BYTES, MESSAGE_EVENTS};
use super::{Added, Dropped, OPEN_MS, Open, Sqlite, add, tables};
use crate::ledger::webhooks::event::Kind;
use crate::store::StoreError;

impl Sqlite {
    /// Adds events, all or none. A record that waits already is not added again. Returns what was dropped for it.
    ///
    /// # Errors
    /// The file cannot be written. Nothing was added.
    pub fn add_all(&mut self, events: &[Added], now_ms: i64) -> Result<Dropped, StoreError> {
        self.attempt(|outbox| {
            outbox.transact(|outbox| {
                let mut dropped = Dropped::default();
                for event in events {
                    outbox.add_one(event, now_ms, &mut dropped)?;
                }
                Ok(dropped)
            })
        })
    }

    fn add_one(
        &mut self,
        event: &Added,
        now_ms: i64,
        dropped: &mut Dropped,
    ) -> rusqlite::Result<()> {
        if !self.names.contains_key(&event.receiver) {
            // It was removed meanwhile.
            return Ok(());
        }
        let bytes = EVENT_BYTES.saturating_add(event.json.len() as u64);
        if !self.make_room(event.receiver, bytes, dropped)? {
            add(dropped, event.receiver, 1);
            return Ok(());
        }
        let waiting = self.waiting.entry(event.receiver).or_default();
        let open = waiting.open.filter(|_| event.kind == Kind::Usage);
        let mut open = match open {
            Some(open) => open,
            None => Open {
                message: tables::make_message(&self.connection, event, now_ms)?,
                events: 0,
                bytes: 0,
            },
        };
        let is_new = tables::add_event(&self.connection, open.message, event)?;
        if is_new {
            open.events += 1;
            open.bytes = open.bytes.saturating_add(bytes);
            waiting.events += 1;
            waiting.bytes = waiting.bytes.saturating_add(bytes);
            self.events += 1;
            self.bytes = self.bytes.saturating_add(bytes);
        }
        if open.events == 0 {
            return tables::remove_message(&self.connection, open.message).map(drop);
        }
        let is_full = open.events >= MESSAGE_EVENTS || open.bytes >= MESSAGE_BYTES;
        let is_closed = event.kind != Kind::Usage || is_full;
        tables::set_size(&self.connection, open.message, open.events, open.bytes)?;
        let due_ms = match is_closed {
            true => now_ms,
            false => now_ms.saturating_add(OPEN_MS),
        };
        if is_closed {
            tables::set_due(&self.connection, open.message, due_ms)?;
        }
        if event.kind == Kind::Usage {
            waiting.open = (!is_full).then_some(open);
        }
        waiting.next_ms = Some(waiting.next_ms.map_or(due_ms, |next| next.min(due_ms)));
        Ok(())
    }

    /// Drops the oldest usage messages until there is room for an event. Returns whether there is.
    fn make_room(
        &mut self,
        receiver: i64,
        bytes: u64,
        dropped: &mut Dropped,
    ) -> rusqlite::Result<bool> {
        loop {
            let (own_events, own_bytes) = self
                .waiting
                .get(&receiver)
                .map_or((0, 0), |waiting| (waiting.events, waiting.bytes));
            let is_full = own_events >= self.bounds.events
                || own_bytes.saturating_add(bytes) > self.bounds.bytes;
            if !is_full && self.bytes.saturating_add(bytes) <= self.bounds.all_bytes {
                return Ok(true);
            }
            let whose = is_full.then_some(receiver);
            let Some(oldest) = tables::oldest_usage(&self.connection, whose)? else {
                return Ok(false);
            };
            if let Some((owner, events)) = self.remove(oldest)? {
                add(dropped, owner, events);
            }
        }
    }
}
