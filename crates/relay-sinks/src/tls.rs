//! TLS of both sides: a server's certificate that can be read anew, and what a client trusts and
//! shows. It knows no protocol above.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "webhook"))]
use rustls_platform_verifier::Verifier;
#[cfg(feature = "websocket")]
use tokio_rustls::TlsAcceptor;

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is not PEM.
    #[error("reading {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// A client's key without its certificate, or the other way round.
    #[error("a client certificate needs both cert_file and key_file")]
    HalfIdentity,
    /// Certificate and key are refused.
    #[error("setting up TLS")]
    Rustls(#[from] rustls::Error),
    /// The CA of clients is refused.
    #[error("setting up the verification of client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The files of a TLS server (`tls.*` of a listener).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate and its chain, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// The CA that clients' certificates must come from; `None`: none is asked for.
    pub ca_file: Option<PathBuf>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(&self) -> Result<ServerConfig, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let chain = certificates(&self.cert_file)?;
        let mut config = builder.with_single_cert(chain, key(&self.key_file)?)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A server's TLS as it is now: cloning gives another handle, [`Acceptor::reload`] changes all.
#[derive(Clone)]
pub struct Acceptor {
    files: ServerTls,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(files: ServerTls) -> Result<Self, TlsError> {
        let config = Arc::new(RwLock::new(Arc::new(files.load()?)));
        Ok(Self { files, config })
    }

    /// Reads the files again; connections from now on use what they hold.
    ///
    /// # Errors
    /// See [`TlsError`]; nothing changes then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(self.files.load()?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// What the next connection is accepted with.
    #[cfg(feature = "websocket")]
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

/// The files of a TLS client (`tls.*` of a sink that connects).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The CA to trust; `None`: what the platform trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

impl ClientTls {
    /// Reads the files. `trusted`: what is trusted where no CA is named.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(&self, trusted: RootCertStore) -> Result<ClientConfig, TlsError> {
        let roots = self.ca_file.as_deref().map_or(Ok(trusted), roots)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        match (&self.cert_file, &self.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(path)) => {
                Ok(builder.with_client_auth_cert(certificates(cert)?, key(path)?)?)
            }
            (Some(_), None) | (None, Some(_)) => Err(TlsError::HalfIdentity),
        }
    }

    /// Reads the files; trusted is what the platform trusts, and the CA that is named besides.
    ///
    /// # Errors
    /// See [`TlsError`].
    #[cfg(any(feature = "nats", feature = "rabbitmq", feature = "webhook"))]
    pub(crate) fn trusting_platform(&self) -> Result<ClientConfig, TlsError> {
        let provider = provider();
        let own = self
            .ca_file
            .as_deref()
            .map_or(Ok(Vec::new()), certificates)?;
        let verifier = Verifier::new_with_extra_roots(own, Arc::clone(&provider))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        match (&self.cert_file, &self.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(path)) => {
                Ok(builder.with_client_auth_cert(certificates(cert)?, key(path)?)?)
            }
            (Some(_), None) | (None, Some(_)) => Err(TlsError::HalfIdentity),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    PrivateKeyDer::from_pem_file(path).map_err(failed)
}
