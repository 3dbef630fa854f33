//! Restarts, back-off and drain, on a paused clock.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

fn supervisor() -> (Supervisor, Arc<Metrics>, CancellationToken) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let stop = CancellationToken::new();
    (
        Supervisor::new(Arc::clone(&metrics), stop.clone()),
        metrics,
        stop,
    )
}

/// A factory whose first runs fail as `fail` says, and whose next one waits for its token.
fn failing(
    times: usize,
    fail: fn(usize) -> Result<(), String>,
) -> impl FnMut(CancellationToken) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
+ Send {
    let runs = Arc::new(AtomicUsize::new(0));
    move |stop| {
        let run = runs.fetch_add(1, SeqCst);
        Box::pin(async move {
            if run < times {
                return fail(run);
            }
            stop.cancelled().await;
            Ok(())
        })
    }
}

async fn restarted(handle: &Handle, restarts: u64) {
    let mut status = handle.status.clone();
    status
        .wait_for(|status| status.restarts == restarts)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn errors_and_panics_are_counted_apart_and_the_task_runs_again() {
    let (supervisor, metrics, _stop) = supervisor();
    let handle = supervisor.spawn(
        "lake",
        failing(3, |run| {
            assert!(run != 1, "run 1 panics");
            Err(format!("run {run} failed"))
        }),
    );
    restarted(&handle, 3).await;
    let count = |cause| {
        metrics
            .task_restarts_total
            .with_label_values(&["lake", cause])
            .get()
    };
    assert_eq!((count("error"), count("panic")), (2, 1));
    assert_eq!(
        handle.status().last_failure.as_deref(),
        Some("run 2 failed")
    );
    assert_eq!(handle.status().state, TaskState::Running);
    assert!(supervisor.drain(Duration::from_secs(1)).await.is_empty());
    assert_eq!(handle.status().state, TaskState::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_panics_is_a_failure_too() {
    let (supervisor, metrics, _stop) = supervisor();
    let mut first = true;
    let handle = supervisor.spawn("lake", move |_| {
        assert!(!std::mem::take(&mut first), "the factory panics");
        std::future::ready(Ok::<_, String>(()))
    });
    handle.ended().await;
    assert_eq!(
        metrics
            .task_restarts_total
            .with_label_values(&["lake", "panic"])
            .get(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn restarts_wait_longer_and_longer() {
    let (supervisor, _metrics, _stop) = supervisor();
    let start = Instant::now();
    let handle = supervisor.spawn("lake", failing(12, |_| Err("again".into())));
    restarted(&handle, 12).await;
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_secs(80) && waited < Duration::from_mins(3),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_by_itself_is_left_alone() {
    let (supervisor, _metrics, _stop) = supervisor();
    let handle = supervisor.spawn("once", |_| std::future::ready(Ok::<_, String>(())));
    handle.ended().await;
    assert_eq!(handle.status().restarts, 0);
    assert!(supervisor.tasks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_task_stops_alone_even_while_it_backs_off() {
    let (supervisor, _metrics, _stop) = supervisor();
    let stays = supervisor.spawn("stays", failing(0, |_| Ok(())));
    let fails = supervisor.spawn("fails", failing(1000, |_| Err("again".into())));
    restarted(&fails, 5).await;
    fails.stop();
    fails.ended().await;
    let names: Vec<_> = supervisor
        .tasks()
        .iter()
        .map(|handle| handle.name().to_owned())
        .collect();
    assert_eq!(names, ["stays"]);
    stays.stop();
    stays.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_aborts_and_names_what_does_not_end() {
    let (supervisor, _metrics, stop) = supervisor();
    supervisor.spawn("good", failing(0, |_| Ok(())));
    let stuck = supervisor.spawn("stuck", |_| std::future::pending::<Result<(), String>>());
    let start = Instant::now();
    let late = supervisor.drain(Duration::from_secs(5)).await;
    assert_eq!(
        late.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["stuck"]
    );
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert!(stop.is_cancelled());
    stuck.ended().await;
}
