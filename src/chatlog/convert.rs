//! Conversion of the log: to JSON, to some of its lines, to examples for fine-tuning.
//!
//! Owns the filter, what an example is, and the limit on a line. Does not handle files (see
//! `cli::chats`). Works line by line, so that it needs the memory of the longest line. An invalid line
//! is reported, and the next one is read.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::config::LINE_BYTES;

/// The longest line that the log can have.
const MAX_LINE_BYTES: usize = LINE_BYTES.1;
/// The endpoint whose requests are examples.
const CHAT: &str = "chat_completions";

/// The output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON array.
    Json,
    /// A line of JSON each, as they are in the log.
    JsonLines,
    /// A line of `{"messages": […], "tools": […]}` for each complete chat with status 200. The messages
    /// end in the assistant's answer.
    Examples,
}

/// Which lines are converted: those that meet every condition.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of this time or later.
    pub since: Option<Timestamp>,
    /// Those of this tenant.
    pub tenant: Option<String>,
    /// Those that asked for this model.
    pub model: Option<String>,
}

/// The numbers of lines, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines that the filter selected and that were written.
    pub written: u64,
    /// Lines that the filter selected and that make no example.
    pub unfit: u64,
    /// Invalid lines.
    pub invalid: u64,
}

/// Why a line is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is longer than a line of the log can be.
    TooLong,
    /// It is not JSON, from this column on.
    NotJson(usize),
    /// It is JSON, but not a line of the log.
    NotALine,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {} MiB", MAX_LINE_BYTES >> 20),
            Self::NotJson(column) => write!(f, "not JSON, at column {column}"),
            Self::NotALine => f.write_str("not a line of the chat log"),
        }
    }
}

/// Converts lines.
pub struct Converter<W> {
    format: Format,
    filter: Filter,
    out: W,
    summary: Summary,
    line: Vec<u8>,
}

impl<W: Write> Converter<W> {
    /// Writes to `out`.
    pub fn new(format: Format, filter: Filter, out: W) -> Self {
        Self {
            format,
            filter,
            out,
            summary: Summary::default(),
            line: Vec::new(),
        }
    }

    /// Converts every line of a log. `report` is called for each invalid line with its number, from 1.
    ///
    /// # Errors
    /// See [`ConvertError`].
    pub fn read(
        &mut self,
        mut log: impl BufRead,
        mut report: impl FnMut(u64, Fault),
    ) -> Result<(), ConvertError> {
        let mut line = std::mem::take(&mut self.line);
        for number in 1.. {
            let converted = match next_line(&mut log, &mut line).map_err(ConvertError::Reading)? {
                NextLine::Line => self
                    .convert(line.trim_ascii())
                    .map_err(ConvertError::Writing)?,
                NextLine::TooLong => Err(Fault::TooLong),
                NextLine::End => break,
            };
            if let Err(fault) = converted {
                self.summary.invalid += 1;
                report(number, fault);
            }
        }
        self.line = line;
        Ok(())
    }

    /// Writes the end of the output, and returns the numbers of lines.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(mut self) -> io::Result<Summary> {
        if self.format == Format::Json {
            let end: &[u8] = match self.summary.written {
                0 => b"[]\n",
                _ => b"\n]\n",
            };
            self.out.write_all(end)?;
        }
        self.out.flush()?;
        Ok(self.summary)
    }

    /// Converts one line. The outer error is one of writing.
    fn convert(&mut self, line: &[u8]) -> io::Result<Result<(), Fault>> {
        if line.is_empty() {
            return Ok(Ok(()));
        }
        let logged = match Logged::read(line) {
            Ok(logged) => logged,
            Err(fault) => return Ok(Err(fault)),
        };
        if !logged.matches(&self.filter) {
            return Ok(Ok(()));
        }
        match self.format {
            Format::Json => {
                let before: &[u8] = match self.summary.written {
                    0 => b"[\n",
                    _ => b",\n",
                };
                self.out.write_all(before)?;
                self.out.write_all(line)?;
            }
            Format::JsonLines => {
                self.out.write_all(line)?;
                self.out.write_all(b"\n")?;
            }
            Format::Examples => {
                let Some(example) = logged.example() else {
                    self.summary.unfit += 1;
                    return Ok(Ok(()));
                };
                self.out.write_all(&example)?;
                self.out.write_all(b"\n")?;
            }
        }
        self.summary.written += 1;
        Ok(Ok(()))
    }
}

/// Why the conversion stopped.
#[derive(Debug)]
pub enum ConvertError {
    /// The log could not be read.
    Reading(io::Error),
    /// The output could not be written.
    Writing(io::Error),
}

enum NextLine {
    Line,
    TooLong,
    End,
}

/// Reads a line into `line`, which is emptied first. Of a line that is too long, at most the limit is
/// kept in memory.
fn next_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<NextLine> {
    line.clear();
    let most = MAX_LINE_BYTES as u64;
    if log.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(NextLine::End);
    }
    if line.last() == Some(&b'\n') || line.len() < MAX_LINE_BYTES {
        return Ok(NextLine::Line);
    }
    log.skip_until(b'\n')?;
    Ok(NextLine::TooLong)
}

/// The fields of a line that are read.
#[derive(Deserialize)]
struct Logged<'l> {
    time: Timestamp,
    #[serde(borrow)]
    tenant: Option<Cow<'l, str>>,
    endpoint: Cow<'l, str>,
    model: Cow<'l, str>,
    #[serde(borrow)]
    messages: Option<&'l RawValue>,
    #[serde(borrow)]
    tools: Option<&'l RawValue>,
    #[serde(borrow)]
    functions: Option<&'l RawValue>,
    #[serde(borrow)]
    answer: Option<&'l RawValue>,
    status: u16,
    #[serde(default)]
    partial: bool,
    #[serde(borrow)]
    left_out: Option<&'l RawValue>,
}

/// A line of a file for fine-tuning.
#[derive(Serialize)]
struct Example<'l> {
    messages: Vec<&'l RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'l RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<&'l RawValue>,
}

impl<'l> Logged<'l> {
    fn read(line: &'l [u8]) -> Result<Self, Fault> {
        let read = serde_json::from_slice(line).map_err(|e| match e.is_data() {
            true => Fault::NotALine,
            false => Fault::NotJson(e.column()),
        });
        // The reader would take an array with as many values, too.
        match line.first() {
            Some(b'{') => read,
            _ => read.and(Err(Fault::NotALine)),
        }
    }

    fn matches(&self, filter: &Filter) -> bool {
        filter.since.is_none_or(|since| self.time >= since)
            && filter
                .tenant
                .as_ref()
                .is_none_or(|tenant| self.tenant.as_ref().is_some_and(|own| own == tenant))
            && filter
                .model
                .as_ref()
                .is_none_or(|model| self.model == *model)
    }

    /// The example that it makes; `None` for a chat that is not complete or not usable as one.
    fn example(&self) -> Option<Vec<u8>> {
        let is_whole = self.status == 200 && !self.partial && self.left_out.is_none();
        if !is_whole || self.endpoint != CHAT {
            return None;
        }
        let answer = assistant_message(self.answer?.get())?;
        let mut messages: Vec<&RawValue> = serde_json::from_str(self.messages?.get()).ok()?;
        if messages.is_empty() {
            return None;
        }
        messages.push(&answer);
        let example = Example {
            messages,
            tools: self.tools,
            functions: self.functions,
        };
        serde_json::to_vec(&example).ok()
    }
}

/// The assistant's message in a complete answer, with the fields that a request may have.
fn assistant_message(answer: &str) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Answer<'l> {
        #[serde(borrow)]
        choices: Vec<Choice<'l>>,
    }
    #[derive(Deserialize)]
    struct Choice<'l> {
        #[serde(borrow)]
        finish_reason: Option<Cow<'l, str>>,
        #[serde(borrow)]
        message: Message<'l>,
    }
    let answer: Answer<'_> = serde_json::from_str(answer).ok()?;
    let choice = answer.choices.first()?;
    let reason = choice.finish_reason.as_deref()?;
    let is_whole = ["stop", "tool_calls", "function_call"].contains(&reason);
    let message = choice.message.clone().without_empty()?;
    is_whole.then(|| serde_json::value::to_raw_value(&message).ok())?
}

#[derive(Clone, Deserialize, Serialize)]
struct Message<'l> {
    #[serde(skip_deserializing, default = "assistant")]
    role: &'static str,
    #[serde(borrow)]
    content: Option<&'l RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    refusal: Option<&'l RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<&'l RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    function_call: Option<&'l RawValue>,
}

fn assistant() -> &'static str {
    "assistant"
}

impl Message<'_> {
    /// Removes `[]` and `""`, which some servers send for nothing. `None` where nothing is left.
    fn without_empty(mut self) -> Option<Self> {
        let has_value = |value: &&RawValue| !matches!(value.get(), "[]" | "\"\"");
        self.refusal = self.refusal.filter(has_value);
        self.tool_calls = self.tool_calls.filter(has_value);
        self.function_call = self.function_call.filter(has_value);
        let parts = [
            self.content,
            self.refusal,
            self.tool_calls,
            self.function_call,
        ];
        parts.iter().flatten().any(has_value).then_some(self)
    }
}

#[cfg(test)]
mod tests;
