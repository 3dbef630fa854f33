//! The daemon and `tail` as child processes, and how tests wait for them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sapi_sim::{Config, DEMO_TOKEN, Simulator};
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sapi-relay");

/// A folder with a configuration.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
    upstream: String,
}

impl Home {
    pub(crate) fn new(upstream: &str) -> Self {
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
            upstream: upstream.to_owned(),
        };
        home.configure("");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path("relay.toml")
    }

    pub(crate) fn configure(&self, more: &str) {
        let (upstream, dir) = (&self.upstream, self.path("journal").display().to_string());
        let text = format!(
            "[upstream]\nurl = '{upstream}'\ntenant_id = 'acmecorp01'\ntoken = '{DEMO_TOKEN}'\n\
             subs_ids = ['relay_a']\n[journal]\ndir = '{dir}'\n[admin]\nlisten = '127.0.0.1:0'\n\
             [sinks.downstream]\ntype = 'websocket'\nlisten = '127.0.0.1:0'\n{more}"
        );
        fs::write(self.file(), text).unwrap();
    }

    /// Changes a piece of the configuration as it stands.
    pub(crate) fn edit(&self, before: &str, after: &str) {
        let text = fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(before), "{text}");
        fs::write(self.file(), text.replace(before, after)).unwrap();
    }

    /// Runs a command to its end.
    pub(crate) fn ended(
        &self,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> (ExitStatus, String, String) {
        let output = Command::new(BINARY)
            .args(args)
            .arg("--config")
            .arg(self.file())
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status, text(output.stdout), text(output.stderr))
    }
}

/// A running daemon; dropping it kills it.
pub(crate) struct Relay {
    pub(crate) child: Child,
    pub(crate) log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) admin: String,
    pub(crate) downstream: String,
}

impl Relay {
    pub(crate) fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    pub(crate) fn start_with(home: &Home, environment: &[(&str, &str)]) -> Self {
        // As systemd does, the watchdog's process id is told: it is the shell's, which becomes the relay.
        let mut child = Command::new("/bin/sh")
            .args([
                "-c",
                "WATCHDOG_PID=$$ exec \"$0\" \"$@\"",
                BINARY,
                "run",
                "--config",
            ])
            .arg(home.file())
            .env_clear()
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut address = |listener: &str| {
            for line in lines.by_ref() {
                let line = line.unwrap();
                log.lock().unwrap().push_str(&line);
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                let fields = &line["fields"];
                if fields["message"] == "listening" && fields["listener"] == listener {
                    return fields["address"].as_str().unwrap().to_owned();
                }
            }
            panic!("{listener} was never bound: {}", log.lock().unwrap());
        };
        let (downstream, admin) = (address("downstream"), address("admin"));
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push_str(&line);
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
            admin,
            downstream,
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// SIGTERM, and its end.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        (status, self.log())
    }

    /// Everything that it has logged, once it has ended.
    pub(crate) fn log(&mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn tail(&self, args: &[&str]) -> Tail {
        Tail::start(&[&["--url", &format!("http://{}", self.downstream)], args].concat())
    }

    pub(crate) fn admin(&self, command: &[&str]) -> String {
        let url = format!("http://{}", self.admin);
        let output = Command::new(BINARY)
            .args(command)
            .args(["--admin", &url])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A running `tail`; dropping it kills it.
pub(crate) struct Tail {
    pub(crate) child: Child,
    lines: Option<std::io::Lines<BufReader<std::process::ChildStdout>>>,
}

impl Tail {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .arg("tail")
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines: Some(lines),
        }
    }

    /// So many lines that are no notices.
    pub(crate) fn events(&mut self, count: usize) -> Vec<String> {
        let lines = self.lines.as_mut().unwrap().map(Result::unwrap);
        lines
            .filter(|line| !line.contains("\"id\":\"notice:"))
            .take(count)
            .collect()
    }

    /// Reads no more.
    pub(crate) fn close(&mut self) {
        self.lines = None;
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<String> {
        let lines = self.lines.as_mut().unwrap().by_ref();
        lines.take(count).map(Result::unwrap).collect()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) async fn simulator() -> Simulator {
    Simulator::start(Config::default()).await.unwrap()
}

/// Work that blocks, beside the simulator's runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

pub(crate) async fn connected(simulator: &Simulator) {
    simulator
        .wait_until(|simulator| simulator.connected() == 1)
        .await;
}

pub(crate) fn emitted(simulator: &Simulator) -> Vec<String> {
    let events = simulator.ledger().into_iter();
    let events = events.filter(|entry| entry.kind == sapi_sim::Kind::Event);
    events
        .map(|entry| String::from_utf8(entry.bytes.to_vec()).unwrap())
        .collect()
}

/// Asks again and again, giving way in between; the test's own limit is nextest's or the CI's.
pub(crate) async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let all = async {
        while !tokio::task::block_in_place(&mut met) {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    assert!(tokio::time::timeout(limit, all).await.is_ok(), "{what}");
}

pub(crate) fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
