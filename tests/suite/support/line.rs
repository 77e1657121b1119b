//! A line between a gateway and a server, which a test makes slow or cuts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

/// A line that listens on a port, and leads to a socket.
pub struct Line {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    delay_ms: AtomicU64,
    is_cut: AtomicBool,
}

impl Line {
    /// A line to a socket, without delay.
    pub async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let of_line = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (state, socket) = (Arc::clone(&of_line), socket.clone());
                tokio::spawn(async move {
                    let Ok(far) = UnixStream::connect(socket).await else {
                        return;
                    };
                    let (from_near, to_near) = near.into_split();
                    let (from_far, to_far) = far.into_split();
                    tokio::join!(
                        carry(&state, from_near, to_far),
                        carry(&state, from_far, to_near)
                    );
                });
            }
        });
        Self { address, state }
    }

    /// Each piece arrives so much later, in both directions.
    pub fn delay(&self, ms: u64) {
        self.state.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// Nothing passes any more, and nothing says so, as where a cable is cut; or it passes again.
    pub fn cut(&self, is_cut: bool) {
        self.state.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

async fn carry(state: &State, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; 65_536];
    while let Ok(read) = from.read(&mut buffer).await {
        let delay = state.delay_ms.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        while state.is_cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
