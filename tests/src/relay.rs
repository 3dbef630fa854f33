//! The relay as a child process: started from a configuration, watched through its log, stopped
//! with real signals.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::{http, soon, until};

/// The configuration that tests vary: one subscription to a simulator, a websocket sink, free ports.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `upstream.url`.
    pub upstream: String,
    /// `upstream.tenant_id`.
    pub tenant: String,
    /// The credential, as a TOML line: `token` or `token_file`.
    pub credential: String,
    /// `upstream.subs_ids`.
    pub subs_ids: Vec<String>,
    /// More keys of `[upstream]`, as TOML lines.
    pub upstream_keys: String,
    /// `journal.dir`; a folder of the relay's own when absent.
    pub dir: Option<PathBuf>,
    /// More sections, as TOML.
    pub more: String,
    /// More keys of `[sinks.downstream]`, as TOML lines.
    pub downstream_keys: String,
    /// More keys of `[admin]`, as TOML lines.
    pub admin_keys: String,
    /// `log.level`.
    pub log: String,
}

impl Setup {
    /// One subscription to a simulator at `upstream`.
    pub fn new(upstream: &str, token: &str) -> Self {
        Self {
            upstream: upstream.to_owned(),
            tenant: "acmecorp01".to_owned(),
            credential: format!("token = {token:?}"),
            subs_ids: vec!["relay_a".to_owned()],
            upstream_keys: String::new(),
            dir: None,
            more: String::new(),
            downstream_keys: String::new(),
            admin_keys: String::new(),
            log: "info".to_owned(),
        }
    }

    /// The same with so many subscriptions, one to three.
    pub fn subscriptions(mut self, count: usize) -> Self {
        self.subs_ids = ["relay_a", "relay_b", "relay_c"][..count]
            .iter()
            .map(ToString::to_string)
            .collect();
        self
    }

    /// The same with a journal in `dir`, which outlives the process.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    fn toml(&self, dir: &Path) -> String {
        let Self {
            upstream,
            tenant,
            credential,
            subs_ids,
            upstream_keys,
            more,
            downstream_keys,
            admin_keys,
            log,
            ..
        } = self;
        format!(
            r#"
[upstream]
url = "{upstream}"
tenant_id = "{tenant}"
{credential}
subs_ids = {subs_ids:?}
{upstream_keys}

[journal]
dir = {dir:?}

[admin]
listen = "127.0.0.1:0"
{admin_keys}

[log]
level = "{log}"
format = "json"

[sinks.downstream]
type = "websocket"
listen = "127.0.0.1:0"
{downstream_keys}

{more}
"#,
            dir = dir.display().to_string(),
        )
    }
}

/// A running relay. Dropping it kills the process.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    addresses: watch::Receiver<HashMap<String, SocketAddr>>,
    home: TempDir,
    readers: tokio::task::JoinSet<()>,
}

/// The path of a binary of this workspace, beside the running test.
///
/// # Panics
/// If it was not built.
pub fn binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("the test's own path");
    let found = exe
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: `make test` builds it first"))
}

impl Relay {
    /// Starts the daemon and returns at once.
    ///
    /// # Panics
    /// If the process can't be started.
    pub fn spawn(setup: &Setup) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let dir = setup
            .dir
            .clone()
            .unwrap_or_else(|| home.path().join("journal"));
        let config = home.path().join("relay.toml");
        std::fs::write(&config, setup.toml(&dir)).expect("the configuration is written");
        let mut child = Command::new(binary("sapi-relay"))
            .args(["run", "--config"])
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the relay starts");
        let (found, addresses) = watch::channel(HashMap::new());
        let found = Arc::new(found);
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut readers = tokio::task::JoinSet::new();
        let out = child.stdout.take().expect("stdout is piped");
        let err = child.stderr.take().expect("stderr is piped");
        readers.spawn(read_log(out, Arc::clone(&log), Arc::clone(&found)));
        readers.spawn(read_log(err, Arc::clone(&log), found));
        Self {
            child,
            log,
            addresses,
            home,
            readers,
        }
    }

    /// Starts the daemon and waits until its listeners are bound.
    pub async fn start(setup: &Setup) -> Self {
        let relay = Self::spawn(setup);
        relay.address("admin").await;
        relay.address("downstream").await;
        relay
    }

    /// Where a listener is bound: `admin`, or a sink's name.
    ///
    /// # Panics
    /// If it never is.
    pub async fn address(&self, listener: &str) -> SocketAddr {
        let mut addresses = self.addresses.clone();
        let found = soon(
            listener,
            addresses.wait_for(|found| found.contains_key(listener)),
        )
        .await;
        match found {
            Ok(found) => found[listener],
            Err(_) => panic!(
                "the relay ended before {listener} was bound:\n{}",
                self.log()
            ),
        }
    }

    /// The URL of a path on the websocket sink, `http://...`.
    pub async fn downstream(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("downstream").await)
    }

    /// The URL of a path on the admin server.
    pub async fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("admin").await)
    }

    /// `/v1/status`.
    pub async fn status(&self) -> Value {
        let url = self.admin("/v1/status").await;
        until("/v1/status", || async {
            http::get(&url).await.ok()?.json().await.ok()
        })
        .await
    }

    /// Waits until `/v1/status` is as wanted.
    pub async fn status_where(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, || async { Some(self.status().await).filter(&wanted) }).await
    }

    /// `/metrics`.
    ///
    /// # Panics
    /// If the admin server does not answer.
    pub async fn metrics(&self) -> String {
        let url = self.admin("/metrics").await;
        let answer = http::get(&url).await.expect("an answer");
        answer.text().await.expect("text")
    }

    /// The value of a metric with its labels, as `/metrics` writes it; `None` where it is not there.
    ///
    /// # Panics
    /// If the admin server does not answer.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find(|line| line.split_once(' ').is_some_and(|(name, _)| name == series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panicked").join("\n")
    }

    /// Its own folder: the configuration, and the journal unless it lies elsewhere.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The largest resident set so far, in bytes.
    ///
    /// # Panics
    /// If the process is not there.
    pub fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The process id.
    ///
    /// # Panics
    /// If it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the relay runs")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process is not there.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// The resident set now, in bytes.
    ///
    /// # Panics
    /// If the process is not there.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let size = status.lines().find_map(|line| line.strip_prefix(field));
        let size = size.expect("a size").trim().trim_end_matches(" kB");
        size.parse::<u64>().expect("a number") * 1024
    }

    /// Writes another configuration, has it read, and waits until the relay says whether it took it.
    ///
    /// # Panics
    /// If it says nothing.
    pub async fn reload(&self, setup: &Setup) -> bool {
        let said = || {
            let log = self.log();
            let count = |words| log.matches(words).count();
            let taken = count("\"configuration reloaded\"");
            (taken, count("the configuration was not reloaded"))
        };
        let before = said();
        let dir = setup.dir.clone();
        let dir = dir.unwrap_or_else(|| self.home().join("journal"));
        let written = std::fs::write(self.home().join("relay.toml"), setup.toml(&dir));
        written.expect("the configuration is written");
        self.signal(Signal::HUP);
        until("the end of the reload", || async {
            let now = said();
            (now != before).then_some(now.0 > before.0)
        })
        .await
    }

    /// Runs a command against its admin server, to its end.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn command(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary("sapi-relay"));
        command.args(args).args(["--admin", &self.admin("").await]);
        command.env_clear().stdin(Stdio::null());
        let output = soon("the command's end", command.output()).await;
        output.expect("it runs")
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = soon("the relay's end", self.child.wait())
            .await
            .expect("a status");
        while self.readers.join_next().await.is_some() {}
        status
    }

    /// SIGTERM, and its end.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// SIGKILL, and its end.
    ///
    /// # Panics
    /// If it can't be killed.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

/// The offset of a cursor as `/v1/status` writes it.
///
/// # Panics
/// If it is none.
pub fn offset(cursor: &Value) -> u64 {
    let offset = cursor.as_str().and_then(|text| text.split_once('.'));
    offset
        .and_then(|(_, offset)| offset.parse().ok())
        .unwrap_or_else(|| panic!("no cursor: {cursor}"))
}

/// Keeps the log, and notes where listeners are bound.
async fn read_log(
    pipe: impl tokio::io::AsyncRead + Unpin,
    log: Arc<Mutex<Vec<String>>>,
    found: Arc<watch::Sender<HashMap<String, SocketAddr>>>,
) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((name, address)) = listening(&line) {
            found.send_modify(|found| {
                found.insert(name, address);
            });
        }
        log.lock().expect("no reader panicked").push(line);
    }
}

fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    (fields.get("message")?.as_str()? == "listening").then_some(())?;
    Some((
        fields.get("listener")?.as_str()?.to_owned(),
        fields.get("address")?.as_str()?.parse().ok()?,
    ))
}
