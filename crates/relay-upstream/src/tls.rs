//! TLS as a client: the platform's roots, own ones, a client certificate; one provider, ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use crate::TlsFiles;

/// TLS can't be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file can't be used.
    #[error("tls.{key} ({})", path.display())]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// One of two that belong together.
    #[error("tls.{0} is missing: a client certificate needs cert_file and key_file")]
    Missing(&'static str),
    /// Certificates or key do not fit.
    #[error("tls certificates")]
    Certificates(#[source] rustls::Error),
}

/// Reads the files and builds a client's configuration. Blocks on files.
pub fn tls_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = match &files.ca_file {
        None => vec![],
        Some(path) => certificates("ca_file", path)?,
    };
    let verifier = Verifier::new_with_extra_roots(own, Arc::clone(&provider));
    let verifier = verifier.map_err(TlsError::Certificates)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificates)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&files.cert_file, &files.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(TlsError::Missing("key_file")),
        (None, Some(_)) => return Err(TlsError::Missing("cert_file")),
        (Some(chain), Some(path)) => {
            let chain = certificates("cert_file", chain)?;
            let key = PrivateKeyDer::from_pem_file(path);
            let key = key.map_err(|source| TlsError::File {
                key: "key_file",
                path: path.clone(),
                source,
            })?;
            let identity = builder.with_client_auth_cert(chain, key);
            identity.map_err(TlsError::Certificates)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read = read.and_then(|all: Vec<_>| {
        if all.is_empty() {
            return Err(pem::Error::NoItemsFound);
        }
        Ok(all)
    });
    read.map_err(|source| TlsError::File {
        key,
        path: path.to_owned(),
        source,
    })
}
