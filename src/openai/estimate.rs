//! An estimate of tokens, for answers that report no usage.
//!
//! Owns finding the texts in what passes, and how many tokens they have by the tokenizer of OpenAI's newer models; the
//! counts of other models differ by less than a fifth for most texts. Does not count the tokens of a text (see
//! `tokenizer`), nor decide when an estimate is needed (see `gateway::settle`). Never fails: what cannot be read has no
//! tokens.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use memchr::{memchr, memrchr2};

use super::json::string_length;
use super::tokenizer::Tokenizer;

/// The most bytes of a text that are kept and counted; the rest of a longer text is assumed to be alike.
pub const MAX_SAMPLE_BYTES: usize = 4 << 10;

/// A longer string without a space is no text where it is the value of one of [`BINARY_MEMBERS`]: an image, a
/// file, a sound.
const MAX_WORD_BYTES: usize = 512;

/// The members with what is no text.
const BINARY_MEMBERS: [&[u8]; 8] = [
    b"url",
    b"image_url",
    b"video_url",
    b"audio_url",
    b"data",
    b"file_data",
    b"file_url",
    b"b64_json",
];

/// The average length of a token.
pub const BYTES_PER_TOKEN: u64 = 4;

/// A message takes a few tokens besides its text.
const TOKENS_PER_MESSAGE: u64 = 4;

/// The members with the output of a model.
const OUTPUT_MEMBERS: [&[u8]; 9] = [
    b"content",
    b"text",
    b"arguments",
    b"reasoning_content",
    b"reasoning",
    b"refusal",
    b"delta",
    b"input",
    b"transcript",
];

static COLON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\":"));
static ROLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"role\""));

/// A text that is to be counted, or a sample of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// As it stands within the quotes of JSON.
    text: Vec<u8>,
    /// The bytes of all text, kept or not.
    bytes: u64,
}

impl Sample {
    /// Adds the output of a model in an event, or in a whole answer.
    pub fn add_answer(&mut self, json: &[u8]) {
        texts(json, |text| self.add(text));
    }

    /// Adds every text in a request, except the names of its members.
    pub fn add_request(&mut self, json: &[u8]) {
        let mut rest = json;
        let mut name: &[u8] = b"";
        while let Some(quote) = memchr(b'"', rest) {
            rest = rest.get(quote..).unwrap_or_default();
            let Some(text) = string(rest) else {
                return;
            };
            rest = rest.get(text.len() + 2..).unwrap_or_default();
            if rest.trim_ascii_start().first() == Some(&b':') {
                name = text;
                continue;
            }
            let is_long = text.len() > MAX_WORD_BYTES && memchr(b' ', text).is_none();
            if !is_long || !BINARY_MEMBERS.contains(&name) {
                self.add(text);
                // It must not become one word with the next.
                self.add(b" ");
            }
        }
    }

    /// Scales it from `seen` bytes to `length`, as if the other bytes had as much text.
    pub fn scale(&mut self, seen: usize, length: usize) {
        let (seen, length) = (seen.max(1) as u128, length as u128);
        let bytes = u128::from(self.bytes) * length / seen;
        self.bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Adds a text as it stands within the quotes of JSON.
    pub(super) fn add(&mut self, text: &[u8]) {
        self.bytes += text.len() as u64;
        let room = MAX_SAMPLE_BYTES.saturating_sub(self.text.len());
        self.text
            .extend_from_slice(text.get(..room).unwrap_or(text));
    }

    /// How many tokens it may have.
    pub fn tokens(&self, tokenizer: &Tokenizer) -> u64 {
        if self.text.is_empty() {
            return 0;
        }
        let counted = tokenizer.count(self.read().as_ref());
        let counted = u64::try_from(counted).unwrap_or(u64::MAX);
        let kept = self.text.len() as u64;
        let tokens = u128::from(counted) * u128::from(self.bytes) / u128::from(kept);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// A rough count, from its length alone.
    pub fn rough_tokens(&self) -> u64 {
        self.bytes / BYTES_PER_TOKEN
    }

    /// What is kept of it, as it stands.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// The text without its escapes; with them where it was cut within one.
    fn read(&self) -> Cow<'_, str> {
        let json = [b"\"", self.text.as_slice(), b"\""].concat();
        match serde_json::from_slice(&json) {
            Ok(text) => Cow::Owned(text),
            Err(_) => String::from_utf8_lossy(&self.text),
        }
    }
}

/// As many texts of one answer are looked back at, to find one that is said again.
const LOOK_BACK: usize = 4;

/// Hands on each text that a model says in an event, or in a whole answer. What stands there under several
/// names, as some providers tell reasoning, is said once.
pub(super) fn texts(json: &[u8], mut on: impl FnMut(&[u8])) {
    let mut latest = [(&b""[..], &b""[..]); LOOK_BACK];
    let mut done = 0;
    for colon in COLON.find_iter(json) {
        if colon < done {
            continue;
        }
        let head = json.get(..colon).unwrap_or_default();
        let rest = json.get(colon + 2..).unwrap_or_default();
        let value = rest.trim_ascii_start();
        let name = OUTPUT_MEMBERS.into_iter().find(|name| {
            head.strip_suffix(*name)
                .is_some_and(|before| before.ends_with(b"\""))
        });
        let (Some(name), Some(text)) = (name, string(value)) else {
            continue;
        };
        done = json.len() - value.len() + text.len();
        let is_again = latest.iter().any(|(n, t)| *n != name && *t == text);
        if !text.is_empty() && !is_again {
            on(text);
            latest.rotate_right(1);
            if let Some(first) = latest.first_mut() {
                *first = (name, text);
            }
        }
    }
}

/// A longer request is looked through at once, so that it need not be kept.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// The text of a request, so that its tokens can be counted if the upstream does not report them.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// The request itself.
    Body(Bytes),
    /// What was found in it.
    Texts {
        /// Its texts.
        sample: Sample,
        /// How many messages there are.
        messages: u64,
    },
}

impl Prompt {
    /// Of a request's body.
    pub fn new(body: &Bytes) -> Self {
        match body.len() <= MAX_KEPT_BYTES {
            true => Self::Body(body.clone()),
            false => {
                let (sample, messages) = read(body);
                Self::Texts { sample, messages }
            }
        }
    }

    /// How many tokens it may have.
    pub fn tokens(&self, tokenizer: &Tokenizer) -> u64 {
        match self {
            Self::Body(body) => {
                let (sample, messages) = read(body);
                sample.tokens(tokenizer) + messages * TOKENS_PER_MESSAGE
            }
            Self::Texts { sample, messages } => {
                sample.tokens(tokenizer) + messages * TOKENS_PER_MESSAGE
            }
        }
    }

    /// A quick count, from its length without images and the like. The names and signs of JSON stand for the tokens
    /// that a provider adds to each message and tool.
    pub fn quick_tokens(&self) -> u64 {
        match self {
            Self::Body(body) if !has_long_word(body) => body.len() as u64 / BYTES_PER_TOKEN,
            Self::Body(body) => {
                let (sample, messages) = read(body);
                sample.rough_tokens() + messages * TOKENS_PER_MESSAGE
            }
            Self::Texts { sample, messages } => {
                sample.rough_tokens() + messages * TOKENS_PER_MESSAGE
            }
        }
    }

    /// A rough count, from its length alone.
    pub fn rough_tokens(&self) -> u64 {
        match self {
            Self::Body(body) => body.len() as u64 / BYTES_PER_TOKEN,
            Self::Texts { sample, .. } => sample.rough_tokens(),
        }
    }
}

/// Whether more than [`MAX_WORD_BYTES`] stand together without a space or a quote, as what is no text does. Looks at
/// the last of them in so many bytes, and so at few bytes in all.
fn has_long_word(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(window) = rest.get(..=MAX_WORD_BYTES) {
        let Some(end) = memrchr2(b' ', b'"', window) else {
            return true;
        };
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    false
}

/// The texts of a request, and how many messages there are.
fn read(body: &[u8]) -> (Sample, u64) {
    let mut sample = Sample::default();
    sample.add_request(body);
    (sample, ROLE.find_iter(body).count() as u64)
}

/// What stands between the quotes of the JSON string that begins here, as far as it is there.
fn string(json: &[u8]) -> Option<&[u8]> {
    let within = json.strip_prefix(b"\"")?;
    within.get(..string_length(within))
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::tests::tokenizer;
    use super::*;

    fn said(json: &str) -> Sample {
        let mut sample = Sample::default();
        sample.add_answer(json.as_bytes());
        sample
    }

    #[test]
    fn what_a_model_says_is_found_in_any_event() {
        for (event, text) in [
            (
                r#"{"choices":[{"delta":{"content":"Hi \"you\""},"index":0}]}"#,
                r#"Hi \"you\""#,
            ),
            (
                r#"{"choices": [{"delta": {"reasoning_content": "so"}}]}"#,
                "so",
            ),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{\"content\":\"x\"}"}}]}}]}"#,
                r#"{\"content\":\"x\"}"#,
            ),
            (
                r#"{"type":"response.output_text.delta","delta":"a","item_id":"i"}"#,
                "a",
            ),
            (
                r#"{"id":"x","choices":[{"delta":{"role":"assistant","content":null}}]}"#,
                "",
            ),
            (r#"{"choices":[{"text":"one"},{"text":"two"}]}"#, "onetwo"),
            (
                r#"{"choices":[{"delta":{"reasoning_content":"so","reasoning":"so","reasoning_details":[{"text":"so"}],"content":""}}]}"#,
                "so",
            ),
            (
                r#"{"choices":[{"message":{"reasoning":"so","content":"Hi","reasoning_details":[{"text":"so"}]}}]}"#,
                "soHi",
            ),
            (
                r#"{"choices":[{"index":0,"delta":{"content":"so"}},{"index":1,"delta":{"content":"so"}}]}"#,
                "soso",
            ),
            (r#"{"content":"cut off"#, "cut off"),
            ("[DONE]", ""),
        ] {
            let sample = said(event);
            assert_eq!(String::from_utf8_lossy(&sample.text), text, "{event}");
        }
    }

    #[test]
    fn a_text_is_counted_without_its_escapes() {
        let plain = said(r#"{"content":"hello world, hello world"}"#);
        assert_eq!(plain.tokens(tokenizer()), 5);
        let escaped = said(r#"{"content":"\u0068ello wor\u006cd, hello world"}"#);
        assert_eq!(escaped.read(), plain.read());
        assert_eq!(Sample::default().tokens(tokenizer()), 0);
    }

    #[test]
    fn what_is_beyond_the_sample_is_taken_to_be_like_it() {
        let words = "hello world ".repeat(4000);
        let mut sample = Sample::default();
        for piece in words.as_bytes().chunks(1000) {
            sample.add(piece);
        }
        assert_eq!(sample.text.len(), MAX_SAMPLE_BYTES);
        let tokens = sample.tokens(tokenizer());
        assert!((7900..8100).contains(&tokens), "{tokens}");
    }

    #[test]
    fn a_prompt_is_its_texts_and_not_its_names_nor_its_images() {
        let image = "A".repeat(100_000);
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"text","text":"hello world"}},{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{image}"}}}}]}}]}}"#
        );
        let tokens = Prompt::new(&Bytes::from(body)).tokens(tokenizer());
        assert!((8..25).contains(&tokens), "{tokens}");
        let joined = "hello_world".repeat(1000);
        let chinese = "\u{4f60}\u{597d}".repeat(1000);
        for text in [joined, chinese] {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
            let prompt = Prompt::new(&Bytes::from(body));
            assert!(
                prompt.quick_tokens() > 1000 && prompt.tokens(tokenizer()) > 500,
                "{text}"
            );
        }
        let list = r#"{"input":["hello world","hello world"]}"#;
        assert!(Prompt::new(&Bytes::from(list)).tokens(tokenizer()) >= 4);
    }

    #[test]
    fn a_quick_count_is_near_to_the_exact_one_and_leaves_images_out() {
        let text = "hello world, how are you today? ".repeat(20);
        let message = format!(r#"{{"role":"user","content":"{text}"}}"#);
        let body = format!(r#"{{"model":"m","messages":[{message},{message}]}}"#);
        let prompt = Prompt::new(&Bytes::from(body));
        let (quick, exact) = (prompt.quick_tokens(), prompt.tokens(tokenizer()));
        assert!(quick.abs_diff(exact) * 3 < exact, "{quick} for {exact}");
        for image in [MAX_WORD_BYTES + 1, 20_000] {
            let image = "A".repeat(image);
            let body = format!(r#"{{"messages":[{message}],"image_url":{{"url":"{image}"}}}}"#);
            let quick = Prompt::new(&Bytes::from(body)).quick_tokens();
            assert!(quick < exact, "{quick} for half of {exact}");
        }
    }

    #[test]
    fn a_long_word_is_found_wherever_it_stands() {
        for before in 0..MAX_WORD_BYTES * 2 {
            let text = |word: usize| ["a ".repeat(before), "b".repeat(word)].concat();
            assert!(!has_long_word(text(MAX_WORD_BYTES).as_bytes()));
            assert!(has_long_word(text(MAX_WORD_BYTES + 1).as_bytes()));
            let closed = format!("{}\" c", text(MAX_WORD_BYTES));
            assert!(!has_long_word(closed.as_bytes()));
        }
    }

    #[test]
    fn any_bytes_are_counted() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let alphabet = b"\"\\:{}content u0\xff,[]";
            let bytes: Vec<u8> = (0..random.usize(..80))
                .map(|_| alphabet[random.usize(..alphabet.len())])
                .collect();
            let mut sample = Sample::default();
            sample.add_answer(&bytes);
            sample.add_request(&bytes);
            assert!(sample.text.len() <= MAX_SAMPLE_BYTES);
            sample.tokens(tokenizer());
        }
    }
}
