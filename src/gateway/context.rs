//! What a request carries along its way.
//!
//! Owns the pinned snapshot, what has been learnt so far and the times taken. Each field is written
//! by the one step that learns it and read by `finish`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::UNCOUNTED_HEADER_BYTES;
use super::failure::client_closed_request;
use super::meter::Meter;
use super::plan::skipped::Skipped;
use crate::ids;
use crate::observe::metrics::Shed;
use crate::runtime::{Held, InFlight, Route, Rule, Runtime, Shared};
use crate::tenants::Tenant;
use crate::upstreams::Upstream;

/// One attempt, as it is told to the operator.
pub struct Tried {
    /// Who was asked: its position in the snapshot.
    pub upstream: usize,
    /// With which key of ours: its position among them.
    pub key: Option<usize>,
    /// What came of it: `ok`, or the name of a reason.
    pub outcome: &'static str,
    /// How long it took.
    pub time: Duration,
}

/// The state of one request.
pub struct Context {
    /// The snapshot that was current when the request came.
    pub runtime: Arc<Runtime>,
    /// Our id for the request.
    pub request_id: String,
    /// When its header had been read.
    pub started: Instant,
    /// Where it came from.
    pub client: Option<IpAddr>,
    /// Whether its address sends too much.
    pub floods: bool,
    /// The endpoint's name in metrics.
    pub endpoint: &'static str,
    /// Who is calling.
    pub tenant: Option<Arc<Tenant>>,
    /// The model that the client asked for.
    pub model: Option<String>,
    /// The rule that serves it.
    pub rule: Option<Arc<Rule>>,
    /// The route that the request is forwarded by.
    pub route: Option<Arc<Route>>,
    /// The model that the upstream is asked for.
    pub sent_model: Option<String>,
    /// The upstream.
    pub upstream: Option<Arc<Upstream>>,
    /// The status that was committed to the client; 0 before that.
    pub status: u16,
    /// What went wrong, as its code.
    pub error: Option<&'static str>,
    /// Whether asking again is left to the client: it may cost twice, so we do not.
    pub retry_is_clients: bool,
    /// Which limit turned the request away.
    pub shed: Option<Shed>,
    /// Body bytes from the client.
    pub bytes_in: usize,
    /// Body bytes to the client.
    pub bytes_out: usize,
    /// From `started` to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// How much of the time until then was not.
    pub own: Option<Duration>,
    /// How long the client or the upstream has been waited for so far.
    pub waited: Duration,
    /// What it has used, as far as that is known; nothing where that is not asked, or where somebody
    /// else settles it.
    pub meter: Option<Box<Meter>>,
    /// What has been tried, in order; as many as the bounds on attempts allow.
    pub trail: Vec<Tried>,
    /// What was not asked, and why, where nothing could be asked.
    pub skipped: Vec<Skipped>,
    /// Counts the request, and its place among those that are served.
    pub in_flight: InFlight,
    /// The memory of its header over HTTP/2; over HTTP/1 its connection has it.
    header_memory: Held,
}

impl Context {
    /// Starts the life of a request.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self {
            runtime: shared.pin(),
            request_id: ids::request_id(),
            started: Instant::now(),
            client: None,
            floods: false,
            endpoint: crate::observe::metrics::OTHER,
            tenant: None,
            model: None,
            rule: None,
            route: None,
            sent_model: None,
            upstream: None,
            status: 0,
            error: None,
            retry_is_clients: false,
            shed: None,
            bytes_in: 0,
            bytes_out: 0,
            first_byte: None,
            own: None,
            waited: Duration::ZERO,
            meter: None,
            trail: Vec::new(),
            skipped: Vec::new(),
            in_flight: shared.enter(),
            header_memory: shared.headers.hold_none(),
        }
    }

    /// Notes who is asked now, and for which model.
    pub fn ask(&mut self, upstream: &Arc<Upstream>, model: Option<&str>) {
        self.upstream = Some(Arc::clone(upstream));
        let other = model.filter(|model| self.model.as_deref() != Some(model));
        self.sent_model = other.map(str::to_owned);
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
        match self.status {
            0 => client_closed_request().as_u16(),
            status => status,
        }
    }

    /// Whether it is written to the chat log.
    pub fn is_logged(&self) -> bool {
        self.meter
            .as_ref()
            .is_some_and(|meter| meter.chat.is_some())
    }

    /// Notes that the first byte of the answer goes to the client now: no attempt follows.
    pub fn commit(&mut self, status: u16) {
        self.status = status;
        let first_byte = self.started.elapsed();
        self.first_byte = Some(first_byte);
        self.own = Some(first_byte.saturating_sub(self.waited));
    }

    /// Whether an answer has begun.
    pub fn is_committed(&self) -> bool {
        self.status != 0
    }
}
