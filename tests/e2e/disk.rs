//! A full disk, and who may use a journal.

use std::path::{Path, PathBuf};

use relay_tests::ledger::{assert_same, emitted, recorded};
use relay_tests::relay::Setup;
use relay_tests::{Relay, load, soon, until};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use sapi_sim::{Config, DEMO_TOKEN, Simulator};

/// A small volume of its own.
pub(crate) struct Volume(PathBuf);

impl Volume {
    /// `None` where this process may not mount.
    pub(crate) fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        let size = std::ffi::CString::new(format!("size={mebibytes}m")).unwrap();
        mount(
            "tmpfs",
            at,
            "tmpfs",
            MountFlags::empty(),
            Some(size.as_c_str()),
        )
        .ok()?;
        Some(Self(at.to_owned()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_intake_and_loses_nothing() {
    let _alone = load::alone().await;
    let folder = tempfile::tempdir().unwrap();
    let Some(_volume) = Volume::mount(folder.path(), 96) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI nothing is skipped: mounting must be possible"
        );
        println!("skipped: a small volume can only be mounted by root");
        return;
    };
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![1; 50 << 20]).unwrap();

    let config = Config {
        event_bytes: Some(4_096),
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let mut setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).dir(&folder.path().join("journal"));
    // A sink that gets nowhere: what it has not passed must not be trimmed to make room.
    setup.more = "[sinks.stuck]
type = \"file\"
start_from = \"earliest\"
path = \"/proc/stuck.ndjson\""
        .to_owned();
    let relay = Relay::start(&setup).await;
    soon(
        "a subscription",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.set_rate(3_000.0);
    relay
        .status_where("a journal that can't be written", |s| {
            s["journal"]["writable"] == false
        })
        .await;
    soon(
        "the subscription to be closed",
        simulator.wait_until(|sim| sim.connected() == 0),
    )
    .await;
    simulator.set_rate(100.0);
    let ready = relay.admin("/readyz").await;
    assert_eq!(relay_tests::http::get(&ready).await.unwrap().status(), 503);
    let live = relay.admin("/livez").await;
    assert_eq!(
        relay_tests::http::get(&live).await.unwrap().status(),
        200,
        "a full disk is no reason to restart"
    );

    std::fs::remove_file(&ballast).unwrap();
    soon(
        "the subscription to come back",
        simulator.wait_until(|sim| sim.connected() == 1),
    )
    .await;
    simulator.set_rate(0.0);
    relay
        .status_where("a journal that can be written", |s| {
            s["journal"]["writable"] == true
        })
        .await;
    // An event that was due when the rate was set to nothing may still come: the ledger is read last.
    let delivered = recorded(&relay, emitted(&simulator).len()).await;
    assert_same(&delivered, &emitted(&simulator)[..delivered.len()]);
    until("readiness", || async {
        relay_tests::http::get(&ready)
            .await
            .ok()
            .filter(|a| a.status() == 200)
    })
    .await;
    assert!(relay.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_relay_a_journal_and_one_tenant() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let journal = tempfile::tempdir().unwrap();
    let setup = Setup::new(&simulator.ws_url(), DEMO_TOKEN).dir(journal.path());
    let first = Relay::start(&setup).await;
    let mut second = Relay::spawn(&setup);
    assert_eq!(second.ended().await.code(), Some(75), "{}", second.log());
    assert!(first.terminate().await.success());

    let mut other = setup.clone();
    other.tenant = "othercorp02".to_owned();
    let mut foreign = Relay::spawn(&other);
    assert_eq!(foreign.ended().await.code(), Some(78), "{}", foreign.log());
    let log = foreign.log();
    assert!(
        log.contains("acmecorp01") && log.contains("othercorp02"),
        "both are named: {log}"
    );
}
