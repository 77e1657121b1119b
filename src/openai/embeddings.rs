//! Requests for embeddings of several texts, and their answers, taken apart and put together.
//!
//! Owns the list of inputs in a body, the embeddings in an answer, and answers made of single ones. Every embedding
//! keeps its bytes. Owns as well a request of the gateway's own for one text, and the numbers of its embedding. Does
//! not decide which inputs are asked for (see `gateway::exchange::cache`). Fails for what is not of the known shape.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use serde_json::value::RawValue;

use super::json::{self, WalkError, is_array, is_null, is_truthy, items, members, range_in};
use super::usage::Usage;

/// A longer list is not taken apart: no API takes more.
pub const MAX_INPUTS: usize = 2048;

/// Members with which the embedding of a text depends on the texts beside it: parts of one document, in order.
const DEPENDING: [&str; 1] = ["late_chunking"];

/// A longer embedding is not read, in bytes: it has more numbers than any model gives.
const MAX_EMBEDDING_BYTES: usize = 1 << 20;

/// A request for the embedding of one text, in numbers.
pub fn request(model: &str, text: &str, dimensions: Option<u32>) -> Vec<u8> {
    let mut body = json!({ "model": model, "input": text, "encoding_format": "float" });
    if let (Some(dimensions), Some(body)) = (dimensions, body.as_object_mut()) {
        body.insert("dimensions".to_owned(), dimensions.into());
    }
    body.to_string().into_bytes()
}

/// The numbers of the one embedding of an answer. Some servers write base64 whatever they are asked for.
pub fn numbers(answer: &[u8]) -> Option<Vec<f32>> {
    let read = Embeddings::read(answer, 1)?;
    let written = read.each.first()?;
    if written.get().len() > MAX_EMBEDDING_BYTES {
        return None;
    }
    let Some(encoded) = json::string(written) else {
        return serde_json::from_str(written.get()).ok();
    };
    let bytes = STANDARD.decode(encoded.as_bytes()).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    let numbers = numbers.iter().copied().map(f32::from_le_bytes);
    rest.is_empty().then(|| numbers.collect())
}

/// The inputs of a body, where there are several.
#[derive(Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Where the list stands.
    list: Range<usize>,
    /// Where each input stands.
    each: Vec<Range<usize>>,
}

impl Inputs {
    /// The inputs of a body; `None` where it has one alone, or too many, or they depend on each other.
    pub fn find(body: &[u8]) -> Option<Self> {
        let text = str::from_utf8(body).ok()?;
        let mut list = None;
        let mut is_twice = false;
        members(text, |name, value| {
            if name == "input" {
                is_twice |= list.replace(value).is_some();
            }
            match DEPENDING.contains(&&*name) && is_truthy(Some(value)) {
                true => Err(WalkError::Malformed),
                false => Ok(()),
            }
        })
        .ok()?;
        let list: &RawValue = list.filter(|list| !is_twice && is_array(list))?;
        let mut each = Vec::new();
        let walked = items(list.get(), |item| {
            // Numbers are the tokens of one text.
            let is_input = item.get().starts_with(['"', '[']);
            if !is_input || each.len() == MAX_INPUTS {
                return Err(WalkError::TooLarge);
            }
            each.push(range_in(body, item.get().as_bytes()));
            Ok(())
        });
        let list = range_in(body, list.get().as_bytes());
        (walked.is_ok() && each.len() > 1).then_some(Self { list, each })
    }

    /// How many there are; at least two.
    pub fn count(&self) -> usize {
        self.each.len()
    }

    /// How many bytes the bodies have in all that have one of them each.
    pub fn work_bytes(&self, body: &[u8]) -> usize {
        let rest = body.len().saturating_sub(self.list.len());
        rest.saturating_mul(self.count())
            .saturating_add(self.list.len())
    }

    /// How many bytes each has.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.each.iter().map(Range::len)
    }

    /// The body with one of its inputs alone.
    pub fn body_of(&self, body: &[u8], position: usize) -> Vec<u8> {
        let input = self.each.get(position).cloned().unwrap_or_default();
        self.with(body, &[body.get(input).unwrap_or_default()])
    }

    /// The body with some of its inputs, as a list.
    pub fn body_of_some(&self, body: &[u8], wanted: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = vec![b"["];
        for (position, input) in self.each.iter().enumerate() {
            if wanted(position) {
                if parts.len() > 1 {
                    parts.push(b",");
                }
                parts.push(body.get(input.clone()).unwrap_or_default());
            }
        }
        parts.push(b"]");
        self.with(body, &parts)
    }

    fn with(&self, body: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let before = body.get(..self.list.start).unwrap_or_default();
        let behind = body.get(self.list.end..).unwrap_or_default();
        [&[before][..], parts, &[behind]].concat().concat()
    }
}

/// An answer, taken apart.
pub struct Embeddings<'b> {
    /// The embeddings, in the order of the inputs.
    each: Vec<&'b RawValue>,
    /// The model's name, as JSON.
    model: Option<&'b RawValue>,
}

impl<'b> Embeddings<'b> {
    /// Takes an answer apart that has so many embeddings; `None` where it has not, or any is missing.
    pub fn read(answer: &'b [u8], count: usize) -> Option<Self> {
        let text = str::from_utf8(answer).ok()?;
        let (mut data, mut model) = (None, None);
        members(text, |name, value| {
            match &*name {
                "data" => data = Some(value),
                "model" => model = Some(value),
                _ => {}
            }
            Ok(())
        })
        .ok()?;
        let mut each: Vec<Option<&RawValue>> = vec![None; count];
        let mut next = 0;
        let walked = items(data?.get(), |item| {
            let (mut index, mut embedding) = (None, None);
            members(item.get(), |name, value| {
                match &*name {
                    "index" if !is_null(value) => {
                        let number = value.get().parse();
                        index = Some(number.map_err(|_| WalkError::Malformed)?);
                    }
                    "embedding" => embedding = Some(value),
                    _ => {}
                }
                Ok(())
            })?;
            // Some servers leave it out.
            let place = each
                .get_mut(index.unwrap_or(next))
                .ok_or(WalkError::Malformed)?;
            next += 1;
            match (place.is_none(), embedding) {
                (true, Some(embedding)) => *place = Some(embedding),
                _ => return Err(WalkError::Malformed),
            }
            Ok::<(), WalkError>(())
        });
        walked.ok()?;
        let each: Option<Vec<&RawValue>> = each.into_iter().collect();
        Some(Self { each: each?, model })
    }

    /// An answer with one of them alone, for so many tokens.
    pub fn answer_of(&self, position: usize, tokens: u64) -> Vec<u8> {
        let one = self.each.get(position).copied();
        write(&one.into_iter().collect::<Vec<_>>(), self.model, tokens)
    }
}

/// The answer that others amount to, each with one embedding; `None` where one has not. `tokens`: of all of them.
pub fn join(answers: &[&[u8]], tokens: u64) -> Option<Vec<u8>> {
    let read = answers.iter().map(|answer| Embeddings::read(answer, 1));
    let read: Vec<Embeddings<'_>> = read.collect::<Option<_>>()?;
    let each: Vec<&RawValue> = read
        .iter()
        .flat_map(|one| one.each.iter().copied())
        .collect();
    Some(write(&each, read.first()?.model, tokens))
}

fn write(each: &[&RawValue], model: Option<&RawValue>, tokens: u64) -> Vec<u8> {
    let length: usize = each.iter().map(|one| one.get().len() + 64).sum();
    let mut out = String::with_capacity(length + 256);
    out.push_str(r#"{"object":"list","data":["#);
    for (index, one) in each.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let index = index.to_string();
        out.extend([
            r#"{"object":"embedding","index":"#,
            &index,
            r#","embedding":"#,
        ]);
        out.extend([one.get(), "}"]);
    }
    out.push(']');
    if let Some(model) = model {
        out.extend([r#","model":"#, model.get()]);
    }
    let tokens = tokens.to_string();
    out.extend([
        r#","usage":{"prompt_tokens":"#,
        &tokens,
        r#","total_tokens":"#,
        &tokens,
        "}}",
    ]);
    out.into_bytes()
}

/// Shares what all inputs have used out among them, by their lengths; what is left has the last.
pub fn shares(usage: Option<&Usage>, lengths: &[usize]) -> Vec<u64> {
    let all: u128 = lengths.iter().map(|length| *length as u128).sum();
    let mut left = usage.map_or(0, Usage::total_input);
    let whole = u128::from(left);
    let mut shares: Vec<u64> = lengths
        .iter()
        .map(|length| {
            let share = (whole * *length as u128).checked_div(all).unwrap_or(0);
            let share = u64::try_from(share).unwrap_or(left).min(left);
            left -= share;
            share
        })
        .collect();
    if let Some(last) = shares.last_mut() {
        *last += left;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_apart_and_anything_else_is_not() {
        let body = br#"{"model":"m", "input" : [ "a" , [1,2] ,"c"],"x":1}"#;
        let inputs = Inputs::find(body).unwrap();
        assert_eq!(
            (inputs.count(), inputs.lengths().collect::<Vec<_>>()),
            (3, vec![3, 5, 3])
        );
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(inputs.body_of(body, 1)),
            r#"{"model":"m", "input" : [1,2],"x":1}"#
        );
        let some = text(inputs.body_of_some(body, |n| n != 1));
        assert_eq!(some, r#"{"model":"m", "input" : ["a","c"],"x":1}"#);
        assert_eq!(inputs.work_bytes(body), 3 * (body.len() - 19) + 19);
        for body in [
            r#"{"input":"a"}"#,
            r#"{"input":["a"]}"#,
            r#"{"input":[1,2]}"#,
            r#"{"input":["a",2]}"#,
            r#"{"input":["a",{"b":1}]}"#,
            r#"{"input":["a","b"],"input":["c","d"]}"#,
            r#"{"x":["a","b"]}"#,
            r#"["a","b"]"#,
        ] {
            assert_eq!(Inputs::find(body.as_bytes()), None, "{body}");
        }
        let many = |count: usize| format!("{{\"input\":[{}]}}", vec!["\"a\""; count].join(","));
        assert!(Inputs::find(many(MAX_INPUTS).as_bytes()).is_some());
        assert!(Inputs::find(many(MAX_INPUTS + 1).as_bytes()).is_none());
    }

    #[test]
    fn embeddings_come_by_their_index_and_keep_their_bytes() {
        let answer = br#"{"data":[{"index":1,"embedding":"b64="},{"index":0,"embedding":[ 1.50 ]}],"model":"m"}"#;
        let read = Embeddings::read(answer, 2).unwrap();
        let one = read.answer_of(0, 3);
        let other = read.answer_of(1, 4);
        let joined = String::from_utf8(join(&[&other, &one], 7).unwrap()).unwrap();
        assert_eq!(
            joined,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"b64="},{"object":"embedding","index":1,"embedding":[ 1.50 ]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        for (answer, count) in [
            (r#"{"data":[{"index":0,"embedding":[1]}]}"#, 2),
            (
                r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}]}"#,
                2,
            ),
            (r#"{"data":[{"index":2,"embedding":[1]}]}"#, 1),
            (r#"{"data":[{"index":0}]}"#, 1),
            (r#"{"data":7}"#, 1),
            ("{}", 1),
        ] {
            assert!(
                Embeddings::read(answer.as_bytes(), count).is_none(),
                "{answer}"
            );
        }
        let unnumbered = br#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        assert!(Embeddings::read(unnumbered, 2).is_some());
    }

    #[test]
    fn the_numbers_of_one_embedding_are_read_in_both_forms() {
        let answer = |embedding: &str| {
            let answer = format!(r#"{{"data":[{{"index":0,"embedding":{embedding}}}]}}"#);
            numbers(answer.as_bytes())
        };
        assert_eq!(answer("[1, -0.5]"), Some(vec![1.0, -0.5]));
        assert_eq!(answer(r#""AACAPwAAAL8=""#), Some(vec![1.0, -0.5]));
        assert_eq!(answer("[]"), Some(vec![]));
        for wrong in ["7", "null", r#"["a"]"#, r#""AACA""#, r#""?""#, "{}"] {
            assert_eq!(answer(wrong), None, "{wrong}");
        }
        let long = format!("[{}1]", "1,".repeat(MAX_EMBEDDING_BYTES / 2));
        assert_eq!(answer(&long), None);
        let asked = request("m", "a \"b\"", Some(3));
        let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
        let expected = json!({ "model": "m", "input": "a \"b\"", "encoding_format": "float", "dimensions": 3 });
        assert_eq!(asked, expected);
    }

    #[test]
    fn shares_add_up() {
        let usage = |input| Usage {
            input,
            ..Usage::default()
        };
        assert_eq!(shares(Some(&usage(10)), &[1, 1, 1]), [3, 3, 4]);
        assert_eq!(shares(Some(&usage(7)), &[10, 0, 60]), [1, 0, 6]);
        assert_eq!(shares(None, &[1, 2]), [0, 0]);
        assert_eq!(shares(Some(&usage(7)), &[]), [0; 0]);
    }
}
