//! The official SDKs' own sockets, and the WebSocket clients that they and browsers use.
//!
//! `make test` installs them; the scripts in `tests/sdk` do the asking and the asserting.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::sdk::{ask, node, python};
use crate::support::PROVIDER_KEY;
use crate::support::certificate::certificate;
use crate::support::gateway::{Folder, Gateway, config, with_listener};
use crate::support::tools::require;

/// A provider that plays its part of a session, as far as the scripts ask.
fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

#[expect(clippy::result_large_err, reason = "tungstenite asks for this type")]
fn serve(stream: TcpStream) -> Option<()> {
    let mut asked = String::new();
    let check = |request: &Request, answer: Response| -> Result<Response, ErrorResponse> {
        let key = &request.headers()["authorization"];
        assert_eq!(key, format!("Bearer {PROVIDER_KEY}").as_str());
        asked = request.uri().to_string();
        Ok(answer)
    };
    let mut socket = tungstenite::accept_hdr(stream, check).ok()?;
    if asked.starts_with("/v1/realtime") {
        let model = asked.split("model=").nth(1)?.to_owned();
        let session = json!({"id": "sess_1", "type": "realtime", "model": model});
        say(
            &mut socket,
            &json!({"type": "session.created", "session": session}),
        )?;
    }
    loop {
        // Pings and closes are answered by the library.
        if let Message::Text(text) = socket.read().ok()? {
            answer(&mut socket, &serde_json::from_str(&text).unwrap())?;
        }
    }
}

fn answer(socket: &mut WebSocket<TcpStream>, event: &Value) -> Option<()> {
    match event["type"].as_str()? {
        "session.update" => {
            let session = &event["session"];
            say(
                socket,
                &json!({"type": "session.updated", "session": session}),
            )
        }
        "input_audio_buffer.append" => {
            let heard = event["audio"].as_str()?.len();
            let item = format!("item_{heard}");
            say(
                socket,
                &json!({"type": "input_audio_buffer.committed", "item_id": item}),
            )
        }
        "input_audio_buffer.clear" => {
            let expired = CloseFrame {
                code: 4008.into(),
                reason: "session expired".into(),
            };
            socket.close(Some(expired)).ok()
        }
        // Of realtime, where the model is the session's.
        "response.create" if event["model"].is_null() => {
            for word in ["Hello", ", ", "wörld 🌍"] {
                say(
                    socket,
                    &json!({"type": "response.output_text.delta", "delta": word}),
                )?;
            }
            let usage = json!({"total_tokens": 3, "input_tokens": 1, "output_tokens": 2});
            let response = json!({"id": "resp_1", "status": "completed", "usage": usage});
            say(
                socket,
                &json!({"type": "response.done", "response": response}),
            )
        }
        // Of responses.
        "response.create" => {
            let text = json!({"type": "response.output_text.delta", "sequence_number": 0,
                "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "answered",
                "logprobs": []});
            say(socket, &text)?;
            let response = json!({"id": "resp_1", "object": "response", "status": "completed",
                "model": event["model"], "output": []});
            say(
                socket,
                &json!({"type": "response.completed", "sequence_number": 1, "response": response}),
            )
        }
        other => panic!("{other} is not played"),
    }
}

fn say(socket: &mut WebSocket<TcpStream>, event: &Value) -> Option<()> {
    socket.send(Message::text(event.to_string())).ok()
}

fn yaml() -> String {
    let config = config(provider(), "", "");
    config.replace("server:\n", "server:\n  passthrough: far\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_opens_sockets_unchanged() {
    let Some(command) = python("realtime.py") else {
        return;
    };
    let gateway = Gateway::start(&yaml());
    ask(command, &format!("http://{}/v1", gateway.address));
    gateway.access_line(
        "path=/v1/realtime model=- sent=- upstream=- status=101 error=invalid_api_key",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_opens_sockets_unchanged_and_so_does_a_browser() {
    if require(&["openssl"], "openssl").is_none() {
        return;
    }
    let folder = Folder::new();
    let certificate = certificate(&folder);
    let Some(mut command) = node("realtime.mjs", &folder) else {
        return;
    };
    // The SDK opens sockets over TLS only.
    let gateway = Gateway::start(&with_listener(&yaml(), &certificate.tls()));
    command.env("NODE_EXTRA_CA_CERTS", certificate.authority);
    ask(
        command,
        &format!("https://localhost:{}/v1", gateway.address.port()),
    );
    gateway.access_line(
        "path=/v1/realtime model=- sent=- upstream=- status=101 error=invalid_api_key",
    );
}
