//! What is told of provider keys: to the operator, and to the gateways that share a store.
//!
//! Owns the line of the log about a key that is cooling down, and the message: what an answer has shown of a key, so
//! that a key which one gateway finds rate-limited is left alone by all. A key is named by its fingerprint. Does not
//! handle what follows (see `upstreams::cooldown`) or how messages pass (see `limits`). A message that cannot be read,
//! or is about a key that is not configured here, is ignored.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::runtime::Shared;
use crate::upstreams::{Cooled, Fault, Finding, Key, KeyUse};

/// A finding that is older counts for nothing.
const LONGEST_AGE: Duration = Duration::from_secs(60);

/// What an answer has shown of a key.
#[derive(Serialize, Deserialize)]
struct News<'n> {
    #[serde(borrow)]
    upstream: Cow<'n, str>,
    #[serde(borrow)]
    key: Cow<'n, str>,
    #[serde(borrow)]
    model: Cow<'n, str>,
    #[serde(borrow)]
    tenant: Cow<'n, str>,
    #[serde(borrow)]
    fault: Cow<'n, str>,
    is_named: bool,
    told_ms: Option<u64>,
    #[serde(borrow)]
    request: Cow<'n, str>,
}

/// Tells the other gateways, where there are some.
pub fn tell(shared: &Shared, upstream: &str, key: &Key, wanted: KeyUse<'_>, finding: &Finding<'_>) {
    let Some(sharing) = &shared.sharing else {
        return;
    };
    let news = News {
        upstream: upstream.into(),
        key: (&*key.fingerprint).into(),
        model: wanted.model.into(),
        tenant: wanted.tenant.into(),
        fault: finding.fault.name().into(),
        is_named: finding.is_named,
        told_ms: finding
            .told
            .map(|told| u64::try_from(told.as_millis()).unwrap_or(u64::MAX)),
        request: finding.request.into(),
    };
    // Text and numbers can always be written.
    sharing.tell(serde_json::to_string(&news).unwrap_or_default());
}

/// Takes what another gateway has told so long ago.
pub fn take(shared: &Shared, message: &str, age: Duration) {
    if let Ok(news) = serde_json::from_str::<News<'_>>(message)
        && age <= LONGEST_AGE
    {
        take_news(shared, &news, age);
    }
}

fn take_news(shared: &Shared, news: &News<'_>, age: Duration) {
    let faults = [Fault::RateLimited, Fault::Refused, Fault::OutOfCredit];
    let runtime = shared.pin();
    let mut upstreams = runtime.upstreams().iter();
    let upstream = upstreams.find(|upstream| upstream.name == news.upstream);
    let fault = faults.into_iter().find(|fault| fault.name() == news.fault);
    let (Some(upstream), Some(fault)) = (upstream, fault) else {
        return;
    };
    let mut keys = upstream.keys.keys().iter();
    let Some(key) = keys.find(|key| *key.fingerprint == *news.key) else {
        return;
    };
    let wanted = KeyUse {
        model: &news.model,
        tenant: &news.tenant,
    };
    let told = news.told_ms.map(Duration::from_millis);
    let finding = Finding {
        fault,
        is_named: news.is_named,
        told: told.map(|told| told.saturating_sub(age)),
        request: &news.request,
        asked: Instant::now(),
    };
    let longest = runtime.settings.retries.longest_cooldown;
    if let Some(cooled) = upstream.keys.note(key, wanted, &finding, longest) {
        log_cooldown(&upstream.name, key, wanted, fault, cooled);
    }
}

/// Tells the operator of a key that is cooling down.
pub fn log_cooldown(upstream: &str, key: &Key, wanted: KeyUse<'_>, fault: Fault, cooled: Cooled) {
    let KeyUse { model, tenant } = wanted;
    let scope = match cooled.is_whole {
        true => "with every model".to_owned(),
        // A client may have named it.
        false => format!("with {model:.200}"),
    };
    let (level, what) = match fault {
        Fault::RateLimited => (log::Level::Info, "is rate-limited"),
        Fault::Refused => (log::Level::Warn, "is refused"),
        Fault::OutOfCredit => (log::Level::Warn, "has no money left"),
    };
    log::log!(
        level,
        "upstream {upstream}: key {} {what} and is cooling down {scope} for {:?}, after a request \
         of tenant {tenant}",
        key.fingerprint,
        cooled.time
    );
}
