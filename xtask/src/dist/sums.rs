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

/// The purpose that an SSH signature of the sums names, so that no signature for another purpose counts as one of these.
const NAMESPACE: &str = "mirror-rust-crates";

/// The keys of an operator that sign the sums.
#[derive(Debug, Default)]
pub(crate) struct Keys<'a> {
    /// A private OpenPGP key.
    pub(crate) openpgp: Option<&'a Path>,
    /// A private SSH key, or a public one whose private half an agent holds.
    pub(crate) ssh: Option<&'a Path>,
}

/// Signs the sums with each key, or reports that nothing was signed.
pub(crate) fn sign(sums: &Path, keys: &Keys<'_>, archive_hasher: Option<&Path>) -> anyhow::Result<()> {
    // Signatures of an earlier run would be of other sums, and ssh-keygen would ask whether to replace its own.
    for ending in ["asc", "sig"] {
        remove(&sums.with_extension(ending))?;
    }
    if let Some(key) = keys.openpgp {
        let program = archive_hasher.context("archive-hasher, which signs, was not built")?;
        signed(Command::new(program).arg("sign").arg("--gpgkey").arg(key).arg(sums), sums)?;
    }
    if let Some(key) = keys.ssh {
        let mut command = Command::new("ssh-keygen");
        signed(command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).arg(sums), sums)?;
    }
    if keys.openpgp.is_none() && keys.ssh.is_none() {
        println!("dist: nothing is signed; --key FILE and --ssh-key FILE name keys that sign the sums");
    }
    Ok(())
}

fn remove(signature: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(signature) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", signature.display()))
        }
        _ => Ok(()),
    }
}

fn signed(command: &mut Command, sums: &Path) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("could not start {program}"))?;
    if !status.success() {
        bail!("{program} did not sign {}: {status}; it says why above", sums.display());
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
    fn signatures_of_other_sums_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let sums = dir.path().join("SHA256SUMS");
        let old = ["SHA256SUMS.asc", "SHA256SUMS.sig"].map(|name| dir.path().join(name));
        for path in &old {
            std::fs::write(path, "old").unwrap();
        }
        sign(&sums, &Keys::default(), None).unwrap();
        assert!(old.iter().all(|path| !path.exists()));
        let openpgp = Keys { openpgp: Some(Path::new("key")), ssh: None };
        assert!(sign(&sums, &openpgp, None).is_err());
    }

    #[test]
    fn ssh_keygen_accepts_the_signature_of_these_sums_alone() {
        // ssh-keygen has no option that only shows its version; both come together.
        if !mirror_testkit::has("ssh", &["-V"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (key, sums) = (dir.path().join("key"), dir.path().join("SHA256SUMS"));
        let mut keygen = Command::new("ssh-keygen");
        mirror_testkit::run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).expect(0);
        let public = std::fs::read_to_string(dir.path().join("key.pub")).unwrap();
        std::fs::write(dir.path().join("allowed"), format!("releases@example.org {public}")).unwrap();
        let verified = |namespace: &str| {
            let mut command = Command::new("ssh-keygen");
            command.args(["-Y", "verify", "-n", namespace, "-I", "releases@example.org", "-f", "allowed"]);
            command.args(["-s", "SHA256SUMS.sig"]).current_dir(dir.path());
            command.stdin(std::fs::File::open(&sums).unwrap()).output().unwrap().status.success()
        };
        for text in ["one\n", "another\n"] {
            std::fs::write(&sums, text).unwrap();
            sign(&sums, &Keys { openpgp: None, ssh: Some(&key) }, None).unwrap();
            assert!(verified(NAMESPACE));
            assert!(!verified("file"));
        }
        std::fs::write(&sums, "changed\n").unwrap();
        assert!(!verified(NAMESPACE));
        assert!(sign(&sums, &Keys { openpgp: None, ssh: Some(&dir.path().join("none")) }, None).is_err());
    }
}
