//! What an attempt showed, and what follows.
//!
//! Owns the reasons for which attempts fail, and for each: what is to blame, the next step, whether the
//! attempt was free, its status. `error_patterns` reads what an error means, with `response_codes` for the
//! codes of failed responses and `overflow` for requests that are too long; `scope` says how far an error
//! reaches. Does not handle how often something is tried (see `gateway::exchange::failover`), how long a key
//! cools down (see `upstreams::cooldown`), and what the client reads (see `gateway::failure`). Never fails:
//! each failure has a reason.

mod error_patterns;
mod overflow;
mod response_codes;
mod scope;

use std::fmt;

use super::upstream_error::UpstreamError;
use error_patterns::ErrorPatterns;

pub use scope::Scope;

/// What an attempt showed.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// The connection failed before any answer.
    Unreachable,
    /// The forward proxy could not be reached, or did not answer.
    ProxyUnreachable,
    /// The forward proxy made no connection.
    ProxyRefused,
    /// The TLS handshake failed.
    Tls,
    /// The request could not be sent whole.
    NotSent,
    /// The request was sent whole, and the connection broke without an answer.
    Lost,
    /// What came is no HTTP, or HTML or another type where JSON or events belong.
    InvalidResponse,
    /// No real output came within the time for the first of it.
    Silent,
    /// The whole time is over.
    Late,
    /// The answer began and was cut before any output.
    Cut,
    /// A stream came to its end, properly framed, without any output.
    Empty,
    /// An answer with an error status, as far as its body could be read.
    Answer {
        /// The status.
        status: u16,
        /// The error in the body.
        error: &'a UpstreamError,
    },
    /// A web page with an error status.
    Page {
        /// The status.
        status: u16,
    },
    /// An error came under a status of success: in a whole answer, or as an event of a stream.
    UnderSuccess(&'a UpstreamError),
}

/// Why an attempt failed: the names in metrics, in logs and under `on:` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Too many requests or tokens in too short a time.
    RateLimited,
    /// The account has no money left, or may not spend it.
    OutOfCredit,
    /// The key is unknown, disabled or not allowed to do this.
    KeyRefused,
    /// The provider does not serve the country that we call from.
    RegionRefused,
    /// The server has too much to do.
    Overloaded,
    /// The server reports a failure of its own.
    ServerError,
    /// No connection came about.
    Unreachable,
    /// The forward proxy could not be reached, or did not answer.
    ProxyUnreachable,
    /// The forward proxy made no connection.
    ProxyRefused,
    /// The TLS handshake failed.
    Tls,
    /// The request could not be sent whole.
    NotSent,
    /// The request was sent whole, and the connection broke without an answer.
    Lost,
    /// What came is not what this API answers.
    InvalidResponse,
    /// No real output came within the time for the first of it.
    Silent,
    /// The whole time is over.
    Late,
    /// The answer was cut before any output.
    Cut,
    /// The answer was whole, and had no output.
    Empty,
    /// The upstream does not have the model, or not for this key.
    ModelMissing,
    /// Something else was changing the same thing.
    Conflict,
    /// The server waited too long for the request.
    RequestTimeout,
    /// The request is against the provider's rules.
    ContentFilter,
    /// The request is too long for the model.
    ContextLength,
    /// The request is wrong in some other way.
    BadRequest,
}

/// What is to blame for a failure: it cools down, is ejected, or is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The provider key.
    Key,
    /// The server.
    Server,
    /// The target: this model of this upstream, whichever server and key serve it.
    Target,
    /// None of ours.
    Nothing,
}

/// What is done next, unless the rule says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Once more, here: another server or connection of the same target is fine.
    SameTarget,
    /// The same target with another key; where there is none, another target.
    OtherKey,
    /// Another target.
    OtherTarget,
    /// The client gets the error.
    Client,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why it failed.
    pub reason: Reason,
    /// What is done next.
    pub next_step: NextStep,
    /// How far it reaches.
    pub scope: Scope,
}

/// What follows from a reason.
struct Traits {
    name: &'static str,
    next_step: NextStep,
    blames: Blame,
    is_free: bool,
    /// The usual status of an error for this reason; 502 for what is no error of the upstream's own.
    status: u16,
}

impl Reason {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::RateLimited,
        Self::OutOfCredit,
        Self::KeyRefused,
        Self::RegionRefused,
        Self::Overloaded,
        Self::ServerError,
        Self::Unreachable,
        Self::ProxyUnreachable,
        Self::ProxyRefused,
        Self::Tls,
        Self::NotSent,
        Self::Lost,
        Self::InvalidResponse,
        Self::Silent,
        Self::Late,
        Self::Cut,
        Self::Empty,
        Self::ModelMissing,
        Self::Conflict,
        Self::RequestTimeout,
        Self::ContentFilter,
        Self::ContextLength,
        Self::BadRequest,
    ];

    #[rustfmt::skip]
    const fn traits(self) -> Traits {
        use Blame::{Key, Nothing, Server, Target};
        use NextStep::{Client, OtherKey, OtherTarget, SameTarget};
        let (name, next_step, blames, is_free, status) = match self {
            Self::RateLimited =>     ("rate_limited",     OtherKey,    Key,    true,  429),
            Self::OutOfCredit =>     ("out_of_credit",    OtherKey,    Key,    true,  429),
            Self::KeyRefused =>      ("key_refused",      OtherKey,    Key,    true,  401),
            Self::RegionRefused =>   ("region_refused",   OtherTarget, Target, true,  403),
            Self::Overloaded =>      ("overloaded",       OtherTarget, Server, true,  503),
            Self::ServerError =>     ("server_error",     OtherTarget, Server, true,  502),
            Self::Unreachable =>     ("unreachable",      OtherTarget, Server, true,  502),
            Self::ProxyUnreachable => ("proxy_unreachable", OtherTarget, Server, true, 502),
            Self::ProxyRefused =>    ("proxy_refused",    OtherTarget, Server, true,  502),
            Self::Tls =>             ("tls",              OtherTarget, Server, true,  502),
            Self::NotSent =>         ("not_sent",         OtherTarget, Server, true,  502),
            Self::Lost =>            ("lost",             Client,      Server, false, 502),
            Self::InvalidResponse => ("invalid_response", OtherTarget, Target, false, 502),
            Self::Silent =>          ("silent",           OtherTarget, Server, false, 502),
            Self::Late =>            ("late",             Client,      Server, false, 502),
            // A connection that breaks says little of the server behind it.
            Self::Cut =>             ("cut",              SameTarget,  Server, false, 502),
            Self::Empty =>           ("empty",            OtherTarget, Target, false, 502),
            Self::ModelMissing =>    ("model_missing",    OtherTarget, Nothing, true,  404),
            Self::Conflict =>        ("conflict",         SameTarget,  Nothing, true,  409),
            Self::RequestTimeout =>  ("request_timeout",  SameTarget,  Server, false, 408),
            Self::ContentFilter =>   ("content_filter",   Client,      Nothing, false, 400),
            Self::ContextLength =>   ("context_length",   Client,      Nothing, false, 400),
            Self::BadRequest =>      ("bad_request",      Client,      Nothing, true,  400),
        };
        Traits { name, next_step, blames, is_free, status }
    }

    /// Its name, in `snake_case`.
    pub fn name(self) -> &'static str {
        self.traits().name
    }

    /// The reason of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|reason| reason.name() == name)
    }

    /// What is to blame: it cools down, is ejected, or is counted against.
    pub fn blames(self) -> Blame {
        self.traits().blames
    }

    /// What is done next, unless the rule says otherwise.
    pub fn next_step(self) -> NextStep {
        self.traits().next_step
    }

    /// Whether the upstream has certainly not charged for the attempt: it never had the whole
    /// request, or refused it before the model began.
    ///
    /// An answer that reports a failure of the server counts as free, as no provider that we know charges
    /// for one. What may have begun (all that ended without a reason) does not, nor what Azure says
    /// that it may charge for: a content filter, an input beyond the limit, a 408.
    pub fn is_free(self) -> bool {
        self.traits().is_free
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The status by which an error is judged that came under a status of success, and has nothing in it
/// that we know.
const UNKNOWN_STATUS: u16 = 500;

/// What an attempt came to.
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut scope = Scope::Request;
    let mut read = |error: &UpstreamError, status: Option<u16>| {
        let patterns = ErrorPatterns::of(error);
        let status = status.or_else(|| patterns.usual_status());
        let status = status.unwrap_or(UNKNOWN_STATUS);
        let reason = patterns.reason(status);
        scope = patterns.scope(status, reason);
        reason
    };
    let reason = match *evidence {
        Evidence::Unreachable => Reason::Unreachable,
        Evidence::ProxyUnreachable => Reason::ProxyUnreachable,
        Evidence::ProxyRefused => Reason::ProxyRefused,
        Evidence::Tls => Reason::Tls,
        Evidence::NotSent => Reason::NotSent,
        Evidence::Lost => Reason::Lost,
        Evidence::InvalidResponse => Reason::InvalidResponse,
        Evidence::Silent => Reason::Silent,
        Evidence::Late => Reason::Late,
        Evidence::Cut => Reason::Cut,
        Evidence::Empty => Reason::Empty,
        Evidence::Answer { status, error } => read(error, Some(status)),
        Evidence::UnderSuccess(error) => read(error, error.status),
        Evidence::Page { status } => {
            let reason = read(&UpstreamError::default(), Some(status));
            // A firewall before the API refuses a request for what is in it.
            if status == 403 {
                scope = Scope::Request;
            }
            reason
        }
    };
    Verdict {
        reason,
        next_step: reason.next_step(),
        scope,
    }
}

/// The status of an error that came under a status of success, for this reason: its own, else the one
/// that usually goes with it.
pub fn status_under_success(error: &UpstreamError, reason: Reason) -> u16 {
    let usual = || match reason {
        // These have several.
        Reason::BadRequest | Reason::ServerError => ErrorPatterns::of(error).usual_status(),
        _ => None,
    };
    let status = error.status.or_else(usual);
    status.unwrap_or_else(|| reason.traits().status)
}

/// A set of reasons, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reasons(u32);

impl Reasons {
    /// All reasons for which, unless the rule says otherwise, something else is tried.
    pub fn moving_on() -> Self {
        let all = Reason::ALL.iter().copied();
        all.filter(|reason| reason.next_step() != NextStep::Client)
            .collect()
    }

    /// Those, and those for which another model may help: one may have room for a request that is too long.
    pub fn to_another_model() -> Self {
        let Self(moving_on) = Self::moving_on();
        let Self(too_long) = Self::from_iter([Reason::ContextLength]);
        Self(moving_on | too_long)
    }

    /// Whether a reason is one of them.
    pub fn contains(self, reason: Reason) -> bool {
        self.0 & bit(reason) != 0
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        Self(reasons.into_iter().fold(0, |set, one| set | bit(one)))
    }
}

const fn bit(reason: Reason) -> u32 {
    1 << reason as u8
}

#[cfg(test)]
#[allow(clippy::too_many_lines)]
mod tests;
