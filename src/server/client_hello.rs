//! What a client offers, before its handshake is made.
//!
//! Owns reading the client's first message (ClientHello), and putting its bytes back, so that the handshake reads them
//! again. At most 64 KiB are read. Does not handle what follows from it (see `handshake`), nor the time that it may
//! take, which is that of the handshake. It does not fail: what is no such message is read by the handshake, which says
//! what is wrong.

use pingora::protocols::l4::stream::Stream as TcpStream;
use rustls::server::{Acceptor, ClientHello};
use tokio::io::AsyncReadExt;

/// Bytes up to which the message must have ended. Real ones have less than 3 KiB.
const MOST_BYTES: usize = 64 << 10;
/// Bytes of one read.
const READ_BYTES: usize = 4 << 10;

/// What `look` says of the client's first message; `None` where it sends something else.
pub async fn look<T>(
    client: &mut TcpStream,
    look: impl FnOnce(&ClientHello<'_>) -> T,
) -> Option<T> {
    let mut taken = Vec::new();
    let seen = read(client, &mut taken, look).await;
    client.rewind(&taken);
    seen
}

async fn read<T>(
    client: &mut TcpStream,
    taken: &mut Vec<u8>,
    look: impl FnOnce(&ClientHello<'_>) -> T,
) -> Option<T> {
    let mut acceptor = Acceptor::default();
    while taken.len() < MOST_BYTES {
        let mut bytes = vec![0; READ_BYTES];
        let count = client.read(&mut bytes).await.ok()?;
        let mut rest = bytes.get(..count).filter(|read| !read.is_empty())?;
        taken.extend_from_slice(rest);
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).ok()?;
            if let Some(accepted) = acceptor.accept().ok()? {
                return Some(look(&accepted.client_hello()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::sm;

    /// What a client of rustls begins with.
    fn hello() -> Vec<u8> {
        let builder = ClientConfig::builder_with_provider(sm::provider());
        let builder = builder.with_protocol_versions(sm::VERSIONS).unwrap();
        let roots = builder.with_root_certificates(RootCertStore::empty());
        let config = Arc::new(roots.with_no_client_auth());
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(config, name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }

    /// What is seen of bytes that come in these pieces, and what can be read afterwards.
    async fn seen(pieces: &[&[u8]]) -> (Option<bool>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut sender = tokio::net::TcpStream::connect(address).await.unwrap();
        sender.set_nodelay(true).unwrap();
        let mut receiver = TcpStream::from(listener.accept().await.unwrap().0);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let sending = tokio::spawn(async move {
            for piece in pieces {
                sender.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let seen = look(&mut receiver, sm::offers).await;
        let mut again = Vec::new();
        receiver.read_to_end(&mut again).await.unwrap();
        sending.await.unwrap();
        (seen, again)
    }

    #[tokio::test]
    async fn the_message_is_seen_and_is_there_to_be_read_again() {
        let mut all = hello();
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(seen(&bytes).await, (Some(true), all.clone()));
        assert_eq!(seen(&[&all]).await, (Some(true), all.clone()));
        // What comes with it is not lost.
        all.extend_from_slice(&[0x14, 3, 3, 0, 1, 1]);
        assert_eq!(seen(&[&all]).await, (Some(true), all));
    }

    #[tokio::test]
    async fn a_message_in_several_records_is_seen() {
        let all = hello();
        let mut records = Vec::new();
        for part in all[5..].chunks(50) {
            records.extend_from_slice(&[0x16, 3, 1, 0, u8::try_from(part.len()).unwrap()]);
            records.extend_from_slice(part);
        }
        assert_eq!(seen(&[&records]).await, (Some(true), records));
    }

    #[tokio::test]
    async fn what_is_no_such_message_is_there_to_be_read_by_the_handshake() {
        let all = hello();
        let (cut, text) = (&all[..all.len() - 1], b"GET / HTTP/1.1\r\n\r\n");
        for bytes in [
            &b""[..],
            cut,
            text,
            &[0x16, 3, 1, 0, 4, 2, 0, 0, 0],
            &[0x16; 700],
        ] {
            assert_eq!(seen(&[bytes]).await, (None, bytes.to_vec()));
        }
    }

    #[tokio::test]
    async fn no_more_than_its_bound_is_read() {
        // A message that says that it has 16 MiB, in records of 16 KiB.
        let mut endless = Vec::new();
        for number in 0..8 {
            endless.extend_from_slice(&[0x16, 3, 1, 0x40, 0]);
            let mut record = vec![0; 16 << 10];
            if number == 0 {
                record[..4].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
            }
            endless.extend_from_slice(&record);
        }
        assert_eq!(seen(&[&endless]).await, (None, endless));
    }
}
