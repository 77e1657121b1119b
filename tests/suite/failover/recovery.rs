//! A provider that fails for a while is found again soon after it is well, and is not asked for much meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{CHAT, at, gateway_yaml, healthy, rule, serve};
use crate::support::gateway::Gateway;
use crate::support::streamed_chat;
use crate::support::upstream::Upstream;

/// So many providers fail, each for itself.
const RUNS: usize = 20;
/// So long all of them fail.
const OUTAGE: Duration = Duration::from_secs(20);
/// Each is found again within this time.
const FOUND_WITHIN: Duration = Duration::from_secs(15);
/// A client asks for each model so often.
const EVERY: Duration = Duration::from_millis(200);

/// What has been seen of one provider.
struct Run {
    /// How many requests a client has made while it failed, after it was ejected.
    asked: usize,
    /// How many of them it got.
    tried: usize,
    /// How long after the outage it has served again.
    found: Duration,
}

/// A provider that fails until it is said to be well.
async fn failing_until(well: &Arc<AtomicBool>, asked: &Arc<AtomicUsize>) -> Upstream {
    let (well, asked) = (Arc::clone(well), Arc::clone(asked));
    Upstream::start(move |request, mut reply| {
        asked.fetch_add(1, Ordering::SeqCst);
        let is_well = well.load(Ordering::SeqCst);
        async move {
            match is_well {
                true => serve("first", &request, &mut reply).await,
                false => reply.json("500 Internal Server Error", "{}").await,
            }
            reply
        }
    })
    .await
}

#[tokio::test]
async fn twenty_of_twenty_providers_are_found_again_within_fifteen_seconds() {
    let well = Arc::new(AtomicBool::new(false));
    let spare = healthy("spare").await;
    let mut upstreams = vec![at("spare", spare.address, "")];
    let mut rules = vec![rule("spare", "{ upstream: spare }", "")];
    let mut providers = Vec::new();
    for run in 0..RUNS {
        let asked = Arc::new(AtomicUsize::new(0));
        let provider = failing_until(&well, &asked).await;
        upstreams.push(at(&format!("first{run}"), provider.address, ""));
        let targets = format!("{{ upstream: first{run} }}");
        rules.push(rule(
            &format!("model-{run}"),
            &targets,
            ", fallback: [spare]",
        ));
        providers.push((provider, asked));
    }
    let yaml = gateway_yaml("backoff: 100ms", &upstreams, &rules);
    let gateway = Arc::new(Gateway::start_quietly(&yaml));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for (run, (provider, asked)) in providers.into_iter().enumerate() {
        let (gateway, well) = (Arc::clone(&gateway), Arc::clone(&well));
        clients.spawn(async move {
            let _provider = provider;
            let mut client = gateway.connect().await;
            let body = streamed_chat(&format!("model-{run}"));
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut ejected_with, mut requests) = (0, 0);
            loop {
                ticks.tick().await;
                let is_out = began.elapsed() < OUTAGE;
                if !is_out {
                    well.store(true, Ordering::SeqCst);
                }
                let response = client.post(CHAT, &body).await;
                assert_eq!(response.status, 200);
                if response.text().contains("first0") {
                    return Run {
                        asked: requests,
                        tried: asked.load(Ordering::SeqCst) - ejected_with,
                        found: began.elapsed().saturating_sub(OUTAGE),
                    };
                }
                // The first five failures eject it.
                match ejected_with {
                    0 if asked.load(Ordering::SeqCst) >= 5 => {
                        ejected_with = asked.load(Ordering::SeqCst);
                    }
                    0 => {}
                    _ => requests += 1,
                }
                assert!(began.elapsed() < OUTAGE + 2 * FOUND_WITHIN, "run {run}");
            }
        });
    }
    let runs = clients.join_all().await;
    assert_eq!(runs.len(), RUNS);
    for run in runs {
        assert!(run.found < FOUND_WITHIN, "{:?}", run.found);
        assert!(
            run.tried * 10 <= run.asked + 20,
            "{} of {}",
            run.tried,
            run.asked
        );
    }
}
