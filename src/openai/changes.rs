//! Changes to a stream of events that otherwise passes as it came.
//!
//! Owns the list of changes: ranges of the stream, in its order, and their replacements. The observers of a
//! stream add to it; the code that keeps the bytes applies it. Does not decide what is changed (see `rewrite`
//! and `hidden_usage`). Never fails: an event whose data has several lines keeps its data as it is.

use std::ops::Range;

use bytes::Bytes;

use super::sse::Event;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Offsets in the stream.
    pub range: Range<u64>,
    /// What takes the place of these bytes; empty where they are only left out.
    pub with: Bytes,
}

/// The changes of some events, in the order of the stream. They do not overlap.
#[derive(Debug, Default)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// Puts `with` in the place of a part of an event's data.
    pub fn patch(&mut self, event: &Event<'_>, part: Range<usize>, with: Bytes) {
        let Some(at) = event.data_at else {
            return;
        };
        let range = at + part.start as u64..at + part.end as u64;
        let place = self
            .0
            .partition_point(|known| known.range.start <= range.start);
        self.0.insert(place, Change { range, with });
    }

    /// Puts `with` in the place of a whole event: other events, or nothing. What else was to be
    /// changed in it is forgotten.
    pub fn replace(&mut self, event: &Event<'_>, with: Bytes) {
        self.0.retain(|known| known.range.start < event.start);
        let range = event.start..event.end;
        self.0.push(Change { range, with });
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Changes {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn event(start: u64, data_at: Option<u64>) -> Event<'static> {
        Event {
            name: None,
            data: Ok(Cow::Borrowed(b"data")),
            data_at,
            start,
            end: start + 12,
        }
    }

    fn ranges(changes: Changes) -> Vec<Range<u64>> {
        changes.into_iter().map(|change| change.range).collect()
    }

    #[test]
    fn changes_stand_in_the_order_of_the_stream() {
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        let event = event(100, Some(106));
        changes.patch(&event, 3..4, Bytes::new());
        changes.patch(&event, 0..1, Bytes::new());
        assert_eq!(ranges(changes), [106..107, 109..110]);
    }

    #[test]
    fn an_event_that_is_replaced_has_no_other_changes() {
        let mut changes = Changes::default();
        changes.patch(&event(0, Some(6)), 0..1, Bytes::new());
        let second = event(12, Some(18));
        changes.patch(&second, 0..1, Bytes::new());
        changes.replace(&second, Bytes::new());
        assert_eq!(ranges(changes), [6..7, 12..24]);
    }

    #[test]
    fn data_in_several_lines_stays() {
        let mut changes = Changes::default();
        changes.patch(&event(0, None), 0..1, Bytes::new());
        assert!(changes.is_empty());
    }
}
