//! Writes `SHA256SUMS`, and signs it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

/// Writes the sums of the files beside it, for `sha256sum --check`.
pub(crate) fn write(path: &Path, files: &[&Path]) -> anyhow::Result<()> {
    let mut text = String::new();
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
        let name = file.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        for byte in Sha256::digest(&bytes) {
            let _ = write!(text, "{byte:02x}");
        }
        let _ = writeln!(text, "  {name}");
    }
    std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

/// Signs the sums with an operator's key, or reports that nothing was signed.
pub(crate) fn sign(sums: &Path, key: Option<&Path>, archive_hasher: Option<&Path>) -> anyhow::Result<()> {
    let signature = sums.with_extension("asc");
    let Some(key) = key else {
        // A signature of an earlier run would be of other sums.
        match std::fs::remove_file(&signature) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("could not remove {}", signature.display()));
            }
            _ => println!("dist: nothing is signed; --key FILE names an OpenPGP key that signs the sums"),
        }
        return Ok(());
    };
    let program = archive_hasher.context("archive-hasher, which signs, was not built")?;
    let mut command = Command::new(program);
    command.arg("sign").arg("--gpgkey").arg(key).arg(sums);
    let status = command.status().with_context(|| format!("could not start {}", program.display()))?;
    if !status.success() {
        bail!("archive-hasher did not sign {}: {status}; it says why above", sums.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_equal_those_of_other_tools() {
        let dir = tempfile::tempdir().unwrap();
        let (one, sums) = (dir.path().join("one"), dir.path().join("SHA256SUMS"));
        std::fs::write(&one, "abc").unwrap();
        write(&sums, &[&one]).unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  one\n";
        assert_eq!(std::fs::read_to_string(&sums).unwrap(), known);
    }

    #[test]
    fn a_signature_of_other_sums_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (sums, old) = (dir.path().join("SHA256SUMS"), dir.path().join("SHA256SUMS.asc"));
        std::fs::write(&old, "old").unwrap();
        sign(&sums, None, None).unwrap();
        assert!(!old.exists());
        assert!(sign(&sums, Some(Path::new("key")), None).is_err());
    }
}
