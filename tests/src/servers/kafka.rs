//! Apache Kafka, one node of its own kind (KRaft), as a process of the test: its data outlives a kill,
//! and goes with [`KafkaServer::wipe`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{cache, free_port};
use crate::until;

/// The release that `scripts/servers/kafka` provides.
const RELEASE: &str = "kafka-4.3.1";

/// A small heap, and no compiler that pays off after minutes only.
const JVM: [&str; 4] = [
    "-Xmx384m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
];

/// How a node differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Clients are told to come by another address: a proxy's, which then is [`retargeted`] to it.
    ///
    /// [`retargeted`]: crate::proxy::Proxy::retarget
    pub advertised: Option<SocketAddr>,
    /// More settings, in the words of its configuration file; they win over the usual ones.
    pub settings: String,
    /// Listeners beside the plain one, by their security protocol.
    pub listeners: Vec<&'static str>,
    /// SCRAM credentials that it begins with, as its storage tool takes them.
    pub scram: Vec<String>,
}

/// A running node. Dropping it kills the process.
#[derive(Debug)]
pub struct KafkaServer {
    child: Option<Child>,
    home: TempDir,
    port: u16,
    controller: u16,
    listeners: Vec<(&'static str, u16)>,
    plan: Plan,
}

/// Whether Kafka is there. Where it can't be had, a test that needs the real thing says so and leaves it
/// at that: the contract is shown on librdkafka's mock cluster. With `CI` set nothing is left out.
///
/// # Panics
/// If it is not there, and `CI` is set.
pub fn is_there() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let java = std::env::split_paths(&path).any(|dir| dir.join("java").is_file());
    let found = java && folder().is_dir();
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "Kafka or Java is not there, and in CI nothing is left out: run `make servers` ({})",
            folder().display()
        );
        eprintln!(
            "Kafka or Java is not there ({}): only the contract is tested, on librdkafka's mock cluster",
            folder().display()
        );
    }
    found
}

fn folder() -> PathBuf {
    cache().join(RELEASE)
}

/// Java with everything of Kafka's on its class path.
fn java(class: &str) -> Command {
    let jars = folder();
    assert!(
        jars.is_dir(),
        "Kafka is not there: run `make servers` ({})",
        jars.display()
    );
    let mut command = Command::new("java");
    command
        .args(JVM)
        .arg("-cp")
        .arg(jars.join("*"))
        .arg(class)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl KafkaServer {
    /// Anybody may do everything; topics are made when they are written to.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more settings, in the words of its configuration file; they win over the usual ones.
    pub async fn start_with(settings: &str) -> Self {
        Self::start_as(Plan {
            settings: settings.to_owned(),
            ..Plan::default()
        })
        .await
    }

    /// Telling clients to come by another address.
    pub async fn start_behind(advertised: SocketAddr, settings: &str) -> Self {
        Self::start_as(Plan {
            advertised: Some(advertised),
            settings: settings.to_owned(),
            ..Plan::default()
        })
        .await
    }

    /// As planned.
    pub async fn start_as(plan: Plan) -> Self {
        let listeners = plan.listeners.iter().map(|name| (*name, free_port()));
        let mut server = Self {
            child: None,
            home: tempfile::tempdir().expect("a temporary folder"),
            port: free_port(),
            controller: free_port(),
            listeners: listeners.collect(),
            plan,
        };
        server.format().await;
        server.restart().await;
        server
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where it listens for a security protocol.
    ///
    /// # Panics
    /// If that was not planned.
    pub fn address_of(&self, protocol: &str) -> SocketAddr {
        let mut listeners = self.listeners.iter();
        let found = listeners.find(|(name, _)| *name == protocol);
        let (_, port) = found.expect("a planned listener");
        SocketAddr::from(([127, 0, 0, 1], *port))
    }

    fn properties(&self) -> PathBuf {
        let Self {
            port, controller, ..
        } = self;
        let advertised = self.plan.advertised.unwrap_or(self.address());
        let (mut more, mut protocols) = (String::new(), String::new());
        for (name, port) in &self.listeners {
            more.push_str(&format!(",{name}://127.0.0.1:{port}"));
            protocols.push_str(&format!(",{name}:{name}"));
        }
        let data = self.home.path().join("data");
        let text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{more}\n\
             advertised.listeners=PLAINTEXT://{advertised}{more}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\n\
             group.initial.rebalance.delay.ms=0\n\
             num.network.threads=2\n\
             num.io.threads=2\n\
             log.cleaner.dedupe.buffer.size=8388608\n\
             broker.session.timeout.ms=3000\n\
             {}\n",
            data.display(),
            self.plan.settings,
        );
        let path = self.home.path().join("server.properties");
        std::fs::write(&path, text).expect("the settings are written");
        path
    }

    async fn format(&self) {
        // 22 characters of base64url are a cluster's id.
        let scram = self.plan.scram.iter();
        let done = java("kafka.tools.StorageTool")
            .args(["format", "-t", "c2FwaS1yZWxheS10ZXN0cw", "-c"])
            .arg(self.properties())
            .args(scram.flat_map(|credential| ["--add-scram", credential]))
            .output()
            .await
            .expect("Java is there");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(
            done.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// Starts it (again) with its data, and waits until it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        let log = std::fs::File::create(self.home.path().join("log")).expect("a log");
        let child = java("kafka.Kafka")
            .arg(self.properties())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("Java is there");
        self.child = Some(child);
        let address = self.address();
        until("Kafka to listen", || async {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it can be killed");
        }
    }

    /// Loses everything it holds. It has to be killed before.
    pub async fn wipe(&self) {
        std::fs::remove_dir_all(self.home.path().join("data")).expect("the data goes");
        self.format().await;
    }

    /// SIGSTOP: its sockets stand, and nobody answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id);
        let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.expect("it runs"), signal).expect("the signal is sent");
    }

    /// A client's settings that reach it.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.address().to_string())
            .set("reconnect.backoff.max.ms", "500");
        config
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let made = admin.create_topics([&topic], &options).await;
        let made = made.expect("it answers").remove(0);
        made.unwrap_or_else(|(name, error)| panic!("{name}: {error}"));
    }

    /// How many requests have brought the records of a topic's first partition: each is a batch of its log.
    ///
    /// # Panics
    /// If there is no such topic.
    pub fn requests(&self, topic: &str) -> usize {
        let name = format!("data/{topic}-0/{:020}.log", 0);
        let log = std::fs::read(self.home.path().join(name)).expect("its first segment");
        let (mut log, mut count) = (&log[..], 0);
        // An offset, the length of what follows, and that.
        while let Some((length, rest)) = log.get(8..).and_then(|rest| rest.split_first_chunk()) {
            let length = usize::try_from(u32::from_be_bytes(*length)).expect("a length");
            log = rest.get(length..).unwrap_or_default();
            count += 1;
        }
        count
    }

    /// What it has printed since it was started last.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}
