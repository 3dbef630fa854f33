//! The store: what is set is seen at once and is there again after a flush.

use relay_journal::Epoch;

use super::*;

fn cursor(offset: u64) -> Cursor {
    Cursor {
        epoch: Epoch(7),
        offset: Offset(offset),
    }
}

#[tokio::test]
async fn what_was_flushed_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (store, thread) = Store::open(&path).unwrap();
    store.set_cursor("lake", cursor(5));
    store.set(Table::Facts, "a", vec![1]);
    store.set(Table::Facts, "b", vec![2]);
    store.remove(Table::Facts, "a");
    assert_eq!(store.cursor("lake"), Some(cursor(5)));
    store.flush().await.unwrap();
    store.set_cursor("lake", cursor(6));
    thread.close();
    let (store, _thread) = Store::open(&path).unwrap();
    assert_eq!(
        store.cursor("lake"),
        Some(cursor(6)),
        "a close writes what is left"
    );
    assert_eq!(store.all(Table::Facts), [("b".to_owned(), vec![2])]);
    assert_eq!(store.get(Table::Facts, "a"), None);
}

#[tokio::test]
async fn a_change_is_written_without_a_flush_within_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _thread) = Store::open(&dir.path().join("state.redb")).unwrap();
    let mut flushed = store.0.flushed.subscribe();
    let started = Instant::now();
    store.set(Table::Facts, "a", vec![1]);
    flushed
        .wait_for(|flushed| flushed.written >= 1)
        .await
        .unwrap();
    assert!(started.elapsed() >= WINDOW / 2, "changes wait for company");
    store.flush().await.unwrap();
}

#[tokio::test]
async fn many_who_flush_at_once_are_all_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _thread) = Store::open(&dir.path().join("state.redb")).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = store.clone();
        tasks.spawn(async move {
            store.set(Table::SinkStates, &n.to_string(), vec![n]);
            store.flush().await
        });
    }
    while let Some(flushed) = tasks.join_next().await {
        flushed.unwrap().unwrap();
    }
    assert_eq!(store.all(Table::SinkStates).len(), 50);
}

#[tokio::test]
async fn retention_waits_for_registered_sinks_only() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _thread) = Store::open(&dir.path().join("state.redb")).unwrap();
    let epoch = Epoch(7);
    assert_eq!(store.passed(epoch), Offset(u64::MAX), "nobody to wait for");
    store.set_cursor("old", cursor(3));
    store.set_cursor("lake", cursor(9));
    store.register_sink("lake");
    assert_eq!(store.passed(epoch), Offset(9));
    store.register_sink("new");
    assert_eq!(
        store.passed(epoch),
        Offset(0),
        "one without a cursor has passed nothing"
    );
    assert_eq!(
        store.passed(Epoch(8)),
        Offset(0),
        "a cursor of another journal says nothing"
    );
    store.unregister_sink("new");
    store.forget_passed(epoch, Offset(4));
    assert_eq!(
        store.cursor("old"),
        Some(cursor(3)),
        "retention has not passed it"
    );
    store.forget_passed(epoch, Offset(5));
    assert_eq!(store.cursor("old"), None);
    store.forget_passed(epoch, Offset(100));
    assert_eq!(
        store.cursor("lake"),
        Some(cursor(9)),
        "a sink that is there keeps its cursor"
    );
}

#[tokio::test]
async fn until_the_sinks_are_registered_those_of_the_run_before_hold_retention_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let (store, thread) = Store::open(&path).unwrap();
    store.set_cursor("lake", cursor(5));
    thread.close();
    let (store, _thread) = Store::open(&path).unwrap();
    let epoch = Epoch(7);
    assert_eq!(store.passed(epoch), Offset(5));
    store.forget_passed(epoch, Offset(100));
    assert_eq!(store.cursor("lake"), Some(cursor(5)), "it may come yet");
    store.expect_no_more();
    assert_eq!(store.passed(epoch), Offset(u64::MAX));
    store.forget_passed(epoch, Offset(100));
    assert_eq!(store.cursor("lake"), None);
}

#[tokio::test]
async fn a_file_that_is_gone_or_damaged_at_a_reopening_is_written_anew_in_full() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let mut disk = Disk::open(&path).unwrap();
    let change = |key: &str| (Table::Facts, key.to_owned(), Some(vec![1]));
    disk.put(vec![change("a")], Vec::new).unwrap();
    disk.fail();
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    disk.put(vec![change("b")], || vec![change("a"), change("b")])
        .unwrap();
    let all = disk.state().unwrap().all(Table::Facts).unwrap();
    assert_eq!(all.len(), 2);
    disk.fail();
    disk.put(vec![change("c")], || panic!("only what changed"))
        .unwrap();
    let all = disk.state().unwrap().all(Table::Facts).unwrap();
    assert_eq!(all.len(), 3);
}

#[tokio::test]
async fn a_damaged_file_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let (store, thread) = Store::open(&path).unwrap();
    assert_eq!(store.cursor("lake"), None);
    store.set_cursor("lake", cursor(1));
    store.flush().await.unwrap();
    thread.close();
}
