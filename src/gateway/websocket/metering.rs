//! What passes over a socket, counted while it is open.
//!
//! Owns that each response that a server says has ended is counted, recorded and charged by itself, and that a
//! socket whose quota is used up is ended. Does not handle how messages are read (see `openai::websocket`), nor
//! the socket's own record (see `settle`). Never fails: a message that cannot be read is counted as such.

use std::sync::Arc;

use crate::gateway::context::Context;
use crate::gateway::facts::Facts;
use crate::gateway::settle;
use crate::limits::Reservation;
use crate::openai::usage::Usage;
use crate::openai::websocket::{Frames, Message, Messages};
use crate::runtime::Shared;

/// Counts what one socket uses.
pub struct SocketMeter {
    shared: Arc<Shared>,
    messages: Messages,
    facts: Facts,
    reservation: Option<Box<Reservation>>,
    is_recorded: bool,
    /// Whether a quota has nothing left.
    is_exhausted: bool,
}

impl SocketMeter {
    /// For a socket that is open.
    pub fn new(context: &mut Context) -> Self {
        Self {
            shared: Arc::clone(context.in_flight.shared()),
            messages: Messages::default(),
            facts: Facts::of(context),
            reservation: context.reservation.take(),
            is_recorded: context.is_recorded,
            is_exhausted: false,
        }
    }

    /// Takes the next bytes of the upstream, before they are given to the client. Tells whether more may follow.
    pub fn pass(&mut self, bytes: &[u8]) -> bool {
        let mut heard = Vec::new();
        self.messages.pass(bytes, |message| heard.push(message));
        for message in heard {
            match message {
                Message::Ended(Some(usage)) => self.count(Some(&usage)),
                Message::Ended(None) => self.count(None),
                Message::Unread => self.shared.metrics.tokens().unread_message(),
            }
        }
        !self.is_exhausted
    }

    fn count(&mut self, usage: Option<&Usage>) {
        self.facts.renew();
        let charged = settle::Charged {
            shared: &self.shared,
            facts: &self.facts,
            reservation: self.reservation.as_deref(),
            is_recorded: self.is_recorded,
        };
        self.is_exhausted |= charged.count(usage);
    }

    /// The frames that have passed.
    pub fn frames(&self) -> &Frames {
        self.messages.frames()
    }

    /// Gives back what the socket holds, to be settled when it has ended.
    pub fn give_back(self, context: &mut Context) {
        context.reservation = self.reservation;
    }
}
