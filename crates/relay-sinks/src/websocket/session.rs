//! One WebSocket client being served: from the bus to its socket, as fast as it reads and no
//! faster. While it has everything that there is, the group writes to it; its own task is there for
//! what the client says, for what is due, and for the client that is behind. It does not know what
//! the frames hold.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_core::{Batch, ReadError, Reader};
use tokio::select;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::feed::Feed;
use super::group::{Following, Seat};
use super::hub::{Admission, Reason};
use super::serving::Serving;
use super::socket::Happened;
use super::wire::Wire;

/// How long a frame under way may take to its end when the connection is to end.
const FINISH: Duration = Duration::from_secs(1);
/// How long the client may take to answer Close.
const CLOSING: Duration = Duration::from_secs(2);

/// A client of which the handshake is done.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) admission: Admission,
    pub(super) reader: Reader,
    pub(super) feed: Feed,
    /// What it is sent before any event.
    pub(super) greeting: Vec<Bytes>,
}

impl Session {
    /// Serves until the client leaves or is told to.
    pub(super) async fn run(self: Box<Self>, wire: Wire, read: Bytes) {
        let Self {
            mut admission,
            reader,
            feed,
            greeting,
        } = *self;
        // Boxed, like what is used rarely below: an idle client is mostly its task.
        let mut serving = Box::new(Serving::new(wire, &read, reader, feed));
        drop(read);
        for frame in greeting {
            let position = serving.reader.position();
            serving.socket.push(frame, position);
        }
        let Some((mut serving, reason)) = serve(serving, &admission).await else {
            return;
        };
        admission.leaves(reason);
        Box::pin(async {
            serving.stop(FINISH, &admission.hub).await;
            if let Some((code, text)) = last_words(reason) {
                timeout(CLOSING, serving.socket.close(code, text))
                    .await
                    .ok();
            }
        })
        .await;
    }
}

/// Serves until the client is to leave, and says why. `None` would be a client that somebody else
/// has taken from its seat: nobody does.
async fn serve(mut serving: Box<Serving>, admission: &Admission) -> Option<(Box<Serving>, Reason)> {
    let hub = &*admission.hub;
    let mut ended = pin!(admission.end.cancelled());
    let mut timer = pin!(sleep_until(serving.next_due()));
    let seat = Arc::<Seat>::default();
    loop {
        rearm(timer.as_mut(), serving.next_due());
        if serving.is_level() {
            match hub.groups.join(&seat, serving) {
                Ok(following) => {
                    let woken = wait(&following, ended.as_mut(), timer.as_mut()).await;
                    serving = following.leave()?;
                    if let Some(reason) = woken.act(&mut serving, admission) {
                        return Some((serving, reason));
                    }
                    continue;
                }
                // The group is ahead: there is something to be read by now.
                Err(behind) => serving = behind,
            }
        }
        let drained = serving.socket.is_drained();
        let Serving {
            socket,
            reader,
            limit,
            ..
        } = &mut *serving;
        let woken = select! {
            biased;
            () = &mut ended => Woken::Ended,
            happened = poll_fn(|cx| socket.poll(cx)) => Woken::Happened(happened),
            () = &mut timer => Woken::Time,
            read = reader.next_batch(*limit), if drained => Woken::Read(read),
        };
        if let Some(reason) = woken.act(&mut serving, admission) {
            return Some((serving, reason));
        }
    }
}

/// Waits, while the group writes to the client, for what its own task has to do.
async fn wait(
    following: &Following<'_>,
    ended: Pin<&mut impl Future<Output = ()>>,
    timer: Pin<&mut Sleep>,
) -> Woken {
    select! {
        biased;
        () = ended => Woken::Ended,
        woken = poll_fn(|cx| following.poll(cx)) => woken.map_or(Woken::Unsettled, Woken::Happened),
        () = timer => Woken::Time,
    }
}

/// What a client's own task was woken for.
#[derive(Debug)]
enum Woken {
    /// The client is to leave.
    Ended,
    /// Something happened on its socket.
    Happened(Happened),
    /// Something is due.
    Time,
    /// What it was waiting for in the bus.
    Read(Result<Batch, ReadError>),
    /// The group has written to it, and left something to be done.
    Unsettled,
}

impl Woken {
    /// Acts upon it; a reason: the client leaves.
    fn act(self, serving: &mut Serving, admission: &Admission) -> Option<Reason> {
        match self {
            Self::Ended => return Some(admission.why()),
            Self::Happened(happened) => return serving.happened(happened, &admission.hub),
            Self::Time => return serving.time_passed(),
            Self::Read(Ok(batch)) => serving.queue(batch, &admission.hub),
            Self::Read(Err(ReadError::Skipped(skipped))) => serving.skipped(skipped),
            Self::Read(Err(ReadError::Cancelled)) => return Some(Reason::Shutdown),
            Self::Read(Err(error @ ReadError::Journal(_))) => {
                admission.hub.unread(&error);
                return Some(Reason::Journal);
            }
            Self::Unsettled => {}
        }
        None
    }
}

fn rearm(mut timer: Pin<&mut Sleep>, due: Instant) {
    if timer.deadline() != due {
        timer.as_mut().reset(due);
    }
}

/// The Close that a client is sent; `None`: it has gone.
fn last_words(reason: Reason) -> Option<(CloseCode, &'static str)> {
    match reason {
        Reason::Closed => None,
        Reason::Complete | Reason::SessionLength => Some((CloseCode::Normal, "")),
        Reason::Protocol => Some((
            CloseCode::Protocol,
            "not the WebSocket protocol, or too much",
        )),
        Reason::Slow => Some((
            CloseCode::Again,
            "too slow: connect again with the last cursor",
        )),
        Reason::Revoked => Some((CloseCode::Policy, "the token is no longer valid")),
        Reason::TakenOver => Some((CloseCode::Policy, "another connection has this subsId now")),
        Reason::Journal => Some((CloseCode::Error, "the journal could not be read")),
        Reason::Shutdown => Some((CloseCode::Away, "the relay stops")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::Socket;
    use super::*;

    #[test]
    fn a_client_that_waits_takes_little() {
        let parts = [
            size_of::<Serving>(),
            size_of::<Session>(),
            size_of::<Socket>(),
        ];
        assert!(
            size_of::<Serving>() <= 1024,
            "serving, session, socket: {parts:?}"
        );
    }
}
