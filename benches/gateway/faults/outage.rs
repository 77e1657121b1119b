//! One of two upstreams is killed under load.
//!
//! Owns when it dies and comes back, and what clients noticed of it. Requests go on at the same rate
//! all the time. Who serves a request is read from its answer, and that another was asked before
//! from `x-tollgate-attempts`.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::exchange::Outcome;
use super::figure::{Figure, Group};
use super::load::{Load, Record};
use super::process::{Gateway, Mortal};
use super::provider::{EVENTS, Manner, PACE, TAKES};
use super::{gateway, tell};
use crate::scenario;
use crate::servers::Workbench;

const RATE: u32 = 500;
/// Before the kill.
const BEFORE: Duration = Duration::from_secs(2);
/// From the kill until the server is started again: it has been left out a third time by then, for
/// 8 s, and has most of them before it.
const DEAD: Duration = Duration::from_millis(6_500);
/// From the kill to the end, where the server stays dead.
const AFTERMATH: Duration = Duration::from_secs(3);
/// From its start until it serves again, as it should be.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// A target is left out by then, as it should be.
const LEFT_OUT_WITHIN: Duration = Duration::from_secs(2);
/// Requests that are further apart were not sent in a row: the latter tries who was left out.
const PAUSE: Duration = Duration::from_secs(1);
const LAST_SENT: &str = "from the kill to the last request sent there before it was ejected";
/// The upstreams' names.
const DOOMED: u8 = b'a';
const STABLE: u8 = b'b';

/// When what happened.
struct Story {
    /// Before the signal was sent.
    killing: Instant,
    /// Nothing was left of the process.
    killed: Instant,
    /// It was started again.
    revived: Option<Instant>,
    records: Vec<Record>,
}

/// Streams, with the server's return.
pub async fn streams(bench: &Workbench) -> Result<Group, String> {
    let request = scenario::short_chat(r#""stream":true,"#);
    let story = happen(bench, "", &request, true).await?;
    let records = &story.records;
    let is_broken = |record: &&Record| matches!(record.outcome, Outcome::Broken(_));
    let is_failed = |record: &&Record| record.served_by().is_none() && !is_broken(record);
    tell(records.iter().filter(is_failed));
    let (left_out, tried) = story.last_sent_in_a_row();
    let back = story.back();
    Ok(Group {
        title: "One of two upstreams is killed: streams",
        remark: format!(
            "{RATE} streams a second of {EVENTS} events, {} ms apart; {}.",
            PACE.as_millis(),
            story.remark()
        ),
        figures: vec![
            Figure::count("requests", records.len()),
            Figure::at_most(
                "failed before anything had been said",
                records.iter().filter(is_failed).count(),
                0,
            ),
            Figure::count(
                "broken after they had begun",
                records.iter().filter(is_broken).count(),
            ),
            Figure::within(LAST_SENT, Some(left_out), LEFT_OUT_WITHIN),
            Figure::count("requests with which it was tried after that", tried),
            Figure::within(
                "from its start to the first request that it serves",
                back,
                BACK_WITHIN,
            ),
        ],
    })
}

/// Whole answers, as they are and with `resend_lost`.
pub async fn whole_answers(bench: &Workbench) -> Result<Group, String> {
    let request = scenario::short_chat("");
    let usual = happen(bench, "", &request, false).await?;
    let resent = happen(bench, "resend_lost: true, ", &request, false).await?;
    let is_failed = |record: &&Record| record.served_by().is_none();
    tell(resent.records.iter().filter(is_failed));
    let (lost, late): (Vec<_>, Vec<_>) = usual
        .records
        .iter()
        .filter(is_failed)
        .partition(|record| record.begun < usual.killed && record.ended() >= usual.killing);
    tell(late.iter().copied());
    let left_out = |story: &Story| {
        let (time, _) = story.last_sent_in_a_row();
        Figure::within(LAST_SENT, Some(time), LEFT_OUT_WITHIN)
    };
    Ok(Group {
        title: "One of two upstreams is killed: whole answers",
        remark: format!(
            "{RATE} requests a second for JSON, which takes {} ms; {}, and again with \
             `resend_lost: true`.",
            TAKES.as_millis(),
            usual.remark()
        ),
        figures: vec![
            Figure::count("requests", usual.records.len()),
            Figure::count("failed that were open when it was killed", lost.len()),
            Figure::at_most("failed before or after that", late.len(), 0),
            left_out(&usual),
            Figure::count("`resend_lost`: requests", resent.records.len()),
            Figure::at_most(
                "`resend_lost`: failed",
                resent.records.iter().filter(is_failed).count(),
                0,
            ),
            left_out(&resent),
        ],
    })
}

async fn happen(
    bench: &Workbench,
    settings: &str,
    request: &Bytes,
    returns: bool,
) -> Result<Story, String> {
    let mut doomed = Mortal::start(DOOMED, Manner::Well).await?;
    let stable = Mortal::start(STABLE, Manner::Well).await?;
    let upstreams = [(doomed.port, settings), (stable.port, settings)];
    let gateway = Gateway::start(bench, "outage", &gateway(&upstreams)).await?;
    let load = Load::paced(gateway.port, request, RATE);
    tokio::time::sleep(BEFORE).await;
    for name in [DOOMED, STABLE] {
        if !load.was_served(name, load.begun) {
            return Err("an upstream was asked for nothing".to_owned());
        }
    }
    let killing = Instant::now();
    doomed.kill()?;
    let killed = Instant::now();
    let mut revived = None;
    if returns {
        tokio::time::sleep(DEAD).await;
        let started = Instant::now();
        doomed.revive().await?;
        revived = Some(started);
        while started.elapsed() <= BACK_WITHIN && !load.was_served(DOOMED, started) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Whatever fails when it is back is to be seen, too.
        tokio::time::sleep(PAUSE).await;
    } else {
        tokio::time::sleep(AFTERMATH).await;
    }
    Ok(Story {
        killing,
        killed,
        revived,
        records: load.end().await?,
    })
}

impl Story {
    fn remark(&self) -> String {
        let kill = "the process of one upstream gets SIGKILL";
        match self.revived {
            Some(_) => format!("{kill}, and is started again after {DEAD:?}"),
            None => kill.to_owned(),
        }
    }

    /// How long after the kill the last request was sent to the dead server before it was left
    /// out, and how many have tried it since.
    fn last_sent_in_a_row(&self) -> (Duration, usize) {
        let dead = self.records.iter().filter(|record| {
            let is_before = self.revived.is_none_or(|revived| record.begun < revived);
            record.attempts > 1 && record.begun >= self.killing && is_before
        });
        let sent: Vec<_> = dead.map(|r| r.begun - self.killing).collect();
        let mut last = Duration::ZERO;
        let in_a_row = sent.iter().take_while(|time| {
            let follows = time.saturating_sub(last) < PAUSE;
            last = if follows { **time } else { last };
            follows
        });
        let count = in_a_row.count();
        (last, sent.len() - count)
    }

    /// From its start until it served a request.
    fn back(&self) -> Option<Duration> {
        let revived = self.revived?;
        let mut since = self.records.iter().filter(|r| r.begun >= revived);
        let first = since.find(|record| record.served_by() == Some(DOOMED))?;
        Some(first.begun - revived)
    }
}
