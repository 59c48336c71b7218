use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};

/// Longest file of certificates that is read, bytes; what is behind is not looked at.
pub const MAX_PEM_BYTES: u64 = 16 << 20;

/// Why a file of certificates cannot be used. Says nothing of the path, which its caller knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFileError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is no PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// It has no certificate that can be trusted.
    #[error("it has no usable certificate")]
    Unusable,
}

/// Reads the certificates of a PEM file, in its order; there may be none. Blocks.
///
/// # Errors
/// When the file cannot be read, or has something broken in it.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFileError> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_PEM_BYTES).read_to_end(&mut text)?;
    Ok(CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_in_the_order_of_their_file() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("roots.pem");
        let made = ["a.test", "b.test"]
            .map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).expect("certificate").cert);
        let read = |text: &str| {
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(&path, text).expect("write");
            read_certificates(&path)
        };
        let text = format!("a comment\n{}{}", made[0].pem(), made[1].pem());
        assert_eq!(read(&text).expect("two"), made.each_ref().map(|one| one.der().clone()));
        assert_eq!(read("no certificate\n").expect("none"), []);
        let broken = read(&text.replace("END CERTIFICATE", "END"));
        assert!(matches!(broken, Err(CertificateFileError::Pem(_))), "{broken:?}");
        let missing = read_certificates(&dir.path().join("none.pem"));
        assert!(matches!(missing, Err(CertificateFileError::Read(_))), "{missing:?}");
    }
}
