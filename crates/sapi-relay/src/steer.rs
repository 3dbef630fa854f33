//! Owns the commands that ask a running relay's admin server: `sink ...` and `dead-letters ...`.

use std::io::{IsTerminal, Write, stderr};

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cli;
use crate::failure::Failure;
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

/// `dead-letters list`.
pub(crate) async fn dead_letters(command: cli::DeadLetters) -> Result<(), Failure> {
    let cli::DeadLetters::List { admin, sink, limit } = command;
    let mut out = stdout();
    let mut after: Option<String> = None;
    let mut left = limit;
    while left > 0 {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &left.min(1000).to_string());
        if let Some(sink) = &sink {
            query.append_pair("sink", sink);
        }
        if let Some(after) = &after {
            query.append_pair("after", after);
        }
        let page = ask(&admin, &format!("/v1/dead-letters?{}", query.finish())).await?;
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
    if left == limit && stderr().is_terminal() {
        say("no dead letters");
    }
    Ok(())
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
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
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
