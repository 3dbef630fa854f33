//! The pages of docs/: what they print is run, what they name is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use relay_tests::relay::{Setup, offset};
use relay_tests::{PATIENCE, Relay, Stream, http, until, within};
use sapi_sim::{Config, Simulator};
use standardwebhooks::Webhook;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OLD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The programs that a page prints: each stands behind `<!-- program: NAME -->`.
fn programs(page: &str) -> BTreeMap<String, String> {
    let parts = page.split("<!-- program: ").skip(1);
    let programs = parts.map(|part| {
        let (name, rest) = part.split_once(" -->").unwrap();
        let (_, rest) = rest.split_once("```").unwrap();
        let (_, code) = rest.split_once('\n').unwrap();
        let (code, _) = code.split_once("\n```").unwrap();
        (name.to_owned(), format!("{code}\n"))
    });
    programs.collect()
}

/// A program that runs, and what it has said.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    home: tempfile::TempDir,
    _reader: JoinSet<()>,
}

impl Running {
    /// Starts a program of the consumer guide. Its interpreter has to be there.
    async fn start(name: &str, home: tempfile::TempDir, environment: &[(&str, &str)]) -> Self {
        let file = home.path().join(name);
        std::fs::write(&file, &programs(&read("docs/CONSUMERS.md"))[name]).unwrap();
        let built = home.path().join("program");
        let (command, argument) = match name.rsplit('.').next().unwrap() {
            "py" => (Path::new("python3"), Some(&file)),
            "mjs" => (Path::new("node"), Some(&file)),
            "go" => {
                build(&file, &built).await;
                (built.as_path(), None)
            }
            other => panic!("nothing runs .{other}"),
        };
        let mut child = Command::new(command)
            .args(argument)
            .current_dir(home.path())
            .envs(environment.iter().copied())
            .env("NO_PROXY", "*")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} is needed: {error}", command.display()));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::clone(&lines);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Ok(Some(line)) = out.next_line().await {
                said.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            lines,
            home,
            _reader: reader,
        }
    }

    fn said(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until it has said so many lines that begin with a word, and returns what follows.
    async fn says(&self, word: &str, count: usize) -> Vec<String> {
        until(&format!("{count} lines of {word:?}"), || async {
            let lines = self.said();
            let found = lines.iter().filter_map(|line| line.strip_prefix(word));
            let found: Vec<_> = found.map(|rest| rest.trim().to_owned()).collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// Ends it, and gives back where it ran.
    async fn end(mut self) -> tempfile::TempDir {
        self.child.kill().await.unwrap();
        self.home
    }
}

/// Compiles a program of Go. The first time its standard library is compiled, too.
async fn build(file: &Path, into: &Path) {
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(into).arg(file);
    go.env("GOTOOLCHAIN", "local").kill_on_drop(true);
    let status = within(PATIENCE * 5, "go build", go.status()).await;
    let status = status.unwrap_or_else(|error| panic!("go is needed: {error}"));
    assert!(status.success(), "go build: {status}");
}

async fn quiet() -> Simulator {
    Simulator::start(Config::default()).await.unwrap()
}

/// A program that verifies signatures: it takes what the relay sends, each event once, and nothing else.
async fn verifies(name: &str) {
    let secrets = format!("{OLD_SECRET} {SECRET}");
    let home = tempfile::tempdir().unwrap();
    let program = Running::start(name, home, &[("WEBHOOK_SECRET", &secrets)]).await;
    let port = program.says("listening on", 1).await.remove(0);
    let url = format!("http://127.0.0.1:{port}/");
    let simulator = quiet().await;
    let mut setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
    setup.more = format!(
        "[sinks.hook]\ntype = \"webhook\"\nurl = {url:?}\nsecret = {SECRET:?}\nstart_from = \"earliest\"\n"
    );
    let relay = Relay::start(&setup).await;
    simulator.wait_until(|sim| sim.connected() == 1).await;
    simulator.emit(20);
    let ids = program.says("new", 20).await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 20, "{ids:?}");
    assert!(
        ids.iter().all(|id| id.starts_with("acmecorp01:")),
        "{ids:?}"
    );
    assert!(relay.terminate().await.success());

    let send = async |id: &str, at: i64, signature: String| {
        let request = http::client().post(&url).body("{}");
        let request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature)
            .header("ce-id", id);
        request.send().await.unwrap().status().as_u16()
    };
    let now = jiff::Timestamp::now().as_second();
    let sign = |secret: &str, at| {
        Webhook::new(secret)
            .unwrap()
            .sign("evt_1", at, b"{}")
            .unwrap()
    };
    // Repeated, as after an answer that got lost: taken, and not new.
    for _ in 0..2 {
        assert_eq!(send("evt_1", now, sign(OLD_SECRET, now)).await, 204);
    }
    // Forged, of long ago, and not signed.
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(send("evt_1", now, sign(other, now)).await, 401);
    assert_eq!(send("evt_2", now, sign(SECRET, now)).await, 401);
    assert_eq!(
        send("evt_1", now - 3600, sign(SECRET, now - 3600)).await,
        401
    );
    assert_eq!(send("evt_1", now, "v1,é".to_owned()).await, 401);
    assert_eq!(send("evt_1", now, String::new()).await, 401);
    let new = program.says("new", 21).await;
    assert_eq!(new.len(), 21, "{new:?}");
    program.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_verified_in_python() {
    verifies("verify.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_verified_in_node() {
    verifies("verify.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_verified_in_go() {
    verifies("verify.go").await;
}

/// A program that follows the stream: stopped and started again, it gets exactly what follows.
async fn follows(name: &str) {
    let simulator = quiet().await;
    let setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
    let relay = Relay::start(&setup).await;
    simulator.wait_until(|sim| sim.connected() == 1).await;
    let url = relay.downstream("").await;
    let environment = [("RELAY_URL", url.as_str())];
    simulator.emit(10);
    let program = Running::start(name, tempfile::tempdir().unwrap(), &environment).await;
    let mut ids = program.says("event", 10).await;
    // Until it has written down where it is.
    let last = offset(&relay.status().await["journal"]["last"]);
    let cursor = program.home.path().join("cursor");
    until("its cursor", || async {
        let text = std::fs::read_to_string(&cursor).ok()?;
        (offset(&text.trim().into()) >= last).then_some(())
    })
    .await;
    let home = program.end().await;
    simulator.emit(10);
    let program = Running::start(name, home, &environment).await;
    ids.extend(program.says("event", 10).await);
    let mut stream = Stream::connect(&relay.downstream("/v1/stream?from=earliest").await).await;
    let mut expected = Vec::new();
    while expected.len() < 20 {
        expected.push(stream.next_event().await.id);
    }
    assert_eq!(ids, expected);
    program.end().await;
}

/// An answer that breaks off within a chunk.
const BROKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nevent: Agent";

/// The same when the first answer breaks off: it comes again.
async fn comes_back(name: &str) {
    let simulator = quiet().await;
    let setup = Setup::new(&simulator.ws_url(), sapi_sim::DEMO_TOKEN);
    let relay = Relay::start(&setup).await;
    simulator.wait_until(|sim| sim.connected() == 1).await;
    simulator.emit(10);
    let address = relay.downstream("").await.replace("http://", "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut between = JoinSet::new();
    between.spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(first.read(&mut [0; 4096]).await.unwrap() > 0);
        first.write_all(BROKEN).await.unwrap();
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        let mut relay = TcpStream::connect(&address).await.unwrap();
        copy_bidirectional(&mut second, &mut relay).await.ok();
    });
    let home = tempfile::tempdir().unwrap();
    let program = Running::start(name, home, &[("RELAY_URL", url.as_str())]).await;
    program.says("again soon", 1).await;
    let ids = program.says("event", 10).await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 10, "{ids:?}");
    program.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_followed_on_in_python() {
    comes_back("follow.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_followed_on_in_node() {
    comes_back("follow.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_followed_in_python() {
    follows("follow.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_followed_in_node() {
    follows("follow.mjs").await;
}

#[test]
fn every_program_of_the_guide_is_run() {
    let programs = programs(&read("docs/CONSUMERS.md"));
    let names: Vec<_> = programs.keys().map(String::as_str).collect();
    let run = [
        "follow.mjs",
        "follow.py",
        "verify.go",
        "verify.mjs",
        "verify.py",
    ];
    assert_eq!(names, run);
}

/// The alerts that an operator may be woken by.
fn alerts() -> BTreeSet<String> {
    let text = read("docs/OPERATIONS.md");
    let headings = text
        .lines()
        .filter_map(|line| line.strip_prefix("### SapiRelay"));
    headings.map(|name| format!("SapiRelay{name}")).collect()
}

#[test]
fn every_alert_has_its_meaning_its_causes_and_its_remedy() {
    let text = read("docs/OPERATIONS.md");
    assert!(alerts().len() >= 13);
    for alert in alerts() {
        let (_, section) = text.split_once(&format!("### {alert}\n")).unwrap();
        let section = section.split("\n#").next().unwrap();
        for part in ["**Meaning.**", "**Cause.**", "**Remedy.**"] {
            assert!(section.contains(part), "{alert} has no {part}");
        }
    }
    // Once the rules are there, they and the handbook know the same alerts.
    if let Ok(rules) = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yml")) {
        let names = rules.lines().filter_map(|line| {
            let line = line.trim_start().trim_start_matches("- ");
            line.strip_prefix("alert:")
                .map(|name| name.trim().to_owned())
        });
        assert_eq!(names.collect::<BTreeSet<_>>(), alerts());
    }
}

/// Links between the pages lead somewhere, headings included.
#[test]
fn every_link_leads_somewhere() {
    let pages = ["README.md", "ARCHITECTURE.md"]
        .map(ToOwned::to_owned)
        .into_iter();
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|file| format!("docs/{}", file.unwrap().file_name().to_str().unwrap()));
    let mut checked = 0;
    for page in pages.chain(docs).filter(|page| page.ends_with(".md")) {
        let text = read(&page);
        let folder = root().join(&page).parent().unwrap().to_owned();
        let links = text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&page)
            } else {
                folder.join(file)
            };
            assert!(target.exists(), "{page}: {link}");
            if !anchor.is_empty() {
                let target = std::fs::read_to_string(&target).unwrap();
                assert!(
                    target.lines().any(|line| slug(line) == anchor),
                    "{page}: {link}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 10);
}

/// A heading as GitHub links to it.
fn slug(line: &str) -> String {
    let heading = line.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    let kept = kept.map(|c| if c == ' ' { '-' } else { c });
    if line.starts_with('#') {
        kept.collect()
    } else {
        String::new()
    }
}
