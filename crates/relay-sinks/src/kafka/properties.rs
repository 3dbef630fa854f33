//! What a user tells librdkafka directly (`librdkafka.*`), checked by librdkafka itself. It knows no connection.

use std::fmt;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

/// What the relay sets itself, since its guarantees rest on it or a key of its own says it.
const OWNED: [(&str, &str); 17] = [
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
    /// There is no such property, or no such value. The value is not shown: it may be a secret.
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
        if let Err(KafkaError::ClientConfig(_, reason, _, _)) = config.create_native_config() {
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
