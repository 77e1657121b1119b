//! What clients are told whose connections belong to the process that has been replaced.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::upgrade::{held_streams, serves, upgrade};
use crate::support::gateway::{Gateway, config};
use crate::support::upstream::Listener;
use crate::support::websocket::{CLOSE, Side, TEXT, close, masked, open};
use crate::support::{CLIENT_KEY, DONE, chat, soon, streamed_chat};

#[tokio::test]
async fn a_socket_is_closed_with_1012_and_the_next_one_is_opened_by_the_new_process() {
    let upstream = Listener::bind().await;
    let mut gateway = Gateway::start(&config(upstream.address, "", ""));
    let (mut client, mut far) = open(&gateway, &upstream).await;
    let successor = upgrade(&gateway).await;
    assert_eq!(client.frame().await.unwrap().close_code(), 1012);
    assert_eq!(far.frame().await, None);
    client.send(masked(CLOSE, &close(1012, ""))).await;
    assert!(client.is_closed().await);
    drop(client);
    assert!(gateway.wait().success());
    serves(&gateway, successor.0).await;
    let (mut client, mut far) = open(&gateway, &upstream).await;
    client.send(masked(TEXT, b"again")).await;
    assert_eq!(far.frame().await.unwrap().payload, b"again");
}

fn request(body: &str) -> Request<()> {
    Request::post("http://gateway/v1/chat/completions")
        .header("authorization", format!("Bearer {CLIENT_KEY}"))
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(())
        .unwrap()
}

/// Asks over a connection of HTTP/2, and gives the status and the body as it comes.
async fn ask(
    requests: &SendRequest<Bytes>,
    body: &str,
) -> Result<(u16, h2::RecvStream), h2::Error> {
    let mut requests = requests.clone().ready().await?;
    let (answer, mut sent) = requests.send_request(request(body), false)?;
    sent.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
    let (head, body) = answer.await?.into_parts();
    Ok((head.status.as_u16(), body))
}

#[tokio::test]
async fn a_connection_of_http2_ends_with_goaway_behind_its_last_stream() {
    let step = Arc::new(Semaphore::new(0));
    let upstream = held_streams(&step).await;
    let mut gateway = Gateway::before(&upstream);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (requests, connection) = handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let (status, mut stream) = soon("a stream", ask(&requests, &streamed_chat("gpt-4o")))
        .await
        .unwrap();
    assert_eq!(status, 200);
    let successor = upgrade(&gateway).await;
    serves(&gateway, successor.0).await;
    // GOAWAY is there once nothing more can be asked; what was asked before is served, and so is the stream.
    soon("GOAWAY", async {
        while let Ok((status, _)) = ask(&requests, &chat("gpt-4o")).await {
            assert_eq!(status, 200);
        }
    })
    .await;
    step.add_permits(1);
    let rest = async {
        let mut text = Vec::new();
        while let Some(piece) = stream.data().await {
            let piece = piece.unwrap();
            stream.flow_control().release_capacity(piece.len()).unwrap();
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    };
    assert!(soon("the end of the stream", rest).await.ends_with(DONE));
    drop(requests);
    // The connection ends as HTTP/2 has it: no error.
    soon("the end of the connection", connection)
        .await
        .unwrap()
        .unwrap();
    assert!(gateway.wait().success());
}
