//! Sinks whose destinations are dead for an hour, accelerated, while events pass by the million: what
//! that costs the relay, and the others.

use std::time::{Duration, Instant};

use relay_tests::proxy::Proxy;
use relay_tests::relay::Setup;
use relay_tests::servers::receiver::Receiver;
use relay_tests::servers::tally::Tally;
use relay_tests::{PATIENCE, Relay, Stream, load, within};
use sapi_sim::{Burst, Config, DEMO_TOKEN, Simulator};
use tokio::task::JoinSet;

/// Events a second.
const RATE: f64 = 20_000.0;
/// The number of the first event of a burst.
const FIRST: u64 = 1_000_000_000_000;
/// The relay's memory, whatever is dead. Its tail and its memory of ids are small here, so that they are
/// full from the first quarter on.
const MEMORY: u64 = 128 << 20;
/// What buffers and the allocator may come and go by: on a busy machine who is in good health falls behind
/// now and then too, and reads the journal. The dead lag by 150 MiB and more in the last quarter.
const SLACK: u64 = 20 << 20;
/// An hour has sixty waits of the default `retry_max`; so has the run.
const WAITS: u32 = 60;

fn events() -> usize {
    if load::full() { 2_000_000 } else { 200_000 }
}

/// The longest time that a destination in good health may be without an event.
fn silence() -> Duration {
    Duration::from_secs(if load::full() { 2 } else { 4 })
}

fn retry_max() -> Duration {
    Duration::from_secs_f64(events() as f64 / RATE) / WAITS
}

fn hook(name: &str, url: &str) -> String {
    format!(
        "[sinks.{name}]\ntype = \"webhook\"\nurl = {url:?}\nmode = \"batch\"\nconcurrency = 1\n\
         start_from = \"earliest\"\ntimeout = \"1s\"\nretry_min = \"50ms\"\nretry_max = \"{}ms\"\n",
        retry_max().as_millis()
    )
}

/// A client that reads all there is.
async fn read_all(relay: &Relay, tasks: &mut JoinSet<Tally>) {
    let url = relay.downstream("/v1/stream?from=earliest").await;
    let mut stream = Stream::connect(&url).await;
    tasks.spawn(async move {
        let mut tally = Tally::default();
        while tally.events < events() {
            let text = stream.next_text().await.expect("the stream goes on");
            tally.take(text.as_bytes(), Instant::now());
        }
        tally
    });
}

/// The largest of a quarter of the samples.
fn quarter(samples: &[u64], which: usize) -> u64 {
    let length = samples.len() / 4;
    let quarter = samples.iter().skip(which * length).take(length);
    quarter.copied().max().expect("there are samples")
}

async fn retries(relay: &Relay, sink: &str) -> f64 {
    let series = format!("sapi_relay_sink_retries_total{{sink=\"{sink}\"}}");
    relay.metric(&series).await.expect("it is there")
}

fn assert_in_order(tally: &Tally, whose: &str) {
    assert_eq!(tally.first, Some(FIRST), "{whose}");
    assert_eq!(
        (tally.events, tally.early),
        (events(), 0),
        "{whose}: {tally:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_sinks_cost_neither_memory_nor_the_others_anything() {
    let _alone = load::alone().await;
    let limit = PATIENCE + 4 * Duration::from_secs_f64(events() as f64 / RATE);
    let [refused, swallowed, healthy] = [
        Receiver::tallying().await,
        Receiver::tallying().await,
        Receiver::tallying().await,
    ];
    let (refusing, swallowing) = (
        Proxy::start(refused.address()).await,
        Proxy::start(swallowed.address()).await,
    );
    refusing.refuse();
    swallowing.black_hole();
    let burst = Burst {
        events: events() as u64,
        batch: 64,
        rate: RATE,
        event_bytes: 1024,
    };
    let config = Config {
        burst: Some(burst),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN);
    setup.more = [
        "[dedup]\nmemory = \"2MiB\"\n[bus]\nmemory = \"4MiB\"\n".to_owned(),
        hook("refused", &refused.url_through(refusing.address(), "/")),
        hook(
            "swallowed",
            &swallowed.url_through(swallowing.address(), "/"),
        ),
        hook("healthy", &healthy.url("/")),
    ]
    .concat();
    let (relay, began) = (Relay::start(&setup).await, Instant::now());
    let mut clients = JoinSet::new();
    read_all(&relay, &mut clients).await;

    let mut samples = Vec::new();
    let alive = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while healthy.counts().events < events() {
            ticks.tick().await;
            samples.push(relay.resident());
        }
    };
    within(limit, "the healthy sink", alive).await;
    let client = within(PATIENCE, "the client", clients.join_next()).await;
    let (dead, client) = (began.elapsed(), client.unwrap().unwrap());
    for (tally, whose) in [
        (&healthy.tally(), "the healthy sink"),
        (&client, "the client"),
    ] {
        assert_in_order(tally, whose);
        assert_eq!(tally.repeated, 0, "{whose}");
        assert!(tally.longest_gap < silence(), "{whose}: {tally:?}");
    }
    assert!(swallowing.accepted() >= 1, "the black hole was entered");
    assert_eq!((refused.tally().events, swallowed.tally().events), (0, 0));
    let (first, last) = (quarter(&samples, 0), quarter(&samples, 3));
    let peak = relay.peak_memory();
    let mebibytes = [first, last, peak].map(|bytes| bytes >> 20);
    assert!(
        last <= first + SLACK && peak < MEMORY,
        "first, last quarter, peak: {mebibytes:?}"
    );

    // They are tried at the pace of the back-off, half to whole of it, and say so now and then.
    let steps = dead.as_secs_f64() / retry_max().as_secs_f64();
    let tried = retries(&relay, "refused").await;
    assert!(
        tried > steps / 3.0 && tried < 2.0 * steps + 10.0,
        "{tried} retries of {steps}"
    );
    assert!(retries(&relay, "swallowed").await >= 2.0);
    let log = relay.log();
    for sink in ["refused", "swallowed"] {
        let lines = log
            .lines()
            .filter(|line| line.contains(&format!("\"sink\":\"{sink}\"")));
        assert!(
            (1..=10).contains(&lines.clone().count()),
            "{:#?}",
            lines.collect::<Vec<_>>()
        );
    }

    let back = Instant::now();
    refusing.heal();
    swallowing.cut();
    swallowing.heal();
    for (receiver, name) in [(&refused, "refused"), (&swallowed, "swallowed")] {
        let all = |counts: &relay_tests::servers::receiver::Counts| counts.events >= events();
        receiver.until_within(limit, name, all).await;
        assert_in_order(&receiver.tally(), name);
    }
    let caught_up = back.elapsed();
    let peak = relay.peak_memory();
    assert!(peak < MEMORY, "{} MiB at the most", peak >> 20);
    println!(
        "{} events in {dead:.1?}, {tried} retries; MiB in the first and the last quarter, at the most: {mebibytes:?}; \
         both caught up in {caught_up:.1?}, {} MiB at the most; longest gaps: sink {:.1?}, client {:.1?}",
        events(),
        peak >> 20,
        healthy.tally().longest_gap,
        client.longest_gap,
    );
    assert!(relay.terminate().await.success());
}
