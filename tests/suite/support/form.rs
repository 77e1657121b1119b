//! Multipart forms, byte by byte.

use super::CLIENT_KEY;

pub const BOUNDARY: &str = "----FormBoundary7MA4YWxk";

/// A form that grows part by part.
#[derive(Clone, Default)]
pub struct Form(Vec<u8>);

impl Form {
    /// Adds a part without a file.
    pub fn text(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.part(&format!("form-data; name=\"{name}\""), value.as_ref())
    }

    /// Adds a file.
    pub fn file(self, content: &[u8]) -> Self {
        let head = "form-data; name=\"file\"; filename=\"a b.mp3\"\r\nContent-Type: audio/mpeg";
        self.part(head, content)
    }

    /// Adds a part with what stands behind `Content-Disposition: `, further header lines too.
    pub fn part(mut self, disposition: &str, content: &[u8]) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n");
        self.0.extend(head.bytes());
        self.0.extend(content);
        self.0.extend(b"\r\n");
        self
    }

    /// The whole form.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend(format!("--{BOUNDARY}--\r\n").bytes());
        self.0
    }
}

/// A form for a model with a file of so many bytes, none like the other's.
pub fn form_of(model: &str, file_bytes: usize) -> Vec<u8> {
    let file: Vec<u8> = (0..file_bytes).map(noise).collect();
    Form::default().file(&file).text("model", model).end()
}

fn noise(at: usize) -> u8 {
    let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

/// A form for a model that is exactly so many bytes long.
pub fn form_of_length(model: &str, length: usize) -> Vec<u8> {
    let form = form_of(model, length - form_of(model, 0).len());
    assert_eq!(form.len(), length);
    form
}

/// The header of a request with a form; `headers` are whole lines, each ended by CRLF.
pub fn head(path: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
         content-type: multipart/form-data; boundary={BOUNDARY}\r\n{headers}\r\n"
    )
}

/// A request with a form, its length announced.
pub fn post_form(path: &str, form: &[u8]) -> Vec<u8> {
    let length = format!("content-length: {}\r\n", form.len());
    [head(path, &length).as_bytes(), form].concat()
}

/// A request with a form in chunks of so many bytes.
pub fn post_chunked(path: &str, form: &[u8], size: usize) -> Vec<u8> {
    let mut request = head(path, "transfer-encoding: chunked\r\n").into_bytes();
    for chunk in form.chunks(size) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}
