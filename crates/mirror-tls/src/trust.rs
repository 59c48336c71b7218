use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use crate::certificates::{CertificateFileError, read_certificates};
use crate::config::{client, provider};
use crate::named::NamedOrChained;

/// The certificates by which a client judges servers.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
    /// Those of the operator's files, in full.
    named: Vec<CertificateDer<'static>>,
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
        Self { roots, named: Vec::new() }
    }

    /// Trusts the certificates of a PEM file as well: as roots, and each for the hosts that it names, also when a server
    /// signed it itself. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read, or has no usable certificate.
    pub fn add_file(&mut self, path: &Path) -> Result<(), CertificateFileError> {
        let certificates = read_certificates(path)?;
        if self.roots.add_parsable_certificates(certificates.iter().cloned()).0 == 0 {
            return Err(CertificateFileError::Unusable);
        }
        self.named.extend(certificates);
        Ok(())
    }

    /// Makes the configuration of a client without a certificate of its own.
    ///
    /// # Errors
    /// When the provider has no suites for the versions of TLS that are spoken.
    pub fn client(self) -> Result<ClientConfig, rustls::Error> {
        let builder = client()?;
        if self.named.is_empty() {
            return Ok(builder.with_root_certificates(self.roots).with_no_client_auth());
        }
        let chained = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verifier = Arc::new(NamedOrChained { chained, named: self.named });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}
