//! `/admin/keys`, `/admin/tenants`, `/admin/audit` and `/admin/openapi.json`: tenants and keys that are made at run
//! time.
//!
//! Owns the paths and what each takes. `asked` reads bodies and parameters, `shown` has the form of what is told. Does
//! not handle which request may ask (see `authorization`), nor what a change may be (see `managed::rules`). What is
//! refused is told in the form of the API's errors, with the field that is wrong. `openapi.json` describes all of this;
//! a test holds the two together.

mod asked;
mod shown;

use std::sync::Arc;

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use pingora::protocols::http::ServerSession;
use serde_json::{Value, json};

use super::{JSON, READING, respond, wrong_method};
use crate::managed::{Change, Outcome, Refused, read_import};
use crate::runtime::{NoKeys, Shared};
use asked::{Asked, Page};

/// The description of these paths.
const OPENAPI: &str = include_str!("openapi.json");
/// The header with the person or program that asks.
const ACTOR: HeaderName = HeaderName::from_static("x-tollgate-actor");

/// A path of this part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// All keys.
    Keys,
    /// Many keys at once.
    Import,
    /// One key.
    Key(String),
    /// Another text for a key.
    Rotate(String),
    /// All tenants.
    Tenants,
    /// One tenant.
    Tenant(String),
    /// What was changed.
    Audit,
    /// The description of all this.
    OpenApi,
}

const LISTING: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];
const ORDERING: [Method; 1] = [Method::POST];
const CHANGING: [Method; 4] = [Method::GET, Method::HEAD, Method::PATCH, Method::DELETE];

impl Route {
    /// The route of a path; `None` for what is none of these.
    pub fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/admin/")?.split('/');
        let id = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().ok()?;
            (!text.is_empty()).then(|| text.into_owned())
        };
        let found = match (parts.next()?, parts.next(), parts.next()) {
            ("keys", None, _) => Self::Keys,
            ("keys", Some("import"), None) => Self::Import,
            ("keys", Some(key), None) => Self::Key(id(key)?),
            ("keys", Some(key), Some("rotate")) => Self::Rotate(id(key)?),
            ("tenants", None, _) => Self::Tenants,
            ("tenants", Some(tenant), None) => Self::Tenant(id(tenant)?),
            ("audit", None, _) => Self::Audit,
            ("openapi.json", None, _) => Self::OpenApi,
            _ => return None,
        };
        parts.next().is_none().then_some(found)
    }

    /// The methods that it takes.
    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Keys | Self::Tenants => &LISTING,
            Self::Import | Self::Rotate(_) => &ORDERING,
            Self::Key(_) | Self::Tenant(_) => &CHANGING,
            Self::Audit | Self::OpenApi => &READING,
        }
    }
}

/// What is told of a failure.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    code: &'static str,
    field: Option<String>,
    message: String,
}

impl Failure {
    fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_definition",
            field: (!field.is_empty()).then(|| field.to_owned()),
            message: message.into(),
        }
    }

    fn not_found(what: &str) -> Self {
        Refused::NotFound(what.to_owned()).into()
    }

    fn internal(what: &dyn std::fmt::Display) -> Self {
        log::error!("keys cannot be changed or shown: {what}");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "internal",
            field: None,
            message: "This has failed; the log says why.".to_owned(),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        let (status, code, field) = match refused {
            Refused::Invalid { field, .. } => return Self::invalid(&field, text),
            Refused::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", None),
            Refused::OfTheFile(_) => (StatusCode::CONFLICT, "defined_in_file", None),
            Refused::Open => (StatusCode::CONFLICT, "tenants_not_configured", None),
            Refused::Taken { field, .. } => (StatusCode::CONFLICT, "already_exists", Some(field)),
            Refused::Full(_) => (StatusCode::CONFLICT, "limit_reached", None),
            Refused::NoRandom => return Self::internal(&text),
            Refused::Store(_) => {
                log::error!("{text}");
                return Self {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    code: "database_unavailable",
                    field: None,
                    message:
                        "The database of the keys cannot be used at the moment; the log says why."
                            .to_owned(),
                };
            }
        };
        Self {
            status,
            code,
            field: field.map(str::to_owned),
            message: text,
        }
    }
}

impl From<NoKeys> for Failure {
    fn from(_: NoKeys) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            code: "no_ledger",
            field: None,
            message: "Tenants and keys that are made at run time are kept beside a ledger, and the configuration has \
                      none: write `ledger: { path: … }`."
                .to_owned(),
        }
    }
}

/// Answers a request for one of these paths.
pub async fn answer(
    shared: &Arc<Shared>,
    route: Route,
    session: &mut ServerSession,
) -> Response<Vec<u8>> {
    let request = session.req_header();
    if let Some(refused) = wrong_method(request, route.methods()) {
        return refused;
    }
    let answered = match asked::read(&route, session, shared).await {
        Ok(asked) => carry_out(shared, route, asked).await,
        Err(failure) => Err(failure),
    };
    match answered {
        Ok((status, body)) => respond(status, JSON, body.into_bytes()),
        Err(failure) => refuse(&failure),
    }
}

fn refuse(failure: &Failure) -> Response<Vec<u8>> {
    let kind = match failure.status.is_server_error() {
        true => "server_error",
        false => "invalid_request_error",
    };
    let error = json!({ "error": {
        "message": failure.message,
        "type": kind,
        "param": failure.field,
        "code": failure.code,
    } });
    let mut response = respond(failure.status, JSON, error.to_string().into_bytes());
    if failure.status == StatusCode::SERVICE_UNAVAILABLE {
        let soon = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, soon);
    }
    response
}

/// A status and a body.
type Answer = Result<(StatusCode, String), Failure>;

async fn carry_out(shared: &Arc<Shared>, route: Route, asked: Asked) -> Answer {
    if route == Route::OpenApi {
        return Ok((StatusCode::OK, OPENAPI.to_owned()));
    }
    let shared = Arc::clone(shared);
    // It waits for a database, or looks at very many keys.
    let done = tokio::task::spawn_blocking(move || match asked.is_reading {
        true => read(&shared, &route, &asked.page),
        false => change(&shared, route, &asked),
    });
    match done.await {
        Ok(answer) => answer,
        Err(error) => Err(Failure::internal(&error)),
    }
}

fn read(shared: &Shared, route: &Route, page: &Page) -> Answer {
    let keys = shared.keys().ok_or(NoKeys)?;
    let managed = keys.managed();
    if !managed.is_loaded() {
        return Err(Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "database_unavailable",
            field: None,
            message: "What was made at run time is not known yet: its database is away.".to_owned(),
        });
    }
    let config = keys.config();
    let shown = match route {
        Route::Keys | Route::Import => shown::keys(&config, &managed.set(), page),
        Route::Tenants => shown::tenants(&config, &managed.set(), page),
        Route::Key(id) | Route::Rotate(id) => shown::one_key(&config, &managed.set(), id)
            .map(|key| shown::with_usage(key, &shared.limits))
            .ok_or_else(|| Failure::not_found(&format!("key `{id}`")))?,
        Route::Tenant(id) => shown::one_tenant(&config, &managed.set(), id)
            .ok_or_else(|| Failure::not_found(&format!("tenant `{id}`")))?,
        Route::Audit | Route::OpenApi => {
            let before = page.after.as_deref().map(str::parse).transpose();
            let before =
                before.map_err(|_| Failure::invalid("after", "it is not the id of a line"))?;
            // One more shows whether there are more.
            let most = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
            let lines = keys.audit(before, page.tenant.as_deref(), most);
            shown::audit(lines.map_err(Refused::Store)?, page.limit)
        }
    };
    Ok((StatusCode::OK, shown.to_string()))
}

fn change(shared: &Shared, route: Route, asked: &Asked) -> Answer {
    let change = asked_change(&route, asked)?;
    let status = match change {
        Change::CreateTenant(..) | Change::CreateKey(..) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    let outcome = shared.change_keys(&change, &asked.actor)??;
    Ok((status, told(&route, outcome).to_string()))
}

/// The change that is asked for.
fn asked_change(route: &Route, asked: &Asked) -> Result<Change, Failure> {
    let is_delete = asked.method == Method::DELETE;
    Ok(match route {
        Route::Keys => {
            let (tenant, definition) = asked.split("tenant")?;
            Change::CreateKey(tenant, definition)
        }
        Route::Tenants => {
            let (id, definition) = asked.split("id")?;
            Change::CreateTenant(id, definition)
        }
        Route::Key(id) if is_delete => Change::RevokeKey(id.clone()),
        Route::Key(id) => Change::ChangeKey(id.clone(), asked.object()?),
        Route::Tenant(id) if is_delete => Change::DeleteTenant(id.clone()),
        Route::Tenant(id) => Change::ChangeTenant(id.clone(), asked.object()?),
        Route::Rotate(id) => Change::RotateKey(id.clone(), asked.overlap()?),
        Route::Import | Route::Audit | Route::OpenApi => {
            Change::Import(read_import(asked.text()?)?)
        }
    })
}

fn told(route: &Route, outcome: Outcome) -> Value {
    match outcome {
        Outcome::Tenant(entry) => shown::tenant(&entry),
        Outcome::Key(entry) => shown::key(&entry),
        Outcome::Shown(entry, secret) => {
            let mut shown = shown::key(&entry);
            if let Some(members) = shown.as_object_mut() {
                members.insert("key".to_owned(), secret.expose().into());
            }
            shown
        }
        Outcome::Deleted(keys) => {
            let id = match route {
                Route::Tenant(id) => id.as_str(),
                _ => "",
            };
            json!({ "object": "tenant", "id": id, "deleted": true, "revoked_keys": keys })
        }
        Outcome::Revoked(row) => {
            json!({ "object": "key", "id": row.id, "tenant": row.tenant, "name": row.name(), "revoked": true })
        }
        Outcome::Imported(ids) => json!({ "object": "import", "imported": ids.len(), "ids": ids }),
    }
}

#[cfg(test)]
mod tests;
