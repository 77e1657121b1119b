//! Figures that were computed by hand, which price is found, and what holds for any usage.

use super::*;
use crate::config::{Config, Variables};

/// Nano-dollars of a dollar.
const USD: u64 = 1_000_000_000;
/// The bound of a count in what an upstream reports.
const MOST: u64 = crate::openai::usage::MAX_COUNT;

fn written(prices: &str) -> Vec<Price> {
    let text = format!(
        "upstreams: {{ a: {{ base_url: http://a }}, b: {{ base_url: http://b }} }}\n\
         models: [{{ match: m, targets: [{{ upstream: a }}] }}]\nprices: [{prices}]\n"
    );
    let config = Config::parse("t.yaml", &text, &Variables::default());
    config.map_err(|e| e.to_string()).unwrap().prices
}

/// The price with these keys.
fn rates(keys: &str) -> Rates {
    written(&format!("{{ model: m, {keys} }}"))[0].rates
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-06-01T00:00:00Z")
}

#[test]
fn a_chat_with_cached_input_and_reasoning() {
    // 2,006 of input, 1,920 of them cached; 300 of output, 192 of them reasoning, which is paid as output:
    // 86 × 2.5 + 1920 × 1.25 + 300 × 10 = 5615 dollars for a million.
    let gpt = rates("input: 2.50, cached: 1.25, output: 10");
    let usage = Usage {
        input: 86,
        cache_read: 1_920,
        output: 300,
        reasoning: 192,
        ..Usage::default()
    };
    assert_eq!(gpt.cost(&usage), 5_615_000);
    // 86 × 2.5 + 1920 × 1.25 + 108 × 10 + 192 × 20 = 7535.
    let apart = rates("input: 2.50, cached: 1.25, output: 10, reasoning: 20");
    assert_eq!(apart.cost(&usage), 7_535_000);
    // Without a price of the cache: (86 + 1920) × 2.5 + 300 × 10 = 8015.
    assert_eq!(rates("input: 2.50, output: 10").cost(&usage), 8_015_000);
}

#[test]
fn a_message_that_writes_a_cache_for_five_minutes_and_for_an_hour() {
    // 3 × 3 + 4000 × 0.3 + (5000 − 2000) × 3.75 + 2000 × 6 + 500 × 15 = 31959.
    let claude = "input: 3, cached: 0.30, cache_write: 3.75, output: 15";
    let usage = Usage {
        input: 3,
        cache_read: 4_000,
        cache_write: 5_000,
        cache_write_1h: 2_000,
        output: 500,
        ..Usage::default()
    };
    let hour = rates(&format!("{claude}, cache_write_1h: 6"));
    assert_eq!(hour.cost(&usage), 31_959_000);
    // Without a price of the hour it is paid like five minutes: 9 + 1200 + 18750 + 7500 = 27459.
    assert_eq!(rates(claude).cost(&usage), 27_459_000);
    // Without a price of writing at all, like input: 9 + 1200 + 15000 + 7500 = 23709.
    let plain = rates("input: 3, cached: 0.30, output: 15");
    assert_eq!(plain.cost(&usage), 23_709_000);
}

#[test]
fn audio_and_images_are_charged_once() {
    // 100 of input, 80 of them audio and 10 images; 60 of output, 50 of them audio:
    // 10 × 2.5 + 80 × 40 + 10 × 5 + 10 × 10 + 50 × 80 = 7375.
    let audio = rates(
        "input: 2.50, output: 10, input_audio: 40, input_image: 5, output_audio: 80, output_image: 40",
    );
    let usage = Usage {
        input: 100,
        input_audio: 80,
        input_image: 10,
        output: 60,
        output_audio: 50,
        ..Usage::default()
    };
    assert_eq!(audio.cost(&usage), 7_375_000);
    // Without prices of their own they are text: 100 × 2.5 + 60 × 10 = 850.
    assert_eq!(rates("input: 2.50, output: 10").cost(&usage), 850_000);
    // Of audio that was cached in part, what is left beside the cache is audio: 20 × 40 + 80 × 1.25 = 900.
    let cached = Usage {
        input: 20,
        cache_read: 80,
        input_audio: 90,
        ..Usage::default()
    };
    let audio = rates("input: 2.50, cached: 1.25, output: 10, input_audio: 40");
    assert_eq!(audio.cost(&cached), 900_000);
}

#[test]
fn parts_that_are_more_than_their_whole_are_charged_up_to_it() {
    let rates = rates(
        "input: 1, output: 1, input_audio: 2, cache_write_1h: 2, output_audio: 2, output_image: 2, reasoning: 2",
    );
    let usage = Usage {
        input: 10,
        input_audio: 1_000,
        cache_write: 10,
        cache_write_1h: 1_000,
        output: 10,
        output_audio: 8,
        output_image: 8,
        reasoning: 8,
        ..Usage::default()
    };
    assert_eq!(rates.cost(&usage), 60_000);
}

#[test]
fn what_is_not_priced_by_tokens() {
    // An embedding: 8 × 0.02 = 0.16 dollars for a million, which are 160 nano-dollars.
    let usage = Usage {
        input: 8,
        ..Usage::default()
    };
    assert_eq!(rates("input: 0.02").cost(&usage), 160);
    // Three searches of reranking at two thousandths of a dollar.
    let searches = Usage {
        searches: 3,
        ..Usage::default()
    };
    assert_eq!(rates("search: 0.002").cost(&searches), 6_000_000);
    // 90 seconds of audio at 0.006 dollars a minute.
    let audio = Usage {
        audio_ms: 90_000,
        ..Usage::default()
    };
    assert_eq!(rates("audio_minute: 0.006").cost(&audio), 9_000_000);
    // A request, whatever it uses.
    assert_eq!(rates("request: 0.001").cost(&Usage::default()), 1_000_000);
    assert_eq!(rates("input: 0").cost(&usage), 0);
}

#[test]
fn an_amount_is_rounded_up_once() {
    // A token at a nano-dollar for a million is a millionth of one.
    let rates = rates("input: 0.000000001, output: 0.000000001, audio_minute: 0.000000001");
    let used = |input, output, audio_ms| Usage {
        input,
        output,
        audio_ms,
        ..Usage::default()
    };
    assert_eq!(rates.cost(&used(0, 0, 0)), 0);
    assert_eq!(rates.cost(&used(1, 0, 0)), 1);
    assert_eq!(rates.cost(&used(500_000, 500_000, 0)), 1);
    assert_eq!(rates.cost(&used(500_000, 500_001, 0)), 2);
    // A half of tokens and a half of a minute are a whole.
    assert_eq!(rates.cost(&used(500_000, 0, 30_000)), 1);
    assert_eq!(rates.cost(&used(500_000, 0, 30_001)), 2);
}

#[test]
fn the_nearest_name_and_upstream_win() {
    let prices = Prices::new(&written(
        "{ model: gpt-4o, upstream: a, input: 1 }, { model: gpt-4o, input: 2 },
         { model: 'gpt-4*', upstream: b, input: 3 }, { model: 'gpt-4*', input: 4 },
         { model: 'gpt*', upstream: b, input: 5 }, { model: '*', upstream: a, input: 6 }",
    ));
    let price = |upstream: &str, model: &str| {
        let found = prices.find(upstream, model, now());
        found.map(|rates| rates.input / USD)
    };
    assert_eq!(price("a", "gpt-4o"), Some(1));
    assert_eq!(price("b", "gpt-4o"), Some(2));
    assert_eq!(price("b", "gpt-4o-mini"), Some(3));
    assert_eq!(price("a", "gpt-4o-mini"), Some(4));
    assert_eq!(price("a", "gpt-4"), Some(4));
    assert_eq!(price("b", "gpt-3"), Some(5));
    assert_eq!(price("a", "gpt-3"), Some(6));
    assert_eq!(price("a", "é"), Some(6));
    assert_eq!(price("b", "é"), None);
    assert!(!prices.is_empty() && Prices::default().is_empty());
}

#[test]
fn a_price_holds_from_its_beginning_until_just_before_its_end() {
    let prices = Prices::new(&written(
        "{ model: m, input: 1, until: 2026-01-01 }, { model: m, input: 2, from: 2026-01-01, until: 2026-07-01 },
         { model: '*', input: 3, from: 2020-01-01 }",
    ));
    let price = |time: &str| {
        prices
            .find("a", "m", at(time))
            .map(|rates| rates.input / USD)
    };
    assert_eq!(price("1970-01-01T00:00:00Z"), Some(1));
    assert_eq!(price("2025-12-31T23:59:59.999999999Z"), Some(1));
    assert_eq!(price("2026-01-01T00:00:00Z"), Some(2));
    assert_eq!(price("2026-06-30T23:59:59Z"), Some(2));
    // The exact name has no price any more, so the nearest other one holds.
    assert_eq!(price("2026-07-01T00:00:00Z"), Some(3));
    assert_eq!(prices.find("a", "n", at("2019-01-01T00:00:00Z")), None);
}

#[test]
fn a_tenants_own_price_wins_over_its_markup() {
    let general = Prices::new(&written("{ model: 'm*', input: 10 }"));
    let tariff = Tariff::new(
        &written("{ model: mine, input: 3 }, { model: only, input: 4 }"),
        Markup {
            millipercent: 12_500,
        },
    );
    let usage = Usage {
        input: 1_000_000,
        ..Usage::default()
    };
    let bill = |model: &str| {
        let bill = tariff.bill(&general, "a", model, now());
        assert_eq!(bill.estimate(1_000_000, 0), bill.charge(&usage), "{model}");
        (bill.cost(&usage), bill.charge(&usage), bill.is_unpriced())
    };
    assert_eq!(bill("m"), (10 * USD, 11_250_000_000, false));
    assert_eq!(bill("mine"), (10 * USD, 3 * USD, false));
    // What the provider charges for it is not known.
    assert_eq!(bill("only"), (0, 4 * USD, true));
    assert_eq!(bill("other"), (0, 0, true));
    let plain = Tariff::default();
    let plain = plain.bill(&general, "a", "mine", now());
    assert_eq!(plain.charge(&usage), 10 * USD);
}

#[test]
fn a_markup_is_rounded_up_and_saturates() {
    let markup = |millipercent| Markup { millipercent };
    assert_eq!(markup(0).apply(7), 7);
    assert_eq!(markup(20_000).apply(10), 12);
    assert_eq!(markup(1).apply(1), 2);
    assert_eq!(markup(1).apply(0), 0);
    assert_eq!(markup(100_000).apply(u64::MAX), u64::MAX);
    assert_eq!(markup(u32::MAX).apply(u64::MAX), u64::MAX);
}

#[test]
fn what_makes_no_sense_is_the_largest_amount_and_never_a_credit() {
    let dearest = Some(u64::MAX);
    let rates = Rates {
        input: u64::MAX,
        cached: dearest,
        cache_write: dearest,
        cache_write_1h: dearest,
        output: u64::MAX,
        reasoning: dearest,
        input_audio: dearest,
        input_image: dearest,
        output_audio: dearest,
        output_image: dearest,
        audio_minute: u64::MAX,
        search: u64::MAX,
        request: u64::MAX,
    };
    let usage = Usage {
        input: u64::MAX,
        cache_read: u64::MAX,
        cache_write: u64::MAX,
        cache_write_1h: u64::MAX,
        output: u64::MAX,
        reasoning: u64::MAX,
        input_audio: u64::MAX,
        input_image: u64::MAX,
        output_audio: u64::MAX,
        output_image: u64::MAX,
        audio_ms: u64::MAX,
        searches: u64::MAX,
        ..Usage::default()
    };
    assert_eq!(rates.cost(&usage), u64::MAX);
    assert_eq!(rates.estimate(u64::MAX, u64::MAX), u64::MAX);
}

/// A random price: some of its parts have none.
fn random_rates(random: &mut fastrand::Rng) -> Rates {
    let mut price = |random: &mut fastrand::Rng| random.u64(..1_000 * USD);
    let mut part = |random: &mut fastrand::Rng| random.bool().then(|| price(random));
    Rates {
        cached: part(random),
        cache_write: part(random),
        cache_write_1h: part(random),
        reasoning: part(random),
        input_audio: part(random),
        input_image: part(random),
        output_audio: part(random),
        output_image: part(random),
        input: random.u64(..1_000 * USD),
        output: random.u64(..1_000 * USD),
        audio_minute: random.u64(..USD),
        search: random.u64(..USD),
        request: random.u64(..USD),
    }
}

/// A random usage, whose parts are not always within their wholes.
fn random_usage(random: &mut fastrand::Rng, most: u64) -> Usage {
    Usage {
        input: random.u64(..=most),
        cache_read: random.u64(..=most),
        cache_write: random.u64(..=most),
        cache_write_1h: random.u64(..=most),
        output: random.u64(..=most),
        reasoning: random.u64(..=most),
        input_audio: random.u64(..=most),
        input_image: random.u64(..=most),
        output_audio: random.u64(..=most),
        output_image: random.u64(..=most),
        audio_ms: random.u64(..=most),
        searches: random.u64(..=most),
        ..Usage::default()
    }
}

#[test]
fn using_more_never_costs_less() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..10_000 {
        let rates = random_rates(&mut random);
        let most = if random.bool() { 100 } else { MOST };
        let usage = random_usage(&mut random, most);
        let cost = rates.cost(&usage);
        assert!(cost >= rates.request);
        let more = random.u64(1..=most);
        for whole in 0..6 {
            let mut larger = usage.clone();
            *match whole {
                0 => &mut larger.input,
                1 => &mut larger.cache_read,
                2 => &mut larger.cache_write,
                3 => &mut larger.output,
                4 => &mut larger.audio_ms,
                _ => &mut larger.searches,
            } += more;
            assert!(rates.cost(&larger) >= cost, "{rates:?} {usage:?} {whole}");
        }
    }
}

#[test]
fn no_usage_of_so_many_tokens_costs_more_than_the_estimate() {
    let mut random = fastrand::Rng::with_seed(8);
    for _ in 0..10_000 {
        let rates = random_rates(&mut random);
        let usage = Usage {
            audio_ms: 0,
            searches: 0,
            ..random_usage(&mut random, 1_000_000)
        };
        let estimate = rates.estimate(usage.total_input(), usage.output);
        assert!(rates.cost(&usage) <= estimate, "{rates:?} {usage:?}");
    }
}
