//! Forms whole and cut anywhere, and every way in which two parsers could differ.

use super::*;

const TYPE: &str = "multipart/form-data; boundary=BOUNDARY";
const MODEL: &str = "form-data; name=\"model\"";
const STREAM: &str = "form-data; name=\"stream\"";
const FORMAT: &str = "form-data; name=\"response_format\"";
const FILE: &str = "form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg";

fn scan<'b>(kind: &str, chunks: impl Iterator<Item = &'b [u8]>) -> Result<Form, FormError> {
    let mut scanner = Scanner::new(kind.as_bytes(), false)?;
    for chunk in chunks {
        scanner.push(chunk)?;
        assert!(scanner.held.capacity() < 2 * MAX_PART_HEADER_BYTES + 2 * SEAM_BYTES);
    }
    scanner.finish()
}

fn read(body: impl AsRef<[u8]>) -> Result<Form, FormError> {
    scan(TYPE, std::iter::once(body.as_ref()))
}

fn model(body: impl AsRef<[u8]>) -> Option<String> {
    read(body).unwrap().model
}

/// A closed form of parts, each with what follows `Content-Disposition: ` and a content.
fn form(parts: &[(&str, &str)]) -> String {
    let part = |(disposition, content)| {
        format!("--BOUNDARY\r\nContent-Disposition: {disposition}\r\n\r\n{content}\r\n")
    };
    let parts: String = parts.iter().copied().map(part).collect();
    parts + "--BOUNDARY--\r\n"
}

/// A form whose one part is the model, with these lines for headers.
fn with_headers(headers: &str) -> String {
    format!("--BOUNDARY\r\n{headers}\r\n\r\ngpt-4o\r\n--BOUNDARY--\r\n")
}

/// A generator that needs no crate: Knuth's MMIX.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn random_chunks<'b>(lcg: &mut Lcg, mut body: &'b [u8], longest: usize) -> Vec<&'b [u8]> {
    let mut chunks = Vec::new();
    while !body.is_empty() {
        let (chunk, rest) = body.split_at(lcg.below(longest + 1).min(body.len()));
        chunks.push(chunk);
        body = rest;
    }
    chunks
}

#[test]
fn the_clients_that_people_use_are_understood() {
    let httpx = "--0f8fad5bd9cb469fa16570867728950e\r\n\
            Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
            --0f8fad5bd9cb469fa16570867728950e\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\
            Content-Type: audio/mpeg\r\n\r\n\u{fffd}\0\r\n--0f8\r\n\
            --0f8fad5bd9cb469fa16570867728950e--\r\n";
    let undici = "------formdata-undici-012345678901\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"%22; name=%22model%22\"\r\n\
            Content-Type: application/octet-stream\r\n\r\nabc\r\n\
            ------formdata-undici-012345678901\r\n\
            Content-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n\
            ------formdata-undici-012345678901\r\n\
            Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
            ------formdata-undici-012345678901--";
    let curl = "--------------------------abcdef\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".mp3\"\r\n\
            Content-Type: audio/mpeg\r\n\r\n----------------------------\r\n----\r\n\
            --------------------------abcdef\r\n\
            Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
            --------------------------abcdef--\r\n";
    let dotnet = "--0f8f-ad5b\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Disposition: form-data; name=model\r\n\r\nwhisper-1\r\n\
            --0f8f-ad5b\r\n\
            Content-Disposition: form-data; name=file; filename=a.mp3; filename*=utf-8''a.mp3\r\n\
            \r\n\r\n--0f8f-ad5b--\r\n";
    for (boundary, body, stream) in [
        ("0f8fad5bd9cb469fa16570867728950e", httpx, false),
        ("----formdata-undici-012345678901", undici, true),
        ("------------------------abcdef", curl, false),
        ("\"0f8f-ad5b\"", dotnet, false),
    ] {
        let kind = format!("multipart/form-data; boundary={boundary}");
        let form = scan(&kind, body.as_bytes().chunks(7)).unwrap();
        let start = u64::try_from(body.find("whisper-1").unwrap()).unwrap();
        assert_eq!(form.model.as_deref(), Some("whisper-1"), "{body}");
        assert_eq!(form.slot.range, start..start + 9, "{body}");
        assert_eq!(form.stream, stream, "{body}");
    }
}

#[test]
fn a_boundary_is_found_however_the_content_type_is_written() {
    let longest = "b".repeat(70);
    for kind in [
        "multipart/form-data; boundary=BOUNDARY",
        "multipart/form-data;boundary=BOUNDARY;",
        "Multipart/Form-Data ; charset=utf-8 ; BOUNDARY=\"BOUNDARY\" ",
        "multipart/form-data; x=\"; boundary=other\"; boundary=BOUNDARY",
    ] {
        let body = form(&[(MODEL, "gpt-4o")]);
        assert!(
            scan(kind, std::iter::once(body.as_bytes())).is_ok(),
            "{kind}"
        );
    }
    for boundary in ["x", &longest, "\"a b/c:d=e?\"", "'()+_,-./:=?"] {
        let quoted = format!("\"{}\"", boundary.trim_matches('"'));
        let kind = format!("multipart/form-data; boundary={quoted}");
        assert!(Scanner::new(kind.as_bytes(), false).is_ok(), "{kind}");
    }
    for kind in [
        "",
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"open",
        "multipart/form-data; boundary=\"blank \"",
        "multipart/form-data; boundary=\"a\\b\"",
        "multipart/form-data; boundary=two words",
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=a; Boundary=b",
        "multipart/form-data; boundary=a; boundary*=utf-8''b",
        "multipart/form-data; ; boundary=a",
        "multipart/mixed; boundary=a",
        &format!("multipart/form-data; boundary={longest}b"),
    ] {
        let refused = Scanner::new(kind.as_bytes(), false).err();
        assert_eq!(refused, Some(FormError::NoBoundary), "{kind}");
    }
}

#[test]
fn content_that_resembles_a_delimiter_is_content() {
    for content in [
        "",
        "\r",
        "\r\n",
        "\r\n\r\n",
        "\r\n--",
        "\r\r\n--BOUND",
        "\r\n--BOUNDAR",
        "\r\n--BOUNDAR\r\n--BOUNDAR\r",
        "\r\n-BOUNDARY",
        "\r\n--boundary\r\n",
        "BOUNDARY--\r\n",
        "--",
    ] {
        for parts in [
            [(FILE, content), (MODEL, "gpt-4o")],
            [(MODEL, "gpt-4o"), (FILE, content)],
        ] {
            let body = form(&parts);
            assert_eq!(model(&body).as_deref(), Some("gpt-4o"), "{body:?}");
        }
        let body = form(&[(MODEL, content)]);
        let named = read(&body).map(|form| form.model);
        let expected = model_name::check(content).map(|()| Some(content.to_owned()));
        assert_eq!(named, expected.map_err(FormError::Model), "{body:?}");
    }
}

#[test]
fn a_boundary_that_some_parsers_would_heed_is_refused() {
    for before in ["", "x", "\n", "\r", "x\n", "\r\n ", "\r\n-"] {
        let hidden = format!("{before}--BOUNDARY\n\n{MODEL}\n\nother");
        let body = form(&[(MODEL, "gpt-4o"), (FILE, &hidden)]);
        let error = FormError::Malformed("its boundary stands inside a part");
        assert_eq!(read(&body), Err(error), "{body:?}");
    }
    let endless = " ".repeat(MAX_PADDING_BYTES + 1) + "\r\n";
    for after in [
        "xyz\r\n", "\n", "\r", "-\r\n", " --\r\n", "--x", "--\n", "-- -", "\r\r\n", &endless,
    ] {
        let hidden = format!("\r\n--BOUNDARY{after}x");
        let body = form(&[(MODEL, "gpt-4o"), (FILE, &hidden)]);
        let error = FormError::Malformed("a delimiter does not end its line");
        assert_eq!(read(&body), Err(error), "{body:?}");
    }
}

#[test]
fn a_form_begins_and_ends_with_its_boundary() {
    let body = form(&[(MODEL, "gpt-4o")]);
    let range = read(&body).unwrap().slot.range;
    let after_crlf = read(format!("\r\n{body}")).unwrap().slot.range;
    assert_eq!(after_crlf, range.start + 2..range.end + 2);
    for epilogue in ["", " ", "\t\r", "\r\nepilogue", "\r\n\r\n--BOUND\r\n"] {
        let body = format!("{}{epilogue}", body.trim_end());
        assert!(read(&body).is_ok(), "{body:?}");
    }
    let error = FormError::Malformed("its boundary stands after its end");
    assert_eq!(read(body.repeat(2)), Err(error));
    for preamble in ["preamble\r\n", "\n", "\r", "\r\n\r\n", " ", "-", "\u{feff}"] {
        let body = format!("{preamble}{body}");
        let error = FormError::Malformed("it does not begin with its boundary");
        assert_eq!(read(&body), Err(error), "{body:?}");
    }
    let closed_at = body.len() - 2;
    for end in 0..closed_at {
        let error = FormError::Malformed("it ends before its closing delimiter");
        assert_eq!(read(&body[..end]), Err(error), "{end}");
    }
}

#[test]
fn blanks_may_follow_a_delimiter() {
    let padding = " \t".repeat(MAX_PADDING_BYTES / 2);
    let body = form(&[(MODEL, "gpt-4o"), (STREAM, "1")]);
    let padded = body
        .replace("BOUNDARY\r\n", &format!("BOUNDARY{padding}\r\n"))
        .replace("--\r\n", &format!("--{padding}\r\n"));
    assert!(read(padded).unwrap().stream);
}

#[test]
fn values_are_taken_literally() {
    for model in [" gpt-4o ", "\"gpt\"", "é", &"x".repeat(256)] {
        assert_eq!(
            read(form(&[(MODEL, model)])).unwrap().model.as_deref(),
            Some(model)
        );
    }
    for (value, stream) in [
        ("true", true),
        ("True", true),
        ("1", true),
        ("false", false),
        ("False", false),
        ("0", false),
        ("", false),
    ] {
        let body = form(&[(STREAM, value), (MODEL, "gpt-4o")]);
        assert_eq!(read(&body).unwrap().stream, stream, "{value}");
    }
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let long = "x".repeat(MAX_VALUE_BYTES + 1);
    for (disposition, value, error) in [
        (MODEL, "", FormError::Model(NameError::Empty)),
        (MODEL, "..", FormError::Model(NameError::Dots)),
        (MODEL, "a\r\nb", FormError::Model(NameError::Control)),
        (MODEL, &*long, FormError::Model(NameError::TooLong)),
        (
            STREAM,
            &*long,
            FormError::TooLong("stream", MAX_VALUE_BYTES),
        ),
        (STREAM, "TRUE", FormError::WrongType("stream", "a boolean")),
        (STREAM, " true", FormError::WrongType("stream", "a boolean")),
    ] {
        assert_eq!(read(form(&[(disposition, value)])), Err(error), "{value}");
    }
    let mut latin = form(&[(MODEL, "gpt-4o")]).into_bytes();
    let at = latin.windows(3).position(|bytes| bytes == b"gpt").unwrap();
    latin[at] = 0xe9;
    assert_eq!(read(latin), Err(FormError::Model(NameError::NotText)));
}

#[test]
fn a_form_that_asks_for_text_is_known_and_never_refused_for_how_it_asks() {
    let long = "text".repeat(MAX_VALUE_BYTES);
    let file = "form-data; name=\"response_format\"; filename=\"a\"";
    let other = "form-data; name=\"Response_Format\"";
    for (parts, wants_text) in [
        (&[(FORMAT, "text")][..], true),
        (&[(FORMAT, "srt")], true),
        (&[(FORMAT, "vtt")], true),
        (&[(FORMAT, "json")], false),
        (&[(FORMAT, "verbose_json")], false),
        (&[(FORMAT, "")], false),
        (&[(FORMAT, "text\n")], false),
        (&[(FORMAT, &long)], false),
        (&[(FORMAT, "text"), (FORMAT, &long)], false),
        (&[(FORMAT, "json"), (FORMAT, "text")], true),
        (&[(file, "text")], false),
        (&[(other, "text")], false),
        (&[], false),
    ] {
        let read = read(form(&[&[(MODEL, "m")], parts].concat())).unwrap();
        assert_eq!(read.wants_text, wants_text, "{parts:?}");
    }
}

#[test]
fn a_model_is_named_by_its_name_alone() {
    for disposition in [
        "form-data; name=model",
        "FORM-DATA ;NAME=\"model\";",
        "form-data; x=\"; name=\\\"other\\\"\"; name=\"model\"",
    ] {
        let body = form(&[(disposition, "gpt-4o")]);
        assert_eq!(model(&body).as_deref(), Some("gpt-4o"), "{disposition}");
    }
    for disposition in [
        "form-data; name=\"file\"; filename=\"x; name=\\\"model\\\"\"",
        "form-data; name=\"file\"; filename=\"C:\\dir\\model\"",
        "form-data; name=\"file%22; name=%22model\"",
        "form-data; name=\"\"; filename=model",
        "form-data; name=\"model[]\"",
        "form-data; x-name=model; name=\"file\"",
    ] {
        let body = form(&[(disposition, "gpt-4o")]);
        assert_eq!(model(&body), None, "{disposition}");
    }
    assert_eq!(model(form(&[])), None);
}

#[test]
fn a_model_that_is_left_out_can_be_put_in() {
    for start in ["", "\r\n"] {
        for parts in [&[][..], &[(FILE, "bytes")], &[(FILE, ""), (STREAM, "true")]] {
            let body = start.to_owned() + &form(parts);
            let read_before = read(&body).unwrap();
            let Range { start: at, end } = read_before.slot.range.clone();
            assert_eq!((read_before.model.clone(), at), (None, end));
            let (before, after) = body.split_at(usize::try_from(at).unwrap());
            let name = read_before.slot.filled(b"gpt-4o".to_vec());
            let named = [before.as_bytes(), &name, after.as_bytes()].concat();
            let again = read(&named).unwrap();
            assert_eq!(again.model.as_deref(), Some("gpt-4o"), "{body:?}");
            assert_eq!(again.stream, read_before.stream, "{body:?}");
            let all = [&[(MODEL, "gpt-4o")][..], parts].concat();
            assert_eq!(named, (start.to_owned() + &form(&all)).as_bytes());
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let model = (MODEL, "a");
    for (parts, error) in [
        ([model, model], FormError::Duplicate("model")),
        (
            [(STREAM, "1"), (STREAM, "1")],
            FormError::Duplicate("stream"),
        ),
        (
            [model, ("form-data; name=Model", "b")],
            FormError::Shadowed("model"),
        ),
        (
            [model, ("form-data; name=STREAM", "1")],
            FormError::Shadowed("stream"),
        ),
    ] {
        assert_eq!(read(form(&parts)), Err(error), "{parts:?}");
    }
}

#[test]
fn headers_that_parsers_read_differently_are_refused() {
    let unreadable = "a part's Content-Disposition cannot be read";
    let no_name = "a part does not have one plain name";
    for (disposition, what) in [
        ("", "a part's Content-Disposition is not form-data"),
        (
            "attachment; name=model",
            "a part's Content-Disposition is not form-data",
        ),
        ("form-data", no_name),
        ("form-data; filename=model", no_name),
        ("form-data; name=model; name=model", no_name),
        ("form-data; name=file; NAME=model", no_name),
        ("form-data; name*=utf-8''model", no_name),
        ("form-data; name=file; name*=utf-8''model", no_name),
        ("form-data; name*0=mo; name*1=del", no_name),
        ("form-data; name=\"mo\\del\"", no_name),
        ("form-data; name=\"model", unreadable),
        ("form-data; name=\"model\\\"", unreadable),
        ("form-data; name=\"model\"x", unreadable),
        ("form-data; name=", unreadable),
        ("form-data; name", unreadable),
        ("form-data; name = model", unreadable),
        ("form-data; =x; name=model", unreadable),
        ("form-data; name=model x", unreadable),
        (
            "form-data; name=file; filename=\"a\\\"; name=\"model\"",
            unreadable,
        ),
        ("form-data; name=model; filename=\"\"", "'model' is a file"),
        (
            "form-data; filename*=utf-8''a; name=model",
            "'model' is a file",
        ),
        ("form-data; name=stream; filename=a", "'stream' is a file"),
    ] {
        let body = form(&[(disposition, "gpt-4o")]);
        assert_eq!(read(body), Err(FormError::Malformed(what)), "{disposition}");
    }
}

#[test]
fn header_lines_are_held_to_the_grammar() {
    let control = "a part's header holds a control character";
    let line = format!("Content-Disposition: {MODEL}");
    for (before, after, what) in [
        ("", "\r\n folded: x", "a part's header is folded"),
        ("\tfolded: x\r\n", "", "a part's header is folded"),
        ("X: y\n", "", "a part's header ends in a bare LF"),
        ("", "\n\nX: y", "a part's header ends in a bare LF"),
        ("X: y\r", "", control),
        ("X: \0\r\n", "", control),
        ("X\r\n", "", "a part's header has no name"),
        (": x\r\n", "", "a part's header has no name"),
        ("X : y\r\n", "", "a part's header has no name"),
        (
            "X: --BOUNDARY\r\n",
            "",
            "its boundary stands in a part's header",
        ),
        ("\r\n", "", "a part has no Content-Disposition"),
        ("X: y\r\n\r\n", "", "a part has no Content-Disposition"),
        (
            "content-disposition: form-data; name=file\r\n",
            "",
            "a part has two Content-Dispositions",
        ),
        (
            "",
            "\r\nContent-Transfer-Encoding: base64",
            "'model' is transfer-encoded",
        ),
        (
            "Content-Transfer-Encoding:\r\nContent-Transfer-Encoding: 8bit\r\n",
            "",
            "'model' is transfer-encoded",
        ),
    ] {
        let body = with_headers(&format!("{before}{line}{after}"));
        assert_eq!(read(&body), Err(FormError::Malformed(what)), "{body:?}");
    }
    for headers in [
        format!("{line}\r\nContent-Transfer-Encoding: 8BIT"),
        format!("content-transfer-encoding:binary \r\n{line}"),
        format!("X: é\r\n{line}"),
    ] {
        assert!(read(with_headers(&headers)).is_ok(), "{headers:?}");
    }
    let encoded_file = format!("{FILE}\r\nContent-Transfer-Encoding: base64");
    assert!(read(form(&[(&encoded_file, "YQ=="), (MODEL, "a")])).is_ok());
}

#[test]
fn parts_and_headers_are_bounded() {
    let mut parts = vec![(MODEL, "gpt-4o")];
    parts.resize(MAX_PARTS, (FILE, ""));
    assert!(read(form(&parts)).is_ok());
    parts.push((FILE, ""));
    assert_eq!(read(form(&parts)), Err(FormError::TooManyParts(MAX_PARTS)));

    let line = format!("Content-Disposition: {MODEL}\r\nX: ");
    let room = MAX_PART_HEADER_BYTES - line.len() - "\r\n\r\n".len();
    let full = with_headers(&(line.clone() + &"x".repeat(room)));
    assert!(scan(TYPE, full.as_bytes().chunks(1)).is_ok());
    for bomb in [
        with_headers(&(line.clone() + &"x".repeat(room + 1))),
        with_headers(&(line + &"x".repeat(1 << 20))),
        with_headers(&"X: y\r\n".repeat(1 << 16)),
        with_headers(&"\t".repeat(1 << 20)),
    ] {
        for chunk_bytes in [1, 1000, bomb.len()] {
            let result = scan(TYPE, bomb.as_bytes().chunks(chunk_bytes));
            assert_eq!(result, Err(FormError::HeaderTooLong(MAX_PART_HEADER_BYTES)));
        }
    }
}

#[test]
fn a_large_file_is_neither_kept_nor_read_twice() {
    let near_misses = "\r\n--".repeat(1 << 18);
    let dashes = "-".repeat(1 << 20);
    let repeated = "\r\n--BOUNDAR".repeat(1 << 17);
    for content in [near_misses, dashes, repeated] {
        let body = form(&[(FILE, &content), (MODEL, "gpt-4o"), (STREAM, "true")]);
        for chunk_bytes in [1, 13, 128, 1 << 16, body.len()] {
            let mut scanner = Scanner::new(TYPE.as_bytes(), false).unwrap();
            for chunk in body.as_bytes().chunks(chunk_bytes) {
                scanner.push(chunk).unwrap();
                assert!(scanner.held.capacity() <= 4 * SEAM_BYTES);
            }
            let form = scanner.finish().unwrap();
            assert_eq!(form.model.as_deref(), Some("gpt-4o"));
            assert!(form.slot.range.start > 1 << 20);
        }
    }
}

#[test]
fn a_replaced_model_is_the_new_model_and_the_rest_stays() {
    for parts in [
        [(MODEL, "gpt-4o"), (FILE, "gpt-4o\r\n--"), (STREAM, "1")],
        [(STREAM, "1"), (FILE, "\r\n\r\ngpt-4o\r"), (MODEL, "gpt-4o")],
    ] {
        let body = form(&parts);
        let range = read(&body).unwrap().slot.range;
        let start = usize::try_from(range.start).unwrap();
        let end = usize::try_from(range.end).unwrap();
        for model in ["x", "a-model-with-a-longer-name", "gpt-4p"] {
            let replaced = format!("{}{model}{}", &body[..start], &body[end..]);
            let expected = parts.map(|(disposition, content)| {
                let is_model = disposition == MODEL;
                (disposition, if is_model { model } else { content })
            });
            assert_eq!(replaced, form(&expected));
            let again = read(&replaced).unwrap();
            assert_eq!((again.model.as_deref(), again.stream), (Some(model), true));
            assert_eq!(again.slot.range.start, range.start);
        }
    }
}

#[test]
fn a_refused_form_stays_refused() {
    let body = form(&[(MODEL, "gpt-4o")]);
    for bad in ["--BOUNDARY--x", "x", "--BOUNDARY\r\n\r\n"] {
        let mut scanner = Scanner::new(TYPE.as_bytes(), false).unwrap();
        scanner.push(bad.as_bytes()).unwrap_err();
        scanner.push(body.as_bytes()).unwrap_err();
        scanner.finish().unwrap_err();
    }
}

/// Good and bad bodies that are short enough to be cut everywhere.
fn samples() -> Vec<String> {
    let good = form(&[
        (FILE, "\r\r\n--BOUND\r\n--"),
        (MODEL, "gpt-4o"),
        (STREAM, "1"),
        (FORMAT, "vtt"),
    ]);
    let long = "x".repeat(MAX_VALUE_BYTES);
    let mut samples = vec![
        format!("\r\n{good}epilogue\r\n--BOUND"),
        format!("{good}epilogue\r\n--BOUNDARY\r\n"),
        good.replace("a.mp3", "--BOUNDARY"),
        good.replace("BOUNDARY\r\n", "BOUNDARY \t\r\n"),
        good.replace("BOUNDARY--", "BOUNDARY-- x"),
        good.replace("BOUND\r\n", "BOUNDARY--x"),
        good.replace("BOUND\r\n", "BOUNDARY\r\n"),
        good.replace("\r\r\n--BOUND", "\n--BOUNDARY"),
        good.replace("\r\n\r\n", "\n\n"),
        good.replace("gpt-4o", ""),
        good.replace("gpt-4o", &long),
        good.replace("gpt-4o", &format!("{long}x")),
        good.replace("gpt-4o", &format!("{long}x--BOUNDARY")),
        good.replace("gpt-4o", &format!("{long}--BOUNDARY")),
        good.replace("vtt", &format!("{long}x")),
        good.replace("vtt", &format!("{long}x\r\n--BOUND\r\n{long}")),
        good.replace("vtt", &format!("{long}x--BOUNDARY")),
        good.replace("=\"model\"", "=\"Model\""),
        good.replace("=\"file\"", "=\"model\""),
        good.replace("; filename=\"a.mp3\"", "; name*=model"),
        good.replace("\r\n1\r\n", "\r\nyes\r\n"),
        format!("preamble{good}"),
        form(&[]),
        form(&[(MODEL, "a"), (MODEL, "b")]),
        String::new(),
        good,
    ];
    // Each sample also without its end.
    for at in 0..samples.len() {
        let sample = &samples[at];
        let cut = sample[..sample.len() * 2 / 3].to_owned();
        samples.push(cut);
    }
    samples
}

/// Checks that an outcome is what the whole body gives, and that a range is what it says.
fn assert_outcome(body: &[u8], chunks: &[&[u8]]) {
    let outcome = scan(TYPE, chunks.iter().copied());
    assert_eq!(outcome, read(body), "{:?}", String::from_utf8_lossy(body));
    if let Ok(form) = outcome {
        let start = usize::try_from(form.slot.range.start).unwrap();
        let end = usize::try_from(form.slot.range.end).unwrap();
        assert_eq!(&body[start..end], form.model.unwrap_or_default().as_bytes());
    }
}

#[test]
fn every_cut_of_a_body_has_the_same_outcome() {
    let mut lcg = Lcg(1);
    for sample in samples() {
        let body = sample.as_bytes();
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            assert_outcome(body, &[head, b"", tail]);
        }
        assert_outcome(body, &body.chunks(1).collect::<Vec<_>>());
        for longest in [2, 5, 20, 100, 300] {
            assert_outcome(body, &random_chunks(&mut lcg, body, longest));
        }
    }
}

#[test]
fn random_bodies_have_the_same_outcome_in_random_chunks() {
    const PIECES: [&str; 16] = [
        "\r\n",
        "\r",
        "\n",
        "-",
        "--",
        " ",
        "x",
        "--BOUND",
        "--BOUNDARY",
        "\r\n--BOUNDARY",
        "\r\n--BOUNDARY\r\n",
        "\r\n--BOUNDARY--",
        "Content-Disposition: form-data; name=\"model\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"stream\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n",
        "true",
    ];
    let mut lcg = Lcg(2);
    let mut good = 0;
    for _ in 0..20_000 {
        let mut body = form(&[(FILE, "x"), (MODEL, "gpt-4o"), (STREAM, "true")]);
        for _ in 0..lcg.below(4) {
            let at = lcg.below(body.len() + 1);
            let end = (at + lcg.below(2) * lcg.below(12)).min(body.len());
            body.replace_range(at..end, PIECES[lcg.below(PIECES.len())]);
        }
        for longest in [1, 8, 64] {
            let chunks = random_chunks(&mut lcg, body.as_bytes(), longest);
            assert_outcome(body.as_bytes(), &chunks);
        }
        good += usize::from(read(&body).is_ok());
    }
    // Both outcomes have to be common, or the test says little.
    assert!((2_000..18_000).contains(&good), "{good}");
}
