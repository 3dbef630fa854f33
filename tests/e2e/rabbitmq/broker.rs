//! What only a broker of one's own shows: an alarm, a kill with its data and without. The whole relay bears it with
//! two sinks: `lake` makes its exchange, `pond` finds one.

use relay_tests::ledger::emitted;
use relay_tests::servers::rabbitmq::RabbitServer;
use relay_tests::soon;
use sapi_sim::Simulator;

use super::fixture::{Whole, assert_complete, contents, row};

const SINKS: [&str; 2] = ["lake", "pond"];

/// Every sink has settled all there is.
async fn settled(whole: &Whole) {
    for sink in SINKS {
        whole.settled(sink).await;
    }
}

/// Every queue holds the events from one on, and its contents are taken out.
async fn holds(server: &RabbitServer, simulator: &Simulator, from: usize) {
    let client = server.client().await;
    for sink in SINKS {
        let found = contents(&client, sink).await;
        assert_complete(&found, &emitted(simulator)[from..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_a_kill_and_a_loss_of_all_data() {
    relay_tests::install_crypto();
    let mut server = RabbitServer::start().await;
    let client = server.client().await;
    for sink in SINKS {
        client.exchange(sink).await;
        client.queue(sink, sink, &["#"]).await;
    }
    let made = "exchange = \"lake\"\ndeclare = true\nmax_consecutive_rejections = 100000";
    let found = "exchange = \"pond\"\ndeclare = false";
    let whole = Whole::start(&server, &[("lake", made), ("pond", found)]).await;
    whole.simulator.emit(100);
    settled(&whole).await;
    alarmed(&whole, &server).await;
    killed(&whole, &mut server).await;
    emptied(&whole, &mut server).await;
    assert!(whole.relay.terminate().await.success());
}

/// The alarm is in the status, and is waited for.
async fn alarmed(whole: &Whole, server: &RabbitServer) {
    server
        .ctl(&["set_vm_memory_high_watermark", "0.0000001"])
        .await;
    let telling = async {
        loop {
            // The broker tells a publisher only when it publishes.
            whole.simulator.emit(5);
            let status = whole.relay.status().await;
            let said = |sink: &&str| {
                let row = row(&status, sink);
                let error = row["last_error"].to_string();
                row["state"] == "retrying"
                    && error.contains("connection.blocked")
                    && error.contains("free memory or disk")
            };
            if SINKS.iter().all(said) {
                return;
            }
        }
    };
    soon("the alarm in the status", telling).await;
    server.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    settled(whole).await;
    holds(server, &whole.simulator, 0).await;
}

/// A broker that is killed comes back with what it had confirmed; the rest follows.
async fn killed(whole: &Whole, server: &mut RabbitServer) {
    let before = emitted(&whole.simulator).len();
    whole.simulator.emit(50);
    settled(whole).await;
    server.kill();
    whole.simulator.emit(50);
    for sink in SINKS {
        let retries = |row: &serde_json::Value| row["state"] == "retrying";
        whole.sink(sink, "the absence in its status", retries).await;
    }
    server.restart().await;
    settled(whole).await;
    holds(server, &whole.simulator, before).await;
}

/// A broker that comes back without anything: what it had not confirmed is not lost, and what it had is
/// delivered again by a seek.
async fn emptied(whole: &Whole, server: &mut RabbitServer) {
    whole.simulator.emit(50);
    settled(whole).await;
    let confirmed = emitted(&whole.simulator).len();
    server.kill();
    whole.simulator.emit(60);
    server.wipe();
    server.restart().await;
    let client = server.client().await;

    // One sink waits for its exchange, and says so.
    whole
        .blocked(
            "pond",
            &["there is no exchange", "pond", "set declare = true"],
        )
        .await;
    whole.make(&client, "pond", "pond").await;

    // The other has made it. Nobody has bound a queue yet, so that events are kept as dead letters.
    whole.settled("lake").await;
    client.queue("lake", "lake", &["#"]).await;
    let reasons = whole.reasons("lake").await;
    assert_eq!(reasons.len(), 60);
    let named = |reason: &String| reason.contains("no queue is bound to exchange \"lake\"");
    assert!(reasons.iter().all(named), "{reasons:?}");
    let told = whole
        .post("/v1/dead-letters/retry", "{\"sink\": \"lake\"}")
        .await;
    assert_eq!(told["delivered"], 60, "{told}");
    settled(whole).await;
    holds(server, &whole.simulator, confirmed).await;

    for sink in SINKS {
        let path = format!("/v1/sinks/{sink}/seek");
        whole.post(&path, "{\"to\": \"earliest\"}").await;
    }
    settled(whole).await;
    holds(server, &whole.simulator, 0).await;
}
