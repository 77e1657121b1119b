//! A finished request, and its line.
//!
//! Owns the line's fields and their order, what is omitted from a line that would be too long, and the
//! limits of the fields that are never omitted. Does not handle files (see `files`) or keys in texts
//! (see `copy`). Cannot fail: fields that cannot be read are missing from the line.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::copy::copy;
use crate::config::{ChatLog, Mask, write_nanos};
use crate::observe::masking;
use crate::openai::json::{Fields, read_fields};

/// The most characters of a field that the client chooses.
const MAX_NAME_CHARS: usize = 200;
/// The most characters of other fields, and of addresses.
const MAX_FIELD_CHARS: usize = 64;

/// A finished request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id, which is ours.
    pub request_id: String,
    /// When it came.
    pub time: SystemTime,
    /// The tenant; `None` where there are none.
    pub tenant: Option<String>,
    /// The endpoint's name in metrics.
    pub endpoint: &'static str,
    /// The model that the client asked for.
    pub model: String,
    /// The model that the upstream was asked for.
    pub sent_model: Option<String>,
    /// The upstream that was asked last.
    pub upstream: Option<String>,
    /// The client's address, or several, separated by commas.
    pub forwarded_for: Option<String>,
    /// The body as the client sent it. Anything but JSON counts as empty.
    pub request: Bytes,
    /// The answer as one body; a stream is aggregated into one.
    pub answer: Option<Bytes>,
    /// Whether the answer is incomplete: it broke, or the client left.
    pub is_partial: bool,
    /// The tokens that it used, as the upstream reported them.
    pub usage: Option<serde_json::Value>,
    /// What the provider charges for it, in nano-dollars; `None` where that is not known.
    pub cost_nanos: Option<u64>,
    /// The status that the client got.
    pub status: u16,
}

impl Entry {
    /// The bytes that it takes in memory, approximately.
    pub fn size(&self) -> usize {
        /// The names, the usage and the entry itself.
        const REST: usize = 1 << 10;
        let answer = self.answer.as_ref().map_or(0, Bytes::len);
        self.request.len() + answer + self.model.len() + REST
    }

    /// Writes its line, with the line break, over the content of `line`. It is never longer than
    /// `max_line_bytes` of the configuration.
    pub fn write_line(&self, config: &ChatLog, line: &mut Vec<u8>) {
        line.clear();
        let request = RequestParts::read(&self.request);
        let answer = self.answer.as_ref().map(|body| json_or_text(body));
        let usage = self.usage.as_ref().map(serde_json::Value::to_string);
        let parts = [
            (
                "messages",
                request.first_of(&["messages", "input", "prompt"]),
            ),
            ("instructions", request.first_of(&["instructions"])),
            ("tools", request.first_of(&["tools"])),
            ("functions", request.first_of(&["functions"])),
            ("answer", answer.as_deref()),
            ("usage", usage.as_deref()),
        ];
        let mut parts = parts.map(|(name, json)| Part {
            name,
            json,
            is_omitted: false,
        });
        // Serialising to memory, of text and numbers, does not fail.
        let _ = serde_json::to_writer(&mut *line, &self.head(config.mask));
        line.pop();
        omit_longest(&mut parts, config.max_line_bytes.saturating_sub(line.len()));
        for part in &parts {
            if let Some(json) = part.json.filter(|_| !part.is_omitted) {
                line.extend_from_slice(format!(",\"{}\":", part.name).as_bytes());
                copy(json, config.mask.keys, line);
            }
        }
        line.extend_from_slice(tail(&parts, self).as_bytes());
    }

    fn head(&self, mask: Mask) -> Head<'_> {
        let addresses = self
            .forwarded_for
            .as_deref()
            .map(|text| match mask.addresses {
                true => Cow::Owned(masked(text)),
                false => Cow::Borrowed(text),
            });
        let field = |text: &str| cut(text, MAX_FIELD_CHARS);
        Head {
            id: field(&self.request_id),
            time: jiff::Timestamp::try_from(self.time)
                .map_or_else(|_| String::new(), |time| format!("{time:.3}")),
            tenant: self.tenant.as_deref().map(field),
            endpoint: self.endpoint,
            model: cut(&self.model, MAX_NAME_CHARS),
            sent_model: self.sent_model.as_deref().map(|m| cut(m, MAX_NAME_CHARS)),
            upstream: self.upstream.as_deref().map(field),
            forwarded_for: addresses.as_deref().map(field),
        }
    }
}

/// The fields that are in each line.
#[derive(Serialize)]
struct Head<'a> {
    id: String,
    time: String,
    tenant: Option<String>,
    endpoint: &'a str,
    model: String,
    sent_model: Option<String>,
    upstream: Option<String>,
    forwarded_for: Option<String>,
}

/// A field that may be as long as a body.
struct Part<'a> {
    name: &'static str,
    json: Option<&'a str>,
    is_omitted: bool,
}

impl Part<'_> {
    /// The most bytes that it takes in a line.
    fn length(&self) -> usize {
        /// A comma, two quotes, a colon.
        const AROUND: usize = 4;
        match self.json {
            Some(json) if !self.is_omitted => json.len() + self.name.len() + AROUND,
            _ => 0,
        }
    }
}

/// Omits the longest parts until the others fit.
fn omit_longest(parts: &mut [Part<'_>], room: usize) {
    /// The most bytes that `tail` writes.
    const TAIL: usize = 256;
    let room = room.saturating_sub(TAIL);
    while parts.iter().map(Part::length).sum::<usize>() > room {
        let Some(longest) = parts.iter_mut().max_by_key(|part| part.length()) else {
            return;
        };
        longest.is_omitted = true;
    }
}

fn tail(parts: &[Part<'_>], entry: &Entry) -> String {
    let mut tail = String::new();
    if let Some(nanos) = entry.cost_nanos {
        tail.push_str(&format!(",\"cost_usd\":{}", write_nanos(nanos)));
    }
    tail.push_str(&format!(",\"status\":{}", entry.status));
    if entry.is_partial {
        tail.push_str(",\"partial\":true");
    }
    let left_out = parts.iter().filter(|part| part.is_omitted);
    let left_out: Vec<String> = left_out
        .map(|part| format!("\"{}\":{}", part.name, part.json.map_or(0, str::len)))
        .collect();
    if !left_out.is_empty() {
        tail.push_str(&format!(",\"left_out\":{{{}}}", left_out.join(",")));
    }
    tail.push_str("}\n");
    tail
}

/// The fields of a request that are written down.
const REQUEST_PARTS: [&str; 6] = [
    "messages",
    "input",
    "prompt",
    "instructions",
    "tools",
    "functions",
];

/// The values of [`REQUEST_PARTS`], by position. Of a field that stands twice, the last.
#[derive(Default)]
struct RequestParts<'b>([Option<&'b RawValue>; REQUEST_PARTS.len()]);

impl<'b> RequestParts<'b> {
    fn read(body: &'b [u8]) -> Self {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        read_fields(&mut deserializer).unwrap_or_default()
    }

    fn first_of(&self, names: &[&str]) -> Option<&'b str> {
        let value = |name: &&str| {
            let position = REQUEST_PARTS.iter().position(|part| part == name)?;
            let value = self.0.get(position).copied().flatten();
            value.map(RawValue::get).filter(|json| *json != "null")
        };
        names.iter().find_map(value)
    }
}

impl<'b> Fields<'b> for RequestParts<'b> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'b RawValue>> {
        let position = REQUEST_PARTS.iter().position(|name| *name == key)?;
        self.0.get_mut(position)
    }
}

/// A body as JSON; one that is none, as a string of it.
fn json_or_text(body: &[u8]) -> Cow<'_, str> {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(json) => Cow::Borrowed(json.get()),
        Err(_) => {
            let text = String::from_utf8_lossy(body).into_owned();
            Cow::Owned(serde_json::Value::from(text).to_string())
        }
    }
}

fn cut(text: &str, most_chars: usize) -> String {
    match text.char_indices().nth(most_chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Addresses without the part that names one machine. Other text could be anything and is hidden.
fn masked(addresses: &str) -> String {
    let mask = |text: &str| {
        let text = text.trim();
        let ip = text.parse::<IpAddr>();
        let ip = ip.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
        ip.map_or_else(
            |_| "unknown".to_owned(),
            |ip| masking::address(ip).to_string(),
        )
    };
    let masked: Vec<String> = addresses.split(',').map(mask).collect();
    masked.join(", ")
}

#[cfg(test)]
pub(super) mod tests;
