//! Reading the log again: as JSON, as some of its lines, as examples to tune a model with.
//!
//! Owns which lines are wanted, what an example is, and the bound on a line. Refuses to know where
//! lines come from. Works line by line, so that memory is that of the longest line; a line that is
//! none is told, and the next one goes on.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::config::LINE_BYTES;

/// No line of the log is longer.
const MAX_LINE_BYTES: usize = LINE_BYTES.1;
/// The endpoint whose requests are examples.
const CHAT: &str = "chat_completions";

/// What is made of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON array.
    Json,
    /// A line of JSON each, as they are in the log.
    JsonLines,
    /// A line each of `{"messages": […], "tools": […]}`, which end in the assistant's answer: of
    /// chats that are whole, with status 200.
    Examples,
}

/// Which lines are wanted: those that meet all of it.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not those from before.
    pub since: Option<Timestamp>,
    /// Those of this tenant.
    pub tenant: Option<String>,
    /// Those that asked for this model.
    pub model: Option<String>,
}

/// What has been made of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamUsage {
    /// Lines that were wanted, and are written.
    pub written: u64,
    /// Lines that were wanted, and are no examples.
    pub unfit: u64,
    /// Lines that are none.
    pub broken: u64,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is longer than any can be.
    TooLong,
    /// It is not JSON, from this column on.
    NotJson(usize),
    /// It is JSON, and not what the log writes.
    NotOurs,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {} MiB", MAX_LINE_BYTES >> 20),
            Self::NotJson(column) => write!(f, "not JSON, at column {column}"),
            Self::NotOurs => f.write_str("not a line of the chat log"),
        }
    }
}

/// Makes something of lines.
pub struct Converter<W> {
    format: Format,
    filter: Filter,
    out: W,
    tally: StreamUsage,
    line: Vec<u8>,
}

impl<W: Write> Converter<W> {
    /// Begins with nothing.
    pub fn new(format: Format, filter: Filter, out: W) -> Self {
        Self {
            format,
            filter,
            out,
            tally: StreamUsage::default(),
            line: Vec::new(),
        }
    }

    /// Takes every line of a log. `tell` hears of those that are none, with their numbers, from 1.
    ///
    /// # Errors
    /// See [`Stopped`].
    pub fn read(
        &mut self,
        mut log: impl BufRead,
        mut tell: impl FnMut(u64, Fault),
    ) -> Result<(), Stopped> {
        let mut line = std::mem::take(&mut self.line);
        for number in 1.. {
            let taken = match next_line(&mut log, &mut line).map_err(Stopped::Reading)? {
                Next::Line => self.take(line.trim_ascii()).map_err(Stopped::Writing)?,
                Next::TooLong => Err(Fault::TooLong),
                Next::End => break,
            };
            if let Err(fault) = taken {
                self.tally.broken += 1;
                tell(number, fault);
            }
        }
        self.line = line;
        Ok(())
    }

    /// Writes what is to stand at the end, and tells what has been made.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<StreamUsage> {
        if self.format == Format::Json {
            let end: &[u8] = match self.tally.written {
                0 => b"[]\n",
                _ => b"\n]\n",
            };
            self.out.write_all(end)?;
        }
        self.out.flush()?;
        Ok(self.tally)
    }

    fn take(&mut self, line: &[u8]) -> io::Result<Result<(), Fault>> {
        if line.is_empty() {
            return Ok(Ok(()));
        }
        let logged = match Logged::read(line) {
            Ok(logged) => logged,
            Err(fault) => return Ok(Err(fault)),
        };
        if !logged.is_wanted(&self.filter) {
            return Ok(Ok(()));
        }
        match self.format {
            Format::Json => {
                let before: &[u8] = match self.tally.written {
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
                    self.tally.unfit += 1;
                    return Ok(Ok(()));
                };
                self.out.write_all(&example)?;
                self.out.write_all(b"\n")?;
            }
        }
        self.tally.written += 1;
        Ok(Ok(()))
    }
}

/// Why not all lines were taken.
#[derive(Debug)]
pub enum Stopped {
    /// They could not be read.
    Reading(io::Error),
    /// What was made of them could not be written.
    Writing(io::Error),
}

enum Next {
    Line,
    TooLong,
    End,
}

/// Reads a line, in place of what is there; of one that is too long, not more than there is room for.
fn next_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Next> {
    line.clear();
    let most = MAX_LINE_BYTES as u64;
    if log.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(Next::End);
    }
    if line.last() == Some(&b'\n') || line.len() < MAX_LINE_BYTES {
        return Ok(Next::Line);
    }
    log.skip_until(b'\n')?;
    Ok(Next::TooLong)
}

/// What is read of a line.
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

/// A line of a file to tune a model with.
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
            true => Fault::NotOurs,
            false => Fault::NotJson(e.column()),
        });
        // An array with as many values would do for the reader.
        match line.first() {
            Some(b'{') => read,
            _ => read.and(Err(Fault::NotOurs)),
        }
    }

    fn is_wanted(&self, filter: &Filter) -> bool {
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

    /// The example that it makes; `None` for what nobody should learn from, or cannot.
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

/// The assistant's message in an answer, with the fields that a request may have, if it is whole.
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
    /// Some servers call nothing with `[]` and say nothing with `""`. `None` where nothing is said at all.
    fn without_empty(mut self) -> Option<Self> {
        let says = |value: &&RawValue| !matches!(value.get(), "[]" | "\"\"");
        self.refusal = self.refusal.filter(says);
        self.tool_calls = self.tool_calls.filter(says);
        self.function_call = self.function_call.filter(says);
        let said = [
            self.content,
            self.refusal,
            self.tool_calls,
            self.function_call,
        ];
        said.iter().flatten().any(says).then_some(self)
    }
}

#[cfg(test)]
mod tests;
