//! Prices: what each means, in the file and in one of their own; dates that fit each other.

use super::{problems, variables, with};
use crate::config::{Config, Price, Rates, Source};

#[track_caller]
fn parse(prices: &str) -> Vec<Price> {
    let text = with(&format!("prices: {prices}"));
    let config = Config::parse("t.yaml", &text, &variables());
    config.map_err(|e| e.to_string()).unwrap().prices
}

#[test]
fn dollars_are_read_to_the_nano_dollar() {
    let [price] = parse(
        "[{ model: gpt-4o, upstream: a, from: 2026-01-01, until: 2026-07-01, input: 2.50, cached: 1.25,
            cache_write: 3.125, cache_write_1h: '5', output: 10, reasoning: 0.1, input_audio: 0.000000001,
            input_image: 0, output_audio: 80, output_image: 40, audio_minute: 0.006, search: 0.002,
            request: 0.001 }]",
    )
    .try_into()
    .unwrap();
    let expected = Rates {
        input: 2_500_000_000,
        cached: Some(1_250_000_000),
        cache_write: Some(3_125_000_000),
        cache_write_1h: Some(5_000_000_000),
        output: 10_000_000_000,
        reasoning: Some(100_000_000),
        input_audio: Some(1),
        input_image: Some(0),
        output_audio: Some(80_000_000_000),
        output_image: Some(40_000_000_000),
        audio_minute: 6_000_000,
        search: 2_000_000,
        request: 1_000_000,
    };
    assert_eq!(price.rates, expected);
    assert_eq!(price.upstream.unwrap().value, "a");
    assert_eq!(price.from.unwrap().to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(price.until.unwrap().to_string(), "2026-07-01T00:00:00Z");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (price, expected) in [
        ("{ input: 1 }", ": `model` is missing"),
        (
            "{ model: m }",
            ": no price is written (as in { model: gpt-4o,",
        ),
        ("{ model: m, input: -1 }", ".input: must not be negative"),
        (
            "{ model: m, input: lots }",
            ".input: expected an amount of US dollars",
        ),
        (
            "{ model: m, input: 0.0000000001 }",
            ".input: has more than 9 decimals",
        ),
        (
            "{ model: m, inputs: 1 }",
            ".inputs: unknown key (did you mean `input`?)",
        ),
        (
            "{ model: 'm*x', input: 1 }",
            ".model: `m*x`: a `*` stands only at the end (model: \"m*\"",
        ),
        (
            "{ model: 'm**', input: 1 }",
            ".model: `m**`: a `*` stands only at the end",
        ),
        (
            "{ model: m, upstream: b, input: 1 }",
            ".upstream: no upstream is called `b` (did you mean `a`?)",
        ),
        (
            "{ model: m, from: x, input: 1 }",
            ".from: expected a day, or a time with its zone",
        ),
        (
            "{ model: m, from: 2026-01-01, until: 2026-01-01, input: 1 }",
            ".until: `until` must be after `from`",
        ),
    ] {
        let found = problems(&with(&format!("prices: [{price}]")));
        let expected = format!("t.yaml:3: prices[0]{expected}");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{price}: {found:?}"
        );
    }
    for (prices, expected) in [
        ("[]", "prices: at least one price is needed"),
        (
            "{}",
            "prices: neither `file` nor `list` is written (as in prices: { file: prices.yaml })",
        ),
        ("12", "prices: expected a list, found a number"),
    ] {
        let found = problems(&with(&format!("prices: {prices}")));
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_dates_of_one_price_leave_no_gap_and_do_not_overlap() {
    for (dates, expected) in [
        (
            [
                "until: 2026-01-01",
                "from: 2026-01-01, until: 2026-02-01",
                "from: 2026-02-01",
            ],
            None,
        ),
        (
            [
                "from: 2026-02-01",
                "from: 2026-01-01, until: 2026-02-01",
                "until: 2026-01-01",
            ],
            None,
        ),
        (
            [
                "until: 2026-01-01",
                "from: 2026-01-02, until: 2026-02-01",
                "from: 2026-02-01",
            ],
            Some(
                "prices[1].model: `m` of `a` has no price from 2026-01-01 until 2026-01-02 (end one where",
            ),
        ),
        (
            [
                "until: 2026-01-01",
                "from: 2026-01-01",
                "from: 2026-02-01T12:00:00Z",
            ],
            Some(
                "prices[2].model: `m` of `a` has two prices from 2026-02-01T12:00:00Z on (write until: 2026-02-01T12:00:00Z in",
            ),
        ),
        (
            [
                "until: 2026-01-01",
                "from: 2025-12-31, until: 2026-02-01",
                "from: 2026-02-01",
            ],
            Some("prices[1].model: `m` of `a` has two prices from 2025-12-31 on"),
        ),
        (
            ["until: 2026-01-01", "from: 2026-01-01", "until: 2026-01-01"],
            Some("prices[2].model: `m` of `a` has a price above already"),
        ),
    ] {
        let prices = dates.map(|dates| format!("{{ model: m, upstream: a, input: 1, {dates} }}"));
        // Another model and another upstream have dates of their own.
        let others = "{ model: m, input: 1 }, { model: n, upstream: a, input: 1 }";
        let text = format!("prices: [{}, {others}]", prices.join(", "));
        let found = problems(&with(&text));
        match expected {
            None => assert_eq!(found, [""; 0]),
            Some(expected) => assert!(found.len() == 1 && found[0].contains(expected), "{found:?}"),
        }
        let own = format!("tenants: [{{ id: t, keys: [k], {text} }}]");
        assert_eq!(problems(&with(&own)).len(), found.len());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn prices_may_stand_in_a_file_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tollgate.yaml");
    let prices = folder.path().join("prices.yaml");
    let load = |section: &str, file: &str| {
        std::fs::write(&config, with(section)).unwrap();
        std::fs::write(&prices, file).unwrap();
        Config::load(&Source::File(config.clone()), &variables())
    };
    let names = |config: Config| -> Vec<String> {
        config
            .prices
            .into_iter()
            .map(|price| price.model.value)
            .collect()
    };
    let file = "prices: { file: prices.yaml }";
    let both = "prices: { file: prices.yaml, list: [{ model: m, input: 1 }] }";
    assert_eq!(
        names(load(file, "- { model: x, input: 1 }\n").unwrap()),
        ["x"]
    );
    assert_eq!(
        names(load(file, "prices:\n  - { model: x, input: 1 }\n").unwrap()),
        ["x"]
    );
    assert_eq!(
        names(load(both, "- { model: x, input: 1 }\n").unwrap()),
        ["x", "m"]
    );
    let absolute = format!("prices: {{ file: '{}' }}", prices.display());
    assert_eq!(
        names(load(&absolute, "- { model: x, input: 1 }\n").unwrap()),
        ["x"]
    );

    let shown = prices.display();
    for (text, expected) in [
        (
            "\n- { model: x, input: -1 }\n",
            format!("{shown}:2: [0].input: must not be negative"),
        ),
        (
            "prices:\n  - { model: x, upstream: b, input: 1 }",
            format!("{shown}:2: prices[0].upstream: no upstream is called `b`"),
        ),
        (
            "- { model: x, input: 1 }\n- { model: x, input: 2 }\n",
            format!("{shown}:2: [1].model: `x` has a price above already"),
        ),
        ("- [\n", format!("{shown}:2: not valid YAML")),
        ("{}", format!("{shown}:1: `prices` is missing")),
        ("# none\n", format!("{shown}: the file is empty")),
    ] {
        let found = load(file, text).unwrap_err();
        assert_eq!(found.0.len(), 1, "{found}");
        assert!(
            found.to_string().starts_with(&expected),
            "{expected} in {found}"
        );
    }
    std::fs::remove_file(&prices).unwrap();
    let found = Config::load(&Source::File(config), &variables())
        .unwrap_err()
        .to_string();
    assert!(
        found.contains("tollgate.yaml:3: prices.file: ")
            && found.contains("cannot be read: No such file"),
        "{found}"
    );
}

#[test]
fn a_target_without_a_price_is_warned_of_where_there_are_prices() {
    let warnings = |models: &str, prices: &str| -> Vec<String> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a.example }}, d: {{ dialect: demo }} }}\n\
             models: [{models}]\nprices: [{prices}]\n"
        );
        let config = Config::parse("t.yaml", &text, &variables()).unwrap();
        config.warnings.iter().map(ToString::to_string).collect()
    };
    let rule = "{ match: m, targets: [{ upstream: a }, { upstream: d }] }";
    for prices in [
        "{ model: m, input: 0 }",
        "{ model: m, upstream: a, input: 1 }",
        "{ model: 'm*', input: 1 }",
        "{ model: '*', input: 1 }",
    ] {
        assert_eq!(warnings(rule, prices), [""; 0], "{prices}");
    }
    let expected = "t.yaml:2: warning: models[0].targets[0].upstream: no price holds for `m` of `a`: it costs \
                    nothing (add it to `prices`, with 0 if it is free)";
    for prices in [
        "{ model: mm, input: 1 }",
        "{ model: m, upstream: d, input: 1 }",
        "{ model: m, until: 2020-01-01, input: 1 }",
        "{ model: m, from: 9000-01-01, input: 1 }",
    ] {
        assert_eq!(warnings(rule, prices), [expected], "{prices}");
    }
    let sent = "{ match: m, targets: [{ upstream: a, model: other }] }";
    assert!(warnings(sent, "{ model: m, input: 1 }")[0].contains("for `other` of `a`"));
    let many = "{ match: 'gpt-*', targets: [{ upstream: a }] }";
    assert_eq!(warnings(many, "{ model: gpt-4o, input: 1 }"), [""; 0]);
    assert_eq!(warnings(many, "{ model: 'g*', input: 1 }"), [""; 0]);
    assert!(warnings(many, "{ model: o3, input: 1 }")[0].contains("for `gpt-*` of `a`"));
}
