//! How the configuration that is in force came to be, and whether the last attempt to change it failed.
//!
//! Owns what `/status`, systemd and metrics say of it. Does not handle the reload (see `server::reload`). Cannot fail.

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::clock;
use crate::observe::reloads::ReloadMetrics;

/// The last reload that succeeded, and the failure after it if there is one.
pub struct Reloads {
    state: ArcSwap<State>,
    metrics: ReloadMetrics,
}

/// What is known of the configuration in force.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Where it comes from.
    pub source: String,
    /// When it was put in force, in seconds since the Unix epoch.
    pub since: i64,
    /// Why the last attempt failed, if it did.
    pub failure: Option<String>,
}

impl Reloads {
    /// None so far.
    pub fn new(metrics: ReloadMetrics) -> Self {
        Self {
            state: ArcSwap::default(),
            metrics,
        }
    }

    /// Notes that the first configuration is in force.
    pub fn started(&self, source: &str) {
        self.metrics.started(self.note(source));
    }

    /// Notes that another configuration is in force.
    pub fn applied(&self, source: &str) {
        self.metrics.applied(self.note(source));
    }

    fn note(&self, source: &str) -> i64 {
        let since = clock::now_unix_seconds();
        self.state.store(
            State {
                source: source.to_owned(),
                since,
                failure: None,
            }
            .into(),
        );
        since
    }

    /// Notes that a configuration was not put in force, and why.
    pub fn refused(&self, why: &str) {
        self.metrics.refused();
        let state = State {
            failure: Some(why.to_owned()),
            ..State::clone(&self.state.load())
        };
        self.state.store(state.into());
    }

    /// What is known now.
    pub fn state(&self) -> State {
        State::clone(&self.state.load())
    }

    /// In words, for one line.
    pub fn describe(&self) -> String {
        let state = self.state.load();
        let since = Timestamp::from_second(state.since).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut text = format!("configuration of {} since {since}", state.source);
        if state.failure.is_some() {
            text.push_str("; the last reload failed");
        }
        text
    }
}
