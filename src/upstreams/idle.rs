//! Connections that wait for their next request.
//!
//! Owns them between two requests, by the peer that they lead to. Taking one and giving it back
//! costs a lookup: Pingora's own pool has a task watch each idle connection, which is started and
//! ended with every request. Here one task looks after all of them, and each is looked at once
//! more when it is taken. Beyond the bound a connection is closed instead of kept.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora::protocols::Stream;
use rustc_hash::FxHashMap;
use tokio::io::AsyncReadExt;

/// How many are kept, over all peers.
const MAX_IDLE: usize = 1024;

/// The idle connections.
#[derive(Default)]
pub struct Idle(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By peer, the one that was used last at the end.
    by_peer: FxHashMap<u64, Vec<Waiting>>,
    count: usize,
}

struct Waiting {
    stream: Stream,
    until: Instant,
}

impl Idle {
    /// The connection to a peer that was used last, if the other side still holds it open.
    pub fn take(&self, peer: u64) -> Option<Stream> {
        loop {
            let mut stream = self.0.lock().take(peer)?;
            if is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection for as long as `limit`.
    pub fn put(&self, peer: u64, stream: Stream, limit: Duration) {
        let mut kept = self.0.lock();
        if kept.count < MAX_IDLE {
            let until = Instant::now() + limit;
            kept.count += 1;
            let waiting = kept.by_peer.entry(peer).or_default();
            waiting.push(Waiting { stream, until });
        }
    }

    /// Closes those that have waited for too long, or that the other side has closed.
    pub fn tend(&self) {
        let now = Instant::now();
        let mut kept = self.0.lock();
        kept.by_peer.retain(|_, waiting| {
            waiting.retain_mut(|w| w.until > now && is_quiet(&mut w.stream));
            !waiting.is_empty()
        });
        kept.count = kept.by_peer.values().map(Vec::len).sum();
    }
}

impl Kept {
    fn take(&mut self, peer: u64) -> Option<Stream> {
        let waiting = self.by_peer.get_mut(&peer)?.pop()?;
        self.count -= 1;
        Some(waiting.stream)
    }
}

/// Whether nothing has come over a connection that nothing was asked of: neither bytes nor its end.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    let read = tokio::task::unconstrained(stream.read(&mut byte));
    let mut read = std::pin::pin!(read);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    read.as_mut().poll(&mut context).is_pending()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pingora::protocols::l4::stream::Stream as TcpStream;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream as Socket};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn connection(listener: &TcpListener, address: SocketAddr) -> (Stream, Socket) {
        let ours = Socket::connect(address).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (Box::new(TcpStream::from(ours)), theirs)
    }

    #[tokio::test]
    async fn the_connection_that_was_used_last_is_taken_first_and_only_for_its_peer() {
        let (listener, address) = listen().await;
        let idle = Idle::default();
        let (first, _a) = connection(&listener, address).await;
        let (second, _b) = connection(&listener, address).await;
        let ids = (first.id(), second.id());
        idle.put(1, first, LONG);
        idle.put(1, second, LONG);
        assert!(idle.take(2).is_none());
        let taken = (idle.take(1).unwrap().id(), idle.take(1).unwrap().id());
        assert_eq!(taken, (ids.1, ids.0));
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn one_that_was_closed_or_spoken_into_is_not_taken() {
        let (listener, address) = listen().await;
        let idle = Idle::default();
        let (closed, theirs) = connection(&listener, address).await;
        drop(theirs);
        let (spoken, mut theirs) = connection(&listener, address).await;
        theirs.write_all(b"x").await.unwrap();
        idle.put(1, closed, LONG);
        idle.put(1, spoken, LONG);
        let gone = async {
            while let Some(stream) = idle.take(1) {
                idle.put(1, stream, LONG);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, gone).await.unwrap();
        assert_eq!(idle.0.lock().count, 0);
    }

    #[tokio::test]
    async fn those_that_waited_too_long_are_closed() {
        let (listener, address) = listen().await;
        let idle = Idle::default();
        let (old, mut theirs) = connection(&listener, address).await;
        let (new, _theirs) = connection(&listener, address).await;
        idle.put(1, old, Duration::ZERO);
        idle.put(1, new, LONG);
        idle.tend();
        assert_eq!(idle.0.lock().count, 1);
        let mut byte = [0; 1];
        assert_eq!(theirs.read(&mut byte).await.unwrap(), 0, "its end is seen");
    }

    #[tokio::test]
    async fn beyond_the_bound_none_is_kept() {
        let (listener, address) = listen().await;
        let idle = Idle::default();
        let (stream, mut theirs) = connection(&listener, address).await;
        idle.0.lock().count = MAX_IDLE;
        idle.put(1, stream, LONG);
        assert!(idle.0.lock().by_peer.is_empty());
        let mut byte = [0; 1];
        assert_eq!(theirs.read(&mut byte).await.unwrap(), 0, "it is closed");
    }
}
