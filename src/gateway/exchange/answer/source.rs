//! Where the body of an answer comes from.
//!
//! Owns reading it in pieces, from each kind of source. Does not handle what is in them (see the readers), nor when
//! they have to have come (see the answer). Fails with the connection's error.

use bytes::Bytes;
use pingora::{Error, ErrorType};

use super::Broken;
use crate::cache::{Ended, Follower};
use crate::gateway::exchange::terms::Limit;
use crate::gateway::pieces::Pieces;
use crate::runtime::SharedHead;
use crate::upstreams::{Session, deadline};

/// Where the body of an answer comes from.
pub enum Source {
    /// An upstream's connection.
    Upstream(Session),
    /// The answer to an equal request, as it comes.
    Shared(Follower<SharedHead>),
    /// Bytes that are whole: what there is of them.
    Whole(Pieces),
}

impl Source {
    /// The next bytes; `None` at the end.
    pub async fn read(&mut self, limit: Limit) -> Result<Option<Bytes>, Broken> {
        let Limit { until, phase } = limit;
        let read = match self {
            Self::Whole(pieces) => Ok(pieces.pop()),
            Self::Shared(follower) => {
                let next = deadline::reading(until, async { Ok(follower.next().await) }).await;
                next.and_then(shared_piece)
            }
            Self::Upstream(session) => match session.response_done() {
                true => Ok(None),
                false => session.read_body(until).await,
            },
        };
        read.map_err(|error| Broken { error, phase })
    }

    /// The same where nothing has to be waited for; `None` where something has.
    pub async fn read_at_hand(&mut self) -> Option<Result<Option<Bytes>, Box<Error>>> {
        match self {
            Self::Whole(pieces) => Some(Ok(pieces.pop())),
            Self::Shared(follower) => follower.at_hand().map(shared_piece),
            Self::Upstream(session) => match session.response_done() {
                true => Some(Ok(None)),
                false => session.read_at_hand().await,
            },
        }
    }

    /// The upstream's connection, where it is one.
    pub fn into_session(self) -> Option<Session> {
        match self {
            Self::Upstream(session) => Some(session),
            Self::Shared(_) | Self::Whole(_) => None,
        }
    }
}

/// What follows of the answer to an equal request: its bytes, its end, or that it has broken.
fn shared_piece(next: Result<Bytes, Ended>) -> Result<Option<Bytes>, Box<Error>> {
    match next {
        Ok(piece) => Ok(Some(piece)),
        Err(Ended::Whole) => Ok(None),
        Err(Ended::Broken) => Err(Error::explain(
            ErrorType::ConnectionClosed,
            "the answer to an equal request, which is shared, has broken",
        )),
    }
}
