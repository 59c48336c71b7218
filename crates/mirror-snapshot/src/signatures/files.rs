use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::SignatureError;

/// The most signatures of each kind that are read.
pub const MAX_SIGNATURES: usize = 16;
/// The longest signature file that is read, in bytes.
pub const MAX_SIGNATURE_BYTES: u64 = 64 * 1024;

/// Returns the name of the file of an SSH signature: that of the document and `.sig` for the first, as `ssh-keygen`
/// names it, and `.sig.2`, `.sig.3` and so on for more. Each file holds one signature, so that `ssh-keygen` can check it.
#[must_use]
pub fn ssh_signature_name(document: &str, number: usize) -> String {
    numbered(document, "sig", number)
}

/// Returns the name of the file of an OpenPGP signature: that of the document and `.asc`, `.asc.2`, `.asc.3` and so on.
/// A file may hold several signatures, as `gpg` writes them when it is given several keys.
#[must_use]
pub fn openpgp_signature_name(document: &str, number: usize) -> String {
    numbered(document, "asc", number)
}

fn numbered(document: &str, suffix: &str, number: usize) -> String {
    match number {
        0 | 1 => format!("{document}.{suffix}"),
        number => format!("{document}.{suffix}.{number}"),
    }
}

/// The signatures of one document, unchecked.
#[derive(Debug, Clone, Default)]
pub struct Signatures {
    pub(super) ssh: Vec<Vec<u8>>,
    pub(super) openpgp: Vec<Vec<u8>>,
}

impl Signatures {
    /// Adds an SSH signature: the armored text that `ssh-keygen` writes.
    pub fn add_ssh(&mut self, armored: impl Into<Vec<u8>>) {
        self.ssh.push(armored.into());
    }

    /// Adds the contents of an OpenPGP signature file, armored or not.
    pub fn add_openpgp(&mut self, signature: impl Into<Vec<u8>>) {
        self.openpgp.push(signature.into());
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ssh.is_empty() && self.openpgp.is_empty()
    }

    /// Reads the signatures beside a document, by their names: of each kind the first, the second, until one is missing.
    /// Follows no links. Blocks.
    ///
    /// # Errors
    /// When the disk refuses, a file is too long, or there are more than [`MAX_SIGNATURES`] of a kind.
    pub fn load(document: &Path) -> Result<Self, SignatureError> {
        let read = |name: fn(&str, usize) -> String| {
            let mut found = Vec::new();
            while let Some(bytes) = read_one(&beside(document, |own| name(own, found.len() + 1)))? {
                if found.len() == MAX_SIGNATURES {
                    return Err(SignatureError::TooMany {
                        document: document.to_owned(),
                        most: MAX_SIGNATURES,
                    });
                }
                found.push(bytes);
            }
            Ok(found)
        };
        Ok(Self { ssh: read(ssh_signature_name)?, openpgp: read(openpgp_signature_name)? })
    }
}

fn beside(document: &Path, name: impl FnOnce(&str) -> String) -> PathBuf {
    let own = document.file_name().unwrap_or_default().to_string_lossy();
    document.with_file_name(name(&own))
}

/// Reads a file; `None` when it is missing.
fn read_one(path: &Path) -> Result<Option<Vec<u8>>, SignatureError> {
    let read = || {
        let mut bytes = Vec::new();
        mirror_fs::open_to_read(path)?.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SIGNATURE_BYTES {
            return Err(io::Error::other("it is too long for a signature"));
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SignatureError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_named_after_the_document() {
        let names = [1, 2, 11].map(|number| ssh_signature_name("snapshot-7.json", number));
        assert_eq!(names, ["snapshot-7.json.sig", "snapshot-7.json.sig.2", "snapshot-7.json.sig.11"]);
        assert_eq!(openpgp_signature_name("delta.json", 1), "delta.json.asc");
    }

    #[test]
    fn signatures_are_read_until_one_is_missing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let document = dir.path().join("snapshot-1.json");
        assert!(Signatures::load(&document).expect("none").is_empty());
        let put = |name: &str| {
            let file = mirror_fs::create_new(&dir.path().join(name)).expect("file");
            io::Write::write_all(&mut &file, name.as_bytes()).expect("written");
        };
        for name in [".sig", ".sig.2", ".sig.4", ".asc"].map(|suffix| format!("snapshot-1.json{suffix}")) {
            put(&name);
        }
        let found = Signatures::load(&document).expect("some");
        assert_eq!(found.ssh, [b"snapshot-1.json.sig".to_vec(), b"snapshot-1.json.sig.2".to_vec()]);
        assert_eq!(found.openpgp, [b"snapshot-1.json.asc".to_vec()]);
        put("snapshot-1.json.sig.3");
        (5..=MAX_SIGNATURES + 1).for_each(|number| put(&format!("snapshot-1.json.sig.{number}")));
        let error = Signatures::load(&document).expect_err("too many");
        assert!(matches!(error, SignatureError::TooMany { most: MAX_SIGNATURES, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = mirror_fs::create_new(&dir.path().join("d.sig")).expect("file");
        file.set_len(MAX_SIGNATURE_BYTES + 1).expect("length");
        let error = Signatures::load(&dir.path().join("d")).expect_err("too long");
        assert!(matches!(error, SignatureError::Read { .. }), "{error}");
    }
}
