//! Owns the section `[upstream]`.

use std::sync::Arc;
use std::time::Duration;

use relay_upstream::{Backoffs, Bounds, PathChoice, Proxy, TlsFiles, UpstreamConfig};
use sapi_protocol::{Origin, OutputType, PathStyle, platform_origin, valid_subs_id};

use super::secret::Secret;
use super::section::Section;
use super::storage::bytes;
use super::tls;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Reads the section; `None`: something that has no default is missing or wrong.
pub(super) fn read(section: &Section<'_>) -> Option<UpstreamConfig> {
    protocol(section);
    let origin = origin(section);
    let tenant_id = tenant(section);
    let token = token(section);
    let subs_ids = subs_ids(section);
    let seconds = |name, seconds| section.duration(name, Duration::from_secs(seconds));
    let silence_timeout = seconds("silence_timeout", 150);
    let session_length = seconds("session_length", 60 * 60);
    let cache_horizon = seconds("cache_horizon", 2 * 60 * 60);
    let max_document = bytes(section.size("max_document", 16 * MIB, KIB));
    let max_message = section.size("max_message", 256 * MIB, KIB);
    if bytes(max_message) < max_document {
        let remedy = "a message holds at least one document: make it at least max_document";
        section.wrong(
            "max_message",
            "is smaller than upstream.max_document",
            remedy,
        );
    }
    let paths = [
        ("bare", PathChoice::Only(PathStyle::Bare)),
        ("suffixed", PathChoice::Only(PathStyle::Suffixed)),
        ("auto", PathChoice::Auto),
    ];
    let output = "one of \"JSON\", \"XML\", \"NEWLINE_JSON\", \"NEWLINE_XML\"";
    let path_style = section.choice("path_style", &paths, PathChoice::Auto);
    let version = section.number("version", 1, 1..=99);
    let username = section.text("username");
    let output_type = section.parsed("output_type", output, |text| text.parse().ok());
    let receive_buffer = bytes(section.size("receive_buffer", 256 * KIB, 4 * KIB));
    let proxy = proxy(section);
    let tls = tls::read(&section.child("tls"));
    let backoff = backoff(&section.child("backoff"));
    section.finish(|_| None);
    let tenant_id = tenant_id?;
    Some(UpstreamConfig {
        origin: origin?,
        version,
        path_style,
        username: username.unwrap_or_else(|| tenant_id.clone()),
        tenant_id,
        token: token?.into(),
        subs_ids: subs_ids?.into_iter().map(Arc::from).collect(),
        output_type: output_type.unwrap_or(OutputType::Json),
        silence_timeout,
        session_length,
        cache_horizon,
        max_document,
        max_message,
        receive_buffer,
        proxy,
        tls: tls_files(tls),
        backoff,
    })
}

fn tls_files(tls: Option<tls::Tls>) -> TlsFiles {
    let tls = tls.unwrap_or_default();
    let (cert_file, key_file) = tls.identity.unzip();
    TlsFiles {
        ca_file: tls.ca_file,
        cert_file,
        key_file,
    }
}

fn protocol(section: &Section<'_>) {
    let known = |text: &str| ["sapi", "pulsar"].contains(&text).then(|| text.to_owned());
    let protocol = section.parsed("protocol", "one of \"sapi\", \"pulsar\"", known);
    if protocol.as_deref() == Some("pulsar") {
        let remedy = "this version speaks \"sapi\" only";
        section.wrong("protocol", "is not built into this binary", remedy);
    }
}

fn origin(section: &Section<'_>) -> Option<Origin> {
    let url = url(section);
    let platform = section.parsed(
        "platform",
        "the cluster's name as in the address of your agent workspace, such as \"na12\"",
        |text| platform_origin(text).ok()?.parse().ok(),
    );
    match (section.has("url"), section.has("platform")) {
        (true, true) => {
            let remedy = "remove one of them: url is used instead of platform";
            section.wrong("platform", "and upstream.url are both set", remedy);
            None
        }
        (false, false) => {
            let remedy = "set it to your cluster, such as \"na12\" (or set upstream.url)";
            section.missing("platform", remedy);
            None
        }
        (true, false) => url,
        (false, true) => platform,
    }
}

fn url(section: &Section<'_>) -> Option<Origin> {
    let text = section.text("url")?;
    if text.contains('@') {
        // Not shown: it may hold a password.
        let remedy = "put the password into upstream.token or upstream.token_file";
        section.hidden("url", "holds credentials", remedy);
        return None;
    }
    let origin = text.parse().ok();
    if origin.is_none() {
        let remedy = "scheme, host and perhaps a port, without a path: \"wss://vcc-na12.8x8.com\", \
                      or \"ws://127.0.0.1:9700\" for the simulator";
        section.wrong("url", "is not allowed", remedy);
    }
    origin
}

fn tenant(section: &Section<'_>) -> Option<String> {
    let remedy = "your tenant's name, as in Configuration Manager > Home";
    let tenant = section.required("tenant_id", remedy)?;
    let fits = tenant
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if !fits {
        section.wrong(
            "tenant_id",
            "is not allowed",
            "A-Z, a-z, 0-9, _, - and . only",
        );
    }
    fits.then_some(tenant)
}

fn token(section: &Section<'_>) -> Option<Secret> {
    if !section.has("token") && !section.has("token_file") {
        section.knows(&["token", "token_file"]);
        let remedy = "set it to the Data Request Token (Configuration Manager > Integration > \
                      API Token), or token_file to a file that holds it";
        section.missing("token", remedy);
        return None;
    }
    section.secret("token", "token_file")
}

fn subs_ids(section: &Section<'_>) -> Option<Vec<String>> {
    const ALLOWED: &str = "one to three distinct texts of 1 to 64 of the characters A-Z, a-z, 0-9, \
                           _, . and -, such as [\"relay_a\"]; 8x8 keeps the events of a \
                           disconnected id for two hours, so never change them without need";
    if !section.has("subs_ids") {
        section.knows(&["subs_ids"]);
        section.missing("subs_ids", ALLOWED);
        return None;
    }
    let ids = section.list("subs_ids")?;
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let fault = if ids.is_empty() {
        "is empty"
    } else if ids.len() > 3 {
        "has more than three ids, and 8x8 allows a tenant three"
    } else if distinct.len() < ids.len() {
        "has an id twice"
    } else if !ids.iter().all(|id| valid_subs_id(id)) {
        "has an id that is not allowed"
    } else {
        return Some(ids);
    };
    section.wrong("subs_ids", fault, ALLOWED);
    None
}

fn proxy(section: &Section<'_>) -> Option<Proxy> {
    let proxy = section.text("proxy")?.parse().ok();
    if proxy.is_none() {
        let remedy = "the URL of an HTTP proxy that allows CONNECT: \"http://proxy:3128\"";
        // Not shown: it may hold a password.
        section.hidden("proxy", "is not allowed", remedy);
    }
    proxy
}

fn backoff(section: &Section<'_>) -> Backoffs {
    let pair = |least: &'static str, most: &'static str, or: Bounds| {
        let (min, max) = (
            section.duration(least, or.min),
            section.duration(most, or.max),
        );
        if min > max {
            let name = if section.has(least) { least } else { most };
            let remedy = format!("{least} has to be at most {most}");
            section.wrong(name, "does not fit its counterpart", &remedy);
        }
        Bounds { min, max }
    };
    let or = Backoffs::default();
    let backoff = Backoffs {
        network: pair("network_min", "network_max", or.network),
        auth: pair("auth_min", "auth_max", or.auth),
        quota: pair("quota_min", "quota_max", or.quota),
    };
    section.finish(|_| None);
    backoff
}
