//! The operator's listener: health, metrics, status and usage.
//!
//! Owns its paths and the form of its answers. `health` tells how the process is, `host` checks the `Host`, `status`
//! describes upstreams and models, `orders` has the configuration read again and the binary replaced, `tenants` what
//! tenants may use, `usage` reports from the ledger, `cache` shows and removes answers that are kept, `log_level` shows
//! and sets the log's level, `managed` has tenants and keys that are made at run time. `parameters` reads query
//! strings. It is for loopback or a private network: only what is below `/admin/` asks for a token (`authorization`).
//! Does not handle the limit on its connections (see `server/operator.rs`). Fails with an error object as the API has.

mod authorization;
mod cache;
mod health;
mod host;
mod log_level;
mod managed;
mod orders;
mod parameters;
mod status;
mod tenants;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode, Version};
use pingora::apps::http_app::ServeHttp;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use authorization::Refusal;
pub use health::health;
use host::HostError;

use crate::cache::meaning::Questions;
use crate::openai::error::ApiError;
use crate::runtime::Shared;

const JSON: &str = "application/json";
/// What there is, for people.
pub const PATHS: &str = "/health, /metrics, /status and those below /admin/";
/// What there is for callers with the token.
const ADMIN_PATHS: &str = "/admin/usage, /admin/keys, /admin/tenants, /admin/audit, /admin/openapi.json, /admin/cache, /admin/reload, \
     /admin/upgrade and /admin/log-level";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The application behind one connection of the operator's listener.
pub struct Admin {
    shared: Arc<Shared>,
    /// Whether an order is being carried out.
    is_ordering: AtomicBool,
}

impl Admin {
    /// Reads from the shared state.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            is_ordering: AtomicBool::new(false),
        }
    }

    /// Whether its client waits until an order is carried out.
    pub fn is_carrying_out(&self) -> bool {
        self.is_ordering.load(Ordering::Acquire)
    }

    /// The answer to a request whose host is not accepted.
    fn wrong_host(&self, request: &RequestHeader) -> Option<Response<Vec<u8>>> {
        let runtime = self.shared.pin();
        let names = &runtime.settings.admin_hosts;
        let may_lack = request.version < Version::HTTP_11;
        let (status, message) = match host::check(&request.uri, &request.headers, may_lack, names) {
            Ok(()) => return None,
            Err(HostError::Missing) => (
                StatusCode::BAD_REQUEST,
                "The Host header is missing.".to_owned(),
            ),
            Err(HostError::Other(host)) => (
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "The operator's listener does not accept the host `{host}`; to accept it, name it in \
                     server.admin_hosts."
                ),
            ),
        };
        Some(refuse(status, "invalid_request_error", message))
    }

    /// Answers what only the operator may ask for.
    async fn admin(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let runtime = self.shared.pin();
        let peer = session.client_addr().and_then(|address| address.as_inet());
        let token = runtime.settings.admin_token.as_ref();
        if let Err(refusal) = authorization::check(token, &request.headers, peer.map(|p| p.ip())) {
            return refuse_access(refusal);
        }
        match request.uri.path() {
            "/admin/usage" => match wrong_method(request, &READING) {
                Some(refused) => refused,
                None => self.usage(request.uri.query().unwrap_or_default()).await,
            },
            "/admin/cache" => match wrong_method(request, &REMOVING) {
                Some(refused) => refused,
                None => self.cache(request).await,
            },
            path @ ("/admin/reload" | "/admin/upgrade") => match wrong_method(request, &ORDERING) {
                Some(refused) => refused,
                None => self.carry_out(path).await,
            },
            "/admin/log-level" => log_level(session).await,
            path => match managed::Route::of(path) {
                Some(route) => self.managed(route, session).await,
                None => {
                    let message = format!("There is no {path}; there are {ADMIN_PATHS}.");
                    refuse(StatusCode::NOT_FOUND, "invalid_request_error", message)
                }
            },
        }
    }

    async fn usage(&self, query: &str) -> Response<Vec<u8>> {
        match usage::usage(self.shared.ledger(), query).await {
            Ok((content_type, body)) => respond(StatusCode::OK, content_type, body),
            Err((status, message)) => refuse_by(status, message),
        }
    }

    /// Shows the cache, or removes something of it.
    async fn cache(&self, request: &RequestHeader) -> Response<Vec<u8>> {
        let query = request.uri.query().unwrap_or_default();
        let answer = match request.method == Method::DELETE {
            true => cache::remove(&self.shared, &request.headers, query).await,
            false => Ok(cache::shown(&self.shared)),
        };
        match answer {
            Ok(answer) => respond(StatusCode::OK, JSON, answer.to_string().into_bytes()),
            Err((status, message)) => refuse_by(status, message),
        }
    }

    /// Shows or changes tenants and keys. A change takes as long as its database.
    async fn managed(
        &self,
        route: managed::Route,
        session: &mut ServerSession,
    ) -> Response<Vec<u8>> {
        self.is_ordering.store(true, Ordering::Release);
        let answer = managed::answer(&self.shared, route, session).await;
        self.is_ordering.store(false, Ordering::Release);
        answer
    }

    async fn carry_out(&self, path: &str) -> Response<Vec<u8>> {
        self.is_ordering.store(true, Ordering::Release);
        let (status, body) = match path {
            "/admin/reload" => orders::reload(&self.shared).await,
            _ => orders::upgrade(&self.shared.orders).await,
        };
        self.is_ordering.store(false, Ordering::Release);
        respond(status, JSON, body.to_string().into_bytes())
    }

    fn metrics(&self, wants_json: bool) -> Response<Vec<u8>> {
        let in_flight = self.shared.in_flight();
        if wants_json {
            let plain = self.shared.metrics.plain(in_flight);
            return respond(StatusCode::OK, JSON, plain.to_string().into_bytes());
        }
        if let Some(accounts) = self.shared.accounts() {
            accounts.measure();
        }
        status::measure(&self.shared.pin(), self.shared.metrics.states());
        status::measure_issuers(&self.shared.callers.remotes, self.shared.metrics.states());
        self.shared.metrics.tokens().measure_prompt_caches();
        let fill = self.shared.cache.fill();
        let cache = self.shared.metrics.cache();
        cache.fill(fill.entries, fill.bytes, fill.most_bytes);
        let flights = &self.shared.flights;
        cache.flights(flights.len(), flights.followers());
        let questions = self.shared.questions();
        let questions = questions.as_deref();
        let fill = questions.and_then(Questions::fill).unwrap_or_default();
        cache.questions(fill.entries, fill.bytes, fill.most_bytes);
        cache.vectors().is_up(questions.and_then(Questions::is_up));
        let second = self.shared.second_level();
        cache.redis().is_up(second.map(|level| level.is_up()));
        let connections = self.shared.connections.count();
        match self.shared.metrics.text(connections, in_flight) {
            Ok(text) => respond(StatusCode::OK, PROMETHEUS, text),
            Err(e) => {
                log::error!("metrics could not be written: {e}");
                refuse(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "server_error",
                    "The metrics could not be written.".to_owned(),
                )
            }
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        if let Some(refused) = self.wrong_host(request) {
            return refused;
        }
        let path = request.uri.path();
        if path.starts_with("/admin/") {
            return self.admin(session).await;
        }
        let accept = request.headers.get(ACCEPT).map(|value| value.as_bytes());
        if !["/health", "/metrics", "/status"].contains(&path) {
            let message = format!("There is no {path}; there are {PATHS}.");
            return refuse(StatusCode::NOT_FOUND, "invalid_request_error", message);
        }
        if let Some(refused) = wrong_method(request, &READING) {
            return refused;
        }
        match path {
            "/health" => {
                let (status, health) = health(&self.shared);
                respond(status, JSON, health.to_string().into_bytes())
            }
            "/status" => {
                let status = status::status(&self.shared).to_string();
                respond(StatusCode::OK, JSON, status.into_bytes())
            }
            _ => self.metrics(accept.is_some_and(|accept| accept.starts_with(JSON.as_bytes()))),
        }
    }
}

/// Methods that read, the method that orders something, those that show and set, and those that show and remove.
const READING: [Method; 2] = [Method::GET, Method::HEAD];
const ORDERING: [Method; 1] = [Method::POST];
const SETTING: [Method; 3] = [Method::GET, Method::HEAD, Method::PUT];
const REMOVING: [Method; 3] = [Method::GET, Method::HEAD, Method::DELETE];

/// Shows or sets the level of the log.
async fn log_level(session: &mut ServerSession) -> Response<Vec<u8>> {
    let request = session.req_header();
    if let Some(refused) = wrong_method(request, &SETTING) {
        return refused;
    }
    let shown = match request.method == Method::PUT {
        true => log_level::set(session).await,
        false => Ok(log_level::shown()),
    };
    match shown {
        Ok(shown) => respond(StatusCode::OK, JSON, shown.to_string().into_bytes()),
        Err(message) => refuse(StatusCode::BAD_REQUEST, "invalid_request_error", message),
    }
}

/// The answer to a method that a path does not take.
fn wrong_method(request: &RequestHeader, takes: &[Method]) -> Option<Response<Vec<u8>>> {
    if takes.contains(&request.method) {
        return None;
    }
    let names: Vec<&str> = takes.iter().map(Method::as_str).collect();
    let message = format!(
        "{} does not take {}; use {}.",
        request.uri.path(),
        request.method,
        names.join(", ").replace(", HEAD", "").replace(", ", " or ")
    );
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = refuse(status, "invalid_request_error", message);
    let allow = http::HeaderValue::from_str(&names.join(", ")).ok();
    response
        .headers_mut()
        .extend(allow.map(|allow| (ALLOW, allow)));
    Some(response)
}

fn refuse_access(refusal: Refusal) -> Response<Vec<u8>> {
    match refusal {
        Refusal::Token => {
            let message = "Send the token of server.admin_token: Authorization: Bearer TOKEN.";
            let status = StatusCode::UNAUTHORIZED;
            let mut response = refuse(status, "authentication_error", message.to_owned());
            let bearer = http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            response
        }
        Refusal::Elsewhere => {
            forbid("Only this machine may ask, until server.admin_token is configured.")
        }
        Refusal::Page => forbid("A web page may not ask, until server.admin_token is configured."),
    }
}

fn forbid(message: &str) -> Response<Vec<u8>> {
    refuse(
        StatusCode::FORBIDDEN,
        "permission_error",
        message.to_owned(),
    )
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    let length = http::HeaderValue::from(response.body().len());
    response
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, length);
    response
}

fn refuse(status: StatusCode, kind: &'static str, message: String) -> Response<Vec<u8>> {
    let error = ApiError {
        status,
        kind,
        code: None,
        param: None,
        message,
    };
    respond(status, JSON, error.body())
}

/// Refuses, as the gateway's or as the caller's fault.
fn refuse_by(status: StatusCode, message: String) -> Response<Vec<u8>> {
    let kind = match status.is_server_error() {
        true => "server_error",
        false => "invalid_request_error",
    };
    refuse(status, kind, message)
}
