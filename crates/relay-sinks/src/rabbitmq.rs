//! The rabbitmq sink.
