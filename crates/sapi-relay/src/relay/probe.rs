//! Owns `check --connect` of a sink: whether its destination is there and lets the relay in. It
//! delivers nothing, creates nothing, and reads no journal.

use std::io::ErrorKind;

use relay_core::sink::{Failure, Next};
use tokio::net::TcpListener;

use super::{file, kafka, nats, rabbitmq, webhook};
use crate::config::{Sink, SinkKind};

const READY: &str = "is ready to be used";

/// Tries one sink, and says how it is. `running`: a relay of this configuration runs, and holds its
/// listeners' addresses.
pub(crate) async fn probe(
    sink: Sink,
    tenant: &str,
    running: bool,
) -> Result<&'static str, Failure> {
    match sink.kind {
        SinkKind::Websocket(websocket) => match TcpListener::bind(websocket.listen).await {
            Ok(_listener) => Ok(READY),
            Err(error) if running && error.kind() == ErrorKind::AddrInUse => {
                Ok("is served by the relay that runs")
            }
            Err(error) => {
                let key = format!("sinks.{}.listen", sink.name);
                let failure = super::unbound(&key, websocket.listen, error);
                let (text, remedy) = failure.parts();
                let next = Next::Blocked;
                Err(Failure { next, text, remedy })
            }
        },
        SinkKind::File(_, file) => file::probe(file, tenant).await.map(|()| READY),
        SinkKind::Kafka(_, kafka) => kafka::probe(kafka, tenant).await.map(|()| READY),
        SinkKind::Nats(_, nats) => nats::probe(nats, tenant).await.map(|()| READY),
        SinkKind::Rabbitmq(_, rabbitmq) => rabbitmq::probe(rabbitmq, tenant).await.map(|()| READY),
        SinkKind::Webhook(_, webhook) => webhook::probe(webhook, tenant).await.map(|()| READY),
    }
}
