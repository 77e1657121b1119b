//! What a request carries along its way.
//!
//! Owns the pinned snapshot, and four records, each written by the steps that its comment names:
//! [`Request`], [`Principal`], [`Asked`] and [`Outcome`]. `finish` reads them all. What only two
//! neighbouring steps need is passed from one to the other and does not stand here. Cannot fail.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::AGE;
use http::response::Parts;
use http::{HeaderMap, HeaderValue};
use pingora::http::RequestHeader;

use super::failure::{Failure, add_standing, client_closed_request};
use super::headers;
use super::meter::Meter;
use crate::auth::SignatureRefused;
use crate::config::Method;
use crate::gateway::connection::UNCOUNTED_HEADER_BYTES;
use crate::ids;
use crate::ledger::Marks;
use crate::limits::{Now, Reservation};
use crate::observe::cache::CacheResult;
use crate::observe::metrics::{OTHER, Shed};
use crate::runtime::{Held, InFlight, Principal, Route, Rule, Runtime, Shared};
use crate::tenants::Tenant;
use crate::tls::clients::ClientCertificate;
use crate::upstreams::Upstream;

/// The request itself. Written at its start and by `open`.
pub struct Request {
    /// Our id for it.
    pub id: String,
    /// When its header had been read.
    pub started: Instant,
    /// The position of the listener that it came by.
    pub listener: usize,
    /// Where it came from.
    pub client: Option<IpAddr>,
    /// The certificate that its client has shown.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Whether its address sends too much.
    pub floods: bool,
}

/// What it asks for. Written by the fork (`serve`), and by the step that finds what serves it: `plan`,
/// or `tunnel/target`.
pub struct Asked {
    /// The endpoint's name in metrics.
    pub endpoint: &'static str,
    /// The model that the client asked for.
    pub model: Option<String>,
    /// The rule that serves it.
    pub rule: Option<Arc<Rule>>,
    /// The route that the request is forwarded by.
    pub route: Option<Arc<Route>>,
    /// What is known of its body.
    pub marks: Marks,
}

/// What comes of it. Written by the steps that ask an upstream and answer the client.
pub struct Outcome {
    /// The upstream that was asked last.
    pub upstream: Option<Arc<Upstream>>,
    /// The model that it was asked for, where that is not the client's.
    pub sent_model: Option<String>,
    /// What has been tried, in order; as many as the bounds on attempts allow.
    pub trail: Vec<Tried>,
    /// What was not asked, and why, where nothing could be asked.
    pub skipped: Vec<Skipped>,
    /// What went wrong, as its code.
    pub error: Option<&'static str>,
    /// Which limit turned the request away.
    pub shed: Option<Shed>,
    /// Whether an upstream has been asked, and has not refused.
    pub is_asking: bool,
    /// What it has used, once that is settled.
    pub used: Option<Used>,
    /// What became of it where its rule uses answers again.
    pub from_cache: Option<Box<FromCache>>,
    /// Whether asking again is left to the client: it may cost twice, so we do not.
    pub retry_is_clients: bool,
    /// Body bytes from the client.
    pub bytes_in: usize,
    /// Body bytes to the client.
    pub bytes_out: usize,
    /// How long the client or the upstream has been waited for so far.
    pub waited: Duration,
    /// The beginning of the answer, once it has gone to the client.
    committed: Option<Committed>,
}

/// The beginning of an answer.
#[derive(Clone, Copy)]
struct Committed {
    status: u16,
    /// From the request's start.
    first_byte: Duration,
    /// How much of the time until then was not waiting.
    own: Duration,
}

/// What became of a request whose rule uses answers again.
#[derive(Debug, PartialEq)]
pub struct FromCache {
    /// Whether it got one.
    pub result: CacheResult,
    /// The request whose answer it got.
    pub id: Option<Box<str>>,
    /// How old that is.
    pub age: Duration,
    /// How near the question that it answers is; `None` for an equal request.
    pub similarity: Option<f32>,
}

impl FromCache {
    /// Tells the client.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        let result = match self.result {
            CacheResult::Hit | CacheResult::Joined => "hit",
            CacheResult::Semantic => "semantic",
            CacheResult::Miss => "miss",
            CacheResult::Bypass => "bypass",
        };
        headers.insert(super::headers::CACHE, HeaderValue::from_static(result));
        let id = self.id.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(id)) = id {
            headers.insert(super::headers::CACHE_ID, id);
            headers.insert(AGE, HeaderValue::from(self.age.as_secs()));
        }
        let similarity = self.similarity.map(|similarity| format!("{similarity:.4}"));
        if let Some(Ok(similarity)) = similarity.map(HeaderValue::try_from) {
            headers.insert(super::headers::SIMILARITY, similarity);
        }
    }
}

/// What a request has used, for its line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The tokens that went in and came out, where the upstream has reported them.
    pub tokens: Option<(u64, u64)>,
    /// What the provider charges, in nano-dollars, where that is known.
    pub cost_nanos: Option<u64>,
}

/// One attempt, as it is told to the operator.
pub struct Tried {
    /// Which upstream was asked: its position in the snapshot.
    pub upstream: usize,
    /// With which key of ours: its position among them.
    pub key: Option<usize>,
    /// What came of it: `ok`, or the name of a reason.
    pub outcome: &'static str,
    /// Why its target was chosen, where its rule says how.
    pub ground: Option<&'static str>,
    /// When it began.
    pub started: Instant,
    /// How long it took.
    pub time: Duration,
}

/// A target that was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its upstream's position in the snapshot.
    pub upstream: usize,
    /// What kept us from asking it.
    pub cause: &'static str,
    /// For how long that lasts, where it is known.
    pub lasts: Option<Duration>,
}

/// The state of one request.
pub struct Context {
    /// The snapshot that was current when the request came.
    pub runtime: Arc<Runtime>,
    /// The request itself.
    pub request: Request,
    /// Who is calling, once that is known. Written by `admit`.
    pub caller: Option<Principal>,
    /// What it asks for.
    pub asked: Asked,
    /// What comes of it.
    pub outcome: Outcome,
    /// Whether it is written to the ledger. Written by `reserve`.
    pub is_recorded: bool,
    /// What it has used, as far as that is known; nothing where that is not asked, or where it is
    /// settled elsewhere.
    pub meter: Option<Box<Meter>>,
    /// What it holds of the limits and quotas of its caller, until it is settled. Written by `reserve`.
    pub reservation: Option<Box<Reservation>>,
    /// Counts the request, and its place among those that are served.
    pub in_flight: InFlight,
    /// The memory of its header over HTTP/2; over HTTP/1 its connection has it.
    header_memory: Held,
}

impl Context {
    /// Starts the life of a request that has come by the listener at this position.
    pub fn new(shared: &Arc<Shared>, listener: usize) -> Self {
        Self {
            runtime: shared.pin(),
            request: Request {
                id: ids::request_id(),
                started: Instant::now(),
                listener,
                client: None,
                certificate: None,
                floods: false,
            },
            caller: None,
            asked: Asked {
                endpoint: OTHER,
                model: None,
                rule: None,
                route: None,
                marks: Marks::default(),
            },
            outcome: Outcome {
                upstream: None,
                sent_model: None,
                trail: Vec::new(),
                skipped: Vec::new(),
                error: None,
                shed: None,
                is_asking: false,
                used: None,
                from_cache: None,
                retry_is_clients: false,
                bytes_in: 0,
                bytes_out: 0,
                waited: Duration::ZERO,
                committed: None,
            },
            is_recorded: false,
            meter: None,
            reservation: None,
            in_flight: shared.enter(),
            header_memory: shared.headers.hold_none(),
        }
    }

    /// The state of a request that the gateway makes on behalf of this one: for the same caller, by the same snapshot.
    pub fn beside(&self) -> Self {
        let shared = self.in_flight.shared();
        let beside = Self::new(shared, self.request.listener);
        let reservation = self.reservation.as_ref();
        Self {
            runtime: Arc::clone(&self.runtime),
            request: Request {
                client: self.request.client,
                ..beside.request
            },
            caller: self.caller.clone(),
            is_recorded: self.is_recorded,
            reservation: reservation.map(|held| Box::new(held.beside())),
            ..beside
        }
    }

    /// The tenant that is calling, once that is known.
    pub fn tenant(&self) -> Option<&Arc<Tenant>> {
        self.caller.as_ref().map(|caller| &caller.tenant)
    }

    /// The id of that tenant; empty where it is not known.
    pub fn tenant_id(&self) -> &str {
        self.tenant().map_or("", |tenant| &tenant.id)
    }

    /// The name of its caller's credential in the log, once that is known; `None` where none is needed.
    pub fn logged_credential_name(&self) -> Option<&str> {
        self.caller.as_ref()?.logged_credential_name()
    }

    /// The model that an upstream is asked for: the one that is sent, else the client's.
    pub fn model_to_send(&self) -> Option<&str> {
        let sent = self.outcome.sent_model.as_deref();
        sent.or(self.asked.model.as_deref())
    }

    /// Writes a failure to the log, where it has anything for the operator, and counts a body that is not the one
    /// that was signed, which shows late.
    pub fn log_failure(&self, failure: &Failure) {
        if let Failure::NotSigned = failure {
            let refused = SignatureRefused::Body;
            let callers = self.in_flight.shared().metrics.callers();
            callers.refused(Method::Hmac.name(), refused.reason());
        }
        failure.log(
            &self.request.id,
            self.outcome.upstream_name().unwrap_or("-"),
        );
    }

    /// Makes an upstream's header one for the client.
    pub fn header_for_client(&self, header: Parts, request: &RequestHeader) -> Parts {
        let mut header = headers::for_client(header, request, &self.request.id);
        self.add_standing(&mut header.headers);
        header
    }

    /// Adds to a header how the caller's own rates stand.
    pub fn add_standing(&self, headers: &mut HeaderMap) {
        let reservation = self.reservation.as_ref();
        let standing = reservation.and_then(|reservation| reservation.standing(Now::read()));
        if let Some(standing) = standing {
            add_standing(&standing, headers);
        }
    }

    /// Notes which upstream is asked now, and for which model.
    pub fn ask(&mut self, upstream: &Arc<Upstream>, model: Option<&str>) {
        self.outcome.upstream = Some(Arc::clone(upstream));
        let other = model.filter(|model| self.asked.model.as_deref() != Some(model));
        self.outcome.sent_model = other.map(str::to_owned);
    }

    /// Takes memory for a header of so many bytes. Tells whether there is some.
    pub fn hold_header(&mut self, bytes: usize) -> bool {
        let limit = self.runtime.settings.limits.header_memory;
        let counted = bytes.saturating_sub(UNCOUNTED_HEADER_BYTES);
        self.header_memory.grow_to(counted, limit)
    }

    /// Gives back what a refused request has no more use for.
    pub fn give_way(&mut self) {
        self.in_flight.give_way();
        self.header_memory.shrink_to(0);
    }

    /// The status that the client got; 499 when it left before any.
    pub fn told_status(&self) -> u16 {
        let status = self.outcome.committed.map(|committed| committed.status);
        status.unwrap_or_else(|| client_closed_request().as_u16())
    }

    /// Whether it is written to the chat log.
    pub fn is_logged(&self) -> bool {
        self.meter
            .as_ref()
            .is_some_and(|meter| meter.chat.is_some())
    }

    /// Notes that the first byte of the answer goes to the client now: no attempt follows.
    pub fn commit(&mut self, status: u16) {
        let first_byte = self.request.started.elapsed();
        self.outcome.committed = Some(Committed {
            status,
            first_byte,
            own: first_byte.saturating_sub(self.outcome.waited),
        });
    }
}

impl Outcome {
    /// The name of the upstream that was asked last.
    pub fn upstream_name(&self) -> Option<&str> {
        self.upstream
            .as_ref()
            .map(|upstream| upstream.name.as_str())
    }

    /// Whether an answer has begun.
    pub fn is_committed(&self) -> bool {
        self.committed.is_some()
    }

    /// From the request's start to the first byte of its answer.
    pub fn first_byte(&self) -> Option<Duration> {
        Some(self.committed?.first_byte)
    }

    /// How much of that time was our own.
    pub fn own(&self) -> Option<Duration> {
        Some(self.committed?.own)
    }
}
