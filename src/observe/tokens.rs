//! Counters of tokens, and of the speed of streams.
//!
//! Owns their names and labels, as `metrics` owns those of requests. Where OpenTelemetry's conventions
//! for generative AI have a name, metrics and labels use it, in Prometheus' form. Label values are the
//! endpoints, rules and upstreams of the configuration. Does not handle how usage is read (see
//! `openai::usage`). Fails at the start or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, Opts,
};

use super::families::{counters, histogram};
use super::series_cache::SeriesCache;
use crate::openai::usage::Usage;

/// The buckets of OpenTelemetry's conventions.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const FIRST_TOKEN_SECONDS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
const PER_TOKEN_SECONDS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0,
];
const PER_SECOND: [f64; 10] = [
    1.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0,
];

const LABELS: [&str; 3] = [
    "gen_ai_operation_name",
    "gen_ai_request_model",
    "gen_ai_provider_name",
];

/// The kinds of tokens. None is a part of another.
const KINDS: [&str; 4] = ["input", "cache_read", "cache_write", "output"];
/// Parts of those kinds.
const PARTS: [&str; 5] = [
    "reasoning",
    "input_audio",
    "input_image",
    "output_audio",
    "output_image",
];

/// Where the usage of an answer is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UsageSource {
    /// The upstream reported it.
    Upstream,
    /// A tokenizer counted it.
    Estimated,
    /// It is not known: none of its tokens are counted.
    None,
}

impl UsageSource {
    const ALL: [Self; 3] = [Self::Upstream, Self::Estimated, Self::None];

    fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Estimated => "estimated",
            Self::None => "none",
        }
    }
}

/// The times of a streamed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From the request's header to the first token.
    pub first_token: Duration,
    /// From there to the last event.
    pub rest: Duration,
}

/// The counters of tokens.
pub struct Tokens {
    /// Tokens of every rule and kind. It is not registered: Prometheus has it as a sum of `total`.
    all: IntCounter,
    total: IntCounterVec,
    parts: IntCounterVec,
    audio: CounterVec,
    searches: IntCounterVec,
    answers: IntCounterVec,
    unread_messages: IntCounter,
    usage: HistogramVec,
    first_token: HistogramVec,
    per_token: HistogramVec,
    per_second: HistogramVec,
    prompt_cache: GaugeVec,
    kinds: SeriesCache<Kind>,
}

/// The series of answers of one rule and upstream.
struct Amounts {
    total: [IntCounter; KINDS.len()],
    parts: [IntCounter; PARTS.len()],
    audio: Counter,
    searches: IntCounter,
    answers: [IntCounter; UsageSource::ALL.len()],
}

impl Amounts {
    fn of(tokens: &Tokens, rule: &str, upstream: &str) -> Self {
        let of = |counters: &IntCounterVec, name: &str| {
            counters.with_label_values(&[rule, upstream, name])
        };
        Self {
            total: KINDS.map(|kind| of(&tokens.total, kind)),
            parts: PARTS.map(|part| of(&tokens.parts, part)),
            audio: tokens.audio.with_label_values(&[rule, upstream]),
            searches: tokens.searches.with_label_values(&[rule, upstream]),
            answers: UsageSource::ALL.map(|source| of(&tokens.answers, source.name())),
        }
    }
}

/// The series of answers of one endpoint, rule and upstream.
struct Kind {
    amounts: Amounts,
    input: Histogram,
    output: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    per_second: Histogram,
}

impl Tokens {
    /// Makes the counters.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not allow, which a test would have found.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let [operation, model, provider] = LABELS;
        Ok(Self {
            all: IntCounter::new("all_tokens", "Tokens that were used.")?,
            total: counters(
                "tollgate_tokens_total",
                "Tokens that were used, by kind; none is a part of another.",
                &["rule", "upstream", "kind"],
            )?,
            parts: counters(
                "tollgate_token_parts_total",
                "Tokens within those of tollgate_tokens_total.",
                &["rule", "upstream", "part"],
            )?,
            audio: CounterVec::new(
                Opts::new(
                    "tollgate_audio_seconds_total",
                    "Seconds of audio that were charged by length.",
                ),
                &["rule", "upstream"],
            )?,
            searches: counters(
                "tollgate_searches_total",
                "Searches that were charged one by one.",
                &["rule", "upstream"],
            )?,
            answers: counters(
                "tollgate_usage_total",
                "Answers, by where their usage is known from.",
                &["rule", "upstream", "source"],
            )?,
            unread_messages: IntCounter::new(
                "tollgate_websocket_unread_messages_total",
                "Messages of servers over WebSockets that could not be read for their usage.",
            )?,
            usage: histogram(
                "gen_ai_client_token_usage",
                "Tokens of a request, by type.",
                &TOKENS,
                &[operation, model, provider, "gen_ai_token_type"],
            )?,
            first_token: histogram(
                "gen_ai_server_time_to_first_token_seconds",
                "From the request's header to the first token of a stream.",
                &FIRST_TOKEN_SECONDS,
                &LABELS,
            )?,
            per_token: histogram(
                "gen_ai_server_time_per_output_token_seconds",
                "Time between two tokens of a stream, on average.",
                &PER_TOKEN_SECONDS,
                &LABELS,
            )?,
            per_second: histogram(
                "tollgate_output_tokens_per_second",
                "Tokens per second of a stream, from the first token to the last event.",
                &PER_SECOND,
                &LABELS,
            )?,
            prompt_cache: GaugeVec::new(
                Opts::new(
                    "tollgate_prompt_cache_ratio",
                    "The share of all input tokens that came from a provider's prompt cache.",
                ),
                &["rule"],
            )?,
            kinds: SeriesCache::default(),
        })
    }

    /// All of them, to be registered.
    pub fn collectors(&self) -> [Box<dyn Collector>; 11] {
        [
            Box::new(self.total.clone()),
            Box::new(self.parts.clone()),
            Box::new(self.audio.clone()),
            Box::new(self.searches.clone()),
            Box::new(self.answers.clone()),
            Box::new(self.unread_messages.clone()),
            Box::new(self.usage.clone()),
            Box::new(self.first_token.clone()),
            Box::new(self.per_token.clone()),
            Box::new(self.per_second.clone()),
            Box::new(self.prompt_cache.clone()),
        ]
    }

    /// Creates the counters of rules and upstreams at zero, if they are at most `most` series. The
    /// histograms are created with their first value.
    pub(super) fn start<'a>(&self, rules: impl Iterator<Item = (&'a str, &'a str)>, most: usize) {
        let each = KINDS.len() + PARTS.len() + UsageSource::ALL.len() + 2;
        let rules: Vec<_> = rules.take(most / each + 1).collect();
        if rules.len() * each > most {
            return;
        }
        for (rule, upstream) in rules {
            Amounts::of(self, rule, upstream);
        }
    }

    /// How many tokens have been used, of every kind.
    pub fn all(&self) -> u64 {
        self.all.get()
    }

    /// Shows, by rule, how much of the input has come from a provider's prompt cache. A rule without input has none.
    pub fn measure_prompt_caches(&self) {
        // Read from the cache, and all of the input.
        let mut rules: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for family in self.total.collect() {
            for metric in family.get_metric() {
                let label = |name: &str| {
                    let mut labels = metric.get_label().iter();
                    labels.find(|l| l.name() == name).map(|l| l.value())
                };
                let (Some(rule), Some(kind)) = (label("rule"), label("kind")) else {
                    continue;
                };
                let tokens = metric.get_counter().get_value();
                let (read, input) = rules.entry(rule.to_owned()).or_default();
                match kind {
                    "output" => {}
                    "cache_read" => (*read, *input) = (*read + tokens, *input + tokens),
                    _ => *input += tokens,
                }
            }
        }
        for (rule, (read, input)) in rules {
            if input > 0.0 {
                let ratio = self.prompt_cache.with_label_values(&[&rule]);
                ratio.set(read / input);
            }
        }
    }

    /// Counts a message over a WebSocket that could not be read.
    pub fn unread_message(&self) {
        self.unread_messages.inc();
    }

    /// Counts the usage of an answer. The labels are its endpoint, rule and upstream.
    pub fn count(&self, labels: [&str; 3], usage: Option<&Usage>, pace: Option<Pace>) {
        if let Some(usage) = usage {
            self.all.inc_by(usage.total());
        }
        let count = |kind: &Kind| kind.count(usage, pace);
        self.kinds.count(&labels, || self.kind(labels), count);
    }

    fn kind(&self, [endpoint, rule, upstream]: [&str; 3]) -> Kind {
        let operation = operation(endpoint);
        let labels = [operation, rule, upstream];
        let usage = |direction: &str| {
            self.usage
                .with_label_values(&[operation, rule, upstream, direction])
        };
        Kind {
            amounts: Amounts::of(self, rule, upstream),
            input: usage("input"),
            output: usage("output"),
            first_token: self.first_token.with_label_values(&labels),
            per_token: self.per_token.with_label_values(&labels),
            per_second: self.per_second.with_label_values(&labels),
        }
    }
}

impl Kind {
    fn count(&self, usage: Option<&Usage>, pace: Option<Pace>) {
        let source = match usage {
            None => UsageSource::None,
            Some(usage) if usage.is_estimated => UsageSource::Estimated,
            Some(_) => UsageSource::Upstream,
        };
        let amounts = &self.amounts;
        if let Some(answers) = amounts.answers.get(source as usize) {
            answers.inc();
        }
        if let Some(pace) = pace {
            self.first_token.observe(pace.first_token.as_secs_f64());
        }
        let Some(usage) = usage else {
            return;
        };
        let total = [
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.output,
        ];
        let parts = [
            usage.reasoning,
            usage.input_audio,
            usage.input_image,
            usage.output_audio,
            usage.output_image,
        ];
        let counters = amounts.total.iter().chain(&amounts.parts);
        for (counter, tokens) in counters.zip(total.into_iter().chain(parts)) {
            if tokens > 0 {
                counter.inc_by(tokens);
            }
        }
        if usage.audio_ms > 0 {
            amounts.audio.inc_by(usage.audio_ms as f64 / 1000.0);
        }
        if usage.searches > 0 {
            amounts.searches.inc_by(usage.searches);
        }
        self.input.observe(usage.total_input() as f64);
        self.output.observe(usage.output as f64);
        // One token has no time between tokens.
        if let Some(pace) = pace.filter(|_| usage.output > 1) {
            let rest = pace.rest.as_secs_f64();
            let between = (usage.output - 1) as f64;
            self.per_token.observe(rest / between);
            if rest > 0.0 {
                self.per_second.observe(between / rest);
            }
        }
    }
}

/// OpenTelemetry's name for an endpoint's operation; else the endpoint's own.
fn operation(endpoint: &str) -> &str {
    match endpoint {
        "chat_completions" | "responses" => "chat",
        "completions" => "text_completion",
        other => other,
    }
}
