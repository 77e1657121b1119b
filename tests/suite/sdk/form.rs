//! A multipart form, read as a provider reads it.

use memchr::memmem;

use crate::support::upstream::Received;

/// A part of a form.
#[derive(Clone, Copy)]
pub struct Part<'b> {
    pub name: &'b str,
    /// Its file's name, if it is a file.
    pub filename: Option<&'b str>,
    pub content: &'b [u8],
}

/// The parts of a form in their order; `None` when the body is none.
pub fn parts(request: &Received) -> Option<Vec<Part<'_>>> {
    let kinds = request.header("content-type");
    let boundary = kinds
        .first()?
        .strip_prefix("multipart/form-data; boundary=")?;
    let delimiter = format!("\r\n--{}", boundary.trim_matches('"'));
    let ends = memmem::find_iter(&request.body, &delimiter);
    // The first delimiter begins the body, so that no line ends before it.
    let mut start = delimiter.len() - 2;
    assert!(request.body.starts_with(&delimiter.as_bytes()[2..]));
    let mut parts = Vec::new();
    for end in ends {
        parts.push(part(&request.body[start..end]));
        start = end + delimiter.len();
    }
    assert_eq!(request.body[start..].trim_ascii_end(), b"--");
    Some(parts)
}

/// The value of a field.
pub fn field<'b>(parts: &[Part<'b>], name: &str) -> Option<&'b str> {
    let part = parts.iter().find(|part| part.name == name)?;
    Some(std::str::from_utf8(part.content).unwrap())
}

fn part(bytes: &[u8]) -> Part<'_> {
    let end = memmem::find(bytes, b"\r\n\r\n").unwrap();
    let header = std::str::from_utf8(&bytes[..end]).unwrap();
    let parameter = |name: &str| {
        let (_, rest) = header.split_once(&format!("; {name}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    Part {
        name: parameter("name").unwrap(),
        filename: parameter("filename"),
        content: &bytes[end + 4..],
    }
}
