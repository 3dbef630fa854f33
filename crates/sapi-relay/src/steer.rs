//! Owns the commands that ask a running relay's admin server: `sink ...`, `dead-letters ...` and `health`.

use std::io::{IsTerminal, Write, stderr};

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cli;
use crate::failure::{Failure, NOT_ALIVE};
use crate::http::{Peer, Refused};
use crate::output::{say, stdout, table};

/// What to look at when the admin server can't be reached.
const REMEDY: &str = "is the relay running, and is --admin its admin.listen?";

/// `sink list | pause | resume | seek`.
pub(crate) async fn sink(command: cli::Sink) -> Result<(), Failure> {
    match command {
        cli::Sink::List { admin } => list(&admin).await,
        cli::Sink::Pause(sink) => post(&sink, "pause", json!({})).await,
        cli::Sink::Resume(sink) => post(&sink, "resume", json!({})).await,
        cli::Sink::Seek { sink, to } => post(&sink, "seek", json!({ "to": to })).await,
    }
}

/// `dead-letters list | retry | export`.
pub(crate) async fn dead_letters(command: cli::DeadLetters) -> Result<(), Failure> {
    match command {
        cli::DeadLetters::List { admin, sink, limit } => {
            let written = letters(&admin, sink.as_deref(), limit).await?;
            if written == 0 && stderr().is_terminal() {
                say("no dead letters");
            }
            Ok(())
        }
        cli::DeadLetters::Export { admin, sink } => {
            let written = letters(&admin, sink.as_deref(), usize::MAX).await?;
            say(&format!("{written} dead letters"));
            Ok(())
        }
        cli::DeadLetters::Retry { admin, sink, id } => retry(&admin, sink, id).await,
    }
}

/// `health`.
pub(crate) async fn health(args: cli::Health) -> Result<(), Failure> {
    let peer = peer(&cli::Admin {
        url: args.url,
        token_file: None,
    })?;
    let answer = peer.get("/livez").await;
    let answer = answer.map_err(|error| Failure::new(NOT_ALIVE, error).remedy(REMEDY))?;
    let mut out = stdout();
    out.write_all(&answer)?;
    out.flush()?;
    Ok(())
}

/// Writes dead letters, each on its line; returns how many.
async fn letters(admin: &cli::Admin, sink: Option<&str>, limit: usize) -> Result<usize, Failure> {
    let mut out = stdout();
    let mut after: Option<String> = None;
    let mut left = limit;
    while left > 0 {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &left.min(1000).to_string());
        if let Some(sink) = sink {
            query.append_pair("sink", sink);
        }
        if let Some(after) = &after {
            query.append_pair("after", after);
        }
        let page = ask(admin, &format!("/v1/dead-letters?{}", query.finish())).await?;
        let items = page.get("items").and_then(Value::as_array);
        let items = items.map(Vec::as_slice).unwrap_or_default();
        for item in items {
            writeln!(out, "{item}")?;
        }
        left = left.saturating_sub(items.len());
        after = page.get("next").filter(|next| !next.is_null()).map(plain);
        if after.is_none() || items.is_empty() {
            break;
        }
    }
    out.flush()?;
    Ok(limit - left)
}

/// `dead-letters retry`: one letter, one sink's, or those of every sink that the relay delivers to.
async fn retry(admin: &cli::Admin, sink: Option<String>, id: Option<u64>) -> Result<(), Failure> {
    if let Some(id) = id {
        return retry_all_of(admin, json!({ "id": id, "sink": sink })).await;
    }
    let sinks = match sink {
        Some(sink) => vec![sink],
        None => driven(admin).await?,
    };
    let mut failures = Vec::new();
    for sink in sinks {
        let done = retry_all_of(admin, json!({ "sink": sink })).await;
        failures.extend(done.err());
    }
    let last = failures.pop();
    for failure in &failures {
        say(&failure.to_string());
    }
    last.map_or(Ok(()), Err)
}

/// The sinks that the relay delivers to.
async fn driven(admin: &cli::Admin) -> Result<Vec<String>, Failure> {
    let status = ask(admin, "/v1/status").await?;
    let sinks = status.get("sinks").and_then(Value::as_array);
    let driven = sinks.into_iter().flatten();
    let driven = driven.filter(|sink| sink.get("type").is_none_or(|kind| kind != "websocket"));
    Ok(driven
        .filter_map(|sink| sink.get("name").map(plain))
        .collect())
}

/// Asks until all are offered; says what became of them, after each answer.
async fn retry_all_of(admin: &cli::Admin, mut wish: Value) -> Result<(), Failure> {
    let peer = peer(admin)?;
    let mut out = stdout();
    loop {
        let body = Bytes::from(wish.to_string());
        let answer = peer
            .post("/v1/dead-letters/retry", body)
            .await
            .map_err(failed)?;
        let answer: Value = serde_json::from_slice(&answer).context("the answer is not JSON")?;
        writeln!(out, "{answer}")?;
        out.flush()?;
        match (answer.get("next"), answer.get("upto"), wish.as_object_mut()) {
            (Some(next), Some(upto), Some(wish)) if !next.is_null() => {
                wish.insert("after".to_owned(), next.clone());
                wish.insert("upto".to_owned(), upto.clone());
            }
            _ => return Ok(()),
        }
    }
}

async fn list(admin: &cli::Admin) -> Result<(), Failure> {
    let status = ask(admin, "/v1/status").await?;
    let sinks = status.get("sinks").and_then(Value::as_array);
    let headings = [
        "NAME",
        "TYPE",
        "STATE",
        "LAG",
        "SECONDS",
        "RETRIES",
        "CURSOR",
        "LAST ERROR",
    ];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    for sink in sinks.into_iter().flatten() {
        let cell = |name: &str| sink.get(name).map(plain).unwrap_or_default();
        let error = sink.get("last_error").and_then(|error| error.get("text"));
        let mut row: Vec<_> = [
            "name",
            "type",
            "state",
            "lag_events",
            "lag_seconds",
            "retries",
            "cursor",
        ]
        .map(cell)
        .to_vec();
        row.push(error.map(plain).unwrap_or_default());
        rows.push(row);
    }
    let mut out = stdout();
    table(&mut out, &rows)?;
    out.flush()?;
    Ok(())
}

async fn post(sink: &cli::OneSink, verb: &str, body: Value) -> Result<(), Failure> {
    let peer = peer(&sink.admin)?;
    let path = format!("/v1/sinks/{}/{verb}", sink.name);
    let answer = peer.post(&path, Bytes::from(body.to_string())).await;
    let answer = answer.map_err(failed)?;
    let mut out = stdout();
    writeln!(out, "{}", String::from_utf8_lossy(&answer).trim())?;
    out.flush()?;
    Ok(())
}

async fn ask(admin: &cli::Admin, path: &str) -> Result<Value, Failure> {
    let answer = peer(admin)?.get(path).await;
    let answer = answer.map_err(failed)?;
    let answer = serde_json::from_slice(&answer).context("the answer is not JSON");
    answer.map_err(|error| Failure::from(error).remedy(REMEDY))
}

/// Why a request came to nothing, with what helps against that.
fn failed(error: anyhow::Error) -> Failure {
    match error
        .downcast_ref::<Refused>()
        .map(|refused| refused.status)
    {
        None => Failure::from(error).remedy(REMEDY),
        Some(StatusCode::UNAUTHORIZED) => {
            Failure::from(error).remedy("give the admin token: --token-file FILE")
        }
        Some(_) => Failure::from(error),
    }
}

fn peer(admin: &cli::Admin) -> Result<Peer, Failure> {
    Peer::new(&admin.url, admin.token_file.as_deref())
        .map_err(|error| Failure::usage(format!("{error:#}")))
}

/// A value without quotes; nothing for null.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
