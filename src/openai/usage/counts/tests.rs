//! Spellings and conventions of each provider's counts.

use super::*;

fn read(json: &str) -> Option<Usage> {
    Some(Counts::read(&Fields::read(json)?)?.settle())
}

#[test]
fn a_count_is_a_whole_number_or_a_string_of_digits() {
    for (json, expected) in [
        ("0", Some(0)),
        ("12", Some(12)),
        ("12.0", Some(12)),
        ("12.000", Some(12)),
        (r#""12""#, Some(12)),
        (r#""007""#, Some(7)),
        ("1000000000000", Some(MAX_COUNT)),
        ("1000000000000.0", Some(MAX_COUNT)),
        (r#""1000000000000""#, Some(MAX_COUNT)),
        ("1000000000001", None),
        (r#""1000000000001""#, None),
        ("99999999999999999999999999", None),
        ("12.5", None),
        ("12.05", None),
        ("-1", None),
        ("-0", None),
        ("-12.0", None),
        ("1e3", None),
        ("1.0e3", None),
        ("1e999", None),
        (r#""12.0""#, None),
        (r#""+12""#, None),
        (r#""-12""#, None),
        (r#"" 12""#, None),
        (r#""""#, None),
        (r#"""#, None),
        (r#""twelve""#, None),
        (r#""\u0031""#, None),
        ("null", None),
        ("true", None),
        ("[12]", None),
        (r#"{"tokens":12}"#, None),
        ("", None),
    ] {
        assert_eq!(count(json), expected, "{json}");
        // What is no count leaves the others be.
        let usage = format!(r#"{{"prompt_tokens":{json},"completion_tokens":3}}"#);
        if !matches!(json, "" | "\"") {
            let told = read(&usage).map(|usage| (usage.input, usage.output));
            assert_eq!(told, Some((expected.unwrap_or_default(), 3)), "{usage}");
        }
    }
}

#[test]
fn a_time_is_read_to_the_millisecond() {
    for (json, expected) in [
        ("0", Some(0)),
        ("0.0", Some(0)),
        ("9", Some(9000)),
        ("9.5", Some(9500)),
        ("8.470000267028809", Some(8470)),
        ("0.0009", Some(0)),
        ("1.2e1", Some(12_000)),
        (r#""8.47""#, Some(8470)),
        ("1000000000", Some(MAX_COUNT)),
        ("1000000000.001", None),
        ("1e300", None),
        ("-1", None),
        (r#""inf""#, None),
        (r#""NaN""#, None),
        (r#""""#, None),
        (r#"""#, None),
        ("null", None),
        ("[9]", None),
        ("{}", None),
    ] {
        assert_eq!(milliseconds(json), expected, "{json}");
    }
}

#[test]
fn a_service_tier_is_a_word_of_bounded_length() {
    let longest = "x".repeat(MAX_TIER_BYTES);
    for (json, expected) in [
        (r#""default""#, Some("default")),
        (r#""on_demand-2.5""#, Some("on_demand-2.5")),
        (&format!("\"{longest}\""), Some(longest.as_str())),
        (&format!("\"{longest}x\""), None),
        (r#""""#, None),
        (r#"""#, None),
        (r#""two words""#, None),
        (r#""new\nline""#, None),
        (r#""é""#, None),
        ("7", None),
        ("null", None),
        (r#"["default"]"#, None),
    ] {
        assert_eq!(tier(json).as_deref(), expected, "{json}");
    }
}

#[test]
fn of_members_with_the_same_key_the_last_counts() {
    let twice = r#"{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens":30,
            "prompt_tokens_details":{"cached_tokens":1},
            "prompt_tokens_details":{"cached_tokens":7,"cached_tokens":9}}"#;
    let expected = Usage {
        input: 21,
        cache_read: 9,
        output: 2,
        ..Usage::default()
    };
    assert_eq!(read(twice), Some(expected));
}

#[test]
fn what_can_be_read_counts_beside_what_cannot() {
    let input = |input| Usage {
        input,
        ..Usage::default()
    };
    for (json, expected) in [
        (
            r#"{"prompt_tokens":7,"completion_tokens":"many"}"#,
            input(7),
        ),
        (r#"{"prompt_tokens":-7,"total_tokens":7}"#, input(7)),
        (
            r#"{"prompt_tokens":7,"prompt_tokens_details":[5]}"#,
            input(7),
        ),
        (
            r#"{"prompt_tokens":7,"prompt_tokens_details":"none"}"#,
            input(7),
        ),
        (
            r#"{"prompt_tokens":7,"completion_tokens_details":null}"#,
            input(7),
        ),
        (
            r#"{"prompt_tokens":7,"server_tool_use":3,"cache_creation":[]}"#,
            input(7),
        ),
        (
            r#"{"prompt_tokens":7,"x":1e999,"y":-0.5e-7,"z":"\ud83d\ude00"}"#,
            input(7),
        ),
    ] {
        assert_eq!(read(json), Some(expected), "{json}");
    }
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let beside = format!(r#"{{"x":{nested},"prompt_tokens":7}}"#);
    assert_eq!(read(&beside), Some(input(7)));
    for json in ["[]", "7", "null", "{", r#"{"prompt_tokens":7"#, ""] {
        assert_eq!(read(json), None, "{json}");
    }
}

#[test]
fn a_part_is_never_more_than_its_whole() {
    let usage = read(
        r#"{"prompt_tokens":10,"completion_tokens":5,
            "prompt_tokens_details":{"cached_tokens":50,"cache_write_tokens":3,"audio_tokens":8,"image_tokens":9},
            "completion_tokens_details":{"audio_tokens":4,"image_tokens":9}}"#,
    );
    let expected = Usage {
        cache_read: 10,
        input_audio: 8,
        input_image: 2,
        output: 5,
        output_audio: 4,
        output_image: 1,
        ..Usage::default()
    };
    assert_eq!(usage, Some(expected));
}

#[test]
fn whatever_is_told_the_parts_fit_their_wholes() {
    const KEYS: [&str; 14] = [
        "prompt_tokens",
        "input_tokens",
        "completion_tokens",
        "output_tokens",
        "total_tokens",
        "reasoning_tokens",
        "cached_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_write_tokens",
        "audio_tokens",
        "image_tokens",
        "seconds",
        "ephemeral_1h_input_tokens",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut members = |keys: usize| {
        let member = |_| {
            let count = match random.u8(..8) {
                0 => MAX_COUNT + 1 - random.u64(..3),
                1 => 0,
                _ => random.u64(..40),
            };
            format!("\"{}\":{count},", KEYS[random.usize(..KEYS.len())])
        };
        (0..keys).map(member).collect::<String>()
    };
    let mut told = 0;
    for _ in 0..20_000 {
        let json = format!(
            r#"{{{}"prompt_tokens_details":{{{}"x":0}},"output_tokens_details":{{{}"x":0}},"cache_creation":{{{}"x":0}}}}"#,
            members(6),
            members(3),
            members(3),
            members(2),
        );
        let Some(usage) = read(&json) else {
            continue;
        };
        told += 1;
        let input = usage.total_input();
        assert!(usage.cache_write_1h <= usage.cache_write, "{json}");
        assert!(usage.input_audio + usage.input_image <= input, "{json}");
        assert!(usage.reasoning <= usage.output, "{json}");
        assert!(
            usage.output_audio + usage.output_image <= usage.output,
            "{json}"
        );
        // No more than what five counts can make.
        assert!(usage.total() <= 5 * MAX_COUNT, "{json}");
    }
    // Usages have to be common, or the test says little.
    assert!(told > 15_000, "{told}");
}
