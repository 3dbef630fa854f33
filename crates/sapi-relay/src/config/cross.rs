//! Owns the rules that span sections.

use std::net::SocketAddr;

use relay_core::intake::DedupConfig;
use relay_upstream::UpstreamConfig;

use super::section::Section;
use super::server::Admin;
use super::sinks::{Sink, SinkKind};
use super::storage::Journal;

/// What was read, for the rules.
pub(super) struct View<'a> {
    pub(super) upstream: Option<&'a UpstreamConfig>,
    pub(super) dedup: &'a DedupConfig,
    pub(super) journal: &'a Journal,
    pub(super) admin: &'a Admin,
    pub(super) sinks: &'a [Sink],
}

pub(super) fn check(root: &Section<'_>, view: &View<'_>) {
    listeners(root, view);
    files(root, view);
    transactions(root, view);
    horizons(root, view);
}

/// Two listeners can't have one address.
fn listeners(root: &Section<'_>, view: &View<'_>) {
    let mut taken = vec![("admin.listen".to_owned(), view.admin.listen)];
    let sinks = root.child("sinks").children();
    for sink in view.sinks.iter().filter(|sink| sink.enabled) {
        let SinkKind::Websocket(websocket) = &sink.kind else {
            continue;
        };
        let clash = taken
            .iter()
            .find(|(_, other)| clash(*other, websocket.listen));
        let section = sinks.iter().find(|(name, _)| *name == sink.name);
        if let (Some((owner, _)), Some((_, section))) = (clash, section) {
            let fault = format!("is taken by {owner}");
            section.wrong("listen", &fault, "give each listener a port of its own");
        }
        taken.push((format!("sinks.{}.listen", sink.name), websocket.listen));
    }
}

/// Whether two listeners can't be had at once.
pub(crate) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || everywhere)
}

/// Two sinks can't write one file.
fn files(root: &Section<'_>, view: &View<'_>) {
    let mut taken: Vec<(&str, &std::path::Path)> = Vec::new();
    let sinks = root.child("sinks").children();
    for sink in view.sinks.iter().filter(|sink| sink.enabled) {
        let SinkKind::File(_, file) = &sink.kind else {
            continue;
        };
        let owner = taken.iter().find(|(_, path)| *path == file.path);
        let section = sinks.iter().find(|(name, _)| *name == sink.name);
        if let (Some((owner, _)), Some((_, section))) = (owner, section) {
            let fault = format!("is also the file of sinks.{owner}");
            section.wrong("path", &fault, "give each sink a file of its own");
        }
        taken.push((&sink.name, &file.path));
    }
}

/// Two sinks with one transactional id would end each other.
fn transactions(root: &Section<'_>, view: &View<'_>) {
    let tenant = view.upstream.map_or("", |upstream| &upstream.tenant_id);
    let mut taken: Vec<(&str, String)> = Vec::new();
    let sinks = root.child("sinks").children();
    for sink in view.sinks.iter().filter(|sink| sink.enabled) {
        let SinkKind::Kafka(_, kafka) = &sink.kind else {
            continue;
        };
        let Some(exactly_once) = &kafka.exactly_once else {
            continue;
        };
        let id = exactly_once.id(tenant, &sink.name);
        let owner = taken.iter().find(|(_, other)| *other == id);
        let section = sinks.iter().find(|(name, _)| *name == sink.name);
        if let (Some((owner, _)), Some((_, section))) = (owner, section) {
            let fault = format!("is also the id of sinks.{owner}, and brokers let only one use it");
            section.wrong(
                "transactional_id",
                &fault,
                "give each sink an id of its own",
            );
        }
        taken.push((&sink.name, id));
    }
}

/// What is remembered should reach as far back as what the upstream may replay.
fn horizons(root: &Section<'_>, view: &View<'_>) {
    let Some(upstream) = view.upstream else {
        return;
    };
    if view.dedup.horizon < upstream.cache_horizon {
        let remedy = "make it longer than upstream.cache_horizon: what is replayed later than this \
                      is delivered twice";
        root.child("dedup")
            .warn("horizon", "is shorter than upstream.cache_horizon", remedy);
    }
    if view.journal.keep.retention_age < view.dedup.horizon {
        let remedy = "make it longer than dedup.horizon: ids are remembered by their events";
        root.child("journal")
            .warn("retention_age", "is shorter than dedup.horizon", remedy);
    }
}
