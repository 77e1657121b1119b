//! Which answers are kept, and which requests are equal.

use super::{CHAT, ask, asking, certain, configured, counting, gateway, is, result};
use crate::support::client::Response;
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Upstream;

#[tokio::test]
async fn an_equal_request_gets_the_answer_again() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    let first = ask(&mut client, &certain("a")).await;
    is(&first, "answer 1", "miss");
    assert_eq!(first.header("age"), None);
    let again = ask(&mut client, &certain("a")).await;
    is(&again, "answer 1", "hit");
    assert_eq!(again.text(), first.text(), "byte for byte");
    assert_eq!(again.header("age"), Some("0"));
    assert_eq!(
        again.header("x-tollgate-cache-id"),
        first.header("x-request-id")
    );
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(again.header("x-tollgate-attempts"), Some("0"));
    assert_eq!(again.header("content-type"), Some("application/json"));
    is(&ask(&mut client, &certain("b")).await, "answer 2", "miss");
    assert_eq!(upstream.requests(), 2);
    gateway.access_line("upstream=- status=200 error=- ");
    gateway.access_line("cache=hit");
}

#[tokio::test]
async fn what_changes_nothing_about_the_answer_makes_no_difference() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: true");
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
    for body in [
        r#"{ "temperature" : 0.0,"messages":[ {"content":"a","role":"user"} ], "model":"gpt-4o" }"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"\u0061"}],"temperature":0,"user":"u","metadata":{"a":"b"},"safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h","stream":false}"#,
    ] {
        is(&ask(&mut client, body).await, "answer 1", "hit");
    }
    for (number, members) in [
        r#","temperature":0,"max_tokens":5"#,
        r#","temperature":0,"n":2"#,
        r#","temperature":0,"seed":1"#,
        r#","temperature":0,"service_tier":"flex"#,
        r#","temperature":0,"unknown":null"#,
    ]
    .iter()
    .enumerate()
    {
        let members = members.replace(r#""flex"#, r#""flex""#);
        let other = ask(&mut client, &asking("a", &members)).await;
        is(&other, &format!("answer {}", number + 2), "miss");
    }
}

#[tokio::test]
async fn an_answer_that_may_differ_is_kept_only_where_the_rule_says_so() {
    let upstream = counting().await;
    let careful = gateway(&upstream, "cache: { when: deterministic }");
    let mut client = careful.connect().await;
    let maybe = asking("a", r#","temperature":0.7"#);
    is(&ask(&mut client, &maybe).await, "answer 1", "bypass");
    is(&ask(&mut client, &maybe).await, "answer 2", "bypass");
    let seeded = asking("a", r#","temperature":0.7,"seed":5"#);
    is(&ask(&mut client, &seeded).await, "answer 3", "miss");
    is(&ask(&mut client, &seeded).await, "answer 3", "hit");
    let series = r#"tollgate_cache_bypasses_total{reason="not_deterministic",rule="gpt-4o"}"#;
    careful.metric_becomes(series, 2.0).await;
    let always = gateway(&upstream, "cache: { when: always }");
    let mut client = always.connect().await;
    is(&ask(&mut client, &maybe).await, "answer 4", "miss");
    is(&ask(&mut client, &maybe).await, "answer 4", "hit");
}

#[tokio::test]
async fn requests_whose_answer_depends_on_more_are_asked_each_time() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: { when: always }");
    let mut client = gateway.connect().await;
    for (members, reason) in [
        (r#","store":true"#, "stored"),
        (r#","web_search_options":{"a":1}"#, "searches"),
        (r#","tools":[{"type":"web_search"}]"#, "searches"),
        (r#","previous_response_id":"resp_1""#, "references"),
    ] {
        for _ in 0..2 {
            let response = ask(&mut client, &asking("a", members)).await;
            assert_eq!(
                (response.status, result(&response)),
                (200, "bypass"),
                "{members}"
            );
        }
        let series =
            format!("tollgate_cache_bypasses_total{{reason=\"{reason}\",rule=\"gpt-4o\"}}");
        assert!(gateway.metric(&series).await > 1.5, "{series}");
    }
    assert_eq!(upstream.requests(), 8);
}

#[tokio::test]
async fn only_what_is_whole_is_kept() {
    for (status, body, reason) in [
        ("500 Oops", r#"{"error":{"message":"no"}}"#, None),
        (
            "201 Created",
            r#"{"choices":[{"message":{"content":"answer 1"}}]}"#,
            None,
        ),
        ("200 OK", r#"{"choices":[]}"#, Some("not_whole")),
        (
            "200 OK",
            r#"{"choices":[{"message":{"content":"x"},"finish_reason":"content_filter"}]}"#,
            Some("filtered"),
        ),
        (
            "200 OK",
            r#"{"error":{"message":"no","type":"server_error"}}"#,
            None,
        ),
    ] {
        let upstream = Upstream::start(move |_, mut reply| async move {
            reply.json(status, body).await;
            reply
        })
        .await;
        let yaml = configured(&upstream, "cache: true", "");
        let gateway =
            Gateway::start(&yaml.replace("server:\n", "server:\n  retries: { attempts: 1 }\n"));
        let mut client = gateway.connect().await;
        for _ in 0..2 {
            let response = ask(&mut client, &certain("a")).await;
            assert_ne!(result(&response), "hit", "{body}");
        }
        assert_eq!(upstream.requests(), 2, "{body}");
        if let Some(reason) = reason {
            let series =
                format!("tollgate_cache_not_stored_total{{reason=\"{reason}\",rule=\"gpt-4o\"}}");
            gateway.metric_becomes(&series, 2.0).await;
        }
        assert!(
            gateway.metric("tollgate_cache_entries").await < 0.5,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_or_whose_client_leaves_is_not_kept() {
    let upstream = Upstream::start(|request, mut reply| async move {
        reply.begin_stream().await;
        reply.chunk(&crate::support::delta("answer 1")).await;
        match request.text().contains("broken") {
            true => reply.close(),
            false => reply.wait_for_close().await,
        }
        reply
    })
    .await;
    let gateway = gateway(&upstream, "cache: true");
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        let response = ask(&mut client, &asking("broken", super::STREAMED)).await;
        assert_eq!(result(&response), "miss");
    }
    assert_eq!(upstream.requests(), 2);
    for number in 3..5 {
        let mut client = gateway.connect().await;
        client
            .send(crate::support::client::post(
                CHAT,
                "",
                &asking("left", super::STREAMED),
            ))
            .await;
        assert_eq!(client.head().await.0, 200);
        client.leave();
        upstream.closed().await;
        assert_eq!(upstream.requests(), number);
    }
    assert!(gateway.metric("tollgate_cache_entries").await < 0.5);
}

#[tokio::test]
async fn an_answer_above_the_bound_is_not_kept_and_passes() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let text = "answer 1".to_owned() + &" ".repeat(100_000);
        match request.text().contains("\"stream\":true") {
            true => reply.stream(&super::events(&text, true)).await,
            false => reply.json("200 OK", &super::answer(&text)).await,
        }
        reply
    })
    .await;
    let more = "cache: { memory: 1MiB, max_answer: 64KiB }";
    let gateway = Gateway::start(&configured(&upstream, "cache: true", more));
    let mut client = gateway.connect().await;
    for members in [r#","temperature":0"#, super::STREAMED] {
        for _ in 0..2 {
            let response = ask(&mut client, &asking("a", members)).await;
            assert_eq!((response.status, result(&response)), (200, "miss"));
            assert!(response.complete && response.text().len() > 100_000);
        }
    }
    let series = r#"tollgate_cache_not_stored_total{reason="too_large",rule="gpt-4o"}"#;
    gateway.metric_becomes(series, 4.0).await;
}

#[tokio::test]
async fn an_answer_is_used_for_as_long_as_the_rule_says() {
    let upstream = counting().await;
    let gateway = gateway(&upstream, "cache: { ttl: 300ms }");
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
    let renewed = async {
        loop {
            let response = ask(&mut client, &certain("a")).await;
            if result(&response) == "miss" {
                return response;
            }
            is(&response, "answer 1", "hit");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    is(
        &crate::support::soon("the end of the time", renewed).await,
        "answer 2",
        "miss",
    );
    is(&ask(&mut client, &certain("a")).await, "answer 2", "hit");
}

#[tokio::test]
async fn calls_of_tools_are_kept_where_they_are_the_same_each_time() {
    let upstream = Upstream::start(|_, mut reply| async move {
        let call = r#"{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}"#;
        let body = format!(
            r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":null,"tool_calls":[{call}]}},"finish_reason":"tool_calls"}}],"usage":{}}}"#,
            super::USAGE
        );
        reply.json("200 OK", &body).await;
        reply
    })
    .await;
    let tools = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;
    for (keys, members, cache) in [
        ("cache: true", format!("{tools},\"temperature\":0"), "hit"),
        ("cache: { when: always }", tools.to_owned(), "miss"),
        (
            "cache: { when: always, tools: true }",
            tools.to_owned(),
            "hit",
        ),
    ] {
        let gateway = gateway(&upstream, keys);
        let mut client = gateway.connect().await;
        let body = asking("a", &members);
        assert_eq!(result(&ask(&mut client, &body).await), "miss");
        assert_eq!(result(&ask(&mut client, &body).await), cache, "{keys}");
    }
}

#[tokio::test]
async fn other_endpoints_are_kept_as_well() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let number = request.path.len();
        match request.path.as_str() {
            "/v1/audio/speech" => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 4\r\n\r\n";
                reply.raw([head.as_bytes(), b"\xff\xf3\x00\x01"].concat()).await;
            }
            "/v1/responses" => {
                let body = r#"{"id":"resp_1","object":"response","status":"completed","model":"same-x","output":[],"usage":{"input_tokens":1,"output_tokens":1}}"#;
                reply.json("200 OK", body).await;
            }
            _ => reply.json("200 OK", &format!("{{\"data\":[{number}]}}")).await,
        }
        reply
    })
    .await;
    let yaml = config(upstream.address, "", "").replace(
        "{ match: { prefix: same- }, targets",
        "{ match: { prefix: same- }, cache: { when: always }, targets",
    );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    for (path, members) in [
        ("/v1/embeddings", r#""input":"x""#),
        ("/v1/moderations", r#""input":"x""#),
        ("/v1/rerank", r#""query":"x","documents":["y"]"#),
        ("/v1/images/generations", r#""prompt":"x""#),
        ("/v1/audio/speech", r#""input":"x","voice":"v""#),
        ("/v1/responses", r#""input":"x","store":false"#),
        ("/v1/completions", r#""prompt":"x""#),
    ] {
        let body = format!("{{\"model\":\"same-x\",{members}}}");
        let mut both: Vec<Response> = Vec::new();
        for _ in 0..2 {
            both.push(client.post(path, &body).await);
        }
        let told: Vec<(u16, &str)> = both.iter().map(|r| (r.status, result(r))).collect();
        match path {
            // Its answer has no choices.
            "/v1/completions" => assert_eq!(told, [(200, "miss"), (200, "miss")]),
            _ => assert_eq!(told, [(200, "miss"), (200, "hit")], "{path}"),
        }
        assert_eq!(both[0].body, both[1].body, "{path}");
        assert_eq!(
            both[0].header("content-type"),
            both[1].header("content-type")
        );
    }
}

#[tokio::test]
async fn a_fallback_s_answer_is_not_kept() {
    let broken = Upstream::start(|_, mut reply| async move {
        reply.json("503 Busy", "{}").await;
        reply
    })
    .await;
    let other = counting().await;
    let yaml = configured(&broken, "cache: true, fallback: [same-x]", "")
        .replace(
            "upstreams:\n",
            &format!(
                "upstreams:\n  other: {{ base_url: 'http://{}/v1', keys: ['k-other-12345'] }}\n",
                other.address
            ),
        )
        .replace(
            "{ prefix: same- }, targets: [{ upstream: far }]",
            "{ prefix: same- }, targets: [{ upstream: other }]",
        );
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    is(&ask(&mut client, &certain("a")).await, "answer 1", "miss");
    is(&ask(&mut client, &certain("a")).await, "answer 2", "miss");
}

#[tokio::test]
async fn a_rule_without_it_says_nothing_of_it() {
    let upstream = counting().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    for number in 1..3 {
        is(
            &ask(&mut client, &certain("a")).await,
            &format!("answer {number}"),
            "-",
        );
    }
    gateway.access_line("cache=-");
}

#[test]
fn check_shows_what_is_kept_and_warns_of_a_cache_that_no_rule_uses() {
    use crate::support::gateway::{BINARY, Folder};
    let folder = Folder::new();
    let check = |models: &str, more: &str| {
        let yaml = format!(
            "upstreams: {{ a: {{ base_url: 'http://127.0.0.1:9' }} }}\nmodels: [{models}]\n{more}\n"
        );
        let file = folder.write("t.yaml", yaml);
        let output = std::process::Command::new(BINARY)
            .arg("check")
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let targets = "targets: [{ upstream: a }]";
    let said = check(
        &format!(
            "{{ match: m, cache: {{ ttl: 2m, when: always }}, {targets} }}, {{ match: n, coalesce: true, {targets} }}, {{ match: o, {targets} }}"
        ),
        "cache: { memory: 64MiB }",
    );
    for line in [
        "CACHE  KEPT  GIVEN TO  REQUESTS  EQUAL ONES  BY MEANING  MEMORY",
        "m      2m    tenant    all       share one   -           64MiB",
        "n      -     tenant    all       share one   -           -",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.contains("warning"), "{said}");
    let said = check(
        &format!("{{ match: m, {targets} }}"),
        "cache: { memory: 64MiB }",
    );
    assert!(
        said.contains(
            "warning: cache: no rule in `models` uses the cache (add cache: true to a rule)"
        ),
        "{said}"
    );
    assert!(!said.contains("CACHE "), "{said}");
}
