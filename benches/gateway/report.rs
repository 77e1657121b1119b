//! What is printed, and what becomes `docs/benchmarks.md`.
//!
//! Owns the tables, the targets and the words around them. The page is written anew by each full
//! run, so its words are edited here; what is said about memory stands in `memory.md`.

use std::fmt::Write;
use std::path::Path;

use crate::faults::{self, Group};
use crate::machine;
use crate::rss::{Memory, STREAMS};
use crate::scenario::{NAMES, Scenario, Size, Unit};
use crate::servers::{Kind, NGINX_LARGE, WORKERS};
use crate::table::Table;
use crate::turns::{QUIET, Row, Turn, repeated};
use crate::upstream::{EVENTS, PACE};

/// Lines missing from an access log, when more than this share of them.
const LINES_MAY_MISS: f64 = 0.001;

/// All that was measured.
#[derive(Default)]
pub struct Report {
    /// CPU by scenario.
    pub scenarios: Vec<(Scenario, Vec<Row>)>,
    /// Memory of open streams.
    pub memory: Option<Vec<(Kind, Vec<Memory>)>>,
    /// Failing providers.
    pub faults: Option<Vec<Group>>,
}

struct Target {
    what: String,
    bound: Bound,
    unit: &'static str,
    measured: Option<f64>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(limit) => measured <= limit,
            Self::AtLeast(limit) => measured >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", number(limit)),
            Self::AtLeast(limit) => format!("≥ {}", number(limit)),
        }
    }
}

impl Report {
    /// The tables and the targets.
    pub fn results(&self) -> String {
        let mut text = String::new();
        if !self.scenarios.is_empty() || self.memory.is_some() {
            let _ = writeln!(text, "## Targets\n\n{}", self.targets());
        }
        for (scenario, rows) in &self.scenarios {
            let _ = writeln!(text, "{}", section(scenario, rows));
        }
        if let Some(memory) = &self.memory {
            let _ = writeln!(text, "{}", memory_section(memory));
        }
        if let Some(faults) = &self.faults {
            text += &faults::section(faults);
        }
        text
    }

    /// Writes the page.
    pub fn write_page(&self, size: Size) -> Result<(), String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
        let page = self.page(size);
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        folder
            .and_then(|()| std::fs::write(&path, page))
            .map_err(|e| format!("docs/benchmarks.md: {e}"))
    }

    fn page(&self, size: Size) -> String {
        let facts = machine::facts();
        let facts: String = facts.iter().map(|fact| format!("- {fact}\n")).collect();
        format!(
            "# Benchmarks\n\n\
             <!-- Written by `make bench` from benches/gateway: report.rs, faults, memory.md; and benches/parsing/figures.md. -->\n\n\
             {introduction}\n\
             {results}\
             ## Where the memory of a stream sits\n\n\
             {memory}\n\
             ## What reading alone costs\n\n\
             {reading}\n\
             ## How it is measured\n\n\
             {method}\n\
             ## The machine\n\n\
             {facts}",
            introduction = INTRODUCTION,
            results = self.results(),
            memory = include_str!("memory.md"),
            reading = include_str!("../parsing/figures.md"),
            method = method(size),
        )
    }

    fn targets(&self) -> Table {
        let mut table = Table::new(&["", "measured", "target", ""]);
        let targets = [
            self.cpu("json", Kind::Nginx, 2.2),
            self.cpu("json", Kind::Passthrough, 1.05),
            self.cpu("json", Kind::Baseline, 1.02),
            self.cpu_of(Kind::TollgateMetered, "json", Kind::Tollgate, 1.08),
            self.over_tls(0.1),
            self.cpu_of(Kind::TollgateStore, "store", Kind::TollgateMetered, 1.05),
            self.p99(Kind::TollgateStore, "store", Kind::TollgateMetered, 1.1),
            self.cpu_of(Kind::TollgateHit, "cache", Kind::Tollgate, 0.55),
            self.cpu_of(Kind::TollgateMiss, "cache", Kind::Tollgate, 1.03),
            self.hit_latency(0.1),
            self.cpu("stream", Kind::Nginx, 2.0),
            self.cpu("stream", Kind::Baseline, 1.02),
            self.cpu("stream", Kind::TollgateUnread, 1.15),
            self.cpu_of(Kind::TollgateWhole, "stream", Kind::Tollgate, 1.05),
            self.cpu_of(Kind::TollgateHedge, "stream", Kind::Tollgate, 1.02),
            self.throughput("upload", 0.8),
            self.throughput("download", 0.8),
            self.cpu("websocket", Kind::Nginx, 2.0),
            Target {
                what: format!("memory of an open stream, {STREAMS} open"),
                bound: Bound::AtMost(130.0),
                unit: " KiB",
                measured: self.stream_kib(Kind::Tollgate),
            },
        ];
        for target in targets {
            let Target { bound, unit, .. } = target;
            // A run may have left some out.
            let Some(measured) = target.measured else {
                continue;
            };
            let verdict = if bound.holds(measured) {
                "met"
            } else {
                "**not met**"
            };
            table.add(vec![
                target.what,
                format!("{}{unit}", number(measured)),
                format!("{}{unit}", bound.text()),
                verdict.to_owned(),
            ]);
        }
        table
    }

    fn cpu(&self, name: &str, against: Kind, limit: f64) -> Target {
        self.cpu_of(Kind::Tollgate, name, against, limit)
    }

    fn cpu_of(&self, kind: Kind, name: &str, against: Kind, limit: f64) -> Target {
        let (title, rows) = self.rows(name, kind, against);
        let whose = match kind {
            Kind::TollgateMetered => "metered, ",
            Kind::TollgateHit => "hit, ",
            Kind::TollgateMiss => "miss, ",
            Kind::TollgateWhole => "whole answers, ",
            Kind::TollgateHedge => "`hedge_after`, ",
            _ => "",
        };
        Target {
            what: format!("{title}: {whose}CPU against {}", against.title()),
            bound: Bound::AtMost(limit),
            unit: "×",
            measured: rows.map(|(row, other)| times(row, other, |turn| turn.cpu_us)),
        }
    }

    /// How much the ratio to nginx grows when both speak TLS.
    fn over_tls(&self, limit: f64) -> Target {
        let (title, cleartext) = self.rows("tls", Kind::Tollgate, Kind::Nginx);
        let (_, tls) = self.rows("tls", Kind::TollgateTls, Kind::NginxTls);
        let ratio = |(row, other)| times(row, other, |turn| turn.cpu_us);
        Target {
            what: format!("{title}: ratio to nginx, less the one in cleartext"),
            bound: Bound::AtMost(limit),
            unit: "",
            measured: tls
                .zip(cleartext)
                .map(|(tls, cleartext)| ratio(tls) - ratio(cleartext)),
        }
    }

    fn p99(&self, kind: Kind, name: &str, against: Kind, limit: f64) -> Target {
        let (title, rows) = self.rows(name, kind, against);
        Target {
            what: format!("{title}: p99 against {}", against.title()),
            bound: Bound::AtMost(limit),
            unit: "×",
            measured: rows.map(|(row, other)| times(row, other, |turn| turn.p99_ms)),
        }
    }

    /// How long one client waits for an answer that is given again.
    fn hit_latency(&self, limit: f64) -> Target {
        let (title, rows) = self.rows("cache_one", Kind::TollgateHit, Kind::Tollgate);
        Target {
            what: format!("{title}: hit, p50"),
            bound: Bound::AtMost(limit),
            unit: " ms",
            measured: rows.map(|(hit, _)| median(hit.turns.iter().map(|turn| turn.p50_ms))),
        }
    }

    fn throughput(&self, name: &str, limit: f64) -> Target {
        let against = Kind::Nginx;
        let (title, rows) = self.rows(name, Kind::Tollgate, against);
        Target {
            what: format!("{title}: bytes per CPU second against {}", against.title()),
            bound: Bound::AtLeast(limit),
            unit: "×",
            measured: rows.map(|(row, other)| times(row, other, gib_per_cpu_s)),
        }
    }

    /// A scenario's title, and the rows of one server and of another, if it was run.
    fn rows<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
        other: Kind,
    ) -> (&'a str, Option<(&'a Row, &'a Row)>) {
        let Some((scenario, rows)) = self.scenarios.iter().find(|(s, _)| s.name == name) else {
            return (name, None);
        };
        let row = |kind| rows.iter().find(|row| row.kind == kind);
        (scenario.title, row(kind).zip(row(other)))
    }

    fn stream_kib(&self, kind: Kind) -> Option<f64> {
        let rows = self.memory.as_ref()?;
        let (_, memories) = rows.iter().find(|(k, _)| *k == kind)?;
        Some(median(memories.iter().map(Memory::per_stream_kib)))
    }
}

const INTRODUCTION: &str = "\
What Tollgate costs for one request, beside nginx `proxy_pass` and beside a Pingora proxy that does
nothing. Tollgate does more than either: it checks the tenant's key, reads the whole request, finds
and rewrites the model's name, puts the provider's key in place of the client's, and counts it all
in its metrics. What passes through the tunnel or a WebSocket it does not read, but the key is
checked and swapped there, too, and of a WebSocket it knows where each frame ends. The row `tollgate` is
Tollgate as it comes: each request leaves its line in the access log, here in a file. nginx and the
pass-through keep no log. `tollgate, metered` has limits of the gateway and of the tenant, a quota in tokens and in
dollars, prices with a markup, and the ledger in SQLite; its CPU includes loading the records. Only figures of one run can be compared with each other: absolute times differ
between machines, and between two days on one machine. In brackets: how many times nginx's figure.
";

fn method(size: Size) -> String {
    let (rounds, turn_s) = (size.rounds, size.turn.as_secs_f64());
    let (pace_ms, each) = (PACE.as_millis(), size.streams_each);
    let (repeated, memory_rounds) = (repeated(size.rounds), size.memory_rounds);
    let names = NAMES.join(", ");
    format!(
        "\
```console
make bench                                  # writes this page: ten minutes and the builds
make bench BENCH=--quick                    # three minutes, prints only
make bench BENCH=\"--baseline PROGRAM\"     # beside another build, in the same turns; prints only
make bench BENCH=\"--only json,big\"        # some of {names}
```

It builds as `make release` does: Tollgate and the pass-through by one profile of both at work, recorded
with requests that are not the benchmark's (`benches/profile.sh`). nginx is the distribution's.

Client, servers and upstream are on one machine and talk over 127.0.0.1, without TLS but in the scenario that\nsays so: TLS 1.3 towards clients, a certificate of P-256, the handshakes before the measurement. Each server has
{WORKERS} workers: nginx {WORKERS} processes, the others {WORKERS} threads. All keep connections to the
upstream alive, and nginx buffers no answers. The upstream answers at once, with about 600 bytes of
JSON, or with a stream of {EVENTS} events of about 200 bytes, {pace_ms} ms apart, each written by itself.
The load is a closed loop over keep-alive connections, and every answer is checked: its status and
every byte of its JSON or of its echo, or the length of its stream or file, and the stream's end.

Servers take turns, {rounds} rounds of them; a turn opens connections, warms up, and measures for {turn_s} s or
for {each} streams on each connection. A figure is the median of the rounds; the range beside CPU is
its lowest and highest, and a ratio is the median of the ratios within each round. Rounds during
which other programs were busy are repeated, up to {repeated} of them. CPU is user and system time of the
server's processes as the scheduler counts it (`/proc/PID/task/*/schedstat`), the client's and the
upstream's not included, divided by the requests that were answered. Peak memory is the sum of
`VmHWM`. The rate is what this machine gives when client, server and upstream share its cores, and
says little by itself. nginx's CPU for 1 MB falls on one of two levels, by whether its allocator
gives the body's buffer back to the kernel after each request and has every page of it faulted in
again: look at the range before the ratio.

A file goes through the tunnel alone, over one connection, from memory and into none; one has gone
through before the first turn. nginx is compared as people run it: request buffering off, so that the
upload streams as ours does, its own sizes of buffers (16k and 4k or 8k), nothing on the disk. It moves
about twice the bytes per CPU second with buffers of {NGINX_LARGE} and `proxy_buffering off`, which has
a row, too; Pingora's are of 64k and cannot be chosen. Over a WebSocket, each
message is one text frame, which the client masks and the upstream does not.

For the memory of a stream, {STREAMS} streams are opened through a new process that has been warmed up;
when each has had its first events, the growth of `VmRSS` is divided by their number: the median of
{memory_rounds} processes. The kernel's socket buffers are not in it.
"
    )
}

/// A column that is measured in each turn: its head and its figure.
type Column = (&'static str, fn(&Turn) -> f64);

/// What a scenario's table shows, CPU first.
fn columns(unit: Unit) -> &'static [Column] {
    match unit {
        Unit::Request => &[
            ("CPU µs/request", |turn| turn.cpu_us),
            ("requests/s", |turn| turn.rate),
            ("p50 ms", |turn| turn.p50_ms),
            ("p99 ms", |turn| turn.p99_ms),
        ],
        Unit::RoundTrip => &[
            ("CPU µs/round trip", |turn| turn.cpu_us),
            ("round trips/s", |turn| turn.rate),
            ("p50 ms", |turn| turn.p50_ms),
            ("p99 ms", |turn| turn.p99_ms),
        ],
        Unit::Gibibyte => &[
            ("CPU ms/GiB", |turn| turn.cpu_us / 1e3),
            ("GiB/CPU s", gib_per_cpu_s),
            ("GiB/s", |turn| turn.rate),
        ],
    }
}

fn gib_per_cpu_s(turn: &Turn) -> f64 {
    1e6 / turn.cpu_us
}

fn section(scenario: &Scenario, rows: &[Row]) -> String {
    let mut text = format!("## {}\n\n", scenario.title);
    let (count, remark) = (scenario.connections, scenario.remark);
    let plural = if count == 1 { "" } else { "s" };
    let _ = writeln!(text, "{count} connection{plural}; {remark}.\n");
    let columns = columns(scenario.unit);
    let mut heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    heads.insert(0, "");
    heads.insert(2, "range");
    heads.push("peak RSS MiB");
    let mut table = Table::new(&heads);
    let nginx = &rows[0];
    for row in rows {
        let mut cells = vec![row.kind.title().to_owned()];
        for (_, value) in columns {
            let times = times(row, nginx, value);
            let median = number(median(row.turns.iter().map(value)));
            cells.push(format!("{median} ({times:.2})"));
        }
        let cpu = row.turns.iter().map(columns[0].1);
        let low = cpu.clone().fold(f64::MAX, f64::min);
        let high = cpu.fold(0.0, f64::max);
        cells.insert(2, format!("{}–{}", number(low), number(high)));
        let mebibytes = |row: &Row| row.peak_kib as f64 / 1024.0;
        cells.push(beside(mebibytes(row), mebibytes(nginx)));
        table.add(cells);
    }
    let _ = write!(text, "{table}");
    for note in notes(scenario, rows) {
        let _ = write!(text, "\n{note}\n");
    }
    text
}

fn notes(scenario: &Scenario, rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    if scenario.name == "stream" {
        let per_event = rows.iter().map(|row| {
            let cpu = median(row.turns.iter().map(|turn| turn.cpu_us)) / EVENTS as f64;
            format!("{} {}", row.kind.title(), number(cpu))
        });
        let per_event: Vec<String> = per_event.collect();
        notes.push(format!(
            "A request is a whole stream. CPU µs for each event: {}.",
            per_event.join(", ")
        ));
    }
    let turns = || rows.iter().flat_map(|row| &row.turns);
    let lost = turns().map(|turn| turn.lines_lost).fold(0.0, f64::max);
    if lost > LINES_MAY_MISS {
        notes.push(format!(
            "Up to {:.1} % of the access log's lines were dropped: its writer was too slow.",
            lost * 100.0
        ));
    }
    let others = turns().map(|turn| turn.others).fold(0.0, f64::max);
    if others > QUIET {
        notes.push(format!(
            "The machine was not quiet: other programs took up to {:.0} % of it.",
            others * 100.0
        ));
    }
    notes
}

fn memory_section(rows: &[(Kind, Vec<Memory>)]) -> String {
    let mut table = Table::new(&["", "before MiB", "open MiB", "KiB/stream", "range"]);
    let per_stream = |memories: &[Memory]| median(memories.iter().map(Memory::per_stream_kib));
    let nginx = per_stream(&rows[0].1);
    for (kind, memories) in rows {
        let mebibytes = |kib: fn(&Memory) -> u64| {
            let kib = memories.iter().map(|memory| kib(memory) as f64);
            number(median(kib) / 1024.0)
        };
        let all = memories.iter().map(Memory::per_stream_kib);
        let (low, high) = (
            all.clone().fold(f64::MAX, f64::min),
            all.fold(0.0, f64::max),
        );
        table.add(vec![
            kind.title().to_owned(),
            mebibytes(|memory| memory.before_kib),
            mebibytes(|memory| memory.open_kib),
            beside(per_stream(memories), nginx),
            format!("{}–{}", number(low), number(high)),
        ]);
    }
    format!("## Memory of {STREAMS} open streams\n\n{table}")
}

/// How many times `other`'s figure: the median of the rounds' ratios, so that what disturbs one
/// round disturbs both sides of its ratio.
fn times(row: &Row, other: &Row, value: impl Fn(&Turn) -> f64) -> f64 {
    let pairs = row.turns.iter().zip(&other.turns);
    median(pairs.map(|(turn, other)| value(turn) / value(other)))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn beside(value: f64, nginx: f64) -> String {
    format!("{} ({:.2})", number(value), value / nginx)
}

/// Three digits or more.
fn number(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
