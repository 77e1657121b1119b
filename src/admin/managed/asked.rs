//! What a request for tenants and keys says.
//!
//! Owns its body, which is bounded, its parameters, and what it says of the person or program that asks. Does not
//! handle what a definition may have (see `config::managed`). Fails with what is told to the client; nothing of a body
//! is part of that, because a key may be in it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use pingora::protocols::http::ServerSession;
use serde_json::Value;

use super::super::parameters;
use super::{ACTOR, Failure, Route};
use crate::managed::{Actor, Definition};
use crate::runtime::Shared;

/// No body is longer, in bytes, but that of an import.
const MAX_BODY_BYTES: usize = 64 << 10;
/// No import is longer, in bytes.
const MAX_IMPORT_BYTES: usize = 8 << 20;
/// No page has more entries; one has so many unless another number is asked for.
const MOST_ENTRIES: usize = 1_000;
const ENTRIES: usize = 100;
/// No actor is longer, in bytes.
const MAX_ACTOR_BYTES: usize = 128;
/// For how long a key holds that was rotated, unless another time is asked for, and for how long at most.
const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
const MOST_OVERLAP: Duration = Duration::from_secs(366 * 24 * 3_600);

/// What was asked. It is never printed: a key may be in its body.
pub struct Asked {
    /// By which method.
    pub method: Method,
    /// Whether nothing is to be changed.
    pub is_reading: bool,
    /// Which part of a list.
    pub page: Page,
    /// By which credential and from where.
    pub actor: Actor,
    body: Vec<u8>,
}

/// A part of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// Entries of this tenant alone.
    pub tenant: Option<String>,
    /// Entries behind this one.
    pub after: Option<String>,
    /// As many entries at most.
    pub limit: usize,
}

/// Reads a request.
pub async fn read(
    route: &Route,
    session: &mut ServerSession,
    shared: &Arc<Shared>,
) -> Result<Asked, Failure> {
    let peer = session.client_addr().and_then(|address| address.as_inet());
    let source = peer.map_or_else(
        || "this machine".to_owned(),
        |peer| peer.ip().to_canonical().to_string(),
    );
    let request = session.req_header();
    let method = request.method.clone();
    let is_reading = [Method::GET, Method::HEAD].contains(&method);
    let page = read_page(route, is_reading, request.uri.query().unwrap_or_default())?;
    let actor = Actor {
        name: read_actor(&request.headers)?,
        credential: match &shared.pin().settings.admin_token {
            Some(_) => "admin_token".to_owned(),
            None => "none".to_owned(),
        },
        source,
    };
    let takes_body = method == Method::POST || method == Method::PATCH;
    let body = match takes_body {
        true => read_body(route, session).await?,
        false => Vec::new(),
    };
    Ok(Asked {
        method,
        is_reading,
        page,
        actor,
        body,
    })
}

fn read_actor(headers: &HeaderMap) -> Result<String, Failure> {
    let Some(value) = headers.get(ACTOR) else {
        return Ok(String::new());
    };
    let text = value.to_str().unwrap_or_default().trim_matches(' ');
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match !text.is_empty() && is_plain && text.len() <= MAX_ACTOR_BYTES {
        true => Ok(text.to_owned()),
        false => Err(Failure::invalid(
            "X-Tollgate-Actor",
            format!("X-Tollgate-Actor has up to {MAX_ACTOR_BYTES} characters of ASCII"),
        )),
    }
}

fn read_page(route: &Route, is_reading: bool, query: &str) -> Result<Page, Failure> {
    let is_list = matches!(route, Route::Keys | Route::Tenants | Route::Audit);
    if !is_list || !is_reading {
        return Ok(Page::default());
    }
    let values = parameters::read(query, ["tenant", "after", "limit"]);
    let [tenant, after, limit] = values.map_err(|message| Failure::invalid("", message))?;
    if tenant.is_some() && *route == Route::Tenants {
        let message = "there is no parameter `tenant` here; ask for /admin/tenants/ID";
        return Err(Failure::invalid("tenant", message));
    }
    let limit = match limit {
        None => ENTRIES,
        Some(text) => {
            let limit = text.parse().ok();
            limit
                .filter(|limit| (1..=MOST_ENTRIES).contains(limit))
                .ok_or_else(|| {
                    let message =
                        format!("limit: expected a whole number from 1 to {MOST_ENTRIES}");
                    Failure::invalid("limit", message)
                })?
        }
    };
    let owned = |value: std::borrow::Cow<'_, str>| value.into_owned();
    Ok(Page {
        tenant: tenant.map(owned),
        after: after.map(owned),
        limit,
    })
}

async fn read_body(route: &Route, session: &mut ServerSession) -> Result<Vec<u8>, Failure> {
    let most = match route {
        Route::Import => MAX_IMPORT_BYTES,
        _ => MAX_BODY_BYTES,
    };
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return Ok(body),
            Err(e) => {
                let message = format!("the body could not be read: {e}");
                return Err(Failure::invalid("", message));
            }
        }
        if body.len() > most {
            return Err(Failure {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                code: "body_too_large",
                field: None,
                message: format!("the body is longer than {most} bytes; send less at a time"),
            });
        }
    }
}

impl Asked {
    /// The body as text.
    pub fn text(&self) -> Result<&str, Failure> {
        let text = std::str::from_utf8(&self.body);
        text.map_err(|_| Failure::invalid("", "the body is not UTF-8"))
    }

    /// The body as an object.
    pub fn object(&self) -> Result<Definition, Failure> {
        // What serde says of a mistake may have a part of the body.
        let wrong = |at: &serde_json::Error| {
            let message = format!(
                "the body has to be a JSON object, and is none at line {}, column {}",
                at.line(),
                at.column()
            );
            Failure::invalid("", message)
        };
        serde_json::from_str(self.text()?).map_err(|e| wrong(&e))
    }

    /// The body as an object, and a text in it that has to be there.
    pub fn split(&self, name: &str) -> Result<(String, Definition), Failure> {
        let mut object = self.object()?;
        match object.remove(name) {
            Some(Value::String(text)) => Ok((text, object)),
            None | Some(Value::Null) => {
                Err(Failure::invalid(name, format!("{name}: it is missing")))
            }
            Some(_) => Err(Failure::invalid(name, format!("{name}: expected text"))),
        }
    }

    /// For how long a key holds that is rotated.
    pub fn overlap(&self) -> Result<Duration, Failure> {
        if self.body.trim_ascii().is_empty() {
            return Ok(OVERLAP);
        }
        let mut object = self.object()?;
        let wrong = || {
            let message = "overlap: expected a duration up to 366 days (as in 24h, or 0 for none)";
            Failure::invalid("overlap", message)
        };
        let overlap = match object.remove("overlap") {
            None | Some(Value::Null) => OVERLAP,
            Some(Value::Number(number)) if number.as_u64() == Some(0) => Duration::ZERO,
            Some(Value::String(text)) if text.trim() == "0" => Duration::ZERO,
            Some(Value::String(text)) => humantime::parse_duration(&text).map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if let Some(name) = object.keys().next() {
            let message = format!("{name}: unknown key (known here: overlap)");
            return Err(Failure::invalid(name, message));
        }
        match overlap <= MOST_OVERLAP {
            true => Ok(overlap),
            false => Err(wrong()),
        }
    }
}
