//! Signs one file of any content with a detached signature.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::create::small;
use crate::error::ArchiveError;
use crate::passphrase::Passphrase;
use crate::publish;
use crate::sign::Signer;

/// A signature that was written.
#[derive(Debug)]
#[non_exhaustive]
pub struct FileSignature {
    /// The armored signature: the name of the file with `.asc` appended.
    pub path: PathBuf,
    /// Fingerprint of the primary key.
    pub fingerprint: String,
}

/// Signs the bytes of a file with an armored private key, and writes the signature beside it, replacing an older one.
/// `gpg --verify FILE.asc FILE` checks it. Blocks.
///
/// # Errors
/// Fails when the key cannot sign, or a file cannot be read or written; an older signature stays in place then.
pub fn sign_file(
    file: &Path,
    key: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<FileSignature, ArchiveError> {
    let signer = Signer::load(key, passphrase)?;
    let opened = File::open(file).map_err(ArchiveError::input("opening", file))?;
    if !opened.metadata().map_err(ArchiveError::input("examining", file))?.is_file() {
        let source = std::io::Error::other("it is not a regular file");
        return Err(ArchiveError::input("signing", file)(source));
    }
    let armored = signer.sign(BufReader::new(opened))?;
    let mut path = file.as_os_str().to_owned();
    path.push(".asc");
    let path = PathBuf::from(path);
    publish::remove_leftover(&path)?;
    small(&path, &armored, false)?.publish(&path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    publish::sync_directory(directory.unwrap_or(Path::new(".")))?;
    Ok(FileSignature { path, fingerprint: signer.fingerprint() })
}
