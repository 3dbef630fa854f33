//! The contract suite on real files, then what only a file can do wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use relay_core::cloudevents::Source;
use relay_core::contract::{Fault, Peer, Relay, Seen};
use relay_core::sink::{Next, Sink as _};
use relay_core::status::SinkState;
use serde_json::Value;
use tempfile::TempDir;

use super::destination::Destination;
use super::failure::failure;
use super::log_file::LogFile;
use super::*;

/// A directory with a file in it, that can be moved away.
struct FilePeer {
    dir: Arc<TempDir>,
    config: Config,
}

impl FilePeer {
    fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("out")).unwrap();
        let path = dir.path().join("out/events.ndjson");
        Self {
            dir,
            config: Config {
                path,
                rotate_bytes: None,
                keep: None,
            },
        }
    }

    fn rotating(rotate_bytes: u64, keep: Option<u32>) -> Self {
        let mut peer = Self::new();
        (peer.config.rotate_bytes, peer.config.keep) = (Some(rotate_bytes), keep);
        peer
    }

    /// Every line of the file and of those set aside, oldest first.
    fn lines(&self) -> Vec<Value> {
        let mut paths: Vec<_> = self.files();
        paths.rotate_left(1);
        let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
        let lines = texts.flat_map(|text| {
            assert!(
                text.is_empty() || text.ends_with('\n'),
                "a torn line: {text}"
            );
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<Value>>()
        });
        lines.collect()
    }

    /// The file, then those set aside, oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.config.path.parent().unwrap()).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

impl Peer for FilePeer {
    type Sink = File;

    fn sink(&self) -> impl FnMut() -> File + Send + 'static {
        let config = self.config.clone();
        // The epoch plays no part in what the suite looks at.
        let source = Source::new("acme", "00000000000000ff".parse().unwrap());
        move || File::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        let seen = |line: &Value| Seen {
            number: line["sapisequence"]
                .as_str()
                .unwrap_or("0")
                .parse()
                .unwrap(),
            key: line["partitionkey"].as_str().unwrap_or_default().to_owned(),
        };
        if self.config.path.exists() {
            self.lines().iter().map(seen).collect()
        } else {
            Vec::new()
        }
    }

    async fn inject(&self, fault: Fault) -> bool {
        if fault != Fault::Blocked {
            return false;
        }
        fs::rename(self.dir.path().join("out"), self.dir.path().join("moved")).unwrap();
        true
    }

    async fn mend(&self) {
        fs::rename(self.dir.path().join("moved"), self.dir.path().join("out")).unwrap();
    }
}

relay_core::sink_contract!(FilePeer::new());

mod rotating {
    //! The same with a new file every few lines.
    use super::FilePeer;

    relay_core::sink_contract!(FilePeer::rotating(2_000, None));
}

fn config(path: &Path) -> Config {
    Config {
        path: path.to_owned(),
        rotate_bytes: None,
        keep: None,
    }
}

/// What is left of a file whose contents were `before` when it is opened and a line is appended.
fn reopened(before: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    fs::write(&path, before).unwrap();
    let mut file = LogFile::open(&config(&path)).unwrap();
    file.append(b"{\"new\":1}\n", &[10]).unwrap();
    fs::read_to_string(&path).unwrap()
}

#[test]
fn a_line_that_a_crash_tore_is_cut_off_at_every_byte() {
    let whole = "{\"specversion\":\"1.0\",\"data\":{}}\n";
    for cut in 0..whole.len() {
        let before = format!("{whole}{}", &whole[..cut]);
        assert_eq!(
            reopened(before.as_bytes()),
            format!("{whole}{{\"new\":1}}\n"),
            "{cut}"
        );
        assert_eq!(reopened(&whole.as_bytes()[..cut]), "{\"new\":1}\n");
    }
    let zeros = [whole.as_bytes(), &[0; 100]].concat();
    assert_eq!(reopened(&zeros), format!("{whole}{{\"new\":1}}\n"));
    let long = format!("{whole}{{\"specversion\":\"{}", "x".repeat(300_000));
    assert_eq!(reopened(long.as_bytes()), format!("{whole}{{\"new\":1}}\n"));
}

#[test]
fn what_somebody_else_wrote_is_kept() {
    assert_eq!(
        reopened(b"a note without an end"),
        "a note without an end\n{\"new\":1}\n"
    );
    assert_eq!(reopened(b""), "{\"new\":1}\n");
}

#[test]
fn files_are_set_aside_whole_and_the_oldest_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    fs::write(dir.path().join("events.ndjson.note"), "not ours").unwrap();
    let config = Config {
        path: path.clone(),
        rotate_bytes: Some(10),
        keep: Some(2),
    };
    let mut file = LogFile::open(&config).unwrap();
    file.append(
        b"aaaa\nbbbb\ncccc\nlonger than ten\ndd\n",
        &[5, 10, 15, 31, 34],
    )
    .unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
    assert_eq!(read("events.ndjson").as_deref(), Some("dd\n"));
    assert_eq!(
        read("events.ndjson.000003").as_deref(),
        Some("longer than ten\n")
    );
    assert_eq!(read("events.ndjson.000002").as_deref(), Some("cccc\n"));
    assert_eq!(read("events.ndjson.000001"), None);
    assert_eq!(read("events.ndjson.note").as_deref(), Some("not ours"));
    drop(file);
    let mut file = LogFile::open(&config).unwrap();
    file.append(b"eeee\nffffff\n", &[5, 12]).unwrap();
    assert_eq!(read("events.ndjson.000004").as_deref(), Some("dd\neeee\n"));
    assert_eq!(read("events.ndjson").as_deref(), Some("ffffff\n"));
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    let mut file = LogFile::open(&config(&path)).unwrap();
    file.append(b"a\n", &[2]).unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    file.append(b"b\n", &[2]).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("moved")).unwrap(), "a\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
}

#[test]
fn errors_say_what_to_do() {
    use std::io::{Error, ErrorKind};
    let cases = [
        (ErrorKind::StorageFull, Next::Retry, "make room"),
        (ErrorKind::QuotaExceeded, Next::Retry, "make room"),
        (
            ErrorKind::PermissionDenied,
            Next::Blocked,
            "let the relay's user write",
        ),
        (ErrorKind::ReadOnlyFilesystem, Next::Blocked, "mount"),
        (ErrorKind::NotFound, Next::Blocked, "make the directory"),
        (
            ErrorKind::WouldBlock,
            Next::Reconnect,
            "stop the other process",
        ),
        (ErrorKind::Other, Next::Reconnect, ""),
    ];
    for (kind, next, remedy) in cases {
        let failure = failure(&Error::from(kind), Path::new("/data/events.ndjson"));
        assert_eq!(failure.next, next, "{kind:?}");
        assert!(
            failure.remedy.contains(remedy),
            "{kind:?}: {}",
            failure.remedy
        );
        assert!(failure.text.starts_with("/data/events.ndjson: "));
    }
}

#[test]
fn paths_that_cannot_be_written_are_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |path: &Path| {
        Destination::open(&config(path), None)
            .map(drop)
            .unwrap_err()
    };
    let cases = [
        (dir.path().to_owned(), "give the path of a file"),
        (
            dir.path().join("missing/events.ndjson"),
            "make the directory",
        ),
        (PathBuf::from("/dev/null"), "regular file"),
    ];
    for (path, remedy) in cases {
        let failure = opened(&path);
        assert_eq!(failure.next, Next::Blocked, "{failure:?}");
        assert!(failure.remedy.contains(remedy), "{failure:?}");
    }
    let path = dir.path().join("events.ndjson");
    let held = LogFile::open(&config(&path)).unwrap();
    assert!(opened(&path).text.contains("another process"));
    drop(held);
    assert!(Destination::open(&config(&path), None).is_ok());
}

/// After an error the sink connects again; what was torn before that is still to be ended.
#[test]
fn standard_output_remembers_half_a_line_across_connections() {
    let out = config(Path::new("-"));
    for torn in [true, false] {
        let buffer = Vec::new();
        let before = Destination::Stdout { buffer, torn };
        let after = Destination::open(&out, Some(before)).unwrap();
        let remembered = matches!(after, Destination::Stdout { torn: true, .. });
        assert_eq!(remembered, torn);
    }
}

/// A write whose future is dropped goes on; a new connection waits for it and finds whole lines.
#[tokio::test]
async fn a_dropped_delivery_never_mixes_with_the_next() {
    let peer = FilePeer::new();
    let relay = Relay::new();
    relay.commit_many(500).await;
    let mut sink = peer.sink()();
    for _ in 0..20 {
        sink.connect().await.unwrap();
        let mut reader = relay.core.bus.reader_after(relay_core::Offset(0));
        let limit = relay_core::Limit {
            events: 500,
            bytes: 1 << 20,
        };
        let batch = reader.next_batch(limit).await.unwrap();
        let (selected, upto) = (
            (0..u32::try_from(batch.len()).unwrap()).collect(),
            batch.upto(),
        );
        let delivery = Delivery {
            batch,
            selected,
            upto,
            again: false,
        };
        let mut delivering = std::pin::pin!(sink.deliver(delivery));
        assert!(futures_util::poll!(&mut delivering).is_pending());
    }
    sink.connect().await.unwrap();
    sink.close().await;
    assert!(peer.lines().len() >= 19, "every write that began is whole");
}

#[tokio::test]
async fn a_missing_mount_blocks_and_heals() {
    let peer = FilePeer::new();
    let relay = Relay::new();
    let sink = relay.start(&peer);
    let sent = relay.commit_many(10).await;
    relay.settled(&sink).await;
    peer.inject(Fault::Blocked).await;
    relay.commit_many(10).await;
    let status = sink
        .wait_for(|status| status.state == SinkState::Blocked)
        .await;
    assert!(
        status
            .last_error
            .unwrap()
            .remedy
            .contains("make the directory")
    );
    peer.mend().await;
    relay.settled(&sink).await;
    assert_eq!(peer.seen().await.len(), sent.len() + 10);
}
