//! What a user tells librdkafka directly (`librdkafka.*`), checked by librdkafka itself. It knows no connection.

use std::fmt;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

/// What the relay sets itself, since its guarantees rest on it or a key of its own says it.
const OWNED: [(&str, &str); 20] = [
    ("acks", "it is all"),
    ("request.required.acks", "it is all"),
    ("enable.idempotence", "it is on"),
    ("enable.gapless.guarantee", "the relay repeats by itself"),
    ("transactional.id", "set transactional_id"),
    ("bootstrap.servers", "set brokers"),
    ("metadata.broker.list", "set brokers"),
    ("compression.codec", "set compression"),
    ("compression.type", "set compression"),
    ("security.protocol", "it follows from tls and sasl"),
    ("sasl.mechanism", "set sasl.mechanism of the sink"),
    ("sasl.mechanisms", "set sasl.mechanism of the sink"),
    ("sasl.username", "set sasl.username of the sink"),
    ("sasl.password", "set sasl.password_file of the sink"),
    ("ssl.ca.location", "set tls.ca_file"),
    ("ssl.certificate.location", "set tls.cert_file"),
    ("ssl.key.location", "set tls.key_file"),
    ("statistics.interval.ms", "statistics are off"),
    ("group.id", "it consumes nothing but its cursor"),
    ("isolation.level", "it reads what is committed"),
];

/// What people set, to name the nearest when one is misspelt.
const USUAL: [&str; 36] = [
    "api.version.request.timeout.ms",
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.level",
    "connections.max.idle.ms",
    "debug",
    "delivery.timeout.ms",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.timeout.ms",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "sticky.partitioning.linger.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.interval.ms",
    "transaction.timeout.ms",
];

/// Why librdkafka can't be told something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// The relay sets it.
    #[error("{name} is the relay's: {instead}")]
    Owned {
        /// The property.
        name: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// There is no such property.
    #[error("{name} is no property of librdkafka: did you mean {nearest}?")]
    Unknown {
        /// The property.
        name: String,
        /// The one that it resembles most.
        nearest: &'static str,
    },
    /// There is no such value. The value is not shown: it may be a secret.
    #[error("{name}: librdkafka says: {reason}")]
    Refused {
        /// The property.
        name: String,
        /// What librdkafka says.
        reason: String,
    },
}

/// Properties of librdkafka that a user has set. A debug print shows their names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// Adds one.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PropertyError> {
        if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            return Err(PropertyError::Owned {
                name: name.to_owned(),
                instead,
            });
        }
        let mut config = ClientConfig::new();
        config.set(name, value);
        if let Err(KafkaError::ClientConfig(result, reason, _, _)) = config.create_native_config() {
            if result == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN {
                let alike = |known: &&&str| std::cmp::Reverse(strsim::levenshtein(name, known));
                return Err(PropertyError::Unknown {
                    name: name.to_owned(),
                    nearest: USUAL.iter().max_by_key(alike).copied().unwrap_or_default(),
                });
            }
            return Err(PropertyError::Refused {
                name: name.to_owned(),
                reason: reason.replace(value, ".."),
            });
        }
        self.0.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// What a property was set to.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(set, _)| set == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Tells them to a client's configuration.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        for (name, value) in &self.0 {
            config.set(name, value);
        }
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}
