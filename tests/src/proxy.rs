//! A TCP proxy between a sink and its server that can be told to cut, to stall, to refuse and to delay.
//! It knows no protocol.
//!
//! ```ignore
//! let proxy = Proxy::start(server.address()).await;
//! // the sink connects to proxy.address()
//! proxy.refuse();
//! proxy.heal();
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// A direction holds no more than so many chunks back.
const HELD: usize = 1024;

/// What the proxy does at the moment.
#[derive(Clone, Copy, Debug)]
struct Orders {
    target: SocketAddr,
    /// Connections made before the latest cut end.
    cuts: u64,
    /// Directions towards the client that were open before the latest half close are shut.
    half_closes: u64,
    listening: bool,
    forwarding: bool,
    delay: Duration,
}

/// A running proxy. It ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    accepted: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
    /// Keeps the port while the proxy refuses connections.
    _reserved: TcpSocket,
}

impl Proxy {
    /// Listens on a free loopback port and forwards to `target`.
    ///
    /// # Panics
    /// If it can't listen.
    pub async fn start(target: SocketAddr) -> Self {
        let reserved = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reserved.local_addr().expect("it is bound");
        let (orders, watched) = watch::channel(Orders {
            target,
            cuts: 0,
            half_closes: 0,
            listening: true,
            forwarding: true,
            delay: Duration::ZERO,
        });
        let (count, accepted) = watch::channel(0);
        let listener = socket(address).listen(1024).expect("it listens");
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(address, listener, watched, count));
        Self {
            address,
            orders,
            accepted,
            _tasks: tasks,
            _reserved: reserved,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Waits until it has accepted so many connections.
    pub async fn accepts(&self, count: u64) {
        let mut accepted = self.accepted.clone();
        let waited = crate::soon("a connection", accepted.wait_for(|n| *n >= count));
        waited.await.expect("the proxy runs");
    }

    /// Connections that are made from now on go elsewhere (a server restarted on another port).
    pub fn retarget(&self, target: SocketAddr) {
        self.orders.send_modify(|orders| orders.target = target);
    }

    /// Ends all connections; new ones are accepted.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Ends all connections and refuses new ones, as if nobody listened.
    pub fn refuse(&self) {
        self.orders.send_modify(|orders| {
            orders.cuts += 1;
            orders.listening = false;
        });
    }

    /// Forwards nothing in either direction, on new connections and old ones: a network that
    /// swallows packets. What is sent meanwhile arrives when it is healed.
    pub fn black_hole(&self) {
        self.orders.send_modify(|orders| orders.forwarding = false);
    }

    /// Ends the direction towards the client of all connections: the client reads the end of the
    /// stream, and may go on writing.
    pub fn half_close(&self) {
        self.orders.send_modify(|orders| orders.half_closes += 1);
    }

    /// Everything takes so much longer, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.orders.send_modify(|orders| orders.delay = delay);
    }

    /// Forwards again, at once, and accepts connections.
    pub fn heal(&self) {
        self.orders.send_modify(|orders| {
            orders.listening = true;
            orders.forwarding = true;
            orders.delay = Duration::ZERO;
        });
    }
}

/// A socket on an address that several may be bound to, so that nobody else gets it in between.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an address to share");
    socket.set_reuseport(true).expect("a port to share");
    socket.bind(address).expect("it is bound");
    socket
}

async fn listen(
    address: SocketAddr,
    listener: TcpListener,
    mut orders: watch::Receiver<Orders>,
    count: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        let listening = orders.borrow_and_update().listening;
        if !listening {
            listener = None;
        } else if listener.is_none() {
            listener = Some(socket(address).listen(1024).expect("it listens again"));
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = orders.changed() => if changed.is_err() { return },
            Ok((client, _)) = accept => {
                let now = *orders.borrow();
                connections.spawn(forward(client, now, orders.clone()));
                count.send_modify(|count| *count += 1);
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(client: TcpStream, accepted: Orders, mut orders: watch::Receiver<Orders>) {
    let watched = orders.clone();
    let both = async {
        let Ok(server) = TcpStream::connect(accepted.target).await else {
            return;
        };
        for end in [&client, &server] {
            end.set_nodelay(true).expect("an option of TCP");
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pump(from_client, to_server, watched.clone(), Way::ToServer),
            pump(from_server, to_client, watched.clone(), Way::ToClient),
        );
    };
    tokio::select! {
        () = both => {}
        _ = orders.wait_for(|orders| orders.cuts != accepted.cuts) => {}
    }
}

/// Which way a direction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToServer,
    /// The one that a half close ends.
    ToClient,
}

/// One direction, until its end is passed on.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: watch::Receiver<Orders>,
    way: Way,
) {
    let half_closes = orders.borrow().half_closes;
    let mut held: VecDeque<(Instant, Bytes)> = VecDeque::new();
    let mut buffer = BytesMut::new();
    let mut ended = false;
    loop {
        let now = *orders.borrow_and_update();
        let shut = way == Way::ToClient && now.half_closes != half_closes;
        if shut || (ended && held.is_empty()) {
            // The other side may have gone already.
            let _ = to.shutdown().await;
            return;
        }
        buffer.reserve(64 * 1024);
        tokio::select! {
            biased;
            changed = orders.changed() => if changed.is_err() { return },
            written = write_due(&mut to, &mut held), if now.forwarding && !held.is_empty() => {
                if written.is_err() { return }
            }
            read = from.read_buf(&mut buffer), if now.forwarding && !ended && held.len() < HELD => {
                ended = !matches!(read, Ok(1..));
                if !buffer.is_empty() {
                    held.push_back((Instant::now() + now.delay, buffer.split().freeze()));
                }
            }
        }
    }
}

/// Writes some of the oldest chunk once it is due. Cancel safe: what was written is taken off at once.
async fn write_due(
    to: &mut OwnedWriteHalf,
    held: &mut VecDeque<(Instant, Bytes)>,
) -> std::io::Result<()> {
    let Some((due, chunk)) = held.front_mut() else {
        return Ok(());
    };
    sleep_until(*due).await;
    let written = to.write(chunk).await?;
    chunk.advance(written);
    if chunk.is_empty() {
        held.pop_front();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
