//! The provider's answers to sound and images: they hold what came, so that the application can
//! tell that it arrived.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::Answer;
use super::form::{self, Part};
use super::samples::Samples;
use crate::support::upstream::Received;

/// What a path answers, if it is about sound or images.
pub fn answer(path: &str, request: &Received, samples: &Samples) -> Option<Answer> {
    let parts = form::parts(request).unwrap_or_default();
    Some(match path {
        "audio/transcriptions" => transcription(&parts),
        "audio/translations" => sound(&parts, "translated"),
        "audio/speech" => speech(request, samples),
        "images/generations" => {
            let image = samples.get("image.png").unwrap();
            Answer::json(&json!({ "created": 1, "data": [encoded(image)] }))
        }
        "images/edits" | "images/variations" => images(&parts),
        _ => return None,
    })
}

fn speech(request: &Received, samples: &Samples) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let chunks = samples.get("speech.mp3").unwrap().chunks(16_000);
    let speech = Answer::chunks("audio/mpeg", chunks);
    match body["voice"].as_str() {
        Some("endless") => speech.endless(),
        Some("broken") => speech.broken(),
        _ => speech,
    }
}

fn transcription(parts: &[Part<'_>]) -> Answer {
    if form::field(parts, "stream").is_none_or(|stream| stream == "false") {
        return sound(parts, "transcribed");
    }
    let text = text(parts, "transcribed");
    let words = text.split_inclusive(' ');
    let delta = |word| ("transcript.text.delta", json!({ "delta": word }));
    let mut events: Vec<(&str, Value)> = words.map(delta).collect();
    events.push(("transcript.text.done", json!({ "text": text })));
    Answer::events(&events)
}

/// What was heard, in the format that is asked for.
fn sound(parts: &[Part<'_>], done: &str) -> Answer {
    let text = text(parts, done);
    let plain = "text/plain; charset=utf-8";
    match form::field(parts, "response_format") {
        Some("text") => Answer::bytes(plain, text + "\n"),
        Some("srt") => {
            let srt = format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n");
            Answer::bytes(plain, srt)
        }
        Some("verbose_json") => {
            let granularities = parts
                .iter()
                .filter(|part| part.name == "timestamp_granularities[]");
            let word = json!({ "word": text, "start": 0.0, "end": 1.0 });
            Answer::json(&json!({
                "task": "transcribe", "language": "english", "duration": granularities.count(),
                "text": text, "words": [word],
            }))
        }
        _ => Answer::json(&json!({ "text": text })),
    }
}

fn text(parts: &[Part<'_>], done: &str) -> String {
    let file = parts.iter().find(|part| part.name == "file").unwrap();
    let name = file.filename.unwrap();
    format!("{done} {} bytes of {name}", file.content.len())
}

/// The images that came, in their order, and then the mask.
fn images(parts: &[Part<'_>]) -> Answer {
    let mut files: Vec<&Part<'_>> = parts.iter().filter(|p| p.filename.is_some()).collect();
    files.sort_by_key(|file| file.name == "mask");
    let data: Vec<Value> = files.iter().map(|file| encoded(file.content)).collect();
    if form::field(parts, "stream") != Some("true") {
        return Answer::json(&json!({ "created": 1, "data": data }));
    }
    let mut partial = data[0].clone();
    partial["partial_image_index"] = 0.into();
    Answer::events(&[
        ("image_edit.partial_image", partial),
        ("image_edit.completed", data[0].clone()),
    ])
}

fn encoded(image: &[u8]) -> Value {
    json!({ "b64_json": STANDARD.encode(image) })
}
