//! Owns `check --connect` of a sink: whether its destination is there and lets the relay in. It
//! delivers nothing, creates nothing, and reads no journal.

use relay_core::sink::{Failure, Next};
use tokio::net::TcpListener;

use super::{file, kafka, nats, rabbitmq, webhook};
use crate::config::{Sink, SinkKind};

/// Tries one sink.
pub(crate) async fn probe(sink: Sink, tenant: &str) -> Result<(), Failure> {
    match sink.kind {
        SinkKind::Websocket(websocket) => match TcpListener::bind(websocket.listen).await {
            Ok(_listener) => Ok(()),
            Err(error) => {
                let key = format!("sinks.{}.listen", sink.name);
                let failure = super::unbound(&key, websocket.listen, error);
                let (text, remedy) = failure.parts();
                let next = Next::Blocked;
                Err(Failure { next, text, remedy })
            }
        },
        SinkKind::File(_, file) => file::probe(file, tenant).await,
        SinkKind::Kafka(_, kafka) => kafka::probe(kafka, tenant).await,
        SinkKind::Nats(_, nats) => nats::probe(nats, tenant).await,
        SinkKind::Rabbitmq(_, rabbitmq) => rabbitmq::probe(rabbitmq, tenant).await,
        SinkKind::Webhook(_, webhook) => webhook::probe(webhook, tenant).await,
    }
}
