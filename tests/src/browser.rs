//! A headless Chromium of a test's own, driven over WebDriver.

use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use url::Url;

use crate::{soon, until};

/// A browser with one window. Dropping it ends it and its driver.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    driver: Child,
    _profile: TempDir,
}

/// What the browser is told, so that it talks to nobody but the test.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1360,900",
];

/// The screen of a phone, in pixels of the style sheet.
const PHONE: (u32, u32) = (390, 844);

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    /// If Chromium or its driver is not there: `make servers` installs them.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed: `make servers`");
        let port = soon("the driver's port", port(&mut driver)).await;
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(wanted) = wanted else {
            unreachable!("it is written so above");
        };
        let driver_url = format!("http://127.0.0.1:{port}");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = soon("a browser", async {
            builder.capabilities(wanted).connect(&driver_url).await
        });
        Self {
            client: client.await.expect("the browser starts"),
            driver,
            _profile: profile,
        }
    }

    /// Opens a page, and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        soon(url, self.client.goto(url)).await.expect("the page");
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        soon("the page", self.client.refresh()).await.expect("it");
    }

    /// What a function's body returns, run in the page.
    ///
    /// # Panics
    /// If it throws.
    pub async fn run(&self, body: &str) -> Value {
        let ran = soon(body, self.client.execute(body, vec![])).await;
        ran.unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// Waits until an expression is true in the page, whatever true is there.
    ///
    /// # Panics
    /// With what the page shows, when it never is.
    pub async fn until(&self, what: &str, expression: &str) {
        let body = format!("return Boolean({expression})");
        let true_at_last = until(what, || async {
            (self.run(&body).await == true).then_some(())
        });
        if tokio::time::timeout(crate::PATIENCE * 9 / 10, true_at_last)
            .await
            .is_err()
        {
            let text = self.run("return document.body.innerText").await;
            let text = text.as_str().unwrap_or_default().to_owned();
            panic!("in vain for {what}: {expression}\n{text}");
        }
    }

    /// The text that an element shows.
    pub async fn text(&self, css: &str) -> String {
        let body = format!("return document.querySelector({css:?})?.innerText ?? ''");
        self.run(&body)
            .await
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Clicks, as a person does.
    ///
    /// # Panics
    /// If there is nothing to click on.
    pub async fn click(&self, css: &str) {
        let found = soon(css, self.client.find(Locator::Css(css))).await;
        let found = found.unwrap_or_else(|error| panic!("{css}: {error}"));
        soon(css, found.click())
            .await
            .unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Types into a field what it then holds.
    ///
    /// # Panics
    /// If there is no such field.
    pub async fn fill(&self, css: &str, text: &str) {
        let found = soon(css, self.client.find(Locator::Css(css))).await;
        let found = found.unwrap_or_else(|error| panic!("{css}: {error}"));
        // Control and A, then what takes the place of everything.
        let typed = match text {
            "" => "\u{e009}a\u{e000}\u{e003}".to_owned(),
            text => format!("\u{e009}a\u{e000}{text}"),
        };
        soon(css, found.send_keys(&typed)).await.expect("a field");
    }

    /// What the page has logged since the last call, errors of loading included.
    pub async fn console(&self) -> Vec<String> {
        let log = self.driver("se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().cloned().unwrap_or_default();
        let texts = lines.iter().map(|line| line["message"].to_string());
        texts.collect()
    }

    /// Makes the system's theme dark, or light.
    pub async fn prefer(&self, theme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
    }

    /// Makes the window a phone's.
    pub async fn on_a_phone(&self) {
        let (width, height) = PHONE;
        let screen = json!({
            "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", screen)
            .await;
    }

    /// Keeps a picture of the whole page as `target/screenshots/{name}.png`.
    ///
    /// # Panics
    /// If it can't be written.
    pub async fn screenshot(&self, name: &str) {
        let whole = json!({ "captureBeyondViewport": true });
        let taken = self.devtools("Page.captureScreenshot", whole).await;
        let bytes = STANDARD.decode(taken["data"].as_str().expect("a picture"));
        let folder = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/screenshots"
        ));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join(format!("{name}.png"));
        std::fs::write(file, bytes.expect("base64")).expect("it is written");
    }

    /// Ends it in good order.
    pub async fn close(self) {
        soon("the browser's end", self.client.clone().close())
            .await
            .expect("it closes");
    }

    /// A command of Chromium's own protocol.
    async fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        self.driver("goog/cdp/execute", body).await
    }

    async fn driver(&self, path: &'static str, body: Value) -> Value {
        let done = soon(path, self.client.issue_cmd(Own { path, body })).await;
        done.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is a child of its driver's: a driver that is killed leaves it behind.
        let group = self.driver.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(Pid::from_raw) {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The port that the driver says it listens on.
async fn port(driver: &mut Child) -> u16 {
    let out = driver.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let port = line.split_once("started successfully on port ");
        if let Some((_, port)) = port {
            return port.trim_end_matches('.').parse().expect("a port");
        }
    }
    panic!("chromedriver ended before it listened");
}

/// A command of ChromeDriver's that the standard does not have.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _url: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
