//! Headers that two servers could read differently are refused.

use super::{PATHS, assert_refused, chunked, head, start};
use crate::support::chat;

#[tokio::test]
async fn a_body_is_framed_by_one_line_that_says_so_plainly() {
    let (upstream, gateway) = start().await;
    let body = chat("gpt-4o");
    let length = format!("content-length: {}\r\n", body.len());
    for framing in [
        "transfer-encoding: xchunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: ,chunked\r\n",
        "transfer-encoding: identity, chunked\r\n",
        "transfer-encoding: chunked,\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "transfer_encoding: chunked\r\n",
        "transfer---encoding: chunked\r\n",
    ] {
        for path in PATHS {
            let request = [&head(path), framing, "\r\n", &chunked(&body)].concat();
            assert_refused(&gateway, &upstream, framing, request.as_bytes()).await;
        }
    }
    for framing in [
        format!("content-length: {0},{0}\r\n", body.len()),
        format!("content-length: {0}, {0}\r\n", body.len()),
        format!("content-length: +{}\r\n", body.len()),
        format!("content-length: 0x{:x}\r\n", body.len()),
        format!("content-length: -{}\r\n", body.len()),
        format!("content-length : {}\r\n", body.len()),
        [&*length, &*length].concat(),
        [&*length, "content-length: 1\r\n"].concat(),
        [&*length, "content_length: 1\r\n"].concat(),
        [&*length, "transfer-encoding: chunked\r\n"].concat(),
        ["transfer-encoding: chunked\r\n", &*length].concat(),
    ] {
        for path in PATHS {
            let request = [&head(path), &framing, "\r\n", &body].concat();
            assert_refused(&gateway, &upstream, &framing, request.as_bytes()).await;
        }
    }
}

#[tokio::test]
async fn a_header_that_decides_stands_once() {
    let (upstream, gateway) = start().await;
    let body = chat("gpt-4o");
    for double in [
        "content-type: text/plain\r\n",
        "host: other\r\n",
        "authorization: Bearer other\r\n",
        "content-encoding: identity\r\ncontent-encoding: identity\r\n",
        "expect: 100-continue\r\nexpect: 100-continue\r\n",
    ] {
        for path in PATHS {
            let length = format!("content-length: {}\r\n\r\n", body.len());
            let request = [&head(path), double, &length, &body].concat();
            assert_refused(&gateway, &upstream, double, request.as_bytes()).await;
        }
    }
}

#[tokio::test]
async fn a_request_target_has_no_blanks_and_no_control_characters() {
    let (upstream, gateway) = start().await;
    for target in [
        "/v1/files x",
        "/v1/files\tx",
        "/v1/files\rx",
        "/v1/files\x0bx",
        "/v1/files\x01x",
        "/v1/files\x7fx",
        "/v1/files  ",
        " /v1/files",
    ] {
        let request = head(target).replace("POST", "GET") + "\r\n";
        assert_refused(&gateway, &upstream, target, request.as_bytes()).await;
    }
}

#[tokio::test]
async fn header_lines_end_with_cr_lf_and_are_not_folded() {
    let (upstream, gateway) = start().await;
    for line in [
        "x: a\n",
        "x: a\rb\r\n",
        "x: a\r\n b\r\n",
        "x: a\0b\r\n",
        "x : a\r\n",
        ": a\r\n",
        "x\r\n",
    ] {
        for path in PATHS {
            let request = [&head(path).replace("POST", "GET"), line, "\r\n"].concat();
            assert_refused(&gateway, &upstream, line, request.as_bytes()).await;
        }
    }
}

#[tokio::test]
async fn connection_names_ten_headers_at_most() {
    let (upstream, gateway) = start().await;
    let names = "x,".repeat(100_000 / 2);
    let request = [
        &head(PATHS[1]),
        "connection: ",
        &names[..60_000],
        "\r\n\r\n",
    ]
    .concat();
    assert_refused(&gateway, &upstream, "many names", request.as_bytes()).await;
}
