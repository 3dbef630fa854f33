//! Who is taken in by a group, and what it is given there.

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

use super::super::query::Wish;
use super::super::stream;
use super::super::tests::fixture::Fixture;
use super::super::wire::Wire;
use super::*;

struct Peers {
    relay: Fixture,
    hub: Arc<Hub>,
    /// The other ends, so that the connections stand.
    ends: Vec<TcpStream>,
}

impl Peers {
    async fn new() -> Self {
        let relay = Fixture::new().await;
        let hub = relay.hub();
        Self {
            relay,
            hub,
            ends: Vec::new(),
        }
    }

    /// A client of everything that stands at an offset.
    async fn at(&mut self, offset: u64) -> Box<Serving> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let end = TcpStream::connect(listener.local_addr().unwrap());
        let (end, accepted) = tokio::join!(end, listener.accept());
        self.ends.push(end.unwrap());
        let wire = Wire::plain(accepted.unwrap().0, self.hub.config.slow_client_timeout);
        let admission = self.hub.admit(&self.hub.clients.anonymous().unwrap());
        let session = stream::open(admission.unwrap(), Wish::default());
        let session = session.await.unwrap();
        let mut reader = session.reader;
        reader.seek(Offset(offset));
        Box::new(Serving::new(wire, &Bytes::new(), reader, session.feed))
    }
}

#[tokio::test]
async fn a_group_takes_in_nobody_who_stands_behind_it() {
    let mut peers = Peers::new().await;
    let group = Group::default();
    group.roll().position = Offset(5);
    let seat = Arc::<Seat>::default();
    let behind = peers.at(4).await;
    let behind = group.join(&seat, behind).err();
    assert_eq!(behind.unwrap().reader.position(), Offset(4));
    let level = group.join(&seat, peers.at(5).await).ok().unwrap();
    assert_eq!(level.leave().unwrap().reader.position(), Offset(5));
}

#[tokio::test]
async fn a_group_that_sleeps_begins_where_its_first_client_stands() {
    let mut peers = Peers::new().await;
    let group = Group::default();
    *group.roll() = Roll {
        position: Offset(5),
        asleep: true,
        ..Roll::default()
    };
    let (one, other) = (Arc::<Seat>::default(), Arc::<Seat>::default());
    let first = group.join(&one, peers.at(3).await).ok().unwrap();
    assert_eq!(group.roll().position, Offset(3));
    assert!(group.join(&other, peers.at(2).await).is_err());
    let second = group.join(&other, peers.at(9).await).ok().unwrap();
    assert_eq!(group.roll().members.len(), 2);
    drop((first, second));
    let roll = group.roll();
    assert!(roll.members.is_empty() && roll.tastes.is_empty());
}

/// One who joined ahead of the group is given what lies behind its own position, once.
#[tokio::test]
async fn who_stands_ahead_is_given_the_rest_of_a_batch() {
    let mut peers = Peers::new().await;
    let last = peers.relay.commit("AgentStatusChange", 6).await;
    let offsets = peers.relay.core.bus.last().0 - last;
    let group = Group::default();
    let (one, other) = (Arc::<Seat>::default(), Arc::<Seat>::default());
    let start = group.join(&one, peers.at(offsets).await).ok().unwrap();
    let ahead = group
        .join(&other, peers.at(offsets + 4).await)
        .ok()
        .unwrap();
    let mut reader = peers.relay.core.bus.reader_after(Offset(offsets));
    let batch = reader.next_batch(LIMIT).await.unwrap();
    assert_eq!(batch.len(), 6);
    let events = peers.hub.events.get();
    for _again in 0..2 {
        group.give(&batch, &mut Frames::default(), &peers.hub).await;
        assert_eq!(peers.hub.events.get() - events, 6 + 2);
    }
    for following in [start, ahead] {
        assert_eq!(following.leave().unwrap().reader.position(), batch.upto());
    }
}

/// The socket of a client says that it is drained, and before its task can act upon it the group
/// hands it more than its kernel takes.
#[tokio::test]
async fn what_a_group_has_queued_is_not_taken_for_written() {
    let mut peers = Peers::new().await;
    peers
        .relay
        .commit_padded("AgentStatusChange", 16, 1 << 20)
        .await;
    let mut serving = peers.at(0).await;
    let mut reader = peers.relay.core.bus.reader_after(Offset(0));
    let all = Limit {
        events: 64,
        bytes: 64 << 20,
    };
    let batch = reader.next_batch(all).await.unwrap();
    let mut frames = Frames::default();
    frames.make(&batch, serving.feed.wanted(), &peers.hub);
    assert!(!serving.hand(&frames, &batch).settled, "its kernel refuses");
    assert!(serving.happened(Happened::Drained, &peers.hub).is_none());
    assert!(serving.socket.written() < batch.upto());
    assert!(!serving.is_level());
}
