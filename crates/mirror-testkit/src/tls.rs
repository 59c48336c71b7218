use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Makes a certificate authority for one test, a certificate for this machine, and the authority's PEM file below
/// `dir`.
pub(crate) fn acceptor(dir: &Path, alpn: &[&[u8]]) -> (TlsAcceptor, PathBuf) {
    let ca_key = KeyPair::generate().expect("key");
    let mut ca = CertificateParams::new(Vec::new()).expect("params");
    // The names must differ: OpenSSL takes a certificate whose issuer has its own name for self-signed.
    ca.distinguished_name.push(DnType::CommonName, "test authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).expect("authority");
    let key = KeyPair::generate().expect("key");
    // The last ones are known to proxies alone.
    let names = ["localhost", "127.0.0.1", "registry.test", "git.test"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("params");
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let cert = params.signed_by(&key, &Issuer::new(ca, ca_key)).expect("certificate");
    let path = dir.join("ca.pem");
    std::fs::write(&path, ca_cert.pem()).expect("write the authority");
    std::fs::write(dir.join("cert.pem"), cert.pem()).expect("write the certificate");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("write the key");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    (serving(vec![cert.der().clone()], key, alpn), path)
}

/// A certificate and its key that something else made.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Reads a certificate and its key.
pub(crate) fn acceptor_of(files: &CertificateFiles, alpn: &[&[u8]]) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&files.cert).expect("read the certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    serving(chain, PrivateKeyDer::from_pem_file(&files.key).expect("a key"), alpn)
}

fn serving(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>, alpn: &[&[u8]]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("certificate");
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
