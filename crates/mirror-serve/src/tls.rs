use std::path::Path;
use std::sync::Arc;

use mirror_types::{Cause, Unexpected};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::ServeError;
use crate::options::TlsFiles;

/// Configures TLS with this certificate, and HTTP/2 and HTTP/1.1 by ALPN.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServeError> {
    let bad = |path: &Path, source: Cause| ServeError::Tls { path: path.to_owned(), source };
    let of_cert = |error: rustls_pki_types::pem::Error| bad(&files.cert, Cause::new(error));
    let certs = CertificateDer::pem_file_iter(&files.cert)
        .map_err(of_cert)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(of_cert)?;
    if certs.is_empty() {
        return Err(bad(&files.cert, Cause::new("there is no certificate in it")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| bad(&files.key, Cause::new(error)))?;
    let mut config = mirror_tls::server()
        .map_err(Unexpected::could_not("choose the versions of TLS"))?
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|error| bad(&files.cert, Cause::new(error)))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
