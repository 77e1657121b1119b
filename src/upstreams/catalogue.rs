//! The list of an upstream's models, as the upstream gives it.
//!
//! Owns asking for it, with the upstream's own key, and how long it stays fresh. One request asks at a
//! time; others wait for the same answer. Does not handle which models a client sees (see
//! `gateway::models`). An upstream that fails is not asked again for a while, and its last list is used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST};
use pingora::http::RequestHeader;
use tokio::sync::Semaphore;

use super::told::{no_answer_within, told_within};
use super::{Connector, Payload, Turn, Upstream};
use crate::openai::models::{self, Model};
use crate::workers;

/// Where the list is asked for.
const OPERATION: &str = "/models";
/// An upstream that takes longer than this for its list has failed.
const PATIENCE: Duration = Duration::from_secs(3);
/// One that has failed is asked again after this.
const PAUSE: Duration = Duration::from_secs(30);
/// A longer list is not read.
const MAX_LIST_BYTES: usize = 8 << 20;

/// The list of one upstream.
#[derive(Debug)]
pub struct Catalogue {
    /// The last list.
    listed: ArcSwapOption<Listed>,
    /// When it last failed.
    failed: ArcSwapOption<Instant>,
    turn: Semaphore,
}

/// A list of models.
#[derive(Debug)]
pub struct Listed {
    models: Vec<Model>,
    positions: HashMap<String, usize>,
    at: Instant,
}

impl Listed {
    fn new(models: Vec<Model>) -> Self {
        let named = models.iter().enumerate();
        Self {
            positions: named.map(|(n, model)| (model.id.clone(), n)).collect(),
            models,
            at: Instant::now(),
        }
    }

    /// Every model, in the upstream's order.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The model with this id.
    pub fn find(&self, id: &str) -> Option<&Model> {
        self.models.get(*self.positions.get(id)?)
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            listed: ArcSwapOption::empty(),
            failed: ArcSwapOption::empty(),
            turn: Semaphore::new(1),
        }
    }
}

impl Catalogue {
    /// The list where it need not be asked for: one that is not older than `ttl`, or the last one of
    /// an upstream that has just failed.
    fn known(&self, ttl: Duration) -> Option<Option<Arc<Listed>>> {
        let listed = self.listed.load_full();
        let is_fresh = listed.as_ref().is_some_and(|l| l.at.elapsed() < ttl);
        let failed = self.failed.load();
        let has_failed = failed.as_ref().is_some_and(|at| at.elapsed() < PAUSE);
        (is_fresh || has_failed).then_some(listed)
    }
}

impl Upstream {
    /// The list, not older than `ttl`, or older where the upstream no longer gives one; `None` where
    /// it has never given one.
    pub async fn models(&self, connector: &Connector, ttl: Duration) -> Option<Arc<Listed>> {
        let catalogue = &self.catalogue;
        if let Some(known) = catalogue.known(ttl) {
            return known;
        }
        // Never closed, so always acquired.
        let _turn = catalogue.turn.acquire().await.ok()?;
        if let Some(known) = catalogue.known(ttl) {
            return known;
        }
        match tokio::time::timeout(PATIENCE, self.ask_for_models(connector)).await {
            Ok(Ok(models)) => {
                let listed = Arc::new(Listed::new(models));
                catalogue.listed.store(Some(Arc::clone(&listed)));
                return Some(listed);
            }
            Ok(Err(what)) => log::warn!("upstream {}: its models are unknown: {what}", self.name),
            Err(_) => log::warn!(
                "upstream {}: its models are unknown: {}",
                self.name,
                no_answer_within(PATIENCE)
            ),
        }
        catalogue.failed.store(Some(Arc::new(Instant::now())));
        catalogue.listed.load_full()
    }

    async fn ask_for_models(&self, connector: &Connector) -> Result<Vec<Model>, String> {
        let lease = self.pool.choose(b"", &[]).ok_or("no server can be asked")?;
        let peer = &lease.peer;
        let path = [&peer.base_path, OPERATION].concat();
        let build = || {
            let mut header = RequestHeader::build_no_case("GET", path.as_bytes(), Some(6)).ok()?;
            header.insert_header(HOST, peer.authority.clone()).ok()?;
            let json = HeaderValue::from_static("application/json");
            header.insert_header(ACCEPT, json).ok()?;
            let identity = HeaderValue::from_static("identity");
            header.insert_header(ACCEPT_ENCODING, identity).ok()?;
            for (name, value) in &self.dialect.headers {
                header.insert_header(name.clone(), value.clone()).ok()?;
            }
            if let Some((_, key)) = self.keys.pinned(Turn::Next)
                && let Some(credential) = &key.value
            {
                let name = self.dialect.key_header.clone();
                header.insert_header(name, credential.clone()).ok()?;
            }
            Some(header)
        };
        let header = build().ok_or("the request cannot be written as HTTP")?;
        let said = |e: Box<pingora::Error>| told_within(&e, PATIENCE);
        let until = Instant::now() + PATIENCE;
        let connection = connector.connect(peer).await.map_err(said)?;
        let sent = connection.send(&header, &Payload::default(), until).await;
        let mut session = sent.map_err(|not_sent| said(not_sent.error))?;
        let status = session.header(until).await.map_err(said)?.status;
        if status != http::StatusCode::OK {
            return Err(format!("it answered with status {}", status.as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = session.read_body(until).await.map_err(said)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_LIST_BYTES {
                return Err(format!("its list is longer than {MAX_LIST_BYTES} bytes"));
            }
        }
        connector.release(session, peer).await;
        let models = workers::walk(body.len(), || models::read(&body));
        models.ok_or_else(|| "what it answered is no list".to_owned())
    }
}
