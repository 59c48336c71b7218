use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use mirror_types::Cause;

use super::error::{SignatureError, SigningError};
use super::files::MAX_SIGNATURE_BYTES;
use super::trust::{Checked, KeyId};
use super::{program, status};

const GPG: &str = "gpg";
/// The longest keyring that is read, in bytes.
const MAX_KEYRING_BYTES: u64 = 16 * 1024 * 1024;
const ARMOR: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Options of gpg in every call: it asks nobody and starts no daemons for the network.
const QUIET: &[&str] = &["batch", "no-tty", "disable-dirmngr"];
/// Options of gpg for checks, beside those: it reads no configuration, looks at no other keys, starts no agent, and
/// counts all keys of the keyring alike.
const ALONE: &[&str] =
    &["no-options", "no-autostart", "no-default-keyring", "lock-never", "no-auto-check-trustdb"];

/// Returns a call of gpg with these options, which are given without their dashes.
fn gpg(options: &[&[&str]]) -> Command {
    let mut command = Command::new(GPG);
    command.args(options.iter().copied().flatten().map(|option| option_named(option)));
    command
}

fn option_named(name: &str) -> String {
    format!("--{name}")
}

/// A keyring: a file of public keys, as `gpg --export` writes it, armored or not, or a `pubring.kbx`. All its keys are
/// trusted.
#[derive(Debug, Clone)]
pub struct GpgKeyring(PathBuf);

impl GpgKeyring {
    /// Names the file; [`verify`](crate::verify) reads it.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Checks signature files over a document with gpg, and returns the results for all signatures in them. gpg works in
    /// a new directory, with a copy of the keyring, and by the given time.
    pub(super) fn check(
        &self,
        document: &[u8],
        signatures: &[Vec<u8>],
        at: SystemTime,
    ) -> Result<Vec<Checked>, SignatureError> {
        let seconds = at.duration_since(UNIX_EPOCH).map(|passed| passed.as_secs()).unwrap_or_default();
        let failed = |error: io::Error| SignatureError::program(GPG)(Cause::new(error));
        let home = private_dir().map_err(failed)?;
        let keyring = home.path().join("keyring");
        write(&keyring, &self.read()?).map_err(failed)?;
        let mut results = Vec::new();
        for (signature, number) in signatures.iter().zip(1..) {
            let name = format!("OpenPGP signature {number}");
            if signature.len() as u64 > MAX_SIGNATURE_BYTES {
                return Err(SignatureError::bad(name, "it is too long"));
            }
            let file = home.path().join(format!("signature-{number}"));
            write(&file, signature).map_err(failed)?;
            let mut command = gpg(&[QUIET, ALONE]);
            command.arg(option_named("homedir")).arg(home.path());
            command.arg(option_named("keyring")).arg(&keyring);
            command.arg(option_named("trust-model")).arg("always");
            // The exclamation mark stops the clock.
            command.arg(option_named("faked-system-time")).arg(format!("{seconds}!"));
            command.arg(option_named("status-fd")).arg("1");
            command.arg(option_named("verify")).arg(&file).arg("-");
            let output = program::run(&mut command, document).map_err(SignatureError::program(GPG))?;
            let text = String::from_utf8_lossy(&output.stdout);
            let checked = status::read(&text, &name, at)?;
            // Both must agree: neither the exit code nor the lines alone are enough.
            if checked.iter().all(Result::is_ok) && !output.status.success() {
                return Err(SignatureError::Program { program: GPG, source: program::words(&output) });
            }
            results.extend(checked);
        }
        Ok(results)
    }

    /// Reads the keyring, without its armor.
    fn read(&self) -> Result<Vec<u8>, SignatureError> {
        let fault = |source| SignatureError::Keyring { path: self.0.clone(), source };
        let mut bytes = Vec::new();
        let file = File::open(&self.0).map_err(fault)?;
        file.take(MAX_KEYRING_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
        if bytes.len() as u64 > MAX_KEYRING_BYTES {
            return Err(fault(io::Error::other("it is too long for a keyring")));
        }
        if !bytes.windows(ARMOR.len()).take(4096).any(|window| window == ARMOR) {
            return Ok(bytes);
        }
        let mut command = gpg(&[QUIET, &["no-options", "no-autostart", "dearmor"]]);
        let output = program::run(&mut command, &bytes).map_err(SignatureError::program(GPG))?;
        if !output.status.success() {
            return Err(SignatureError::Program { program: GPG, source: program::words(&output) });
        }
        Ok(output.stdout)
    }
}

/// Makes a directory that nobody else may enter, which is removed when it is dropped.
fn private_dir() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("mirror-snapshot-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o700));
    }
    builder.tempdir()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    (&mirror_fs::create_new(path)?).write_all(bytes)
}

/// Signs documents with an OpenPGP key through the program `gpg`, whose agent holds the private key and asks for its
/// passphrase.
#[derive(Debug, Clone)]
pub struct GpgKey {
    user: String,
    home: Option<PathBuf>,
}

impl GpgKey {
    /// Chooses a key by anything that `gpg --local-user` takes; a fingerprint is safest.
    #[must_use]
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: user.into(), home: None }
    }

    /// Uses the home directory of gpg at this path instead of the one that the environment names.
    #[must_use]
    pub fn with_home(mut self, home: PathBuf) -> Self {
        self.home = Some(home);
        self
    }

    /// Signs a document, and returns the armored detached signature and the key that made it, which may be a subkey.
    /// Blocks; the agent may wait for a person.
    ///
    /// # Errors
    /// When gpg is not installed, or refuses.
    pub fn sign(&self, document: &[u8]) -> Result<(String, KeyId), SigningError> {
        let mut command = gpg(&[QUIET]);
        if let Some(home) = &self.home {
            command.arg(option_named("homedir")).arg(home);
        }
        command.arg(option_named("status-fd")).arg("2");
        command.arg(option_named("local-user")).arg(&self.user);
        command.args(["armor", "detach-sign"].map(option_named));
        let output = program::run(&mut command, document).map_err(SigningError::program(GPG))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let created = said.lines().filter_map(|line| line.strip_prefix("[GNUPG:] SIG_CREATED D "));
        // Algorithm, hash, class, time, fingerprint.
        let mut keys = created.filter_map(|line| line.split(' ').nth(4));
        match (keys.next(), keys.next()) {
            (Some(key), None) if output.status.success() => {
                let id = KeyId::OpenPgp(mirror_types::clipped(key, mirror_types::CLIPPED_VALUE_BYTES));
                Ok((String::from_utf8(output.stdout).map_err(SigningError::internal)?, id))
            }
            _ => Err(SigningError::Program { program: GPG, source: program::words(&output) }),
        }
    }
}
