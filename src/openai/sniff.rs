//! The type of a body by its first bytes.
//!
//! Owns the difference between a stream of events, a JSON object and a web page, for servers that label one as
//! another. Does not decide whether a label is believed (see `gateway::exchange::answer`). Never fails: what
//! begins like none of these is text, or bytes.

/// This many bytes decide the type of a body at the latest.
pub const MAX_SNIFFED_BYTES: usize = 1 << 10;

/// The fields of a stream of events; a comment begins with a colon.
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];

/// The beginnings of web pages, in lower case.
const PAGES: [&[u8]; 6] = [
    b"<!doctype",
    b"<html",
    b"<head",
    b"<body",
    b"<?xml",
    b"<!--",
];

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The type of a body by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// A stream of events.
    Events,
    /// A JSON object.
    Json,
    /// A web page.
    Page,
    /// Anything else.
    Other,
}

/// The type of a body by its first bytes; `None` while more of them are needed.
pub fn looks(bytes: &[u8]) -> Option<Looks> {
    if bytes.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(bytes) {
        return None;
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let begun = bytes.trim_ascii_start();
    match begun.first()? {
        b'{' => Some(Looks::Json),
        b'<' => page(begun),
        _ => {
            // Before a field there may be empty lines, and no blanks.
            let blank = bytes.len() - begun.len();
            let is_line = bytes
                .get(..blank)
                .is_none_or(|blank| blank.iter().all(|b| matches!(b, b'\r' | b'\n')));
            match is_line {
                true => line(begun),
                false => Some(Looks::Other),
            }
        }
    }
}

/// Whether a line is one of a stream of events.
fn line(line: &[u8]) -> Option<Looks> {
    if line.starts_with(b":") {
        return Some(Looks::Events);
    }
    for field in FIELDS {
        match line.strip_prefix(field) {
            Some([b':' | b'\r' | b'\n', ..]) => return Some(Looks::Events),
            Some([]) => return None,
            _ if field.starts_with(line) => return None,
            _ => {}
        }
    }
    Some(Looks::Other)
}

fn page(begun: &[u8]) -> Option<Looks> {
    let mut is_open = false;
    for page in PAGES {
        let length = page.len().min(begun.len());
        let is_alike = begun.get(..length).is_some_and(|head| {
            page.get(..length)
                .is_some_and(|page| head.eq_ignore_ascii_case(page))
        });
        if is_alike && length == page.len() {
            return Some(Looks::Page);
        }
        is_open |= is_alike;
    }
    (!is_open).then_some(Looks::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_how_it_begins() {
        for (body, expected) in [
            ("data: {}\n\n", Looks::Events),
            ("data:{}", Looks::Events),
            ("event: ping\n", Looks::Events),
            ("id: 1\n", Looks::Events),
            ("id\n", Looks::Events),
            ("retry: 10\r\n", Looks::Events),
            (": comment\n", Looks::Events),
            ("\r\n\n\ndata: {}", Looks::Events),
            ("\u{feff}data: {}", Looks::Events),
            ("\u{feff}\n: x", Looks::Events),
            ("{\"id\":1}", Looks::Json),
            (" \n\t{", Looks::Json),
            ("\u{feff}{", Looks::Json),
            ("<!DOCTYPE html>", Looks::Page),
            ("\n <HTML lang", Looks::Page),
            ("<?xml version", Looks::Page),
            ("<music> plays", Looks::Other),
            (" data: {}", Looks::Other),
            ("database", Looks::Other),
            ("identity", Looks::Other),
            ("data {", Looks::Other),
            ("And so", Looks::Other),
            ("[BLANK_AUDIO]", Looks::Other),
            ("1\n00:00:00,000 --> 00:00:01,000", Looks::Other),
            ("ID3\u{4}", Looks::Other),
        ] {
            assert_eq!(looks(body.as_bytes()), Some(expected), "{body}");
            // What is known of a beginning stays so.
            let known = (0..body.len()).find_map(|end| looks(&body.as_bytes()[..end]));
            assert!(known.is_none_or(|known| known == expected), "{body}");
        }
    }

    #[test]
    fn a_beginning_that_may_be_several_things_waits_for_more() {
        for body in [
            "", " ", "\r\n", "\u{feff}", "d", "dat", "data", "even", "retry", "i", "<", "<!",
            "<!d", "<ht",
        ] {
            assert_eq!(looks(body.as_bytes()), None, "{body}");
        }
        assert_eq!(looks(b"\xEF\xBB"), None);
        assert_eq!(looks(b"\xEF\xBBx"), Some(Looks::Other));
    }
}
