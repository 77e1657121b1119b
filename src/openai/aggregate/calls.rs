//! Calls of tools and functions in a message.
//!
//! Owns which call a piece belongs to, and how its arguments are joined. Does not check that arguments are
//! JSON: they may be cut. Fails for an index that is not a number, and beyond a bound.

use std::borrow::Cow;

use serde::de::MapAccess;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::value::{Budget, MemberMap, SLOT_BYTES, Unknown, Value, as_object};
use super::{MAX_DEPTH, MAX_ITEMS};
use crate::openai::json::{
    Fields, List, WalkError, index, inside, is_null, is_truthy, members, push_comma, push_key,
    push_member, quoted, read_fields,
};

/// The calls of one message, at most [`MAX_ITEMS`], in the order in which they came.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the pieces of calls in one delta.
    pub(super) fn see(&mut self, json: &RawValue, budget: &mut Budget) -> Result<(), WalkError> {
        let read: Result<List<Piece<'_>>, _> = serde_json::from_str(json.get());
        let pieces = read.map_err(|_| WalkError::Malformed)?;
        if pieces.has_more {
            return Err(WalkError::TooLarge);
        }
        let mut pieces = pieces.items.into_iter();
        pieces.try_for_each(|piece| self.see_piece(piece, budget))
    }

    fn see_piece(&mut self, piece: Piece<'_>, budget: &mut Budget) -> Result<(), WalkError> {
        let index = index(piece.index)?;
        let place = match self.place(index, &piece) {
            Some(place) => place,
            None => self.open(index, budget)?,
        };
        let call = self.0.get_mut(place).ok_or(WalkError::TooLarge)?;
        call.see(piece, budget)
    }

    /// The call that a piece continues: the last with its index that can have its id. A piece without
    /// an index continues the call of its id, or the last one.
    fn place(&self, index: Option<u64>, piece: &Piece<'_>) -> Option<usize> {
        let id = piece.id.filter(|id| is_truthy(Some(id)));
        // Then only a second name shows that another call begins.
        let begins = index.is_none() && id.is_none() && piece.has_name();
        if begins && self.0.last().is_some_and(Call::has_name) {
            return None;
        }
        let can_have = |call: &Call| id.is_none_or(|id| call.can_have(id));
        self.0.iter().rposition(|call| match index {
            Some(index) => call.index == index && can_have(call),
            None => can_have(call),
        })
    }

    /// Opens a call; one without an index comes after all others.
    fn open(&mut self, index: Option<u64>, budget: &mut Budget) -> Result<usize, WalkError> {
        let place = self.0.len();
        if place >= MAX_ITEMS {
            return Err(WalkError::TooLarge);
        }
        budget.take(SLOT_BYTES)?;
        let behind = self.0.iter().map(|call| call.index.saturating_add(1)).max();
        self.0.push(Call {
            index: index.or(behind).unwrap_or_default(),
            ..Call::default()
        });
        Ok(place)
    }

    /// Writes them in the order of their indexes, unless there are none.
    pub(super) fn write(&self, out: &mut String) {
        if self.is_empty() {
            return;
        }
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|call| call.index);
        push_key(out, "tool_calls");
        out.push('[');
        for call in sorted {
            push_comma(out);
            call.write(out);
        }
        out.push(']');
    }
}

/// The members of a call in one delta.
#[derive(Default)]
struct Piece<'b> {
    index: Option<&'b RawValue>,
    id: Option<&'b RawValue>,
    kind: Option<&'b RawValue>,
    function: Option<&'b RawValue>,
    custom: Option<&'b RawValue>,
    unknown: Unknown<'b>,
}

impl<'b> Fields<'b> for Piece<'b> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        match key {
            "index" => Some(&mut self.index),
            "id" => Some(&mut self.id),
            "type" => Some(&mut self.kind),
            "function" => Some(&mut self.function),
            "custom" => Some(&mut self.custom),
            _ => None,
        }
    }

    fn other<A: MapAccess<'b>>(
        &mut self,
        key: Cow<'b, str>,
        object: &mut A,
    ) -> Result<(), A::Error> {
        self.unknown.push(key, object.next_value()?);
        Ok(())
    }
}

impl<'b> Deserialize<'b> for Piece<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        read_fields(deserializer)
    }
}

impl Piece<'_> {
    fn has_name(&self) -> bool {
        let mut has_name = false;
        for called in [self.function, self.custom].into_iter().flatten() {
            // What is no object fails when it is taken.
            let _ = members(called.get(), |name, value| {
                has_name |= name == "name" && is_truthy(Some(value));
                Ok(())
            });
        }
        has_name
    }
}

/// The part of a call that has come.
#[derive(Default)]
struct Call {
    /// Identifies it in the stream; no answer has it.
    index: u64,
    id: Value,
    kind: Value,
    function: Option<Function>,
    custom: Option<Function>,
    others: MemberMap,
}

impl Call {
    /// Whether it has this id, or no id yet. Some upstreams give all calls the same index.
    fn can_have(&self, id: &RawValue) -> bool {
        match &self.id {
            Value::Whole(known) => known == id.get() || known == "\"\"",
            _ => true,
        }
    }

    fn has_name(&self) -> bool {
        let mut called = [&self.function, &self.custom].into_iter().flatten();
        called.any(Function::has_name)
    }

    fn see(&mut self, piece: Piece<'_>, budget: &mut Budget) -> Result<(), WalkError> {
        if let Some(id) = piece.id {
            self.id.keep_first(id, budget)?;
        }
        if let Some(kind) = piece.kind {
            self.kind.keep_first(kind, budget)?;
        }
        if let Some(function) = piece.function.and_then(as_object) {
            let kept = self.function.get_or_insert_with(Function::with_arguments);
            kept.see(function, budget)?;
        }
        if let Some(custom) = piece.custom.and_then(as_object) {
            let kept = self.custom.get_or_insert_with(Function::with_input);
            kept.see(custom, budget)?;
        }
        let unknown = piece.unknown;
        unknown.each(&mut self.others, budget, |_, slot, value, budget| {
            slot.join(value, MAX_DEPTH, budget)
        })
    }

    fn write(&self, out: &mut String) {
        out.push('{');
        if !matches!(self.id, Value::Null) {
            push_key(out, "id");
            self.id.write(out);
        }
        push_key(out, "type");
        match &self.kind {
            Value::Whole(kind) if kind != "\"\"" => out.push_str(kind),
            // SDKs do not read a call without one.
            _ if self.custom.is_some() => out.push_str("\"custom\""),
            _ => out.push_str("\"function\""),
        }
        for (name, called) in [("function", &self.function), ("custom", &self.custom)] {
            if let Some(called) = called {
                push_key(out, name);
                called.write(out);
            }
        }
        self.others.write(out);
        out.push('}');
    }
}

/// The function or tool that is called, and its text.
pub(super) struct Function {
    /// The member that is the text: arguments, or the input of a custom tool.
    text_name: &'static str,
    text: Value,
    name: Value,
    others: MemberMap,
}

impl Function {
    pub(super) fn with_arguments() -> Self {
        Self {
            text_name: "arguments",
            text: Value::Null,
            name: Value::Null,
            others: MemberMap::default(),
        }
    }

    fn with_input() -> Self {
        Self {
            text_name: "input",
            ..Self::with_arguments()
        }
    }

    fn has_name(&self) -> bool {
        !matches!(self.name, Value::Null)
    }

    /// Takes a piece. Arguments that are no string, as some upstreams send them, become the text
    /// of their JSON.
    pub(super) fn see(&mut self, piece: &RawValue, budget: &mut Budget) -> Result<(), WalkError> {
        members(piece.get(), |name, value| match &*name {
            "name" => self.name.keep_first(value, budget),
            name if name == self.text_name => match value.get() {
                _ if is_null(value) => Ok(()),
                json if json.starts_with('"') => self.text.push_text(inside(json), budget),
                json => self.text.push_text(inside(&quoted(json)), budget),
            },
            name => {
                let slot = self.others.slot(name, budget)?;
                slot.join(value, MAX_DEPTH, budget)
            }
        })
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push('{');
        if self.has_name() {
            push_key(out, "name");
            self.name.write(out);
        }
        match &self.text {
            Value::Null => push_member(out, self.text_name, "\"\""),
            text => {
                push_key(out, self.text_name);
                text.write(out);
            }
        }
        self.others.write(out);
        out.push('}');
    }
}
