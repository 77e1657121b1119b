//! What passes over a socket, counted while it is open.
//!
//! Owns that each response that a server says has ended is counted, recorded and charged by itself, and that a
//! socket whose quota is used up is ended. A response that has not ended with its socket is estimated by what it has
//! said. Does not handle how messages are read (see `openai::websocket`), nor
//! the socket's own record (see `settle`). Never fails: a message that cannot be read is counted as such.

use std::sync::Arc;

use crate::config::OnClientGone;
use crate::gateway::context::Context;
use crate::gateway::facts::Facts;
use crate::gateway::settle;
use crate::limits::Reservation;
use crate::openai::estimate::Sample;
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
                Message::Ended { usage, model } => self.count(usage.as_ref(), model),
                Message::Unread => self.shared.metrics.tokens().unread_message(),
            }
        }
        !self.is_exhausted
    }

    fn count(&mut self, usage: Option<&Usage>, model: Option<String>) {
        self.facts.renew();
        let asked = self.facts.serve_by(model);
        let charged = settle::Charged {
            shared: &self.shared,
            facts: &self.facts,
            reservation: self.reservation.as_deref(),
            is_recorded: self.is_recorded,
        };
        self.is_exhausted |= charged.count(usage).is_exhausted;
        self.facts.restore(asked);
    }

    /// The frames that have passed.
    pub fn frames(&self) -> &Frames {
        self.messages.frames()
    }

    /// Counts what has been said in a response whose end has not come, as the rule says for a client that leaves.
    fn count_unfinished(&mut self) {
        let rule = self.facts.rule.as_ref();
        let absorbs = rule.is_some_and(|rule| rule.on_client_gone == OnClientGone::Absorb);
        let said = self.messages.unfinished().filter(|_| !absorbs);
        let Some(output) = said.map(Sample::rough_tokens) else {
            return;
        };
        self.count(Some(&settle::estimated(0, output)), None);
    }

    /// Gives back what the socket holds, to be settled when it has ended.
    pub fn give_back(&mut self, context: &mut Context) {
        self.count_unfinished();
        context.reservation = self.reservation.take();
    }
}
