use std::path::Path;

use rustls::{ClientConfig, RootCertStore};

use crate::certificates::{CertificateFileError, read_certificates};
use crate::config::client;

/// The certificates by which a client judges servers.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
}

impl Trust {
    /// Reads the certificates that the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them when they are
    /// set. Blocks.
    #[must_use]
    pub fn of_system() -> Self {
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "some system certificates cannot be read");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(native.certs);
        Self { roots }
    }

    /// Trusts the certificates of a PEM file as well. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read, or has no usable certificate.
    pub fn add_file(&mut self, path: &Path) -> Result<(), CertificateFileError> {
        let certificates = read_certificates(path)?;
        match self.roots.add_parsable_certificates(certificates) {
            (0, _) => Err(CertificateFileError::Unusable),
            _ => Ok(()),
        }
    }

    /// Makes the configuration of a client without a certificate of its own.
    ///
    /// # Errors
    /// When the provider has no suites for the versions of TLS that are spoken.
    pub fn client(self) -> Result<ClientConfig, rustls::Error> {
        Ok(client()?.with_root_certificates(self.roots).with_no_client_auth())
    }
}
