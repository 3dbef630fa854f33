//! One connection with its channel, from the socket to its end. It is never repaired: a new one takes its place.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::tcp::RustlsConnector;
use lapin::types::FieldTable;
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Error, ExchangeKind};
use relay_core::sink::Failure;
use rustls::ClientConfig;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::Address;
use super::confirms::{Answer, Answered, Collector, Flight, Health, Round, level};
use super::message::Message;
use super::rounds::{self, HandOver};
use super::{Config, Shared, Unroutable, failure};

/// How long the broker may take for each step of a connect.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the broker's words for a closed channel may take to be heard.
const WORDS: Duration = Duration::from_secs(1);

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection that serves.
#[derive(Debug)]
pub(super) struct Link {
    address: Address,
    frame_max: usize,
    /// Told when the last event that was handed over has reached the socket.
    unwritten: Option<oneshot::Receiver<()>>,
    rounds: rounds::Sender,
    health: watch::Receiver<Health>,
    channel: Channel,
    connection: Connection,
    /// Ends with the link.
    _collector: JoinSet<()>,
    _socket: Socket,
}

/// The connection's socket. lapin's thread reads it until it ends, so that is what ends the thread, whatever
/// it is waiting for.
#[derive(Debug)]
struct Socket(socket2::Socket);

impl Drop for Socket {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

/// Connects: socket, TLS, user, virtual host, a channel with confirms.
pub(super) async fn connect(shared: &Arc<Shared>) -> Result<Link, Failure> {
    let config = &shared.config;
    let url = config.url.read().map_err(|error| failure::unread(&error))?;
    let address = Address::parse(&url).map_err(failure::bad_address)?;
    let tls = if address.is_secure() {
        Some(tls(config).await?)
    } else {
        None
    };
    let (connection, socket) = open(&address, tls, config).await?;
    let events = Box::pin(connection.events_listener());
    let channel = step(&address, "opening a channel", connection.create_channel()).await?;
    let channel = channel.map_err(|error| failure::handshake(&address, &error))?;
    let frame_max = connection.configuration().frame_max();
    let (health, healthy) = watch::channel(Health::default());
    let (rounds, handed) = rounds::channel();
    let mut collector = JoinSet::new();
    let task = Collector::new(level(channel.clone()), Arc::clone(shared), health, handed);
    collector.spawn(task.run(events));
    Ok(Link {
        address,
        frame_max: usize::try_from(frame_max).unwrap_or(usize::MAX),
        unwritten: None,
        rounds,
        health: healthy,
        channel,
        connection,
        _collector: collector,
        _socket: socket,
    })
}

async fn tls(config: &Config) -> Result<Arc<ClientConfig>, Failure> {
    let files = config.tls.clone();
    let loaded = tokio::task::spawn_blocking(move || files.trusting_platform()).await;
    let loaded = loaded.map_err(|_interrupted| failure::disconnected())?;
    Ok(Arc::new(
        loaded.map_err(|error| failure::tls_files(&error))?,
    ))
}

/// A step of a connect, which may take so long.
async fn step<T>(
    address: &Address,
    what: &str,
    step: impl Future<Output = T>,
) -> Result<T, Failure> {
    let done = timeout(PATIENCE, step).await;
    done.map_err(|_late| failure::no_answer(address, what))
}

async fn open(
    address: &Address,
    tls: Option<Arc<ClientConfig>>,
    config: &Config,
) -> Result<(Connection, Socket), Failure> {
    let unreachable = |error: io::Error| failure::unreachable(address, &error);
    let place = (address.host(), address.port());
    let found = step(address, "DNS", tokio::net::lookup_host(place)).await?;
    let found: Vec<SocketAddr> = found.map_err(unreachable)?.collect();
    let runtime =
        lapin::runtime::default_runtime().map_err(|error| failure::handshake(address, &error))?;
    let stream = step(address, "TCP", AsyncTcpStream::connect(&runtime, found)).await?;
    let stream = stream.map_err(unreachable)?;
    let AsyncTcpStream::Plain(plain) = &stream else {
        return Err(failure::disconnected());
    };
    let socket = socket2::SockRef::from(plain.get_ref()).try_clone();
    let socket = Socket(socket.map_err(unreachable)?);
    let stream = match tls {
        None => stream,
        Some(tls) => {
            let connector = RustlsConnector::from(tls);
            let secured = stream.into_rustls(&connector, address.host());
            let secured = step(address, "TLS", secured).await?;
            secured.map_err(|error| failure::no_tls(address, &error))?
        }
    };
    let stream = Mutex::new(Some(stream));
    let connect = async move |_uri, _runtime| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        // lapin's own attempts to connect again find nothing.
        stream.ok_or_else(|| Error::from(io::Error::from(io::ErrorKind::ConnectionAborted)))
    };
    let name = format!("sapi-relay {} {}", config.tenant, config.name);
    let properties = ConnectionProperties::default()
        .with_client_property("product".into(), "sapi-relay".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
        .with_connection_name(name.into());
    let connecting = Connection::connector(address.uri(), runtime, connect, properties);
    let connection = step(address, "the handshake of AMQP", connecting).await?;
    let connection = connection.map_err(|error| failure::handshake(address, &error))?;
    Ok((connection, socket))
}

impl Link {
    /// Where it leads, without a secret.
    pub(super) fn broker(&self) -> &Address {
        &self.address
    }

    /// The largest frame that both sides agreed on.
    pub(super) fn frame_max(&self) -> usize {
        self.frame_max
    }

    /// Makes the channel ready for events: the exchange is there or made, and publishes are confirmed.
    pub(super) async fn prepare(&self, config: &Config) -> Result<(), Failure> {
        self.exchange(config, !config.declare).await?;
        let options = ConfirmSelectOptions::default();
        let select = self.channel.confirm_select(options);
        let selected = step(&self.address, "confirm.select", select).await?;
        selected.map_err(|error| failure::handshake(&self.address, &error))
    }

    /// Whether the exchange is there.
    pub(super) async fn look(&self, config: &Config) -> Result<(), Failure> {
        self.exchange(config, true).await
    }

    async fn exchange(&self, config: &Config, passive: bool) -> Result<(), Failure> {
        if config.exchange.is_empty() {
            // The default exchange is always there, and can't be declared.
            return Ok(());
        }
        let options = ExchangeDeclareOptions {
            passive,
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declare = self.channel.exchange_declare(
            config.exchange.as_str().into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        let declared = step(&self.address, "declaring the exchange", declare).await?;
        declared.map_err(|error| failure::exchange(config, &error))
    }

    /// Why the broker takes nothing at present, if so.
    pub(super) fn stopped(&mut self) -> Result<Option<String>, Failure> {
        let health = self.health.borrow_and_update();
        match &health.lost {
            Some(failure) => Err(failure.clone()),
            None => Ok(health.alarm.clone()),
        }
    }

    /// Returns once an alarm has come or gone, or the connection is lost.
    pub(super) async fn changed(&mut self) -> Result<(), Failure> {
        let changed = self.health.changed().await;
        changed.map_err(|_gone| failure::disconnected())
    }

    /// Waits until all that was handed over has reached the socket. `false`: an alarm or a loss came first.
    pub(super) async fn written(&mut self) -> Result<bool, Failure> {
        let Some(unwritten) = &mut self.unwritten else {
            return Ok(true);
        };
        tokio::select! {
            biased;
            // Its sender is dropped with what is lost, which the next publish notices.
            _ = unwritten => {
                self.unwritten = None;
                Ok(true)
            }
            changed = self.health.changed() => {
                changed.map_err(|_gone| failure::disconnected())?;
                Ok(false)
            }
        }
    }

    /// Begins to hand over. Whatever is published until it ends is handed over with it.
    pub(super) async fn begin(&self) -> Result<HandOver, Failure> {
        let begun = self.rounds.begin().await;
        begun.ok_or_else(failure::disconnected)
    }

    /// Begins to publish. The order of calls is the order of events. `None`: the channel is closed.
    pub(super) fn publish(&self, message: Message, config: &Config) -> Option<Flight> {
        let Message {
            routing_key,
            properties,
            payload,
            id,
        } = message;
        let channel = self.channel.clone();
        let exchange = config.exchange.as_str().into();
        let options = BasicPublishOptions {
            mandatory: config.unroutable == Unroutable::Reject,
            ..BasicPublishOptions::default()
        };
        let publishing = async move {
            let publish =
                channel.basic_publish(exchange, routing_key, options, &payload, properties);
            publish.await
        };
        Flight::begin(id, Box::pin(publishing))
    }

    /// Why it is of no use any more: a channel takes no events somewhat earlier than the broker's words for it
    /// are heard here.
    pub(super) fn lost(&self) -> BoxFuture<'static, Failure> {
        let mut health = self.health.clone();
        let lost = async move {
            let known = health.wait_for(|health| health.lost.is_some());
            let health = timeout(WORDS, known).await.ok()?.ok()?;
            health.lost.clone()
        };
        Box::pin(lost.map(|lost| lost.unwrap_or_else(failure::disconnected)))
    }

    /// Has flights watched until the broker has answered for all of them.
    pub(super) fn watch(&mut self, hand_over: HandOver, mut flights: Vec<Flight>) -> Answered {
        let Some(last) = flights.last_mut() else {
            // The broker has nothing to answer for.
            return Box::pin(std::future::ready(Answer::default()));
        };
        let (written, unwritten) = oneshot::channel();
        last.written = Some(written);
        self.unwritten = Some(unwritten);
        let (round, answered) = Round::new(flights);
        hand_over.finish(round);
        answered
    }

    /// Says farewell.
    pub(super) async fn close(self) {
        let farewell = self.connection.close(200, "bye".into());
        // Who does not answer is left all the same.
        drop(timeout(FAREWELL, farewell).await);
    }
}
