//! Usage as the providers tell it, through each of the readers.

use serde_json::json;

use super::{StreamUsage, Usage, UsageScanner, whole};

fn used(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        ..Usage::default()
    }
}

/// Reads a body whole, byte by byte and, unless only bodies tell it in this place, as an event.
fn read(body: &str) -> Option<Usage> {
    let usage = whole(body.as_bytes());
    let mut scanner = UsageScanner::default();
    body.as_bytes()
        .chunks(1)
        .for_each(|byte| scanner.push(byte));
    assert_eq!(scanner.usage(), usage, "{body} in bytes");
    if body.contains("\"usage\"") {
        assert_eq!(tallied(&[body]), usage, "{body} as an event");
    }
    usage
}

fn tallied(events: &[&str]) -> Option<Usage> {
    let mut stream_usage = StreamUsage::default();
    events
        .iter()
        .for_each(|data| stream_usage.see(data.as_bytes()));
    stream_usage.usage()
}

fn check<'a>(cases: impl IntoIterator<Item = (&'a str, Usage)>) {
    for (body, expected) in cases {
        assert_eq!(read(body), Some(expected), "{body}");
    }
}

#[test]
fn openai_tells_chats_completions_and_embeddings() {
    check([
        (
            r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":10,"image_tokens":5},"completion_tokens_details":{"reasoning_tokens":128,"audio_tokens":7,"accepted_prediction_tokens":0,"rejected_prediction_tokens":9}},"service_tier":"priority","system_fingerprint":"fp"}"#,
            Usage {
                cache_read: 1920,
                reasoning: 128,
                input_audio: 10,
                input_image: 5,
                output_audio: 7,
                tier: Some("priority".to_owned()),
                ..used(86, 300)
            },
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":2000,"completion_tokens":3,"total_tokens":2003,"prompt_tokens_details":{"cached_tokens":1000,"cache_write_tokens":600},"completion_tokens_details":null},"service_tier":null}"#,
            Usage {
                cache_read: 1000,
                cache_write: 600,
                ..used(400, 3)
            },
        ),
        (
            r#"{"object":"text_completion","choices":[{"text":"x","index":0,"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#,
            used(5, 7),
        ),
        (
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2e-3]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            used(8, 0),
        ),
        (
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AAAA"}],"usage":{"total_tokens":8}}"#,
            used(8, 0),
        ),
    ]);
}

#[test]
fn openai_tells_responses_and_what_realtime_has_done() {
    let body = r#"{"id":"r","object":"response","status":"completed","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"{\"usage\":{\"input_tokens\":1}}"}]}],"tools":[{"parameters":{"properties":{"usage":{"type":"string"}}}}],"service_tier":"flex","usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":300,"cache_write_tokens":8},"output_tokens":52,"output_tokens_details":{"reasoning_tokens":40},"total_tokens":380}}"#;
    let expected = Usage {
        cache_read: 300,
        cache_write: 8,
        reasoning: 40,
        tier: Some("flex".to_owned()),
        ..used(20, 52)
    };
    check([(body, expected.clone())]);
    for kind in ["completed", "incomplete", "failed"] {
        let event =
            format!(r#"{{"type":"response.{kind}","sequence_number":9,"response":{body}}}"#);
        check([(event.as_str(), expected.clone())]);
    }
    check([
        (
            r#"{"type":"response.done","event_id":"e","response":{"object":"realtime.response","status":"cancelled","usage":{"total_tokens":275,"input_tokens":127,"output_tokens":148,"input_token_details":{"cached_tokens":64,"text_tokens":119,"audio_tokens":8,"image_tokens":0,"cached_tokens_details":{"text_tokens":60,"audio_tokens":4}},"output_token_details":{"text_tokens":36,"audio_tokens":112}}}}"#,
            Usage {
                cache_read: 64,
                input_audio: 8,
                output_audio: 112,
                ..used(63, 148)
            },
        ),
        (
            r#"{"type":"conversation.item.input_audio_transcription.completed","transcript":"x","usage":{"type":"tokens","total_tokens":22,"input_tokens":13,"input_token_details":{"text_tokens":0,"audio_tokens":13},"output_tokens":9}}"#,
            Usage {
                input_audio: 13,
                ..used(13, 9)
            },
        ),
    ]);
}

#[test]
fn openai_tells_images_and_audio() {
    let image = Usage {
        input_image: 40,
        output_image: 90,
        ..used(50, 100)
    };
    check([
        (
            r#"{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"total_tokens":150,"input_tokens":50,"output_tokens":100,"input_tokens_details":{"text_tokens":10,"image_tokens":40},"output_tokens_details":{"text_tokens":10,"image_tokens":90}}}"#,
            image.clone(),
        ),
        (
            r#"{"type":"image_edit.completed","b64_json":"AAAA","usage":{"total_tokens":150,"input_tokens":50,"output_tokens":100,"input_tokens_details":{"text_tokens":10,"image_tokens":40},"output_tokens_details":{"text_tokens":10,"image_tokens":90}}}"#,
            image,
        ),
        (
            r#"{"text":"x","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":45,"total_tokens":59}}"#,
            Usage {
                input_audio: 10,
                ..used(14, 45)
            },
        ),
        (
            r#"{"text":"x","usage":{"type":"duration","seconds":9}}"#,
            Usage {
                audio_ms: 9000,
                ..Usage::default()
            },
        ),
        // The time that is priced comes before the time that was heard.
        (
            r#"{"task":"transcribe","duration":8.47,"text":"x","segments":[],"usage":{"type":"duration","seconds":9.5}}"#,
            Usage {
                audio_ms: 9500,
                ..Usage::default()
            },
        ),
        (
            r#"{"task":"transcribe","language":"english","duration":8.470000267028809,"text":"x","segments":[{"id":0,"start":0.0}]}"#,
            Usage {
                audio_ms: 8470,
                ..Usage::default()
            },
        ),
        (
            r#"{"type":"transcript.text.done","text":"x","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":31,"total_tokens":45}}"#,
            Usage {
                input_audio: 14,
                ..used(14, 31)
            },
        ),
        (
            r#"{"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}"#,
            used(14, 101),
        ),
    ]);
}

#[test]
fn rerankers_tell_a_total_or_units() {
    check([
        (
            r#"{"model":"jina-reranker-v2-base-multilingual","object":"list","usage":{"total_tokens":56},"results":[{"index":0,"relevance_score":0.9,"document":{"text":"\"usage\":{}"}}]}"#,
            used(56, 0),
        ),
        (
            r#"{"id":"rerank-1","model":"m","usage":{"prompt_tokens":56,"total_tokens":56},"results":[]}"#,
            used(56, 0),
        ),
        (
            r#"{"id":"x","results":[{"index":1,"relevance_score":0.9}],"meta":{"api_version":{"version":"2","is_experimental":false},"billed_units":{"search_units":2}}}"#,
            Usage {
                searches: 2,
                ..Usage::default()
            },
        ),
        (
            r#"{"results":[],"meta":{"billed_units":{"input_tokens":7,"output_tokens":1},"tokens":{"input_tokens":60,"output_tokens":9},"warnings":["x"]}}"#,
            used(7, 1),
        ),
        (
            r#"{"results":[],"meta":{"billed_units":null,"tokens":{"input_tokens":60,"output_tokens":0}}}"#,
            used(60, 0),
        ),
        (
            r#"{"results":[],"meta":{"billed_units":{"search_units":1},"tokens":{"input_tokens":9}},"usage":{"total_tokens":7}}"#,
            Usage {
                searches: 1,
                ..used(7, 0)
            },
        ),
        (
            r#"{"id":"x","message":{"role":"assistant","content":[]},"usage":{"billed_units":{"input_tokens":17,"output_tokens":12},"tokens":{"input_tokens":215,"output_tokens":12}}}"#,
            used(17, 12),
        ),
    ]);
}

#[test]
fn anthropic_tells_an_input_without_its_caches() {
    check([
        (
            r#"{"id":"msg","type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":100,"cache_creation_input_tokens":248,"cache_read_input_tokens":1800,"cache_creation":{"ephemeral_5m_input_tokens":148,"ephemeral_1h_input_tokens":100},"output_tokens":503,"server_tool_use":{"web_search_requests":3,"web_fetch_requests":2},"service_tier":"standard"}}"#,
            Usage {
                cache_read: 1800,
                cache_write: 248,
                cache_write_1h: 100,
                searches: 3,
                tier: Some("standard".to_owned()),
                ..used(100, 503)
            },
        ),
        (
            r#"{"type":"message","usage":{"input_tokens":10,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,"output_tokens":5,"server_tool_use":null}}"#,
            used(10, 5),
        ),
        (
            r#"{"type":"message","usage":{"input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":20},"output_tokens":5}}"#,
            Usage {
                cache_write: 20,
                ..used(10, 5)
            },
        ),
    ]);
}

#[test]
fn others_tell_caches_in_their_own_words() {
    let cached = Usage {
        cache_read: 64,
        ..used(36, 20)
    };
    for usage in [
        // DeepSeek: what missed the cache is what is left.
        r#""prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36,"prompt_tokens_details":{"cached_tokens":64}"#,
        r#""prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36"#,
        // Moonshot.
        r#""cached_tokens":64"#,
        // Mistral.
        r#""num_cached_tokens":64,"prompt_audio_seconds":null"#,
        // OpenRouter: its cost is no business of ours.
        r#""cost":0.95,"is_byok":false,"cost_details":{"upstream_inference_cost":19},"prompt_tokens_details":{"cached_tokens":64,"cache_write_tokens":0,"video_tokens":0}"#,
        // Gateways that know two spellings, one of them idle.
        r#""prompt_tokens_details":{"cached_tokens":64},"input_tokens":0,"output_tokens":0,"input_tokens_details":null"#,
        r#""cache_creation_input_tokens":0,"cache_read_input_tokens":64"#,
    ] {
        let body = format!(
            r#"{{"usage":{{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,{usage}}}}}"#
        );
        check([(body.as_str(), cached.clone())]);
    }
    check([
        // Alibaba, whose prompt includes what is written.
        (
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":0,"cache_creation_input_tokens":90,"cache_type":"ephemeral"}}}"#,
            Usage {
                cache_write: 90,
                ..used(10, 20)
            },
        ),
        // Bedrock's convention in OpenAI's words.
        (
            r#"{"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":130,"prompt_tokens_details":{"cached_tokens":100}}}"#,
            Usage {
                cache_read: 100,
                ..used(10, 20)
            },
        ),
    ]);
}

#[test]
fn a_total_tells_of_output_that_was_left_out() {
    let thought = |reasoning, input, output| Usage {
        reasoning,
        ..used(input, output)
    };
    check([
        // xAI: the reasoning is beside the completion.
        (
            r#"{"usage":{"prompt_tokens":12,"completion_tokens":1,"total_tokens":399,"prompt_tokens_details":{"text_tokens":12,"audio_tokens":0,"image_tokens":0,"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":386,"audio_tokens":0},"num_sources_used":0}}"#,
            thought(386, 12, 387),
        ),
        (
            r#"{"usage":{"prompt_tokens":10120,"completion_tokens":1499,"total_tokens":14428,"prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":2809}}}"#,
            Usage {
                cache_read: 128,
                ..thought(2809, 9992, 4308)
            },
        ),
        // The total cannot be of the cache that happens to be as large.
        (
            r#"{"usage":{"prompt_tokens":128,"completion_tokens":9,"total_tokens":265,"prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":128}}}"#,
            Usage {
                cache_read: 128,
                ..thought(128, 0, 137)
            },
        ),
        // Gemini: what is not told was thought.
        (
            r#"{"usage":{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}}"#,
            thought(405, 20, 603),
        ),
        (
            r#"{"usage":{"prompt_tokens":20,"total_tokens":623}}"#,
            used(20, 603),
        ),
        // Known reasoning stays as it was told.
        (
            r#"{"usage":{"prompt_tokens":20,"completion_tokens":30,"total_tokens":70,"completion_tokens_details":{"reasoning_tokens":5}}}"#,
            thought(5, 20, 50),
        ),
        // SGLang has it beside its details, and in the completion.
        (
            r#"{"usage":{"prompt_tokens":20,"completion_tokens":30,"total_tokens":50,"reasoning_tokens":5}}"#,
            thought(5, 20, 30),
        ),
        // Perplexity leaves it out of the total as well.
        (
            r#"{"usage":{"prompt_tokens":33,"completion_tokens":7163,"total_tokens":7196,"citation_tokens":19028,"num_search_queries":18,"reasoning_tokens":73997,"cost":{"total_cost":1.2}}}"#,
            Usage {
                searches: 18,
                ..thought(73997, 33, 81160)
            },
        ),
        // Mistral: what the total has besides is audio, which is priced by its time.
        (
            r#"{"model":"voxtral-mini-2507","text":"x","usage":{"prompt_audio_seconds":203,"prompt_tokens":4,"total_tokens":3264,"completion_tokens":635}}"#,
            Usage {
                audio_ms: 203_000,
                ..used(4, 635)
            },
        ),
        // A total that is too small says nothing.
        (
            r#"{"usage":{"prompt_tokens":20,"completion_tokens":30,"total_tokens":0}}"#,
            used(20, 30),
        ),
        (
            r#"{"usage":{"completion_tokens":30,"total_tokens":50}}"#,
            used(20, 30),
        ),
    ]);
}

#[test]
fn the_tier_stands_in_the_usage_or_beside_it() {
    for (body, expected) in [
        (
            r#"{"service_tier":"flex","usage":{"prompt_tokens":1}}"#,
            Some("flex"),
        ),
        (
            r#"{"service_tier":"flex","usage":{"prompt_tokens":1,"service_tier":"batch"}}"#,
            Some("batch"),
        ),
        (
            r#"{"response":{"service_tier":"default"},"usage":{"prompt_tokens":1},"service_tier":"flex"}"#,
            Some("flex"),
        ),
        (
            r#"{"response":{"service_tier":"flex"},"usage":{"prompt_tokens":1}}"#,
            Some("flex"),
        ),
        (
            r#"{"service_tier":null,"response":{"service_tier":"flex"},"usage":{"prompt_tokens":1}}"#,
            Some("flex"),
        ),
        (
            r#"{"service_tiers":"flex","usage":{"prompt_tokens":1}}"#,
            None,
        ),
        (
            r#"{"service_tier":["flex"],"usage":{"prompt_tokens":1,"service_tier":null}}"#,
            None,
        ),
    ] {
        let told = read(body).map(|usage| usage.tier);
        assert_eq!(told, Some(expected.map(str::to_owned)), "{body}");
    }
}

#[test]
fn the_last_usage_of_a_stream_counts() {
    let chunk = |usage: &str| {
        format!(
            r#"{{"object":"chat.completion.chunk","service_tier":"default","choices":[{{"index":0,"delta":{{"content":"x"}}}}],"usage":{usage}}}"#
        )
    };
    let told = |input, output| {
        chunk(&format!(
            r#"{{"prompt_tokens":{input},"completion_tokens":{output}}}"#
        ))
    };
    let expected = Usage {
        tier: Some("default".to_owned()),
        ..used(9, 3)
    };
    let (null, empty, text) = (chunk("null"), chunk("{}"), chunk("\"x\""));
    let (first, last) = (told(9, 1), told(9, 3));
    for events in [
        // On the last chunk.
        [&null, &null, &last],
        // On each, cumulative.
        [&first, &first, &last],
        // What cannot be read undoes nothing.
        [&last, &null, &null],
        [&first, &last, &empty],
        [&first, &last, &text],
    ] {
        let events = events.map(String::as_str);
        assert_eq!(tallied(&events), Some(expected.clone()), "{events:?}");
    }
    assert_eq!(tallied(&[&null, &empty, &text]), None);
    assert_eq!(tallied(&[]), None);
    // Behind the end marker too.
    assert_eq!(tallied(&["[DONE]", &last]), Some(expected));
}

#[test]
fn a_later_usage_keeps_nothing_of_an_earlier_one() {
    let first = r#"{"usage":{"prompt_tokens":9,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":5}},"service_tier":"flex"}"#;
    let last = r#"{"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
    assert_eq!(tallied(&[first, last]), Some(used(9, 3)));
}

#[test]
fn streams_of_azure_groq_and_moonshot_are_told_in_their_places() {
    for events in [
        [
            r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}"#,
            r#"{"choices":[{"content_filter_results":{},"delta":{"content":"x"},"index":0}],"id":"c","usage":null}"#,
            r#"{"choices":[],"id":"c","usage":{"completion_tokens":4,"prompt_tokens":6,"total_tokens":10}}"#,
        ],
        [
            r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant"}}],"x_groq":{"id":"req"}}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"\"usage\":{}"}}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"req","usage":{"queue_time":0.01,"prompt_tokens":6,"prompt_time":0.1,"completion_tokens":4,"total_tokens":10,"total_time":1.5}}}"#,
        ],
        [
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"usage"},"finish_reason":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":""},"finish_reason":null,"usage":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":6,"completion_tokens":4,"total_tokens":10}}]}"#,
        ],
    ] {
        assert_eq!(tallied(&events), Some(used(6, 4)), "{events:?}");
        check([(events[2], used(6, 4))]);
    }
    // One beside all of these comes first.
    let both = r#"{"usage":{"prompt_tokens":6,"completion_tokens":4},"x_groq":{"usage":{"prompt_tokens":1}},"choices":[{"usage":{"prompt_tokens":2}}]}"#;
    check([(both, used(6, 4))]);
    let of_choices = r#"{"usage":null,"x_groq":{"usage":{}},"choices":[{"usage":{"prompt_tokens":2}},{"usage":{"prompt_tokens":3}},{"usage":null}]}"#;
    check([(of_choices, used(3, 0))]);
}

#[test]
fn anthropics_stream_tells_what_has_changed() {
    let start = r#"{"type":"message_start","message":{"id":"msg","type":"message","role":"assistant","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":7,"cache_read_input_tokens":60,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":7},"output_tokens":1,"service_tier":"standard"}}}"#;
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\"usage\": {}"}}"#;
    let first =
        r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":15}}"#;
    let last = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":30,"output_tokens":40,"server_tool_use":{"web_search_requests":1}}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    let told = |input, output, searches| Usage {
        cache_read: 60,
        cache_write: 7,
        cache_write_1h: 7,
        searches,
        tier: Some("standard".to_owned()),
        ..used(input, output)
    };
    let ping = r#"{"type":"ping"}"#;
    assert_eq!(tallied(&[start, ping, text]), Some(told(25, 1, 0)));
    assert_eq!(tallied(&[start, text, first, stop]), Some(told(25, 15, 0)));
    assert_eq!(
        tallied(&[start, text, first, last, stop]),
        Some(told(30, 40, 1))
    );
    // Another message has nothing of the one before.
    let other =
        r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#;
    assert_eq!(tallied(&[start, last, other]), Some(used(3, 1)));
    // Others tell the whole of it at the end, caches and all.
    let whole_end = r#"{"type":"message_delta","usage":{"input_tokens":3,"cache_read_input_tokens":9,"output_tokens":2}}"#;
    let idle =
        r#"{"type":"message_start","message":{"usage":{"input_tokens":0,"output_tokens":0}}}"#;
    let cached = Usage {
        cache_read: 9,
        ..used(3, 2)
    };
    assert_eq!(tallied(&[idle, whole_end]), Some(cached));
}

#[test]
fn an_answer_that_tells_nothing_has_no_usage() {
    for body in [
        "",
        " ",
        "null",
        "7",
        "\"usage\"",
        "<html>{\"usage\":{\"prompt_tokens\":1}}",
        "[{\"usage\":{\"prompt_tokens\":1}}]",
        "{}",
        r#"{"usage":null}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":[]}"#,
        r#"{"usage":[{"prompt_tokens":1}]}"#,
        r#"{"usage":"12"}"#,
        r#"{"usage":12}"#,
        r#"{"usage":{"prompt_tokens":null,"completion_tokens":"many","total_tokens":-1}}"#,
        r#"{"usage":{"prompt_tokens_details":{"cached_tokens":5},"cache_read_input_tokens":5}}"#,
        r#"{"usage":{"cost":0.1}}"#,
        r#"{"data":{"usage":{"prompt_tokens":1}}}"#,
        r#"{"response":[{"usage":{"prompt_tokens":1}}]}"#,
        r#"{"response":{"output":{"usage":{"prompt_tokens":1}}}}"#,
        r#"{"choices":{"usage":{"prompt_tokens":1}}}"#,
        r#"{"choices":[[{"usage":{"prompt_tokens":1}}]]}"#,
        r#"{"choices":[{"message":{"usage":{"prompt_tokens":1}}}]}"#,
        r#"{"\u0075sage":{"prompt_tokens":1}}"#,
        r#"{"usage ":{"prompt_tokens":1},"usages":{"prompt_tokens":1},"usag":{"prompt_tokens":1}}"#,
        r#"{"text":"usage","duration":"long"}"#,
        r#"{"meta":{"api_version":{"version":"2"}},"x_groq":{"id":"req"}}"#,
    ] {
        assert_eq!(read(body), None, "{body}");
    }
}

#[test]
fn the_normal_form_is_serialised_without_what_is_zero() {
    let idle = json!({"input": 0, "output": 0, "estimated": false});
    assert_eq!(serde_json::to_value(Usage::default()).unwrap(), idle);
    let full = Usage {
        input: 1,
        cache_read: 2,
        cache_write: 3,
        cache_write_1h: 4,
        output: 5,
        reasoning: 6,
        input_audio: 7,
        input_image: 8,
        output_audio: 9,
        output_image: 10,
        audio_ms: 11,
        searches: 12,
        tier: Some("flex".to_owned()),
        is_estimated: true,
    };
    let expected = json!({
        "input": 1, "cache_read": 2, "cache_write": 3, "cache_write_1h": 4, "output": 5,
        "reasoning": 6, "input_audio": 7, "input_image": 8, "output_audio": 9, "output_image": 10,
        "audio_ms": 11, "searches": 12, "tier": "flex", "estimated": true,
    });
    assert_eq!(serde_json::to_value(full).unwrap(), expected);
}

#[test]
fn sums_are_of_the_whole_and_saturate() {
    let usage = Usage {
        cache_read: 20,
        cache_write: 300,
        cache_write_1h: 300,
        reasoning: 4000,
        input_audio: 1,
        ..used(1, 4000)
    };
    assert_eq!((usage.total_input(), usage.total()), (321, 4321));
    let most = Usage {
        cache_read: u64::MAX,
        cache_write: 1,
        ..used(u64::MAX, 1)
    };
    assert_eq!((most.total_input(), most.total()), (u64::MAX, u64::MAX));
}
