//! HTTP as a test asks it: one client for all of them.

use std::sync::LazyLock;

use reqwest::{Client, Response};

use crate::install_crypto;

/// A client. It keeps no connection, so that tests with a runtime each may share it.
///
/// # Panics
/// If the platform offers none.
pub fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        install_crypto();
        let builder = Client::builder().pool_max_idle_per_host(0).no_proxy();
        builder.build().expect("a client")
    });
    &CLIENT
}

/// `GET`.
///
/// # Errors
/// Nobody answers.
pub async fn get(url: &str) -> reqwest::Result<Response> {
    client().get(url).send().await
}
