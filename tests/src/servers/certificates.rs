//! A certificate authority of the test's own, and a certificate of it for this machine, as files.

use std::path::{Path, PathBuf};

use relay_sinks::tls::ClientTls;
use tempfile::TempDir;

/// `ca.pem`, and `cert.pem` with `key.pem`, which serve both sides. They go with it.
#[derive(Debug)]
pub struct Certificates {
    home: TempDir,
}

impl Certificates {
    /// New ones, which nobody else trusts.
    ///
    /// # Panics
    /// If they can't be made.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        write(home.path()).expect("certificates");
        Self { home }
    }

    /// Where one of the files is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What a client trusts, and shows, with these files.
    pub fn client(&self, shows: bool) -> ClientTls {
        ClientTls {
            ca_file: Some(self.file("ca.pem")),
            cert_file: shows.then(|| self.file("cert.pem")),
            key_file: shows.then(|| self.file("key.pem")),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn write(home: &Path) -> anyhow::Result<()> {
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?;
    let key = rcgen::KeyPair::generate()?;
    let mut leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    leaf.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(params, ca_key))?;
    std::fs::write(home.join("ca.pem"), ca.pem())?;
    std::fs::write(home.join("cert.pem"), leaf.pem())?;
    std::fs::write(home.join("key.pem"), key.serialize_pem())?;
    Ok(())
}
