//! Who the relay is, and TLS, each against the real broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use relay_core::contract::{Fault, Peer, Relay, Seen};
use relay_core::sink::Next;
use relay_core::status::SinkState;
use relay_sinks::Secret;
use relay_sinks::kafka::{Config, Kafka, Sasl, probe};
use relay_sinks::tls::ClientTls;
use relay_tests::relay::Setup;
use relay_tests::servers::kafka::{self, KafkaServer, Plan};
use relay_tests::soon;
use rustix::process::Signal;
use tempfile::TempDir;

use super::contract::config;
use super::records;
use super::relay::{drained, row, simulator};
use super::remedies::blocked;

/// A sink as the contract's relay drives it, without the rest.
struct Plain(Config);

impl Peer for Plain {
    type Sink = Kafka;

    fn sink(&self) -> impl FnMut() -> Kafka + Send + 'static {
        let (config, source) = (self.0.clone(), Relay::new().source());
        move || Kafka::new(config.clone(), source.clone())
    }

    async fn seen(&self) -> Vec<Seen> {
        Vec::new()
    }

    async fn inject(&self, _fault: Fault) -> bool {
        false
    }

    async fn mend(&self) {}
}

/// A CA, and certificates of it for the broker and for a client.
struct Certificates {
    home: TempDir,
}

impl Certificates {
    fn new(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        std::fs::write(home.path().join("ca.pem"), ca.pem()).unwrap();
        for (name, usage) in [
            ("server", rcgen::ExtendedKeyUsagePurpose::ServerAuth),
            ("client", rcgen::ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            leaf.distinguished_name
                .push(rcgen::DnType::CommonName, name);
            leaf.extended_key_usages = vec![usage];
            let leaf = leaf.signed_by(&key, &issuer).unwrap();
            let (key, leaf) = (key.serialize_pem(), leaf.pem());
            std::fs::write(home.path().join(format!("{name}.key")), &key).unwrap();
            std::fs::write(home.path().join(format!("{name}.pem")), &leaf).unwrap();
            // Kafka wants both in one file.
            let both = home.path().join(format!("{name}.both"));
            std::fs::write(both, format!("{key}{leaf}")).unwrap();
        }
        Self { home }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn client(&self, shows: bool) -> ClientTls {
        ClientTls {
            ca_file: Some(self.file("ca.pem")),
            cert_file: shows.then(|| self.file("client.pem")),
            key_file: shows.then(|| self.file("client.key")),
        }
    }
}

/// A broker with TLS that asks for a certificate, and with passwords over TLS and without.
async fn guarded(certificates: &Certificates) -> KafkaServer {
    let modules = "org.apache.kafka.common.security";
    let logins = ["sasl_ssl", "sasl_plaintext"].map(|listener| {
        let prefix = format!("listener.name.{listener}");
        format!(
            "{prefix}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_relay=\"right\";\n\
             {prefix}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
             {prefix}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n"
        )
    });
    let settings = format!(
        "ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.ssl.ssl.client.auth=required\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n{}",
        Path::display(&certificates.file("server.both")),
        Path::display(&certificates.file("ca.pem")),
        logins.concat(),
    );
    let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
    KafkaServer::start_as(Plan {
        settings,
        listeners: vec!["SSL", "SASL_SSL", "SASL_PLAINTEXT"],
        scram: scram
            .map(|mechanism| format!("{mechanism}=[name=relay,password=right]"))
            .into(),
        ..Plan::default()
    })
    .await
}

/// The sink delivers, and the probe is content.
async fn delivers(server: &KafkaServer, config: &Config) {
    let topic = config.topic.fixed("acme").unwrap();
    let before = records::all(server, &topic).await.len();
    let relay = Relay::new();
    let sink = relay.start(&Plain(config.clone()));
    relay.commit_many(20).await;
    soon("every delivery report", relay.settled(&sink)).await;
    sink.stop().await;
    assert_eq!(records::all(server, &topic).await.len(), before + 20);
    soon("a probe", probe(config)).await.unwrap();
}

/// The sink is blocked, and the probe says why; both name what to do.
async fn refused(config: &Config, words: &str, remedy: &str) {
    let relay = Relay::new();
    let sink = relay.start(&Plain(config.clone()));
    relay.commit(&["ada"]).await;
    let stopped = sink.wait_for(|status| status.state == SinkState::Blocked);
    soon(&format!("a block for {words}"), stopped).await;
    let error = sink.status().last_error.unwrap();
    let failure = soon("a probe", probe(config)).await.unwrap_err();
    assert_eq!(failure.next, Next::Blocked);
    for (text, todo) in [(error.text, error.remedy), (failure.text, failure.remedy)] {
        eprintln!("{text} | {todo}");
        assert!(text.to_lowercase().contains(words), "{words:?} in {text:?}");
        assert!(todo.contains(remedy), "{remedy:?} in {todo:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// A broker that hangs up may only be starting: the sink goes on trying, and says what else it may be.
async fn hinted(config: &Config) {
    let relay = Relay::new();
    let sink = relay.start(&Plain(config.clone()));
    relay.commit(&["ada"]).await;
    let failing = sink.wait_for(|status| status.state == SinkState::Retrying);
    soon("a failure", failing).await;
    let error = sink.status().last_error.unwrap();
    eprintln!("{error:?}");
    assert!(error.text.contains("Disconnected"), "{error:?}");
    assert!(error.remedy.contains("tls.* and sasl.*"), "{error:?}");
}

fn sasl(mechanism: &'static str, password: &str) -> Option<Sasl> {
    Some(Sasl {
        mechanism,
        username: "relay".to_owned(),
        password: Secret::Literal(password.to_owned()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_passwords() {
    if !kafka::is_there() {
        return;
    }
    let certificates = Certificates::new("the CA of the broker");
    let server = guarded(&certificates).await;
    server.create_topic("guarded", 1, &[]).await;
    let at = |protocol| config(&server.address_of(protocol).to_string(), "guarded");

    let mut config = at("SSL");
    config.tls = Some(certificates.client(true));
    delivers(&server, &config).await;
    // Another's certificates: neither side trusts the other.
    let others = Certificates::new("the CA of somebody else");
    config.tls = Some(others.client(true));
    refused(&config, "certificate", "tls.ca_file").await;
    config.tls = Some(certificates.client(false));
    refused(&config, "certificate", "tls.cert_file").await;
    config.tls = Some(ClientTls {
        ca_file: Some("/nowhere/ca.pem".into()),
        ..ClientTls::default()
    });
    refused(&config, "/nowhere/ca.pem", "tls.*").await;
    config.tls = None;
    let plain = config;

    let mut config = at("SASL_SSL");
    config.tls = Some(certificates.client(false));
    tokio::join!(hinted(&plain), hinted(&config));
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        config.sasl = sasl(mechanism, "right");
        delivers(&server, &config).await;
        config.sasl = sasl(mechanism, "wrong-hunter2");
        refused(&config, "authentication", "sasl.password").await;
    }
    let mut config = at("SASL_PLAINTEXT");
    config.sasl = sasl("SCRAM-SHA-256", "right");
    delivers(&server, &config).await;
    a_password_file_corrected(config).await;

    a_password_corrected(&certificates, &server).await;
}

/// A password's file is read at each attempt: nobody has to tell the sink.
async fn a_password_file_corrected(mut config: Config) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "wrong-hunter2\n").unwrap();
    if let Some(sasl) = &mut config.sasl {
        sasl.password = Secret::File(file.clone());
    }
    refused(&config, "authentication", "password_file").await;
    let relay = Relay::new();
    let sink = relay.start(&Plain(config));
    relay.commit(&["ada"]).await;
    let stopped = sink.wait_for(|status| status.state == SinkState::Blocked);
    soon("a block", stopped).await;
    std::fs::write(&file, "right\n").unwrap();
    soon("a delivery report", relay.settled(&sink)).await;
}

/// The whole relay: blocked, with everything an operator looks at; a reload with the right password is all
/// it takes. Then, with nothing to deliver, it rests.
async fn a_password_corrected(certificates: &Certificates, server: &KafkaServer) {
    let simulator = simulator(200).await;
    let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
    setup.more = format!(
        "[sinks.lake]\ntype = \"kafka\"\nbrokers = [\"{}\"]\nstart_from = \"earliest\"\ntls.ca_file = {:?}\n\
         sasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"relay\"\nsasl.password = \"wrong-hunter2\"\n",
        server.address_of("SASL_SSL"),
        Path::display(&certificates.file("ca.pem")).to_string(),
    );
    let relay = relay_tests::Relay::start(&setup).await;
    blocked(&relay, "authentication", "sasl.password").await;
    let metric = async |name: &str| {
        let series = format!("sapi_relay_{name}{{sink=\"lake\"}}");
        relay.metric(&series).await.unwrap()
    };
    assert!(metric("sink_up").await == 0.0 && metric("sink_retries_total").await >= 1.0);
    assert_eq!(metric("sink_delivered_total").await, 0.0);
    assert!(!relay.log().contains("hunter2"));
    let status = relay.status().await.to_string();
    assert!(!status.contains("hunter2"), "{status}");

    let file = relay.home().join("relay.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("wrong-hunter2", "right")).unwrap();
    relay.signal(Signal::HUP);
    drained(&relay, &simulator).await;
    let status = relay.status().await;
    assert_eq!(row(&status)["state"], "running");
    assert_eq!(row(&status)["type"], "kafka");
    assert!(row(&status)["last_error"].is_null() || row(&status)["last_error"]["at"].is_string());
    let emitted = relay_tests::ledger::emitted(&simulator).len();
    assert_eq!(metric("sink_up").await, 1.0);
    assert_eq!(metric("sink_lag_events").await, 0.0);
    assert!(metric("sink_delivered_total").await >= emitted as f64);
    let found = records::all(server, "sapi.acmecorp01").await;
    assert_eq!(found.len(), emitted);

    let (before, began) = (cpu(relay.pid()), std::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let spent = (cpu(relay.pid()) - before).as_secs_f64() / began.elapsed().as_secs_f64();
    eprintln!("connected and idle: {:.2}% of a core", spent * 100.0);
    assert!(spent < 0.05, "{:.2}% of a core", spent * 100.0);
    assert!(relay.terminate().await.success());
}

/// What a process has spent of the processors, in all its threads.
fn cpu(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let spent = threads.map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(spent.sum())
}
