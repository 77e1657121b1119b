//! A provider that keeps what it is given: files with their bytes, and every other object that has
//! an id, each in the list that its path names.
//!
//! Any object can be made, listed page by page, asked for, changed, cancelled and deleted. What has
//! begun is done the second time that it is asked for. Some files are there from the beginning, and
//! are odd. Each key is an account of its own, which sees nothing of the others'.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::{Answer, merge};
use super::form::{self, Part};
use super::place::{FILE, Kind, Place};
use super::samples::Samples;
use super::{exchange, media};
use crate::support::upstream::{Received, Reply};

/// `{"id":"file-gzip","object":"file"}`, compressed.
const GZIP: &str = "H4sIAAAAAAACA6tWykxRslJKy8xJ1U2vyixQ0lHKT8pKTS6BCirVAgAVscU9IgAAAA==";

/// The provider.
pub struct Store {
    samples: Samples,
    accounts: Mutex<HashMap<String, Account>>,
}

/// What belongs to one key.
#[derive(Default)]
struct Account {
    /// How many objects have been made, for their ids.
    made: usize,
    /// The lists by their paths, in the order of making.
    lists: HashMap<String, Vec<Value>>,
    /// The bytes of files and of parts of uploads.
    contents: HashMap<String, Vec<u8>>,
    /// What has been refused once.
    refused: HashSet<String>,
}

/// A request, and where it goes.
struct Asked<'r> {
    request: &'r Received,
    query: &'r str,
    place: Place<'r>,
}

impl Asked<'_> {
    /// A parameter of the query.
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|p| p.split_once('='));
        Some(pairs.find(|(found, _)| *found == name)?.1)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.request.body).unwrap_or_default()
    }
}

impl Store {
    pub fn new(samples: Samples) -> Self {
        Self {
            samples,
            accounts: Mutex::default(),
        }
    }

    /// Answers a request.
    pub async fn answer(&self, request: &Received, reply: &mut Reply) {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path = path.strip_prefix("/v1/").unwrap();
        let models = || Answer::bytes("application/json", exchange::MODELS);
        let answer = media::answer(path, request, &self.samples)
            .or_else(|| (path == "models").then(models))
            .or_else(|| self.odd_file(path, request))
            .or_else(|| {
                let place = Place::find(path)?;
                let asked = Asked {
                    request,
                    query,
                    place,
                };
                self.account(request, |account| account.answer(&asked))
            });
        let answer = answer.unwrap_or_else(|| Answer::missing("path", path));
        answer.send(reply).await;
    }

    /// Does something in the account of a request's key.
    fn account<T>(&self, request: &Received, work: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.accounts.lock().unwrap();
        let key = request.header("authorization").concat();
        work(accounts.entry(key).or_default())
    }

    /// What the files answer that are there from the beginning.
    fn odd_file(&self, path: &str, request: &Received) -> Option<Answer> {
        let speech = self.samples.get("speech.mp3").unwrap();
        let whole = || Answer::bytes("application/octet-stream", speech);
        let chunks = || Answer::chunks("application/octet-stream", speech.chunks(1000));
        let is_new = || self.account(request, |account| account.refused.insert(path.to_owned()));
        let accepts = |coding: &str| request.header("accept-encoding").concat().contains(coding);
        Some(match path.strip_prefix("files/")? {
            "file-broken/content" => whole().broken(),
            "file-broken-chunks/content" => chunks().broken(),
            "file-endless/content" => whole().endless(),
            "file-gzip" if accepts("gzip") => {
                let body = STANDARD.decode(GZIP).unwrap();
                Answer::bytes("application/json", body).with("content-encoding: gzip")
            }
            "file-flaky" if !is_new() => Answer::json(&json!({ "id": "file-flaky" })),
            "file-flaky" | "file-overloaded" => {
                let message = "The engine is overloaded";
                let error = json!({ "message": message, "type": "server_error", "code": null });
                Answer::error("503 Service Unavailable", error).with("retry-after-ms: 1")
            }
            _ => return None,
        })
    }
}

impl Account {
    /// Answers a request for a list or an object; `None` when there is no such thing to do.
    fn answer(&mut self, asked: &Asked<'_>) -> Option<Answer> {
        let place = &asked.place;
        let Some(id) = place.id else {
            return match asked.request.method.as_str() {
                "POST" => Some(Answer::json(&self.make(asked))),
                "GET" => Some(self.page(asked)),
                _ => None,
            };
        };
        let list = self.lists.entry(place.list.to_owned()).or_default();
        let Some(position) = list.iter().position(|object| object["id"] == id) else {
            let content = (place.action == "content").then(|| self.contents.get(id));
            return match content.flatten() {
                Some(content) => Some(download(content)),
                None => Some(Answer::missing(place.kind.object, id)),
            };
        };
        let object = &mut list[position];
        Some(match (asked.request.method.as_str(), place.action) {
            ("GET", "") if asked.parameter("stream") == Some("true") => {
                resume(object, asked.parameter("starting_after"))
            }
            ("GET", "") => ask(object),
            ("GET", "content") => download(&self.contents[id]),
            ("POST", "") => change(object, &asked.json()),
            ("POST", "cancel") => change(object, &json!({ "status": "cancelled" })),
            ("POST", "complete") => self.complete(asked, position),
            ("DELETE", "") => {
                list.remove(position);
                self.contents.remove(id);
                let object = format!("{}.deleted", place.kind.object);
                Answer::json(&json!({ "id": id, "object": object, "deleted": true }))
            }
            _ => return None,
        })
    }

    /// An id that no other object has.
    fn id(&mut self, kind: &Kind) -> String {
        self.made += 1;
        format!("{}-{}", kind.prefix, self.made)
    }

    /// Makes an object of what a JSON body or a form says.
    fn make(&mut self, asked: &Asked<'_>) -> Value {
        let Place { kind, list, .. } = asked.place;
        let id = self.id(kind);
        let mut object = json!({ "id": id, "object": kind.object, "created_at": self.made });
        if let Some(parts) = form::parts(asked.request) {
            self.fill(&mut object, &id, &parts);
        } else {
            let body = asked.json();
            merge(&mut object, &body);
            for (field, below) in [
                ("items", "items"),
                ("input", "input_items"),
                ("messages", "messages"),
            ] {
                self.make_below(&format!("{list}/{id}/{below}"), &body[field]);
            }
        }
        let begun = begun(&object);
        merge(&mut object, &begun);
        let list = self.lists.entry(list.to_owned()).or_default();
        list.push(object.clone());
        object
    }

    /// Takes over the fields of a form, and the bytes of its file.
    fn fill(&mut self, object: &mut Value, id: &str, parts: &[Part<'_>]) {
        for part in parts {
            let Some(filename) = part.filename else {
                object[part.name] = form::field(parts, part.name).into();
                continue;
            };
            let bytes = part.content.len();
            merge(object, &json!({ "filename": filename, "bytes": bytes }));
            self.contents.insert(id.to_owned(), part.content.to_vec());
        }
    }

    /// Keeps what an object was made of, in a list below it.
    fn make_below(&mut self, path: &str, values: &Value) {
        for value in values.as_array().into_iter().flatten() {
            let kind = Place::find(path).unwrap().kind;
            let mut object = json!({ "id": self.id(kind), "object": kind.object });
            merge(&mut object, value);
            let list = self.lists.entry(path.to_owned()).or_default();
            list.push(object);
        }
    }

    /// A page of a list.
    fn page(&self, asked: &Asked<'_>) -> Answer {
        let list = self.lists.get(asked.place.list);
        let all = list.map_or(&[][..], Vec::as_slice);
        let position = |id| all.iter().position(|object| object["id"] == id).unwrap();
        let rest = &all[asked.parameter("after").map_or(0, |id| position(id) + 1)..];
        let limit = asked.parameter("limit").map_or(20, |n| n.parse().unwrap());
        let page = &rest[..limit.min(rest.len())];
        Answer::json(&json!({
            "object": "list", "data": page, "has_more": page.len() < rest.len(),
            "first_id": page.first().map(|object| &object["id"]),
            "last_id": page.last().map(|object| &object["id"]),
        }))
    }

    /// Puts the parts of an upload together, in the order that is asked for.
    fn complete(&mut self, asked: &Asked<'_>, position: usize) -> Answer {
        let body = asked.json();
        let ids = body["part_ids"].as_array().unwrap().iter();
        let parts: Vec<&[u8]> = ids
            .map(|id| self.contents[id.as_str().unwrap()].as_slice())
            .collect();
        let content = parts.concat();
        let id = self.id(&FILE);
        let upload = &mut self.lists.get_mut(asked.place.list).unwrap()[position];
        assert_eq!(upload["bytes"], content.len());
        let mut file = json!({ "id": id, "object": "file" });
        for field in ["filename", "bytes", "purpose"] {
            file[field] = upload[field].clone();
        }
        self.contents.insert(id, content);
        change(upload, &json!({ "status": "completed", "file": file }))
    }
}

/// What an object says of itself when it is made, besides what it was made of.
fn begun(object: &Value) -> Value {
    match object["object"].as_str().unwrap() {
        // A file keeps its id wherever it is put.
        "file" if object["file_id"].is_string() => {
            json!({ "id": object["file_id"], "status": "in_progress" })
        }
        "file" => json!({ "status": "processed" }),
        "upload" => json!({ "status": "pending" }),
        "thread.run" | "video" => json!({ "status": "in_progress" }),
        "response" => json!({ "status": "completed", "output": [{
            "type": "message", "id": "msg-0", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": "answered", "annotations": [] }],
        }] }),
        "chat.completion" => json!({ "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "answered" },
        }] }),
        _ => json!({}),
    }
}

/// An object as it is; what has begun is done the next time.
fn ask(object: &mut Value) -> Answer {
    let answer = Answer::json(object);
    if object["status"] != "in_progress" {
        return answer;
    }
    object["status"] = "completed".into();
    answer.with("openai-poll-after-ms: 1")
}

fn change(object: &mut Value, fields: &Value) -> Answer {
    merge(object, fields);
    Answer::json(object)
}

fn download(content: &[u8]) -> Answer {
    Answer::bytes("application/octet-stream", content)
}

/// The events of a response that follow the first.
fn resume(response: &Value, after: Option<&str>) -> Answer {
    assert_eq!(after, Some("0"));
    let delta = json!({
        "item_id": "msg-0", "output_index": 0, "content_index": 0, "delta": "answered",
        "logprobs": [],
    });
    Answer::events(&[
        ("response.output_text.delta", delta),
        ("response.completed", json!({ "response": response })),
    ])
}
