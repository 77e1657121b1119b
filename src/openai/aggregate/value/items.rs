//! Lists that come in pieces: images, reasoning in detail, blocks of thinking, ids of tokens, and any other
//! that an upstream has in its deltas.
//!
//! Owns which item a piece continues; a piece that continues none is appended. Does not handle the content
//! of an item (see `value`). Fails beyond a bound.

use serde_json::value::RawValue;

use super::{Budget, MemberMap, SLOT_BYTES};
use crate::openai::aggregate::MAX_ITEMS;
use crate::openai::json::{WalkError, index, is_object, is_truthy, items, members, push_comma};

/// The members of an item whose pieces are joined; all others come once, or are repeated.
const JOINED: [&str; 4] = ["text", "summary", "data", "thinking"];

/// The type of a block of thinking, and the member that ends it: its pieces have no index.
const THINKING: &str = "\"thinking\"";
const SEAL: &str = "signature";

/// The items of a list in the order in which they came, at most [`MAX_ITEMS`] that come in pieces.
#[derive(Default)]
pub(in crate::openai::aggregate) struct Items {
    runs: Vec<Run>,
    in_pieces: usize,
}

enum Run {
    /// One item that comes in pieces.
    Pieces(Item),
    /// Items that came whole, one after another, as they are written.
    Whole(String),
}

struct Item {
    which: Which,
    members: MemberMap,
}

/// How a piece that continues an item is recognised.
#[derive(PartialEq, Eq)]
enum Which {
    /// Its index and its type: items of different types may share an index.
    Indexed(u64, String),
    /// It is the last, and a block of thinking without a signature.
    Thinking,
    /// It is a block of thinking with a signature, which nothing continues.
    Sealed,
}

impl Item {
    /// Whether a piece has another object in a member, as its image: some upstreams give all items the same
    /// index.
    fn has_another(&self, piece: &RawValue) -> bool {
        let differs = |name: &str, value: &RawValue| {
            is_object(value)
                && self
                    .members
                    .get(name)
                    .is_some_and(|kept| kept.is_other_object(value))
        };
        let mut has_another = false;
        // What is no object fails when it is taken.
        let _ = members(piece.get(), |name, value| {
            has_another |= differs(&name, value);
            Ok(())
        });
        has_another
    }
}

impl Items {
    /// Takes the items of one more piece of the list, which is an array.
    pub(super) fn extend(
        &mut self,
        array: &RawValue,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        items(array.get(), |item| match is_object(item) {
            true => self.see(item, depth, budget),
            false => self.append(item, budget),
        })
    }

    /// Takes a piece of an item, or a whole item.
    fn see(
        &mut self,
        piece: &RawValue,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<(), WalkError> {
        let (mut place, mut kind, mut is_sealed) = (None, "", false);
        members(piece.get(), |name, value| {
            match &*name {
                "index" => place = Some(value),
                "type" => kind = value.get(),
                SEAL => is_sealed = is_truthy(Some(value)),
                _ => {}
            }
            Ok(())
        })?;
        // An invalid index identifies nothing.
        let which = match index(place).ok().flatten() {
            Some(index) => Which::Indexed(index, kind.to_owned()),
            None if kind == THINKING => Which::Thinking,
            None => return self.append(piece, budget),
        };
        let item = self.item(which, piece, budget)?;
        if is_sealed && item.which == Which::Thinking {
            item.which = Which::Sealed;
        }
        members(piece.get(), |name, value| {
            let slot = item.members.slot(&name, budget)?;
            match JOINED.contains(&&*name) {
                true => slot.join(value, depth.saturating_sub(1), budget),
                false => slot.keep_truthy(value, budget),
            }
        })
    }

    /// The item that a piece continues, or a new one.
    fn item(
        &mut self,
        which: Which,
        piece: &RawValue,
        budget: &mut Budget,
    ) -> Result<&mut Item, WalkError> {
        let is_it = |run: &Run| matches!(run, Run::Pieces(item) if item.which == which);
        let last = self.runs.len().checked_sub(1);
        let known = match which {
            Which::Indexed(..) => self.runs.iter().rposition(is_it),
            _ => last.filter(|_| self.runs.last().is_some_and(is_it)),
        };
        let known = known.filter(|at| match self.runs.get(*at) {
            Some(Run::Pieces(item)) => !item.has_another(piece),
            _ => false,
        });
        if known.is_none() {
            if self.in_pieces >= MAX_ITEMS {
                return Err(WalkError::TooLarge);
            }
            budget.take(SLOT_BYTES)?;
            self.in_pieces += 1;
            let members = MemberMap::default();
            self.runs.push(Run::Pieces(Item { which, members }));
        }
        let at = known.unwrap_or(self.runs.len().saturating_sub(1));
        match self.runs.get_mut(at) {
            Some(Run::Pieces(item)) => Ok(item),
            _ => Err(WalkError::TooLarge),
        }
    }

    /// Appends an item.
    fn append(&mut self, item: &RawValue, budget: &mut Budget) -> Result<(), WalkError> {
        let json = item.get();
        if let Some(Run::Whole(run)) = self.runs.last_mut() {
            budget.take(json.len() + 1)?;
            run.push(',');
            run.push_str(json);
            return Ok(());
        }
        budget.take(json.len() + SLOT_BYTES)?;
        self.runs.push(Run::Whole(json.to_owned()));
        Ok(())
    }

    /// How many bytes they count for.
    pub(super) fn bytes(&self) -> usize {
        let runs = self.runs.iter();
        runs.map(|run| match run {
            Run::Pieces(item) => SLOT_BYTES + item.members.bytes(),
            Run::Whole(run) => SLOT_BYTES + run.len(),
        })
        .sum()
    }

    /// Writes the list.
    pub(super) fn write(&self, out: &mut String) {
        out.push('[');
        for run in &self.runs {
            push_comma(out);
            match run {
                Run::Pieces(item) => {
                    out.push('{');
                    item.members.write(out);
                    out.push('}');
                }
                Run::Whole(run) => out.push_str(run),
            }
        }
        out.push(']');
    }
}
