//! How a socket ends, and that both sides learn of it.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, config};
use crate::support::soon;
use crate::support::upstream::{Listener, Reply};
use crate::support::websocket::{
    CLOSE, PING, Side, TEXT, close, frame, keyed, masked, open, open_at,
};

async fn pair() -> (Listener, Gateway) {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    (upstream, gateway)
}

fn limited(upstream: &Listener, limits: &str) -> Gateway {
    let section = format!("server:\n  websocket: {{ {limits} }}\n");
    let yaml = config(upstream.address, "", "").replace("server:\n", &section);
    Gateway::start(&yaml)
}

#[tokio::test]
async fn a_close_of_the_client_s_reaches_the_upstream_and_is_answered() {
    let (upstream, gateway) = pair().await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    client.send(masked(CLOSE, &close(4002, "enough"))).await;
    let seen = far.frame().await.unwrap();
    assert_eq!(
        (seen.close_code(), &seen.payload[2..]),
        (4002, &b"enough"[..])
    );
    far.raw(frame(CLOSE, &close(4002, ""))).await;
    // A server is the first to end the connection: the client waits for that.
    drop(far);
    assert_eq!(client.frame().await.unwrap().close_code(), 4002);
    assert!(client.is_closed().await);
    assert!(!gateway.output().text().contains("path=/v1/realtime"));
    drop(client);
    gateway.access_line("status=101 error=- ");
}

#[tokio::test]
async fn a_close_of_the_upstream_s_reaches_the_client_as_it_is() {
    let (upstream, gateway) = pair().await;
    for (code, reason) in [(1000, ""), (1008, "policy"), (4999, "expired")] {
        let (mut client, mut far) = open(&gateway, &upstream).await;
        far.raw(frame(CLOSE, &close(code, reason))).await;
        let seen = client.frame().await.unwrap();
        assert_eq!(seen.close_code(), code);
        assert_eq!(&seen.payload[2..], reason.as_bytes());
        client.send(masked(CLOSE, &close(code, ""))).await;
        assert_eq!(far.frame().await.unwrap().close_code(), code);
        drop(far);
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn a_close_is_read_even_where_the_upstream_no_longer_listens() {
    let (upstream, gateway) = pair().await;
    for _ in 0..20 {
        let (mut client, mut far) = open(&gateway, &upstream).await;
        // It closes with something unread, so that what the client still says meets a reset.
        client.send(masked(TEXT, b"unread")).await;
        far.raw(frame(CLOSE, &close(4003, "quota"))).await;
        drop(far);
        client.try_send(masked(TEXT, &[0; 100_000])).await;
        assert_eq!(client.frame().await.unwrap().close_code(), 4003);
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstream_s_side() {
    let (upstream, gateway) = pair().await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    client.send(masked(TEXT, b"last words")).await;
    client.leave();
    assert_eq!(far.frame().await.unwrap().payload, b"last words");
    assert_eq!(far.frame().await, None);
    gateway.access_line("status=101 error=client_gone ");
}

#[tokio::test]
async fn a_close_that_the_upstream_does_not_answer_is_still_a_proper_end() {
    let (upstream, gateway) = pair().await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    client.send(masked(CLOSE, &close(1000, ""))).await;
    assert_eq!(far.frame().await.unwrap().close_code(), 1000);
    drop(far);
    assert!(client.is_closed().await);
    gateway.access_line("model=gpt-4o sent=gpt-4o-2024-11-20 upstream=far status=101 error=- ");
    // Nor does the client have to wait for the answer.
    let path = "/v1/realtime?model=same-x";
    let (mut client, mut far) = open_at(path, &gateway, &upstream).await;
    client.send(masked(CLOSE, &close(1000, ""))).await;
    client.leave();
    assert_eq!(far.frame().await.unwrap().close_code(), 1000);
    assert_eq!(far.frame().await, None);
    gateway.access_line("model=same-x sent=same-x upstream=far status=101 error=- ");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_between_frames_is_closed_for_with_1011() {
    let (upstream, gateway) = pair().await;
    for resets in [false, true] {
        let (mut client, mut far) = open(&gateway, &upstream).await;
        far.raw(frame(TEXT, b"whole")).await;
        assert_eq!(client.frame().await.unwrap().payload, b"whole");
        if resets {
            far.reset();
        }
        drop(far);
        assert_eq!(client.frame().await.unwrap().close_code(), 1011);
        assert!(client.is_closed().await);
    }
    gateway.access_line("status=101 error=upstream_cut");
    let metrics = gateway.get_admin("/metrics").await;
    let broken = r#"tollgate_answers_broken_total{cause="upstream_cut",endpoint="realtime""#;
    assert!(metrics.text().contains(broken), "{}", metrics.text());
}

#[tokio::test]
async fn in_the_middle_of_a_frame_nothing_is_added_to_it() {
    let (upstream, gateway) = pair().await;
    let whole = frame(TEXT, &[b'x'; 300]);
    for length in [1, 3, 4, 100, whole.len() - 1] {
        let (mut client, mut far) = open(&gateway, &upstream).await;
        far.raw(&whole[..length]).await;
        assert_eq!(client.take(length).await.as_deref(), Some(&whole[..length]));
        drop(far);
        assert!(client.is_closed().await);
    }
    gateway.access_line("status=101 error=upstream_cut");
}

#[tokio::test]
async fn a_socket_on_which_nothing_passes_is_closed() {
    let upstream = Listener::bind().await;
    let gateway = limited(&upstream, "idle: 1s");
    let (mut client, mut far) = open(&gateway, &upstream).await;
    far.raw(frame(TEXT, b"x")).await;
    assert_eq!(client.frame().await.unwrap().payload, b"x");
    let closed = client.frame().await.unwrap();
    assert_eq!(closed.close_code(), 1001);
    assert!(
        closed
            .payload
            .ends_with(b"the socket was idle for too long")
    );
    assert_eq!(far.frame().await, None);
    client.send(masked(CLOSE, &close(1001, ""))).await;
    assert!(client.is_closed().await);
    drop(client);
    gateway.access_line("status=101 error=socket_timeout");
}

#[tokio::test]
async fn a_socket_that_is_in_use_is_not_idle_but_ends_in_the_end() {
    let upstream = Listener::bind().await;
    let gateway = limited(&upstream, "idle: 2s, total: 4s");
    let one = open(&gateway, &upstream).await;
    let other = open(&gateway, &upstream).await;
    // It is enough that one side speaks, whichever it is.
    tokio::join!(talk(one, true), talk(other, false));
}

async fn talk((mut client, mut far): (Client, Reply), client_speaks: bool) {
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let closed = async {
        loop {
            tokio::select! {
                _ = pace.tick() => match client_speaks {
                    true => drop(client.try_send(masked(PING, b"")).await),
                    false => far.raw(frame(PING, b"")).await,
                },
                frame = client.frame() => match frame.unwrap() {
                    frame if frame.opcode == CLOSE => break frame,
                    frame => assert_eq!(frame.opcode, PING),
                },
            }
        }
    };
    let closed = soon("the close", closed).await;
    assert_eq!(closed.close_code(), 1001);
    assert!(
        closed
            .payload
            .ends_with(b"the socket was open for too long")
    );
}

#[tokio::test]
async fn a_gateway_that_ends_says_so_and_waits_for_nobody() {
    let (upstream, mut gateway) = pair().await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    let (mut cut, mut speaking) = open(&gateway, &upstream).await;
    speaking.raw(&frame(TEXT, b"half")[..3]).await;
    assert_eq!(cut.take(3).await.unwrap().len(), 3);
    gateway.signal("TERM");
    assert_eq!(client.frame().await.unwrap().close_code(), 1012);
    assert!(
        cut.is_closed().await,
        "a close would be taken for half of a message"
    );
    assert_eq!(far.frame().await, None);
    client.send(masked(CLOSE, &close(1012, ""))).await;
    assert!(client.is_closed().await);
    drop((client, cut));
    assert!(gateway.wait().success());
    gateway.access_line("status=101 error=restart");
    assert!(!gateway.output().text().contains("cut off"));
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_up_the_end() {
    let (upstream, mut gateway) = pair().await;
    let (client, far) = open(&gateway, &upstream).await;
    let mut far = far.into_stream();
    let chunk = vec![0; 1 << 20];
    let second = Duration::from_secs(1);
    let flood = async {
        while tokio::io::AsyncWriteExt::write_all(&mut far, &chunk)
            .await
            .is_ok()
        {}
    };
    let _held_up = tokio::time::timeout(second, flood).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(!gateway.output().text().contains("cut off"));
    drop(client);
}

#[tokio::test]
async fn what_is_on_its_way_at_the_end_is_not_torn() {
    let (upstream, gateway) = pair().await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    let flood = async {
        for n in 0..u32::MAX {
            far.raw(frame(TEXT, &n.to_be_bytes().repeat(20_000))).await;
        }
    };
    // Until nothing is taken any more, in the middle of some frame.
    let _held_up = tokio::time::timeout(Duration::from_secs(1), flood).await;
    gateway.signal("TERM");
    gateway.output().wait_for("SIGTERM: stopping");
    let mut next: u32 = 0;
    while let Some(frame) = client.frame().await {
        if frame.opcode == CLOSE {
            assert_eq!(frame.close_code(), 1012);
            assert!(client.is_closed().await);
            break;
        }
        assert!(
            frame.payload == next.to_be_bytes().repeat(20_000),
            "{next} is torn"
        );
        next += 1;
    }
    assert!(next > 0);
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_does_not_hold_up_the_end() {
    let (upstream, mut gateway) = pair().await;
    let (client, _far) = open(&gateway, &upstream).await;
    let mut client = client.into_stream();
    let chunk = vec![0; 1 << 20];
    let second = Duration::from_secs(1);
    let flood = async {
        while tokio::io::AsyncWriteExt::write_all(&mut client, &chunk)
            .await
            .is_ok()
        {}
    };
    let _held_up = tokio::time::timeout(second, flood).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(!gateway.output().text().contains("cut off"));
}

#[tokio::test]
async fn many_sockets_pass_side_by_side() {
    let (upstream, gateway) = pair().await;
    let mut sockets = Vec::new();
    for n in 0..20_u8 {
        let (mut client, far) = open(&gateway, &upstream).await;
        client.send(masked(TEXT, &[n])).await;
        sockets.push((client, far));
    }
    for (n, (client, far)) in (0..).zip(&mut sockets) {
        assert_eq!(far.frame().await.unwrap().payload, [n]);
        far.raw(frame(TEXT, &[n])).await;
        assert_eq!(client.frame().await.unwrap().payload, [n]);
    }
    // A socket's connection is nobody else's: the next one opens its own.
    let (mut client, _) = sockets.pop().unwrap();
    client.send(masked(CLOSE, &close(1000, ""))).await;
    let mut next = gateway.connect().await;
    next.send(keyed("/v1/realtime?model=same-x", "")).await;
    let (seen, _) = upstream.accept().await;
    assert_eq!(seen.path, "/v1/realtime?model=same-x");
}
