//! Messages that are added to PostgreSQL.
//!
//! Owns how usage events become messages, and the one statement that adds messages, however many there are. Does not
//! handle what becomes of them (see `tables`). A message that is there already is not added again. Fails with
//! PostgreSQL's error.

use std::collections::BTreeMap;

use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::super::sqlite::Left;
use super::super::{EVENT_BYTES, MESSAGE_BYTES, MESSAGE_EVENTS};
use super::signed;
use crate::ledger::webhooks::event::Kind;
use crate::store::StoreError;

/// Messages, a list for each column.
#[derive(Debug, Default)]
pub struct Messages {
    receivers: Vec<String>,
    names: Vec<String>,
    kinds: Vec<String>,
    made_ms: Vec<i64>,
    attempts: Vec<i64>,
    due_ms: Vec<i64>,
    events: Vec<i64>,
    bytes: Vec<i64>,
    data: Vec<String>,
}

/// A message that takes more usage events.
#[derive(Default)]
struct Open {
    events: u64,
    bytes: u64,
    data: String,
}

impl Messages {
    /// Makes messages of usage events, each with the name of its receiver. None of them takes further events.
    pub fn of_usage<'e>(
        events: impl IntoIterator<Item = (&'e str, &'e str)>,
        made_ms: i64,
    ) -> Self {
        let mut messages = Self::default();
        let mut open: BTreeMap<&str, Open> = BTreeMap::new();
        for (receiver, json) in events {
            let message = open.entry(receiver).or_default();
            if message.events > 0 {
                message.data.push(',');
            }
            message.data.push_str(json);
            message.events += 1;
            message.bytes += EVENT_BYTES.saturating_add(json.len() as u64);
            if message.events >= MESSAGE_EVENTS || message.bytes >= MESSAGE_BYTES {
                messages.add_usage(receiver, std::mem::take(message), made_ms);
            }
        }
        for (receiver, message) in open {
            if message.events > 0 {
                messages.add_usage(receiver, message, made_ms);
            }
        }
        messages
    }

    /// The messages of a file, as they are there.
    pub fn left(left: &[Left]) -> Self {
        let mut messages = Self::default();
        for message in left {
            messages.receivers.push(message.receiver.clone());
            messages.names.push(message.name.clone());
            messages.kinds.push(message.kind.clone());
            messages.made_ms.push(message.made_ms);
            messages.attempts.push(i64::from(message.attempts));
            messages.due_ms.push(match message.attempts {
                0 => 0,
                _ => message.due_ms,
            });
            messages.events.push(signed(message.events));
            messages.bytes.push(signed(message.bytes));
            messages.data.push(message.data.join(","));
        }
        messages
    }

    fn add_usage(&mut self, receiver: &str, message: Open, made_ms: i64) {
        self.receivers.push(receiver.to_owned());
        self.names.push(format!("msg_{}", Uuid::now_v7().simple()));
        self.kinds.push(Kind::Usage.name().to_owned());
        self.made_ms.push(made_ms);
        self.attempts.push(0);
        self.due_ms.push(0);
        self.events.push(signed(message.events));
        self.bytes.push(signed(message.bytes));
        self.data.push(message.data);
    }

    /// Adds them. Where this is no part of a transaction, all of them are added or none.
    ///
    /// # Errors
    /// PostgreSQL fails.
    pub async fn insert(&self, client: &impl GenericClient) -> Result<(), StoreError> {
        if self.names.is_empty() {
            return Ok(());
        }
        // Numbers of receivers change in a fixed order, so that no two transactions wait for each other.
        let sql = "WITH added AS ( \
                   INSERT INTO outbox_messages (receiver, name, kind, made_ms, attempts, due_ms, events, bytes, data) \
                   SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], \
                   $7::bigint[], $8::bigint[], $9::text[]) \
                   ON CONFLICT (name) DO NOTHING RETURNING receiver, events, bytes) \
                   INSERT INTO outbox_receivers (name, events, bytes) \
                   SELECT receiver, sum(events)::bigint, sum(bytes)::bigint FROM added \
                   GROUP BY receiver ORDER BY receiver \
                   ON CONFLICT (name) DO UPDATE SET events = outbox_receivers.events + excluded.events, \
                   bytes = outbox_receivers.bytes + excluded.bytes";
        client
            .execute(
                sql,
                &[
                    &self.receivers,
                    &self.names,
                    &self.kinds,
                    &self.made_ms,
                    &self.attempts,
                    &self.due_ms,
                    &self.events,
                    &self.bytes,
                    &self.data,
                ],
            )
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_receiver_are_one_message_up_to_a_hundred() {
        let events: Vec<(&str, String)> = (0..250)
            .map(|n| (["a", "b"][n % 2], format!(r#"{{"n":{n}}}"#)))
            .collect();
        let messages = Messages::of_usage(events.iter().map(|(r, json)| (*r, json.as_str())), 7);
        let sizes: Vec<(&str, i64)> = messages
            .receivers
            .iter()
            .map(String::as_str)
            .zip(messages.events.iter().copied())
            .collect();
        assert_eq!(sizes, [("a", 100), ("b", 100), ("a", 25), ("b", 25)]);
        assert!(messages.data[1].starts_with(r#"{"n":1},{"n":3},"#));
        assert!(messages.data[3].ends_with(r#",{"n":249}"#));
        let room = (1..250)
            .step_by(2)
            .map(|n| format!(r#"{{"n":{n}}}"#).len() as u64 + EVENT_BYTES);
        assert_eq!(messages.bytes[1] + messages.bytes[3], signed(room.sum()));
        assert_eq!(messages.made_ms, [7; 4]);
    }

    #[test]
    fn large_events_end_a_message() {
        let json = "1".repeat(200 * 1024);
        let events = [("a", json.as_str()); 3];
        let messages = Messages::of_usage(events, 0);
        assert_eq!(messages.events, [2, 1]);
    }
}
