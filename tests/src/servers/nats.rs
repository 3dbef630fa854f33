//! nats-server, as a process of the test: its data outlives a kill, and goes with [`NatsServer::wipe`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_nats::jetstream;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::cache;
use crate::until;

/// The release that `scripts/servers/nats` provides.
const RELEASE: &str = "nats-2.15.1";

/// A running server, with JetStream. Dropping it kills the process.
#[derive(Debug)]
pub struct NatsServer {
    child: Option<Child>,
    home: TempDir,
    port: u16,
    settings: String,
}

fn binary() -> PathBuf {
    let path = cache().join(RELEASE).join("nats-server");
    assert!(
        path.is_file(),
        "nats-server is not there: run `make servers`"
    );
    path
}

impl NatsServer {
    /// Anybody may do everything.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more settings, in the words of its configuration file.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(settings: &str) -> Self {
        let mut server = Self {
            child: None,
            home: tempfile::tempdir().expect("a temporary folder"),
            port: 0,
            settings: settings.to_owned(),
        };
        server.launch().await;
        server
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its own folder, for files that its settings name: write them before [`Self::reconfigure`].
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    async fn launch(&mut self) {
        let home = self.home.path().display();
        let port = if self.port == 0 {
            -1
        } else {
            i32::from(self.port)
        };
        let settings = &self.settings;
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nports_file_dir: \"{home}\"\njetstream {{ store_dir: \"{home}/data\" }}\n{settings}\n"
        );
        let file = self.home.path().join("server.conf");
        std::fs::write(&file, text).expect("the settings are written");
        let log = std::fs::File::create(self.home.path().join("log")).expect("a log");
        let child = Command::new(binary())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("nats-server starts");
        let pid = child.id().expect("it runs");
        self.child = Some(child);
        let ports = self.home.path().join(format!("nats-server_{pid}.ports"));
        self.port = until("nats-server's port", || async {
            let text = std::fs::read(&ports).ok()?;
            let ports: serde_json::Value = serde_json::from_slice(&text).ok()?;
            ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
        })
        .await;
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("it is killed");
    }

    /// Starts it again where it was, with its data.
    ///
    /// # Panics
    /// If it still runs.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "it was killed before");
        self.launch().await;
    }

    /// Kills it, and starts it with other settings.
    pub async fn reconfigure(&mut self, settings: &str) {
        if self.child.is_some() {
            self.kill().await;
        }
        settings.clone_into(&mut self.settings);
        self.restart().await;
    }

    /// Forgets its data, while it is down.
    ///
    /// # Panics
    /// If it runs.
    pub fn wipe(&self) {
        assert!(self.child.is_none(), "it was killed before");
        std::fs::remove_dir_all(self.home.path().join("data")).expect("it had data");
    }

    /// Stops the process where it stands (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().and_then(Child::id).expect("it runs");
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("the signal is sent");
    }

    /// A client of the test, as nobody in particular.
    pub async fn client(&self) -> async_nats::Client {
        self.client_as(async_nats::ConnectOptions::new()).await
    }

    /// A client of the test with its own options.
    ///
    /// # Panics
    /// If it can't connect.
    pub async fn client_as(&self, options: async_nats::ConnectOptions) -> async_nats::Client {
        crate::install_crypto();
        let connected = options.connect(self.address().to_string()).await;
        connected.expect("the test's client connects")
    }

    /// JetStream, for the test.
    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}
