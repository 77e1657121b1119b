//! Requests over HTTP/2 reach HTTP/1 upstreams framed once, however their DATA frames are cut.

use super::{PATHS, all_ways, over, start};
use crate::support::gateway::Gateway;
use crate::support::http2::Client2;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, chat};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_body_ends_once_however_its_frames_are_cut() {
    let (upstream, gateway) = start().await;
    let body = chat("same-model");
    let (head, tail) = body.split_at(10);
    let cuts: [&[&str]; 5] = [
        &[&body],
        &[&body, ""],
        &[head, "", tail, ""],
        &["", head, tail],
        &[head, "", "", tail],
    ];
    let mut client = Client2::connect(&gateway).await;
    let mut sent = 0;
    for path in PATHS {
        for frames in cuts {
            let answer = client.send("POST", path, &[JSON], frames).await.unwrap();
            assert_eq!(answer.status, 200, "{path} {frames:?} {answer:?}");
            sent += 1;
            over(&gateway, sent).await;
            assert_eq!(upstream.request().await.text(), body, "{path} {frames:?}");
        }
    }
    assert_eq!(
        upstream.connections(),
        1,
        "no stray byte has cost a connection"
    );
    assert_eq!(upstream.requests(), PATHS.len() * cuts.len());
}

#[tokio::test]
async fn a_request_without_a_body_has_no_end_of_a_body() {
    let (upstream, gateway) = start().await;
    let mut client = Client2::connect(&gateway).await;
    let mut sent = 0;
    for path in &PATHS[1..] {
        for (method, length) in [("GET", None), ("DELETE", None), ("POST", Some("0"))] {
            for frames in [&[][..], &[""]] {
                let answer = client.send(method, path, &[], frames).await.unwrap();
                assert_eq!(answer.status, 200, "{method} {path}");
                sent += 1;
                over(&gateway, sent).await;
                let seen = upstream.request().await;
                if frames.is_empty() {
                    let lengths = seen.header("content-length");
                    assert_eq!(lengths, length.into_iter().collect::<Vec<_>>(), "{method}");
                    assert!(seen.header("transfer-encoding").is_empty(), "{method}");
                }
                assert_eq!(seen.text(), "");
            }
        }
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_length_over_http2_is_that_of_the_body() {
    let (upstream, gateway) = start().await;
    let body = chat("same-model");
    let length = body.len().to_string();
    for path in PATHS {
        let mut client = Client2::connect(&gateway).await;
        let headers = [JSON, ("content-length", &length)];
        let answer = client.send("POST", path, &headers, &[&body, ""]).await;
        assert_eq!(answer.unwrap().status, 200, "{path}");
        assert_eq!(
            upstream.request().await.header("content-length"),
            [&*length]
        );
        for lengths in [
            &["1"][..],
            &["9999"],
            &[&length, &length],
            &["5,5"],
            &["+5"],
        ] {
            let mut client = Client2::connect(&gateway).await;
            let mut headers = vec![JSON];
            headers.extend(lengths.iter().map(|length| ("content-length", *length)));
            let answer = client.send("POST", path, &headers, &[&body, ""]).await;
            let is_refused = answer.as_ref().map_or(true, |a| a.status == 400);
            assert!(is_refused, "{path} {lengths:?}: {answer:?}");
        }
    }
    assert_eq!(
        upstream.requests(),
        PATHS.len(),
        "what was refused reached no upstream"
    );
}

#[tokio::test]
async fn a_header_that_only_http1_has_is_refused_over_http2() {
    let (upstream, gateway) = start().await;
    let body = chat("same-model");
    for path in PATHS {
        for header in [
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("transfer_encoding", "chunked"),
            ("content_length", "5"),
            ("content-type", "text/plain"),
        ] {
            let mut client = Client2::connect(&gateway).await;
            let answer = client.send("POST", path, &[JSON, header], &[&body]).await;
            let is_refused = answer.as_ref().map_or(true, |a| a.status == 400);
            assert!(is_refused, "{path} {header:?}: {answer:?}");
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn tenants_get_their_own_answers_whatever_another_sends() {
    let upstream = Upstream::start(|request, mut reply| async move {
        let body = format!(r#"{{"answer_for":"{}"}}"#, request.path);
        reply.json("200 OK", &body).await;
        reply
    })
    .await;
    let gateway = Gateway::start(&all_ways(upstream.address));
    let mut mallory = Client2::connect(&gateway).await;
    let mut others = Vec::new();
    for n in 0..8 {
        let sent = mallory
            .send("POST", "/v1/files", &[JSON], &[r#"{"a":1}"#, ""])
            .await;
        assert_eq!(sent.unwrap().status, 200);
        let mut bob = gateway.connect().await;
        let get = format!(
            "GET /v1/files/bob-{n} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT_KEY}\r\n\r\n"
        );
        bob.send(get).await;
        others.push((n, bob));
    }
    for (n, mut bob) in others {
        let answer = bob.response().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["answer_for"], format!("/v1/files/bob-{n}"));
    }
}

#[tokio::test]
async fn trailers_behind_a_body_end_it() {
    let (upstream, gateway) = start().await;
    let body = chat("same-model");
    for path in PATHS {
        for frames in [&[&*body][..], &[&*body, ""], &[]] {
            let mut client = Client2::connect(&gateway).await;
            let answer = client.send_with_trailers(path, &[JSON], frames).await;
            let wanted = match (path, frames) {
                // Nothing that names a model.
                ("/v1/chat/completions", []) => 400,
                _ => 200,
            };
            assert_eq!(answer.unwrap().status, wanted, "{path} {frames:?}");
            if wanted == 200 {
                assert_eq!(upstream.request().await.text(), frames.concat(), "{path}");
            }
        }
    }
}
