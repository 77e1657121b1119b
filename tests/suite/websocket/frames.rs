//! What passes through an open socket: every byte, both ways, in its own time.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Listener;
use crate::support::websocket::{
    CLOSE, Frame, OPENED, PING, PONG, REALTIME, Side, TEXT, close, frame, keyed, masked, open,
};
use crate::support::{CLIENT_KEY, PATIENCE, PROMPT, soon};

#[tokio::test]
async fn frames_pass_byte_for_byte() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let (mut client, mut far) = open(&gateway, &upstream).await;
    // Fragments, extensions' bits, reserved opcodes, nonsense: none of it is read.
    let odd = [
        b"\x01\x03one\x80\x03two".as_slice(),
        &frame(0x2, &[0, 255, 7]),
        &[0xf3, 0x01, 0x00],
        &frame(PING, b"are you there"),
        &frame(PONG, b""),
        &frame(TEXT, &[b'x'; 125]),
        &frame(TEXT, &[b'y'; 126]),
        &frame(TEXT, &[b'z'; 70_000]),
    ]
    .concat();
    far.raw(&odd).await;
    assert!(client.take(odd.len()).await.unwrap() == odd);
    let odd = [
        masked(TEXT, PROMPT.as_bytes()),
        masked(PONG, b"I am"),
        masked(0x2, &[9; 70_000]),
        // A client must mask, but that is for the upstream to say.
        frame(TEXT, b"unmasked"),
    ]
    .concat();
    client.send(&odd).await;
    assert!(far.take(odd.len()).await.unwrap() == odd);
}

#[tokio::test]
async fn a_frame_that_comes_with_the_opening_is_the_first_to_pass() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    for (ours, theirs) in [(1, 1), (5_000, 5_000), (200_000, 200_000)] {
        let mut client = gateway.connect().await;
        let (early, greeting) = (vec![b'c'; ours], vec![b's'; theirs]);
        let behind = masked(TEXT, &early);
        client
            .send([keyed(REALTIME, "").as_bytes(), &behind].concat())
            .await;
        let (_, mut far) = upstream.accept().await;
        far.raw([OPENED.as_bytes(), &frame(TEXT, &greeting)].concat())
            .await;
        assert_eq!(client.head().await.0, 101);
        assert!(client.frame().await.unwrap().payload == greeting);
        assert!(far.frame().await.unwrap().payload == early);
    }
}

#[tokio::test]
async fn frames_that_come_while_the_socket_is_opened_are_the_first_to_pass() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    for bytes in [1, 4_090, 200_000] {
        let mut client = gateway.connect().await;
        let early = vec![b'c'; bytes];
        let (first, rest) = early.split_at(bytes / 2);
        let behind = masked(TEXT, first);
        client
            .send([keyed(REALTIME, "").as_bytes(), &behind].concat())
            .await;
        let (_, mut far) = upstream.accept().await;
        client.send(masked(TEXT, rest)).await;
        far.raw(OPENED).await;
        assert_eq!(client.head().await.0, 101);
        let seen = [far.frame().await, far.frame().await].map(|frame| frame.unwrap().payload);
        assert!(seen.concat() == early);
        far.raw(frame(TEXT, b"greeting")).await;
        assert_eq!(client.frame().await.unwrap().payload, b"greeting");
    }
}

#[tokio::test]
async fn each_frame_passes_at_once() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let (mut client, mut far) = open(&gateway, &upstream).await;
    // Each side waits for the other's frame: what was held back would never be answered.
    for turn in 0..50_u8 {
        client.send(masked(TEXT, &[turn])).await;
        assert_eq!(far.frame().await.unwrap().payload, [turn]);
        far.raw(frame(TEXT, &[turn, turn])).await;
        assert_eq!(client.frame().await.unwrap().payload, [turn, turn]);
    }
    client.send(masked(PING, b"1")).await;
    let ping = far.frame().await.unwrap();
    assert_eq!(
        ping,
        Frame {
            opcode: PING,
            payload: b"1".to_vec()
        }
    );
    far.raw(frame(PONG, b"1")).await;
    assert_eq!(client.frame().await.unwrap().opcode, PONG);
}

/// More than all buffers between two programs hold.
const FLOOD_BYTES: u64 = 128 << 20;

#[tokio::test]
async fn one_direction_flows_while_the_other_is_held_up() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    for client_speaks_first in [true, false] {
        let (client, far) = open(&gateway, &upstream).await;
        let (client, far) = (client.into_stream(), far.into_stream());
        let (mut stubborn, open) = match client_speaks_first {
            true => (client, far),
            false => (far, client),
        };
        // One says all that it has to say before it listens; the other does both at once.
        let (ear, mut mouth) = open.into_split();
        let said = tokio::spawn(async move {
            say(&mut mouth).await;
            mouth
        });
        let heard = tokio::spawn(async move { hear(&mut { ear }, FLOOD_BYTES).await });
        soon("the whole of one side", say(&mut stubborn)).await;
        let seen = soon("the whole of the other", hear(&mut stubborn, FLOOD_BYTES)).await;
        // Neither side leaves before all has been heard: a mouth that is dropped closes its direction.
        let mouth = said.await.unwrap();
        assert_eq!((seen, heard.await.unwrap()), (FLOOD_BYTES, FLOOD_BYTES));
        drop(mouth);
        drop(stubborn);
    }
}

async fn say(mouth: &mut (impl AsyncWrite + Unpin)) {
    let mut words = tokio::io::repeat(7).take(FLOOD_BYTES);
    tokio::io::copy(&mut words, mouth).await.unwrap();
}

/// How much is heard, of so much.
async fn hear(ear: &mut (impl AsyncRead + Unpin), bytes: u64) -> u64 {
    let mut words = ear.take(bytes);
    tokio::io::copy(&mut words, &mut tokio::io::sink())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_upstream_that_reads_slowly_holds_the_client_back_and_is_not_given_up() {
    let upstream = Listener::bind().await;
    let more = ", timeouts: { connect: 100ms }";
    let gateway = Gateway::start(&config(upstream.address, more, ""));
    let (client, far) = open(&gateway, &upstream).await;
    let (mut client, far) = (client.into_stream(), far.into_stream());
    let before = gateway.rss_bytes();
    let chunk = vec![3; 1 << 20];
    let mut sent = 0;
    // Until nothing is taken any more.
    let second = std::time::Duration::from_secs(1);
    while let Ok(Ok(written)) = tokio::time::timeout(second, client.write(&chunk)).await {
        sent += written as u64;
        assert!(
            sent < FLOOD_BYTES,
            "the gateway takes more than it can pass on"
        );
    }
    let grown = gateway.rss_bytes().saturating_sub(before) >> 20;
    assert!(
        grown < 8,
        "{grown} MiB are kept for an upstream that does not read"
    );
    let received = soon("what was held back", hear(&mut { far }, sent)).await;
    assert_eq!(received, sent);
}

/// A far end that says everything back, until it is told to close; tungstenite judges what comes.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        loop {
            match socket.read() {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    socket.send(message).unwrap();
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    address
}

fn connect(gateway: &Gateway) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let url = format!("ws://{}{REALTIME}", gateway.address);
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    let protocols = format!("realtime, openai-insecure-api-key.{CLIENT_KEY}");
    headers.insert("sec-websocket-protocol", protocols.parse().unwrap());
    let (socket, response) = tungstenite::client(request, stream).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "realtime");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_on_both_sides_finds_nothing_amiss() {
    let gateway = Gateway::start(&config(echo(), "", ""));
    tokio::task::block_in_place(|| {
        let mut socket = connect(&gateway);
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            for message in [
                Message::text("ä".repeat(length / 2)),
                Message::binary(vec![7; length]),
            ] {
                socket.send(message.clone()).unwrap();
                assert!(socket.read().unwrap() == message, "{length}");
            }
        }
        socket.send(Message::Ping("x".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("x".into()));
        let farewell = CloseFrame {
            code: CloseCode::Library(4001),
            reason: "done".into(),
        };
        socket.close(Some(farewell.clone())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Close(Some(farewell)));
        let end = socket.read().unwrap_err();
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    });
    gateway.access_line("status=101 error=- ");
}

#[tokio::test]
async fn bytes_are_logged_and_counted() {
    let upstream = Listener::bind().await;
    let gateway = Gateway::start(&config(upstream.address, "", ""));
    let (mut client, mut far) = open(&gateway, &upstream).await;
    client.send(masked(TEXT, &[b'x'; 94])).await;
    far.frame().await.unwrap();
    far.raw(frame(TEXT, &[b'y'; 298])).await;
    client.frame().await.unwrap();
    client.send(masked(CLOSE, &close(1000, ""))).await;
    far.frame().await.unwrap();
    far.raw(frame(CLOSE, &close(1000, ""))).await;
    client.frame().await.unwrap();
    drop((client, far));
    // Heads are 6 and 8 bytes of 100, 4 of 302, 2 of 4.
    gateway.access_line(
        "tenant=tester method=GET path=/v1/realtime model=gpt-4o sent=gpt-4o-2024-11-20 \
         upstream=far status=101 error=- in=108 out=306 ",
    );
    let metrics = gateway.get_admin("/metrics").await;
    for line in [
        r#"tollgate_requests_total{endpoint="realtime",rule="gpt-4o",status="1xx",upstream="far"} 1"#,
        r#"tollgate_request_bytes_total{endpoint="realtime"} 108"#,
        r#"tollgate_response_bytes_total{endpoint="realtime"} 306"#,
        "tollgate_model_redirects_total 1",
    ] {
        assert!(
            metrics.text().contains(line),
            "{line} is not in\n{}",
            metrics.text()
        );
    }
}
