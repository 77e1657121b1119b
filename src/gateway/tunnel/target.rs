//! Which requests may pass unread, and where they go.
//!
//! Owns the order of the checks: below a route's prefix to that route's upstream, below `/v1` to the
//! tenant's home. Each refusal is a [`Failure`].

use std::sync::Arc;

use http::Method;
use pingora::http::RequestHeader;

use super::super::context::Context;
use super::super::failure::Failure;
use super::super::{admit, headers};
use crate::openai::endpoint::{self, Socket};
use crate::openai::privileges;
use crate::runtime::{PASSTHROUGH, ROUTE};
use crate::upstreams::Upstream;

/// What may be asked of an upstream.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Where a request goes on its server, with its query.
pub enum Target {
    /// Below the base path of the API.
    Api(String),
    /// Below the path of the server's URL.
    Url(String),
}

impl Target {
    /// Names the kind of operation, for what is learnt of the key: the first part of the path.
    pub fn operation(&self) -> &str {
        let (Self::Api(target) | Self::Url(target)) = self;
        let path = target.split('?').next().unwrap_or_default();
        let second = path.char_indices().skip(1).find(|(_, c)| *c == '/');
        second.and_then(|(at, _)| path.get(..at)).unwrap_or(path)
    }
}

/// Finds out where a request goes.
pub async fn find(
    request: &RequestHeader,
    context: &mut Context,
) -> Result<(Arc<Upstream>, Target), Failure> {
    // CONNECT would be the client's tunnel, not ours; `post` is another method than POST.
    if !METHODS.contains(&request.method) {
        return Err(admit::nobody_serves(request));
    }
    let path = request.uri.path();
    let runtime = Arc::clone(&context.runtime);
    let query = headers::query(request, &[]);
    if let Some((route, upstream, rest)) = runtime.route(path) {
        context.asked.endpoint = ROUTE;
        context.asked.route = Some(Arc::clone(route));
        admit::caller(request, context).await?;
        admit::unread(path, context)?;
        check_path(path)?;
        let mark = if query.is_empty() { "" } else { "?" };
        let target = Target::Url([rest, mark, &query].concat());
        return Ok((Arc::clone(upstream), target));
    }
    let Some(operation) = endpoint::operation(path) else {
        return Err(admit::nobody_serves(request));
    };
    context.asked.endpoint = PASSTHROUGH;
    admit::caller(request, context).await?;
    if Socket::find(path).is_some_and(|s| s.model_in_query) && request.method == Method::GET {
        let path = path.to_owned();
        return Err(Failure::SocketNeeded { path });
    }
    let is_strict = context.tenant().is_some_and(|t| t.is_strict);
    let home = context.tenant().and_then(|tenant| {
        let upstream = runtime.home(tenant)?;
        Some((tenant, upstream))
    });
    let Some((tenant, upstream)) = home else {
        // A strict tenant has none because nothing is read there.
        return Err(match admit::has_no_home(request) {
            Failure::NoHome { path, .. } if is_strict => Failure::Unread { path },
            failure => failure,
        });
    };
    check_path(path)?;
    // What is asked for a model is read, or it does not pass: the tenant may not have every model.
    if endpoint::is_disguised(path) || upstream.dialect.names_deployment(operation) {
        return Err(admit::nobody_serves(request));
    }
    if let Some(needs) = privileges::needed(&request.method, operation)
        && !tenant.grants.allow(needs)
    {
        let path = path.to_owned();
        return Err(Failure::NotAllowed { path, needs });
    }
    let target = upstream.dialect.target(operation, &query, None);
    Ok((Arc::clone(upstream), Target::Api(target)))
}

fn check_path(path: &str) -> Result<(), Failure> {
    match endpoint::is_plain(path) {
        true => Ok(()),
        false => Err(Failure::AmbiguousPath),
    }
}
