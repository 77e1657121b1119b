//! What gets a copy of the bytes of an answer, as they come from its source.
//!
//! Owns handing them to what keeps them and to the requests that share them. Does not handle what either does with
//! them (see `gateway::recording` and `cache::flights`). Cannot fail.

use bytes::Bytes;

use crate::cache::Lead;
use crate::gateway::recording::{Form, Recorded, Recording};
use crate::runtime::SharedHead;

/// What gets a copy of an answer; mostly nothing does.
#[derive(Default)]
pub struct Copies {
    /// Keeps it, up to a bound.
    recording: Option<Box<Recording>>,
    /// The equal requests that get it as well.
    lead: Option<Box<Lead<SharedHead>>>,
    /// Those that have got all of it. More may join until it is kept: in between none would find it.
    whole: Option<Box<Lead<SharedHead>>>,
}

impl Copies {
    /// Keeps what comes from now on, up to so many bytes.
    pub fn record(&mut self, form: Form, most_bytes: usize) {
        self.recording = Some(Box::new(Recording::new(form, most_bytes)));
    }

    /// What the answer is, where it is kept.
    pub fn form(&self) -> Option<&Form> {
        self.recording.as_ref().map(|recording| recording.form())
    }

    /// Hands the answer to equal requests: what has come and is kept, and what comes, unless that `is_over`. More than
    /// is kept cannot be handed on.
    pub fn share(&mut self, lead: Lead<SharedHead>, head: SharedHead, is_over: bool) {
        let Some(recording) = &self.recording else {
            return;
        };
        let Some(pieces) = recording.pieces() else {
            return;
        };
        lead.begin(head);
        pieces.iter().for_each(|piece| lead.push(piece));
        if recording.is_closed() || is_over {
            lead.end();
            self.whole = Some(Box::new(lead));
        } else {
            self.lead = Some(Box::new(lead));
        }
    }

    /// Whether more is read for equal requests where the client of this one has not taken so many bytes yet.
    pub fn reads_ahead(&self, waiting: usize) -> bool {
        self.lead
            .as_ref()
            .is_some_and(|lead| waiting < lead.most_bytes())
    }

    /// Whether equal requests get it as well.
    pub fn is_shared(&self) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.is_followed())
    }

    /// Waits until no request that shares it is too far behind.
    pub async fn room(&self) {
        if let Some(lead) = &self.lead {
            lead.room().await;
        }
    }

    /// Takes what has come.
    pub fn push(&mut self, chunk: &Bytes) {
        if let Some(recording) = &mut self.recording {
            recording.push(chunk);
        }
        if let Some(lead) = &self.lead {
            lead.push(chunk);
        }
    }

    /// All that has come has been read, and tells no error.
    pub fn note_answer(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.note_answer();
        }
    }

    /// All has come.
    pub fn end(&self) {
        if let Some(lead) = &self.lead {
            lead.end();
        }
    }

    /// Nothing more comes. Unless all has come, it has broken for those that share it, and none joins any more.
    pub fn stop(&mut self) {
        self.lead = None;
        self.whole = None;
    }

    /// What comes from now on is of another form.
    pub fn close(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.close();
        }
    }

    /// The answer as it came; only of one that `is_whole`.
    pub fn take_recorded(&mut self, is_whole: bool) -> Option<Recorded> {
        let recording = self.recording.take().filter(|_| is_whole);
        recording.map(|recording| recording.finish())
    }
}
