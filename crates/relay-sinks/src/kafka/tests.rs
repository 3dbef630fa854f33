use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use relay_core::sink::Next;

use super::watch::{Context, Watch};
use super::*;

#[test]
fn what_the_relay_owns_is_refused() {
    let mut properties = Properties::default();
    let refused = properties.set("acks", "1").unwrap_err();
    assert_eq!(refused.to_string(), "acks is the relay's: it is all");
}

#[test]
fn librdkafka_judges_the_rest() {
    let mut properties = Properties::default();
    properties.set("linger.ms", "20").unwrap();
    for (name, value) in [("linger.mss", "20"), ("linger.ms", "hunter2")] {
        let refused = properties.set(name, value).unwrap_err().to_string();
        assert!(refused.starts_with(name), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let misspelt = properties.set("linger.mss", "20").unwrap_err().to_string();
    assert!(misspelt.ends_with("did you mean linger.ms?"), "{misspelt}");
    assert_eq!(format!("{properties:?}"), "[\"linger.ms\"]");
}

#[test]
fn a_refused_certificate_is_told_from_a_connection_that_ends() {
    let receiving =
        "ssl://broker:9093/1: Receive failed: error:0A00045C:SSL routines::tlsv13 alert";
    for alert in ["certificate required: SSL alert number 116", "unknown ca"] {
        let reason = format!("{receiving} {alert} (after 4ms in state APIVERSION_QUERY)");
        assert!(failure::is_refused_certificate(&reason), "{reason}");
    }
    for reason in [
        &format!("{receiving} internal error: SSL alert number 80"),
        "ssl://certificate:9093/1: Disconnected: connection closed by peer",
    ] {
        assert!(!failure::is_refused_certificate(reason), "{reason}");
    }
}

#[test]
fn a_trouble_that_is_over_explains_nothing_any_more() {
    let watch = Arc::new(Watch::new("lake", Duration::from_mins(1)));
    let context = Context(Arc::clone(&watch));
    context.error(KafkaError::Global(Code::Authentication), "wrong password");
    let explained = || watch.explain(Code::MessageTimedOut, "delivering").next;
    assert_eq!(explained(), Next::Blocked);
    watch.recovered();
    assert_eq!(explained(), Next::Reconnect);
}
