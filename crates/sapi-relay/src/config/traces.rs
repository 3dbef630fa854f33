//! Owns the section `[traces]`.

use url::Url;

use super::secret::Secret;
use super::section::Section;

const ENDPOINT: &str = "the traces endpoint of an OpenTelemetry collector, such as \"http://127.0.0.1:4318/v1/traces\"";

/// Where traces of sampled events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    pub(crate) endpoint: Url,
    /// One event of so many is traced.
    pub(crate) one_in: u64,
    pub(crate) headers: Vec<(String, Secret)>,
}

/// `None`: nothing is traced.
pub(super) fn read(section: &Section<'_>) -> Option<Traces> {
    let endpoint = section.parsed("endpoint", ENDPOINT, |text| {
        let url = Url::parse(text.trim()).ok()?;
        let http = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
        (http && url.username().is_empty() && url.password().is_none()).then_some(url)
    });
    let one_in = section.number("one_in", 1_000, 1..=1_000_000_000);
    let headers = section.child("headers").secret_texts();
    for (name, secret) in &headers {
        let value = secret.read().map(http::HeaderValue::try_from);
        if http::HeaderName::try_from(name).is_err() || matches!(value, Ok(Err(_))) {
            let remedy = "a name of letters, digits and hyphens, and a value of one line";
            section
                .child("headers")
                .hidden(name, "is no header", remedy);
        }
    }
    if cfg!(not(feature = "traces")) && endpoint.is_some() {
        let remedy = "use a build with the feature traces, or remove the section";
        section.wrong("endpoint", "needs what this build has left out", remedy);
    }
    section.finish(|_| None);
    if endpoint.is_none() && !headers.is_empty() {
        section.warn("endpoint", "is not set: nothing is traced", ENDPOINT);
    }
    Some(Traces {
        endpoint: endpoint?,
        one_in,
        headers,
    })
}
