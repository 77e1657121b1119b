//! Far ends in front of a scripted upstream: TLS, a forward proxy, a Unix socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::support::certificate::Certificate;
use crate::support::gateway::Folder;

/// TLS comes in, and clear text goes out.
pub struct TlsEnd {
    pub address: SocketAddr,
    with_certificate: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
}

impl TlsEnd {
    /// In front of `target`. With an authority, it asks for certificates of it.
    pub async fn before(
        target: SocketAddr,
        certificate: &Certificate,
        asks_for: Option<&Path>,
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server(certificate, asks_for)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let end = Self {
            address: listener.local_addr().unwrap(),
            with_certificate: Arc::default(),
            handshakes: Arc::default(),
        };
        let counts = (
            Arc::clone(&end.with_certificate),
            Arc::clone(&end.handshakes),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counts) = (acceptor.clone(), counts.clone());
                tokio::spawn(async move {
                    let mut near = match acceptor.accept(stream).into_fallible().await {
                        Ok(near) => near,
                        Err((_, mut refused)) => {
                            // What has been sent meanwhile is read, or a reset overtakes the alert.
                            let _ = refused.shutdown().await;
                            let _ = copy(&mut refused, &mut sink()).await;
                            return;
                        }
                    };
                    counts.1.fetch_add(1, Ordering::SeqCst);
                    if near.get_ref().1.peer_certificates().is_some() {
                        counts.0.fetch_add(1, Ordering::SeqCst);
                    }
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        end
    }

    /// How many connections have spoken TLS, and how many of them have shown a certificate.
    pub fn counts(&self) -> (usize, usize) {
        let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        (count(&self.handshakes), count(&self.with_certificate))
    }
}

fn server(certificate: &Certificate, asks_for: Option<&Path>) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match asks_for {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(authority).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_file(&certificate.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    builder.with_single_cert(chain, key).unwrap()
}

/// A forward proxy.
pub struct ProxyEnd {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ProxyEnd {
    /// It connects to what it is asked for.
    pub async fn connecting() -> Self {
        Self::start(None).await
    }

    /// It answers with these bytes, and closes.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::start(Some(answer.into())).await
    }

    async fn start(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let end = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&end.asked);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (asked, answer) = (Arc::clone(&asked), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if near.read_buf(&mut head).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let target = head.split(' ').nth(1).unwrap().to_owned();
                    asked.lock().unwrap().push(head);
                    if let Some(answer) = answer {
                        let _ = near.write_all(&answer).await;
                        return;
                    }
                    // A name that this machine does not know is one of the proxy's.
                    let port = target.rsplit_once(':').unwrap().1;
                    let target = format!("127.0.0.1:{port}");
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let established = b"HTTP/1.1 200 Connection established\r\nvia: tests\r\n\r\n";
                    near.write_all(established).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        end
    }

    /// The headers of all requests that it has seen.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A Unix socket.
pub struct SocketEnd {
    pub path: PathBuf,
    connections: Arc<AtomicUsize>,
}

impl SocketEnd {
    /// In front of `target`.
    pub fn before(target: SocketAddr, folder: &Folder) -> Self {
        let path = folder.0.join("upstream.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { path, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
