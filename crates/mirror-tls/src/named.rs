use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Judges servers by the trusted roots, and accepts a certificate that the operator named though no chain leads from it
/// to a root.
///
/// A self-signed certificate, as `openssl req -x509` makes it, says that it is an authority, and path building takes no
/// authority for a server. An operator who names these very bytes has answered the question that a chain would answer.
/// Every other question is asked: the name of the host, the time, the signature of the handshake.
#[derive(Debug)]
pub(crate) struct NamedOrChained {
    pub(crate) chained: Arc<WebPkiServerVerifier>,
    pub(crate) named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for NamedOrChained {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chained =
            self.chained.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let Err(refused) = chained else { return chained };
        if !lacks_a_chain(&refused) || !self.named.iter().any(|named| named == end_entity) {
            return Err(refused);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chained.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chained.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chained.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.chained.root_hint_subjects()
    }
}

/// Returns whether a certificate was refused only for want of a chain. Its time is checked before either is found.
fn lacks_a_chain(refused: &Error) -> bool {
    match refused {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::RootCertStore;

    use super::*;

    const NAME: &str = "origin.test";

    /// A self-signed certificate for this name, all with the same subject.
    fn self_signed(is_ca: IsCa, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = params(is_ca);
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("key")).expect("certificate")
    }

    fn params(is_ca: IsCa) -> CertificateParams {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.is_ca = is_ca;
        params
    }

    fn authority() -> IsCa {
        IsCa::Ca(BasicConstraints::Unconstrained)
    }

    /// Judges `shown` for `host` with `named` as the operator's file.
    fn judge(named: &[&Certificate], shown: &Certificate, host: &str) -> Result<(), Error> {
        let named: Vec<_> = named.iter().map(|one| one.der().clone()).collect();
        let mut roots = RootCertStore::empty();
        assert_eq!(roots.add_parsable_certificates(named.clone()).0, named.len());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chained =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("roots");
        let host = ServerName::try_from(host.to_owned()).expect("name");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let now = UnixTime::since_unix_epoch(now);
        NamedOrChained { chained, named }.verify_server_cert(shown.der(), &[], &host, &[], now).map(|_| ())
    }

    #[test]
    fn a_named_certificate_is_accepted_for_its_host_whether_it_calls_itself_an_authority_or_not() {
        for is_ca in [authority(), IsCa::ExplicitNoCa, IsCa::NoCa] {
            let made = self_signed(is_ca, |_| ());
            assert_eq!(judge(&[&made], &made, NAME), Ok(()), "{is_ca:?}");
            let other = judge(&[&made], &made, "other.test");
            assert!(
                matches!(
                    other,
                    Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
                ),
                "{is_ca:?}: {other:?}"
            );
        }
    }

    #[test]
    fn a_named_certificate_that_an_authority_signed_needs_no_authority() {
        let key = KeyPair::generate().expect("key");
        let mut ca = CertificateParams::new(Vec::new()).expect("params");
        ca.distinguished_name.push(DnType::CommonName, "an authority that nobody named");
        ca.is_ca = authority();
        let leaf = params(IsCa::NoCa)
            .signed_by(&KeyPair::generate().expect("key"), &Issuer::new(ca, key))
            .expect("certificate");
        assert_eq!(judge(&[&leaf], &leaf, NAME), Ok(()));
    }

    /// An attacker's certificate has the same subject, the same names and the same flags, but not the same bytes.
    #[test]
    fn a_certificate_that_was_not_named_is_refused() {
        for is_ca in [authority(), IsCa::NoCa] {
            let named = self_signed(is_ca, |_| ());
            let forged = self_signed(is_ca, |_| ());
            assert!(judge(&[&named], &forged, NAME).is_err(), "{is_ca:?}");
        }
    }

    #[test]
    fn a_named_certificate_is_accepted_only_in_its_time() {
        let now = SystemTime::now();
        let year = Duration::from_secs(365 * 86_400);
        for is_ca in [authority(), IsCa::NoCa] {
            let past = self_signed(is_ca, |params| {
                params.not_before = (now - 2 * year).into();
                params.not_after = (now - year).into();
            });
            let future = self_signed(is_ca, |params| params.not_before = (now + year).into());
            let (past, future) = (judge(&[&past], &past, NAME), judge(&[&future], &future, NAME));
            assert!(
                matches!(past, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))),
                "{past:?}"
            );
            assert!(
                matches!(future, Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }))),
                "{future:?}"
            );
        }
    }
}
