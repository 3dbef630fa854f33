//! The rabbitmq sink against the real thing.
