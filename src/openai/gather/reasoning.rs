//! Reasoning in detail: parts of several types, each in pieces.
//!
//! Owns which part a piece belongs to. Refuses to know what is said or sealed in it. Fails beyond a
//! bound.

use serde_json::value::RawValue;

use super::value::{Budget, Members, SLOT_BYTES, Value};
use super::walk::{Fault, index, key, members, separate};
use super::{MAX_DEPTH, MAX_ITEMS};

/// The members whose pieces are joined; all others are said once, or again.
const JOINED: [&str; 3] = ["text", "summary", "data"];

/// The parts in the order in which they came, at most [`MAX_ITEMS`] that have an index.
#[derive(Default)]
pub(super) struct Details {
    parts: Vec<Part>,
    indexed: usize,
}

enum Part {
    /// Known by its index and its type: parts of different types may share an index.
    Indexed {
        index: u64,
        kind: String,
        members: Members,
    },
    /// Parts without an index, one after another.
    Whole(Value),
}

impl Details {
    /// Takes a piece of a part, or a whole part.
    pub(super) fn see(&mut self, piece: &RawValue, budget: &mut Budget) -> Result<(), Fault> {
        let (mut place, mut kind) = (None, "");
        members(piece.get(), |name, value| {
            match &*name {
                "index" => place = Some(value),
                "type" => kind = value.get(),
                _ => {}
            }
            Ok(())
        })?;
        let Some(index) = index(place)? else {
            return self.append(piece, budget);
        };
        let known = self.parts.iter_mut().rev().find_map(|part| match part {
            Part::Indexed {
                index: i,
                kind: k,
                members,
            } if *i == index && k == kind => Some(members),
            _ => None,
        });
        if let Some(known) = known {
            return put(known, piece, budget);
        }
        if self.indexed >= MAX_ITEMS {
            return Err(Fault::TooLarge);
        }
        budget.take(kind.len() + SLOT_BYTES)?;
        let mut members = Members::default();
        put(&mut members, piece, budget)?;
        self.indexed += 1;
        self.parts.push(Part::Indexed {
            index,
            kind: kind.to_owned(),
            members,
        });
        Ok(())
    }

    fn append(&mut self, part: &RawValue, budget: &mut Budget) -> Result<(), Fault> {
        if !matches!(self.parts.last(), Some(Part::Whole(_))) {
            budget.take(SLOT_BYTES)?;
            self.parts.push(Part::Whole(Value::List(String::new())));
        }
        match self.parts.last_mut() {
            Some(Part::Whole(run)) => run.push_items(part.get(), budget),
            _ => Ok(()),
        }
    }

    /// Writes them, unless there are none.
    pub(super) fn write(&self, out: &mut String) {
        if self.parts.is_empty() {
            return;
        }
        key(out, "reasoning_details");
        out.push('[');
        for part in &self.parts {
            separate(out);
            match part {
                Part::Indexed { members, .. } => {
                    out.push('{');
                    members.write(out);
                    out.push('}');
                }
                Part::Whole(Value::List(run)) => out.push_str(run),
                Part::Whole(_) => {}
            }
        }
        out.push(']');
    }
}

/// Puts a piece to the part that it belongs to.
fn put(part: &mut Members, piece: &RawValue, budget: &mut Budget) -> Result<(), Fault> {
    members(piece.get(), |name, value| {
        let slot = part.slot(&name, budget)?;
        if JOINED.contains(&&*name) {
            slot.join(value, MAX_DEPTH, budget)
        } else {
            slot.last_said(value, budget)
        }
    })
}
