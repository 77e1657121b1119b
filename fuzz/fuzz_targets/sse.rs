//! Any bytes, cut anywhere, give the same events; and where one ends, another can stand.
#![no_main]

mod chunks;

use std::borrow::Cow;

use chunks::{Sizes, chunks};
use libfuzzer_sys::fuzz_target;
use tollgate::openai::sse::{Event, Parser};

fuzz_target!(|input: (Sizes, &[u8])| {
    let (sizes, bytes) = input;
    let whole = read([bytes]);
    let pieces = chunks(bytes, &sizes);
    assert_eq!(read(pieces.iter().copied()), whole);
    assert_eq!(read(bytes.chunks(1)), whole);

    let end = bytes.len() as u64;
    assert_eq!(whole.is_between_events, whole.boundary == end);
    assert!(whole.unfinished.is_none() || !whole.is_between_events);
    // A blank line makes an event of what is unfinished, and changes nothing before it.
    let ended = [bytes, b"\n\n"].concat();
    let said = |seen: &Seen| (seen.name.clone(), seen.data.clone());
    let expected = whole.events.iter().chain(&whole.unfinished).map(said);
    assert!(read([&ended[..]]).events.iter().map(said).eq(expected));

    let first = pieces.first().copied().unwrap_or_default();
    stands_between(first, &bytes[first.len()..], &whole);
});

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    name: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
    end: u64,
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        Self {
            name: event.name.map(<[u8]>::to_vec),
            data: event.data.ok().map(Cow::into_owned),
            end: event.end,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    events: Vec<Seen>,
    unfinished: Option<Seen>,
    boundary: u64,
    is_between_events: bool,
}

/// Reads a stream, and checks after each chunk that nothing is told of bytes that have not come.
fn read<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Outcome {
    let mut parser = Parser::new();
    let mut events: Vec<Seen> = Vec::new();
    let (mut come, mut passed) = (0, 0);
    for chunk in chunks {
        come += chunk.len() as u64;
        parser.push(chunk, |event| {
            assert!(event.end > events.last().map_or(passed, |last| last.end));
            events.push(event.into());
        });
        let boundary = parser.boundary();
        assert!(passed <= boundary && boundary <= come);
        assert!(events.last().is_none_or(|last| last.end <= boundary));
        passed = boundary;
    }
    Outcome {
        events,
        unfinished: parser.unfinished().map(Seen::from),
        boundary: parser.boundary(),
        is_between_events: parser.is_between_events(),
    }
}

/// Checks that a comment and an event of ours can stand at the boundary that is known after the
/// first bytes, and change nothing else.
fn stands_between(first: &[u8], rest: &[u8], whole: &Outcome) {
    let before = read([first]);
    let boundary = usize::try_from(before.boundary).expect("an offset in memory");
    // A byte order mark has to come first.
    if boundary == 0 {
        return;
    }
    let (passed, held) = first.split_at(boundary);
    let stream = [passed, b": ours\n\nevent: our\ndata: s\n\n", held, rest].concat();
    let mut events = read([&stream[..]]).events;
    let ours = events.remove(before.events.len());
    assert_eq!(
        (ours.name, ours.data),
        (Some(b"our".to_vec()), Some(b"s".to_vec()))
    );
    let said = |seen: &Seen| (seen.name.clone(), seen.data.clone());
    assert!(events.iter().map(said).eq(whole.events.iter().map(said)));
}
