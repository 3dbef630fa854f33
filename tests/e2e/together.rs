//! All sinks at once: one destination in trouble hurts no other, and nothing is lost, whatever is
//! killed.

mod consumers;
mod world;

use std::time::{Duration, Instant};

use relay_tests::{PATIENCE, load, within};

use world::{Fault, World};

/// The longest silence that a sink may have because another's destination is in trouble. A short run
/// is for machines that do other things as well: it tells a stall, not a hesitation.
fn silence() -> Duration {
    if load::full() {
        Duration::from_secs(2)
    } else {
        Duration::from_secs(4)
    }
}

/// How long a destination is in trouble.
fn trouble() -> Duration {
    if load::full() {
        Duration::from_secs(20)
    } else {
        Duration::from_secs(5)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_in_trouble_hurts_no_other() {
    let _alone = load::alone().await;
    let bearable = silence();
    let mut world = World::start(false).await;
    world.everyone_has(1_000).await;
    for fault in [Fault::Killed, Fault::Stopped, Fault::CutOff] {
        for target in world::NAMES {
            let began = Instant::now();
            world.inflict(target, fault).await;
            // The length of the trouble is what is tested.
            tokio::time::sleep(trouble()).await;
            let lag = world.lag(target).await;
            assert!(
                lag > 500,
                "{target} was {fault:?}, and is only {lag} events behind"
            );
            let healed = Instant::now();
            world.heal(target, fault).await;
            for arrivals in &world.arrivals {
                let silence = arrivals.longest_gap(began, healed);
                let name = arrivals.name();
                assert!(
                    name == target || silence < bearable,
                    "{name} was silent for {silence:?} while {target} was {fault:?}"
                );
            }
            world.caught_up(target).await;
        }
    }
    let expected = world.finish().await;
    for arrivals in &world.arrivals {
        arrivals.assert_complete(&expected);
    }
    let memory = world.relay().peak_memory();
    assert!(
        memory < world::MEMORY,
        "{} MiB resident at its peak",
        memory >> 20
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_misses_no_destination() {
    let _alone = load::alone().await;
    let kills = if load::full() { 20 } else { 5 };
    let mut world = World::start(true).await;
    world.everyone_has(500).await;
    for _ in 0..kills {
        world.kill_relay().await;
        world.flows().await;
    }
    let expected = world.finish().await;
    for arrivals in world
        .arrivals
        .iter()
        .filter(|one| one.name() != "websocket")
    {
        arrivals.assert_complete(&expected);
        let exact = matches!(arrivals.name(), "kafka" | "nats");
        let repeated = arrivals.repeated();
        assert!(
            !exact || repeated == 0,
            "{} has {repeated} events twice",
            arrivals.name()
        );
    }
    within(PATIENCE, "the world to end", world.end()).await;
}
