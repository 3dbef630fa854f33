//! RabbitMQ, as a node of the test: its own folder, ports and epmd. Its data outlives a kill, and goes with
//! [`RabbitServer::wipe`].

use std::io::{PipeWriter, pipe};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::free_port;
use crate::until;

const BIN: &str = "/usr/lib/rabbitmq/bin";

/// How long a node may take to start: some six seconds of a processor, which on a machine that starts and builds
/// much else at once is more than a minute.
const BOOT: Duration = Duration::from_mins(4);

/// How long a node that does not serve yet is left alone.
const AGAIN: Duration = Duration::from_millis(50);

/// A running node. Dropping it, or the end of the test's process, kills it.
#[derive(Debug)]
pub struct RabbitServer {
    running: Option<Running>,
    home: TempDir,
    ports: Ports,
    settings: String,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    amqps: u16,
    distribution: u16,
    epmd: u16,
}

impl Ports {
    fn all(self) -> [u16; 4] {
        let Self {
            amqp,
            amqps,
            distribution,
            epmd,
        } = self;
        [amqp, amqps, distribution, epmd]
    }
}

/// The node's process group: a shell that kills it when the pipe ends, epmd, the node.
#[derive(Debug)]
struct Running {
    shell: Child,
    _pipe: PipeWriter,
}

impl Running {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.shell.id()).ok().and_then(Pid::from_raw);
        // The group may have ended already.
        let _ = kill_process_group(pid.expect("a process id"), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.shell.wait();
    }
}

impl RabbitServer {
    /// A node whose only user is guest.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more settings, in the words of rabbitmq.conf; `{home}` stands for its folder and `{amqps}` for a port
    /// for TLS.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(settings: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), settings).await
    }

    /// In a folder that holds files already.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_in(home: TempDir, settings: &str) -> Self {
        assert!(
            Path::new(BIN).join("rabbitmq-server").is_file(),
            "RabbitMQ is not there: run `make servers`"
        );
        let mut server = Self {
            running: None,
            home,
            ports: Ports {
                amqp: free_port(),
                amqps: free_port(),
                distribution: free_port(),
                epmd: free_port(),
            },
            settings: settings.to_owned(),
        };
        server.launch();
        server.ready().await;
        server
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.amqp))
    }

    /// Where it listens for TLS, if its settings say so.
    pub fn tls_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.amqps))
    }

    /// Its own folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    fn command(&self, program: &str) -> Command {
        let home = self.home.path();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("LANG", "C.UTF-8")
            .env("RABBITMQ_NODENAME", self.node())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.ports.amqp.to_string())
            .env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string())
            .env("ERL_EPMD_PORT", self.ports.epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", home.join("data"))
            .env("RABBITMQ_LOG_BASE", home.join("log"))
            .env("RABBITMQ_PID_FILE", home.join("pid"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", home.join("generated"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"))
            .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf"))
            .env(
                "RABBITMQ_ADVANCED_CONFIG_FILE",
                home.join("advanced.config"),
            )
            .env("RABBITMQ_CONF_ENV_FILE", home.join("rabbitmq-env.conf"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +sbwt none");
        command
    }

    fn node(&self) -> String {
        format!("sapi{}@localhost", self.ports.amqp)
    }

    fn launch(&mut self) {
        let home = self.home.path();
        let own = self
            .settings
            .replace("{home}", &home.display().to_string())
            .replace("{amqps}", &self.ports.amqps.to_string());
        let settings = format!("disk_free_limit.absolute = 1MB\n{own}\n");
        std::fs::write(home.join("rabbitmq.conf"), settings).expect("the settings are written");
        std::fs::write(home.join("plugins"), "[].").expect("no plugins");
        let log = std::fs::File::create(home.join("console")).expect("a log");
        let (reader, writer) = pipe().expect("a pipe");
        let script = format!(
            "epmd -port {} -address 127.0.0.1 </dev/null & {BIN}/rabbitmq-server </dev/null & cat >/dev/null; kill -9 0",
            self.ports.epmd
        );
        let shell = self
            .command("sh")
            .args(["-c", &script])
            .stdin(reader)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the node starts");
        self.running = Some(Running {
            shell,
            _pipe: writer,
        });
    }

    async fn ready(&self) {
        let ready = async {
            loop {
                if let Ok(connection) = self.try_connect().await {
                    return connection.close(200, "".into()).await.unwrap_or_default();
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        let started = tokio::time::timeout(BOOT, ready).await;
        assert!(started.is_ok(), "RabbitMQ does not serve:\n{}", self.log());
    }

    async fn try_connect(&self) -> lapin::Result<Connection> {
        let url = self.url("guest", "guest", "");
        Connection::connect(&url, ConnectionProperties::default()).await
    }

    /// A URL of it; an empty virtual host is the default one.
    pub fn url(&self, user: &str, password: &str, vhost: &str) -> String {
        url(self.address(), user, password, vhost)
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        drop(self.running.take().expect("it runs"));
    }

    /// Starts it again where it was, with its data; returns when it serves.
    ///
    /// # Panics
    /// If it still runs.
    pub async fn restart(&mut self) {
        assert!(self.running.is_none(), "it was killed before");
        // A process that was killed goes when it next gets a processor, and its ports with it.
        until("the ports of the one before", || async {
            let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
            self.ports.all().into_iter().all(free).then_some(())
        })
        .await;
        self.launch();
        self.ready().await;
    }

    /// Forgets its data, while it is down.
    ///
    /// # Panics
    /// If it runs.
    pub fn wipe(&self) {
        assert!(self.running.is_none(), "it was killed before");
        std::fs::remove_dir_all(self.home.path().join("data")).expect("it had data");
    }

    /// Stops the node where it stands (SIGSTOP).
    pub fn freeze(&self) {
        self.running.as_ref().expect("it runs").signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.running.as_ref().expect("it runs").signal(Signal::CONT);
    }

    /// `rabbitmqctl`, with its answer.
    ///
    /// # Panics
    /// If it fails.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = self.command(&format!("{BIN}/rabbitmqctl"));
        command
            .args(["--quiet", "--node", &self.node()])
            .args(arguments)
            .stdin(Stdio::null());
        let done = tokio::process::Command::from(command).output().await;
        let done = done.expect("rabbitmqctl runs");
        assert!(
            done.status.success(),
            "rabbitmqctl {arguments:?}: {}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// A client of the test.
    pub async fn client(&self) -> Client {
        self.client_at("").await
    }

    /// A client of the test in a virtual host.
    ///
    /// # Panics
    /// If it can't connect.
    pub async fn client_at(&self, vhost: &str) -> Client {
        crate::install_crypto();
        let url = self.url("guest", "guest", vhost);
        let connection = Connection::connect(&url, ConnectionProperties::default()).await;
        let connection = connection.expect("the test's client connects");
        let channel = connection.create_channel().await.expect("a channel");
        Client {
            channel,
            _connection: connection,
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let mut log = read(&self.home.path().join("console"));
        for entry in std::fs::read_dir(self.home.path().join("log"))
            .into_iter()
            .flatten()
        {
            log.push_str(&read(&entry.expect("an entry").path()));
        }
        log
    }
}

/// A URL of AMQP; an empty virtual host is the default one.
pub fn url(address: SocketAddr, user: &str, password: &str, vhost: &str) -> String {
    let slash = if vhost.is_empty() { "" } else { "/" };
    format!("amqp://{user}:{password}@{address}{slash}{vhost}")
}

/// A client of the test: makes topology, and reads.
#[derive(Debug)]
pub struct Client {
    /// Its channel.
    pub channel: Channel,
    _connection: Connection,
}

impl Client {
    /// Makes a durable exchange of type topic.
    ///
    /// # Panics
    /// If the broker refuses.
    pub async fn exchange(&self, name: &str) {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let made = self.channel.exchange_declare(
            name.into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        made.await.expect("an exchange");
    }

    /// Makes a durable queue, bound to an exchange by routing keys.
    ///
    /// # Panics
    /// If the broker refuses.
    pub async fn queue(&self, name: &str, exchange: &str, keys: &[&str]) {
        self.queue_with(name, FieldTable::default()).await;
        for key in keys {
            let bound = self.channel.queue_bind(
                name.into(),
                exchange.into(),
                (*key).into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bound.await.expect("a binding");
        }
    }

    /// Makes a durable queue with arguments.
    ///
    /// # Panics
    /// If the broker refuses.
    pub async fn queue_with(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let made = self.channel.queue_declare(name.into(), options, arguments);
        made.await.expect("a queue");
    }

    /// How many messages wait in a queue.
    ///
    /// # Panics
    /// If there is none.
    pub async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let looked = self
            .channel
            .queue_declare(queue.into(), options, FieldTable::default());
        looked.await.expect("the queue").message_count()
    }

    /// Takes what a queue holds and will hold, in its order; a message counts as read once it is here.
    ///
    /// # Panics
    /// If the broker refuses.
    pub async fn consume(&self, queue: &str) -> Consumer {
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consumer =
            self.channel
                .basic_consume(queue.into(), "".into(), options, FieldTable::default());
        consumer.await.expect("a consumer")
    }

    /// Publishes a message of the test straight to a queue.
    ///
    /// # Panics
    /// If the broker refuses.
    pub async fn mark(&self, queue: &str) {
        let published = self.channel.basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions::default(),
            b"mark",
            BasicProperties::default(),
        );
        published.await.expect("it is published");
    }
}
