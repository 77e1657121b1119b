//! nginx on both sides: in front with the configuration that we ship, and behind, over TLS.

use crate::nginx::Nginx;
use crate::support::certificate::{Certificate, certificate};
use crate::support::client::Client;
use crate::support::gateway::{Folder, Gateway, config};
use crate::support::tools::{require, root};
use crate::support::upstream::Listener;
use crate::support::websocket::{CLOSE, OPENED, REALTIME, Side, TEXT, close, frame, keyed, masked};

#[tokio::test]
async fn a_socket_passes_through_nginx_on_either_side() {
    let (Some(program), Some(_)) = (
        require(&["nginx"], "nginx"),
        require(&["openssl"], "openssl"),
    ) else {
        return;
    };
    let folder = Folder::new();
    let Certificate {
        authority,
        cert,
        key,
    } = certificate(&folder);
    let upstream = Listener::bind().await;
    let behind = Nginx::start(&program, |port| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {};
               location / {{ proxy_pass http://{}; proxy_http_version 1.1;
                 proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }}",
            cert.display(),
            key.display(),
            upstream.address
        )
    });
    // An upstream that is asked over HTTP/2 otherwise: a socket is opened over HTTP/1.1.
    let yaml = config(behind.address, ", http2: true", "")
        .replace("http://127.0.0.1", "https://localhost");
    let gateway = Gateway::start_with(&yaml, |command| {
        command.env("SSL_CERT_FILE", &authority);
    });
    let shipped = std::fs::read_to_string(root().join("conf/nginx/tollgate.conf")).unwrap();
    let front = Nginx::start(&program, |port| {
        shipped
            .replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
            .replace(
                "server 127.0.0.1:8080;",
                &format!("server {};", gateway.address),
            )
    });
    let mut client = Client::connect(front.address).await;
    client.send(keyed(REALTIME, "")).await;
    let (seen, mut far) = upstream.accept().await;
    assert_eq!(seen.path, "/v1/realtime?model=gpt-4o-2024-11-20");
    far.raw([OPENED.as_bytes(), &frame(TEXT, b"hello")].concat())
        .await;
    assert_eq!(client.head().await.0, 101);
    assert_eq!(client.frame().await.unwrap().payload, b"hello");
    let large = vec![b'x'; 1 << 20];
    client.send(masked(TEXT, &large)).await;
    assert!(far.frame().await.unwrap().payload == large);
    far.raw(frame(TEXT, &large)).await;
    assert!(client.frame().await.unwrap().payload == large);
    far.raw(frame(CLOSE, &close(4001, "done"))).await;
    assert_eq!(client.frame().await.unwrap().close_code(), 4001);
    client.send(masked(CLOSE, &close(4001, ""))).await;
    assert_eq!(far.frame().await.unwrap().close_code(), 4001);
    drop(far);
    assert!(client.is_closed().await);
    gateway.access_line("status=101 error=- ");
}
