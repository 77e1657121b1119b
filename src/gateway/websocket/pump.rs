//! What passes through an open socket, and how it ends.
//!
//! Owns both directions, each of which goes on while the other is held up, and the end: when either
//! side closes, when nothing has passed for too long, when the socket has been open for too long,
//! when its quota is used up, and when the process ends. What the upstream's messages report of their usage is
//! read (see `metering`), and no byte is changed; frames are told apart, so that a close of ours
//! never falls into the middle of one. One chunk is in memory for each direction at most.

use std::future::{pending, poll_fn};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession as Upstream1;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::metering::SocketMeter;
use crate::gateway::context::Context;
use crate::gateway::failure::Failure;
use crate::gateway::session::{self, ClientSession, Gone};
use crate::openai::websocket::{self, Close, Frames};
use crate::runtime::Shared;

/// What is read of an upstream at once.
const READ_BYTES: usize = 16 << 10;
/// An upstream that takes nothing for this long has failed. For a client the same is set on its
/// connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Both sides get this long to take what was sent last, and to close.
const LINGER: Duration = Duration::from_secs(2);

/// Why bytes no longer pass.
enum End {
    /// The client has ended its connection.
    Client,
    /// The upstream has.
    Upstream,
    /// We do.
    Ours(Close, &'static str),
}

/// Passes bytes both ways until something ends it, and tells the client what.
pub async fn run(
    client: &mut ClientSession,
    context: &mut Context,
    shared: &Shared,
    mut upstream: Upstream1,
) -> Result<(), Failure> {
    client.set_read_timeout(None);
    upstream.read_timeout = None;
    // What came with the answer would be lost with the session.
    let early = session::now_or_never(upstream.read_body_bytes()).await;
    let early = early.and_then(|read| read.ok().flatten());
    let (reader, mut writer) = tokio::io::split(upstream.into_inner());
    let client = ClientEnd::new(client);
    let mut passing = Passing {
        client: &client,
        to_client: SocketMeter::new(context),
        to_upstream: Frames::default(),
        context,
    };
    let early = BytesMut::from(early.unwrap_or_default());
    let end = passing.pass(shared, (reader, &mut writer), early).await;
    let last = passing.last_frame(end);
    passing.to_client.give_back(passing.context);
    let let_go = timeout(LINGER, writer.shutdown());
    // Whether the upstream was quick enough or not, it is over.
    let (_, taken) = tokio::join!(let_go, farewell(&client, last));
    taken
}

/// An open socket.
struct Passing<'a> {
    client: &'a ClientEnd<'a>,
    context: &'a mut Context,
    to_client: SocketMeter,
    to_upstream: Frames,
}

impl Passing<'_> {
    /// Passes bytes both ways until something ends it.
    async fn pass(
        &mut self,
        shared: &Shared,
        (mut reader, writer): (ReadHalf<Stream>, &mut WriteHalf<Stream>),
        mut buffer: BytesMut,
    ) -> End {
        let Self {
            client,
            context,
            to_client,
            to_upstream,
        } = self;
        let limits = context.runtime.settings.websocket;
        let (bytes_in, bytes_out) = (
            &mut context.outcome.bytes_in,
            &mut context.outcome.bytes_out,
        );
        let passed = Notify::new();
        let up = async {
            while let Some(bytes) = client.read().await {
                passed.notify_one();
                *bytes_in += bytes.len();
                to_upstream.pass(&bytes);
                match timeout(WRITE_TIMEOUT, write(writer, &bytes)).await {
                    Ok(Ok(())) => {}
                    // What it said before it closed is still to be read.
                    Ok(Err(_)) => pending().await,
                    Err(_) => return End::Upstream,
                }
            }
            End::Client
        };
        let down = async {
            loop {
                let bytes = buffer.split().freeze();
                if !bytes.is_empty() {
                    passed.notify_one();
                    *bytes_out += bytes.len();
                    let may_go_on = to_client.pass(&bytes);
                    if client.write(bytes).await.is_err() {
                        return End::Client;
                    }
                    if !may_go_on {
                        return End::Ours(Close::Policy, "the quota is used up");
                    }
                }
                buffer.reserve(READ_BYTES);
                match reader.read_buf(&mut buffer).await {
                    Ok(read) if read > 0 => {}
                    _ => return End::Upstream,
                }
            }
        };
        tokio::select! {
            end = up => end,
            end = down => end,
            () = silence(&passed, limits.idle) => {
                End::Ours(Close::GoingAway, "the socket was idle for too long")
            }
            () = sleep(limits.total) => {
                End::Ours(Close::GoingAway, "the socket was open for too long")
            }
            () = shared.draining() => End::Ours(Close::Restart, "the gateway restarts"),
        }
    }

    /// What is sent to the client last. Notes the cause, where neither side has closed properly.
    fn last_frame(&mut self, end: End) -> Bytes {
        if self.to_client.frames().is_closed() || self.to_upstream.is_closed() {
            return Bytes::new();
        }
        let (error, close, reason) = match end {
            End::Client => ("client_gone", None, ""),
            End::Upstream => (
                "upstream_cut",
                Some(Close::Broken),
                "the upstream broke off",
            ),
            End::Ours(close @ Close::Policy, reason) => ("insufficient_quota", Some(close), reason),
            End::Ours(close @ Close::Restart, reason) => ("restart", Some(close), reason),
            End::Ours(close, reason) => ("socket_timeout", Some(close), reason),
        };
        self.context.outcome.error = Some(error);
        // In the middle of a frame a close of ours would be taken for a part of it.
        let close = close.filter(|_| self.to_client.frames().is_between());
        let frame = close.map(|close| websocket::close_frame(close, reason));
        let frame = Bytes::from(frame.unwrap_or_default());
        self.context.outcome.bytes_out += frame.len();
        frame
    }
}

async fn write(writer: &mut WriteHalf<Stream>, bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Returns when nothing has passed for `limit`.
async fn silence(passed: &Notify, limit: Duration) {
    while timeout(limit, passed.notified()).await.is_ok() {}
}

/// Sends the last frames and the end, since clients wait for a server to be the first to end the
/// connection. Then gives the client a moment to close: a connection that is closed with something
/// unread is reset, and the client might never see why.
///
/// # Errors
/// The client did not take them: the connection must be dropped, since to end it properly could take for ever.
pub async fn farewell(client: &ClientEnd<'_>, frames: Bytes) -> Result<(), Failure> {
    let mut taken = Err(Failure::ClientGone);
    let farewell = async {
        if client.write(frames).await.is_ok() {
            client.end().await;
            taken = Ok(());
            while client.read().await.is_some() {}
        }
    };
    let _ = timeout(LINGER, farewell).await;
    taken
}

/// The client's end. One direction reads from it while the other writes to it: the session can be had
/// by one at a time only, so each has it for as long as it polls.
pub struct ClientEnd<'a>(Mutex<&'a mut ClientSession>);

impl<'a> ClientEnd<'a> {
    /// Takes a session whose socket has been accepted.
    pub fn new(client: &'a mut ClientSession) -> Self {
        Self(Mutex::new(client))
    }

    /// The next bytes; `None` once the client has closed or gone.
    async fn read(&self) -> Option<Bytes> {
        poll_fn(|cx| self.0.lock().poll_read_upgraded(cx)).await
    }

    /// Writes bytes, behind what an earlier call was dropped with.
    async fn write(&self, bytes: Bytes) -> Result<(), Gone> {
        self.0.lock().queue_upgraded(bytes);
        poll_fn(|cx| self.0.lock().poll_write_queued(cx)).await
    }

    /// Says that nothing more will be written.
    async fn end(&self) {
        poll_fn(|cx| self.0.lock().poll_end_upgraded(cx)).await;
    }
}
