//! Events however the stream is cut, and at the bounds.

use std::mem;

use super::*;

/// An event on its own: its name, its data unless it is too long, its end.
type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, u64);

fn seen(event: Event<'_>) -> Seen {
    let name = event.name.map(<[u8]>::to_vec);
    (name, event.data.ok().map(Cow::into_owned), event.end)
}

/// All that is to be known of a stream that comes in these chunks.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    events: Vec<Seen>,
    unfinished: Option<Seen>,
    boundary: u64,
    is_between_events: bool,
}

fn read<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Outcome {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    for chunk in chunks {
        parser.push(chunk, |event| events.push(seen(event)));
        assert!(parser.held.capacity() <= 2 * MAX_EVENT_BYTES);
    }
    Outcome {
        events,
        unfinished: parser.unfinished().map(seen),
        boundary: parser.boundary(),
        is_between_events: parser.is_between_events(),
    }
}

/// The standard's own way to read, one byte after the other, with a line's ends counted by it.
fn read_slowly(input: &[u8]) -> Outcome {
    let mut outcome = Outcome {
        events: Vec::new(),
        unfinished: None,
        boundary: 0,
        is_between_events: true,
    };
    let (mut line, mut name, mut data) = (Vec::new(), Vec::new(), Vec::new());
    let (mut after_cr, mut line_start) = (false, 0);
    let take = |line: &mut Vec<u8>, name: &mut Vec<u8>, data: &mut Vec<u8>| {
        let line = mem::take(line);
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let field = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
        match field {
            b"event" => *name = value,
            b"data" => data.extend([value, vec![b'\n']].concat()),
            b"error" if data.is_empty() => {
                *name = field.to_vec();
                data.extend([value, vec![b'\n']].concat());
            }
            _ => {}
        }
    };
    let event = |name: &mut Vec<u8>, data: &mut Vec<u8>, end| {
        let name = Some(mem::take(name)).filter(|name| !name.is_empty());
        let mut data = mem::take(data);
        data.pop().map(|_| (name, Some(data), end))
    };
    for (at, byte) in input.iter().enumerate() {
        let end = at as u64 + 1;
        if *byte == b'\n' && mem::take(&mut after_cr) {
            line_start = end;
            if outcome.boundary == at as u64 {
                outcome.boundary = end;
            }
            continue;
        }
        after_cr = *byte == b'\r';
        if !matches!(byte, b'\r' | b'\n') {
            line.push(*byte);
            if line == BYTE_ORDER_MARK && at == 2 {
                line.clear();
            }
            continue;
        }
        if line_start == at as u64 {
            outcome.events.extend(event(&mut name, &mut data, end));
            outcome.boundary = end;
        } else {
            take(&mut line, &mut name, &mut data);
        }
        line_start = end;
    }
    take(&mut line, &mut name, &mut data);
    let length = input.len() as u64;
    outcome.unfinished = event(&mut name, &mut data, length);
    outcome.is_between_events = outcome.boundary == length;
    outcome
}

fn events(input: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap();
    let events = read([input]).events.into_iter();
    events
        .map(|(name, data, _)| (text(name), text(data)))
        .collect()
}

fn check(input: &[u8], expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, data)| ((*name).to_owned(), (*data).to_owned()))
        .collect();
    assert_eq!(events(input), expected, "{}", input.escape_ascii());
    check_cuts(input);
}

/// Checks that a stream gives the same whole, cut in two anywhere, and byte by byte.
fn check_cuts(input: &[u8]) {
    let expected = read_slowly(input);
    let shown = input.escape_ascii();
    for cut in 0..=input.len() {
        let (head, tail) = input.split_at(cut);
        assert_eq!(read([head, b"", tail]), expected, "{shown} cut at {cut}");
    }
    assert_eq!(read(input.chunks(1)), expected, "{shown} in bytes");
}

#[test]
fn the_examples_of_the_standard_are_read() {
    check(
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        &[("", "YHOO\n+2\n10")],
    );
    check(
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            &[("", "first event"), ("", "second event"), ("", " third event")],
        );
    check(b"data\n\ndata\ndata\n\ndata:", &[("", ""), ("", "\n")]);
    check(
        b"data:test\n\ndata: test\n\n",
        &[("", "test"), ("", "test")],
    );
    check(
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        &[("add", "73857293"), ("remove", "2153")],
    );
}

#[test]
fn a_field_that_is_called_an_error_is_an_event_of_that_name() {
    check(
        b"data: x\n\nerror: {\"code\":500}\n\ndata: y\nerror: z\n\n",
        &[("", "x"), ("error", "{\"code\":500}"), ("", "y")],
    );
}

#[test]
fn lines_end_in_lf_or_cr_or_both() {
    for end in ["\n", "\r", "\r\n"] {
        let input = "event: a\ndata: x\n: y\n\n\n\ndata: z\n\n".replace('\n', end);
        check(input.as_bytes(), &[("a", "x"), ("", "z")]);
    }
    check(
        b"data: x\n\r\ndata: y\r\rdata: z\r\n\n",
        &[("", "x"), ("", "y"), ("", "z")],
    );
}

#[test]
fn only_the_fields_that_are_meant_are_read() {
    for nothing in [
        "",
        ":",
        ":x",
        "x",
        "id: 1",
        "retry: 1",
        "event: x",
        "event",
        "Data: x",
        " data: x",
        "database: x",
        "data : x",
        "dat",
        "\0",
    ] {
        check(format!("{nothing}\n\n").as_bytes(), &[]);
        let beside = format!("{nothing}\ndata: a:b\n{nothing}\n\n");
        let name = if nothing == "event: x" { "x" } else { "" };
        check(beside.as_bytes(), &[(name, "a:b")]);
    }
    check(
        b"event: a\nevent: b\ndata: x\n\ndata: y\n\n",
        &[("b", "x"), ("", "y")],
    );
    check(b"event: a\nevent:\ndata: x\n\n", &[("", "x")]);
    check(b"event: a\n\ndata: x\n\n", &[("", "x")]);
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_alone() {
    check(b"\xEF\xBB\xBFdata: x\n\n", &[("", "x")]);
    check(b"\xEF\xBB\xBF\r\n\r\ndata: x\n\n", &[("", "x")]);
    check(b"\xEF\xBB\xBF\xEF\xBB\xBFdata: x\n\n", &[]);
    check(b"\n\xEF\xBB\xBFdata: x\n\n", &[]);
    check(b"data: x\n\n\xEF\xBB\xBFdata: x\n\n", &[("", "x")]);
    check(b"\xEF\xBBdata: x\n\n", &[]);
}

#[test]
fn bytes_that_are_no_text_are_given_as_they_came() {
    let input = b"event: \xff\ndata: \xe2\x82\ndata: \xac\0\n\n\xff\xfe\n\ndata: \x80";
    check_cuts(input);
    let outcome = read([&input[..]]);
    let expected = (
        Some(b"\xff".to_vec()),
        Some(b"\xe2\x82\n\xac\0".to_vec()),
        28,
    );
    assert_eq!(outcome.events, [expected]);
}

#[test]
fn random_streams_are_read_as_the_standard_says_in_random_chunks() {
    const PIECES: [&[u8]; 16] = [
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"\r\r",
        b":",
        b" ",
        b"data",
        b"data: ",
        b"data: {\"a\":1}\n\n",
        b"event: x",
        b"event",
        b"x",
        b"\xEF\xBB\xBF",
        b"\xff",
    ];
    let mut seed = 1u64;
    let mut below = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % bound
    };
    let mut dispatched = 0;
    for _ in 0..30_000 {
        let pieces: Vec<_> = (0..below(24)).map(|_| PIECES[below(16)]).collect();
        let input = pieces.concat();
        let expected = read_slowly(&input);
        for longest in [1, 4, 32] {
            let mut rest = &input[..];
            let mut chunks = Vec::new();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(below(longest + 1).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            assert_eq!(read(chunks), expected, "{}", input.escape_ascii());
        }
        dispatched += expected.events.len();
    }
    // Events have to be common, or the test says little.
    assert!(dispatched > 10_000, "{dispatched}");
}

#[test]
fn bytes_can_be_passed_on_up_to_where_an_event_ends() {
    let mut parser = Parser::new();
    let mut ends = Vec::new();
    let mut push = |bytes: &[u8]| {
        parser.push(bytes, |event| ends.push(event.end));
        (
            mem::take(&mut ends),
            parser.boundary(),
            parser.is_between_events(),
        )
    };
    assert_eq!(push(b""), (vec![], 0, true));
    assert_eq!(push(b"data: x\n"), (vec![], 0, false));
    assert_eq!(push(b"\ndata: y\n\n: z"), (vec![9, 18], 18, false));
    assert_eq!(push(b"\n\n"), (vec![], 23, true));
    // The LF of the last CRLF is not waited for, but it goes with its event if it is there.
    assert_eq!(push(b"data: x\r\n\r"), (vec![33], 33, true));
    assert_eq!(push(b"\n"), (vec![], 34, true));
    assert_eq!(push(b"data: x\r\n\r\n"), (vec![44], 45, true));
}

#[test]
fn text_without_a_blank_line_is_there_to_be_asked_for() {
    for (input, data) in [
        ("data: [DONE]", Some("[DONE]")),
        ("data: [DONE]\n", Some("[DONE]")),
        ("data: [DONE]\r\n", Some("[DONE]")),
        ("data: x\n\ndata: {\"a\":", Some("{\"a\":")),
        ("dat", None),
        (": bye", None),
    ] {
        let outcome = read([input.as_bytes()]);
        let unfinished = outcome.unfinished.and_then(|(_, data, _)| data);
        assert_eq!(unfinished.as_deref(), data.map(str::as_bytes), "{input}");
        assert!(!outcome.is_between_events, "{input}");
    }
    for input in ["", "data: x\n\n", ": bye\r\r"] {
        let outcome = read([input.as_bytes()]);
        assert_eq!(
            (outcome.unfinished, outcome.is_between_events),
            (None, true)
        );
    }
}

#[test]
fn nothing_is_copied_of_an_event_that_lies_within_a_chunk() {
    let chunk = b"a: b\n\nevent: x\ndata: y\n\ndata: z\ndata: z\n\ndata: rest";
    let within = |part: &[u8]| chunk.as_ptr_range().contains(&part.as_ptr());
    let mut parser = Parser::new();
    let mut borrowed = Vec::new();
    parser.push(chunk, |event| {
        borrowed.push(matches!(&event.data, Ok(Cow::Borrowed(data)) if within(data)));
        assert!(event.name.is_none_or(within));
    });
    assert_eq!(borrowed, [true, false]);
    assert_eq!(parser.held, b"data: rest");
    parser.push(b"\n\n", |event| {
        assert_eq!(event.data.unwrap(), &b"rest"[..])
    });
    assert_eq!(parser.held.capacity(), 0);
}

/// An event of so many bytes, and what its data is.
fn long_event(bytes: usize, end: &str) -> (Vec<u8>, Vec<u8>) {
    let data = vec![b'x'; bytes - "data:".len() - end.len()];
    ([b"data:", &data[..], end.as_bytes()].concat(), data)
}

#[test]
fn of_an_event_beyond_the_bound_only_that_is_known() {
    const MAX: u64 = MAX_EVENT_BYTES as u64;
    for end in ["\n\n", "\r\r"] {
        let (longest, data) = long_event(MAX_EVENT_BYTES, end);
        let (longer, _) = long_event(MAX_EVENT_BYTES + 1, end);
        let comment = [b":".repeat(MAX_EVENT_BYTES), b"\n\n".to_vec()].concat();
        let input = [
            &longest,
            &longer,
            &b"\n"[..],
            &comment,
            b"data: y\n\ndata",
            &longest,
        ];
        let input = input.concat();
        let ends = [MAX, 2 * MAX + 1, 3 * MAX + 4, 3 * MAX + 13];
        let said = [Some(data), None, None, Some(b"y".to_vec())];
        for size in [input.len(), MAX_EVENT_BYTES, 99_991] {
            let outcome = read(input[..input.len() - 1].chunks(size));
            let events = outcome.events.into_iter().map(|(_, data, end)| (data, end));
            let expected = said.iter().cloned().zip(ends);
            assert!(events.eq(expected), "{end:?} in pieces of {size}");
            assert_eq!(outcome.unfinished, Some((None, None, 4 * MAX + 16)));
            assert_eq!(outcome.boundary, ends[3]);
        }
    }
}

#[test]
fn a_line_without_end_takes_no_memory() {
    let mut parser = Parser::new();
    let chunk = vec![b'x'; 1 << 16];
    for _ in 0..1 << 14 {
        parser.push(&chunk, |_| unreachable!());
        assert!(parser.held.capacity() <= 2 * MAX_EVENT_BYTES);
    }
    assert_eq!(parser.held.capacity(), 0);
    let mut too_long = Vec::new();
    parser.push(b"\n\ndata: x\n\n", |event| {
        too_long.push(event.data.is_err())
    });
    assert_eq!(too_long, [true, false]);
    assert!(parser.is_between_events());
}

#[test]
fn a_long_event_in_single_bytes_is_read_once() {
    let (event, data) = long_event(MAX_EVENT_BYTES, "\n\n");
    let outcome = read(event.chunks(1));
    assert!(outcome.events == [(None, Some(data), MAX_EVENT_BYTES as u64)]);
}
