//! What the log promises, tested from outside and with injected faults.

use std::path::Path;

use bytes::Bytes;

use super::volume::Volume;
use super::{Log, LogOptions, Recovery, Writer, recovery};
use crate::{Offset, Record};

mod crash;
mod damage;
mod errors;
pub(super) mod faults;
mod model;
mod readers;
mod volume_full;

const SEGMENT: u64 = 8192;

/// A record without its place.
type Plain = (Offset, u64, u8, Vec<u8>, Vec<u8>);

fn plain(record: &Record) -> Plain {
    let bytes = |bytes: &Bytes| bytes.to_vec();
    let (head, payload) = (bytes(record.head()), bytes(record.payload()));
    (
        record.offset(),
        record.time_ms(),
        record.kind(),
        head,
        payload,
    )
}

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT,
        identity: "acme".to_owned(),
        ..LogOptions::default()
    }
}

fn open(dir: &Path) -> (Writer, Log, Recovery) {
    Log::open(dir, options()).unwrap()
}

fn open_on(volume: &Volume, dir: &Path) -> (Writer, Log, Recovery) {
    recovery::open(volume.clone(), dir, options()).unwrap()
}

/// A group of `count` records whose bytes tell their offsets.
fn group(writer: &mut Writer, count: u64, payload: usize) -> super::Group {
    let mut group = writer.begin();
    for _ in 0..count {
        let offset = group.next.0;
        let mut body = format!("{{\"n\":{offset}}}").into_bytes();
        body.resize(body.len() + payload, b'.');
        group.push(1, offset * 10, format!("head {offset}").as_bytes(), &body);
    }
    group
}

fn commit(writer: &mut Writer, count: u64, payload: usize) -> Vec<Plain> {
    let group = group(writer, count, payload);
    let committed = writer.commit(group).unwrap();
    assert_eq!(committed.records.len() as u64, count);
    committed.records.iter().map(plain).collect()
}

/// Reads from an offset to the end, over what is trimmed and damaged.
fn read_all(log: &Log, mut from: Offset, max_bytes: usize) -> Vec<Plain> {
    let mut all = Vec::new();
    loop {
        match log.read(from, max_bytes) {
            Ok(records) => {
                let Some(last) = records.last() else {
                    return all;
                };
                assert!(records[0].offset() >= from);
                from = last.offset().next();
                all.extend(records.iter().map(plain));
            }
            Err(super::ReadError::Trimmed { first: next } | super::ReadError::Damaged { next }) => {
                assert!(next > from, "no progress at {from}");
                from = next;
            }
            Err(error) => panic!("{error}"),
        }
    }
}
