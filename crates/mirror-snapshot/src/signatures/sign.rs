use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ssh_key::private::KeypairData;
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};
use zeroize::Zeroizing;

use super::error::{SignatureError, SigningError};
use super::sshsig::{self, Fault};
use super::trust::KeyId;
use super::{NAMESPACE, keys, program};

/// The program that signs with keys of agents and with those that are not signed with in process.
const SSH_KEYGEN: &str = "ssh-keygen";
/// The longest key file that is read, in bytes.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// The passphrase of a private key. Never shown; overwritten when it is dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(...)")
    }
}

/// Signs documents with an SSH key: in process with the private key of a file (Ed25519, ECDSA over P-256 and P-384), or
/// through the program `ssh-keygen` with other private keys (RSA, security keys) and with those that an agent holds.
/// Writes no private key anywhere.
pub struct SshSigner {
    path: PathBuf,
    way: Way,
    agent: Option<PathBuf>,
}

enum Way {
    InProcess(Box<PrivateKey>),
    /// Through `ssh-keygen`, with the key file that was named; its public key where it is known.
    Program(Option<Box<PublicKey>>),
}

impl SshSigner {
    /// Opens a key file: a private key of OpenSSH, or a public key whose private half an agent holds. When the private key
    /// is locked, calls `passphrase`, which returns `None` when there is none. Blocks; unlocking a key takes a while by
    /// design.
    ///
    /// # Errors
    /// When the file cannot be read, is no key, is damaged, or stays locked.
    pub fn open(
        path: &Path,
        passphrase: &mut dyn FnMut(&Path) -> Option<Passphrase>,
    ) -> Result<Self, SigningError> {
        let text = read(path)?;
        let way = match std::str::from_utf8(&text) {
            Ok(text) if text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----") => {
                private(path, text, passphrase)?
            }
            Ok(text) => {
                let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
                let key = PublicKey::from_openssh(line.trim());
                Way::Program(Some(Box::new(key.map_err(|_| SigningError::NotAKey(path.to_owned()))?)))
            }
            Err(_) => return Err(SigningError::NotAKey(path.to_owned())),
        };
        Ok(Self { path: path.to_owned(), way, agent: None })
    }

    /// Uses the agent at this socket instead of the one that the environment names.
    #[must_use]
    pub fn with_agent(mut self, socket: PathBuf) -> Self {
        self.agent = Some(socket);
        self
    }

    /// Signs a document, and returns the armored signature and the key that made it. A signature that a program made is
    /// checked. Blocks; an agent or a security key may wait for a person.
    ///
    /// # Errors
    /// When the program `ssh-keygen` is needed and refuses, or the key is damaged.
    pub fn sign(&self, document: &[u8]) -> Result<(String, KeyId), SigningError> {
        match &self.way {
            Way::InProcess(key) => self.in_process(key, document),
            Way::Program(key) => self.through_program(key.as_deref(), document),
        }
    }

    fn in_process(&self, key: &PrivateKey, document: &[u8]) -> Result<(String, KeyId), SigningError> {
        let hash = HashAlg::Sha512;
        let signed = SshSig::signed_data(NAMESPACE, hash, document).map_err(SigningError::internal)?;
        let signature = keys::sign(key.key_data(), &signed);
        let signature = signature.ok_or_else(|| SigningError::DamagedKey(self.path.clone()))?;
        let public = key.public_key().key_data().clone();
        let id = sshsig::key_id(&public);
        let signature = SshSig::new(public, NAMESPACE, hash, signature).map_err(SigningError::internal)?;
        Ok((signature.to_pem(LineEnding::LF).map_err(SigningError::internal)?, id))
    }

    fn through_program(
        &self,
        expected: Option<&PublicKey>,
        document: &[u8],
    ) -> Result<(String, KeyId), SigningError> {
        let mut command = Command::new(SSH_KEYGEN);
        command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]).arg(&self.path);
        if let Some(socket) = &self.agent {
            command.env("SSH_AUTH_SOCK", socket);
        }
        let output = program::run(&mut command, document).map_err(SigningError::program(SSH_KEYGEN))?;
        if !output.status.success() {
            return Err(SigningError::Program { program: SSH_KEYGEN, source: program::words(&output) });
        }
        let bad = |why: &str| SigningError::BadSignature {
            program: SSH_KEYGEN,
            source: Box::new(SignatureError::bad("SSH signature", why)),
        };
        let good = sshsig::parse_and_verify(document, &output.stdout).map_err(|fault| match fault {
            Fault::Bad(why) => bad(why),
            Fault::Unsupported(_) => bad("its key is of a kind or size that is not supported"),
        })?;
        if expected.is_some_and(|expected| *expected.key_data() != good.key) {
            return Err(bad("another key made it"));
        }
        let armored = String::from_utf8(output.stdout).map_err(SigningError::internal)?;
        Ok((armored, sshsig::key_id(&good.key)))
    }
}

impl fmt::Debug for SshSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshSigner").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SigningError> {
    let fault = |source| SigningError::Read { path: path.to_owned(), source };
    // With its full capacity from the start, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_BYTES + 1));
    File::open(path).map_err(fault)?.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() > MAX_KEY_BYTES {
        return Err(SigningError::NotAKey(path.to_owned()));
    }
    Ok(bytes)
}

/// Reads a private key, and decides which way it signs.
fn private(
    path: &Path,
    text: &str,
    passphrase: &mut dyn FnMut(&Path) -> Option<Passphrase>,
) -> Result<Way, SigningError> {
    let needs_agent = || SigningError::NeedsAgent(path.to_owned());
    let Ok(key) = PrivateKey::from_openssh(text.trim_end()) else {
        // A format or a kind of key that only ssh-keygen reads.
        let is_locked = text.contains("ENCRYPTED");
        return if is_locked { Err(needs_agent()) } else { Ok(Way::Program(None)) };
    };
    let public = key.public_key().clone();
    if !keys::can_sign(public.key_data()) {
        return if key.is_encrypted() {
            Err(needs_agent())
        } else {
            Ok(Way::Program(Some(Box::new(public))))
        };
    }
    if !key.is_encrypted() {
        return Ok(Way::InProcess(Box::new(key)));
    }
    let passphrase = passphrase(path).ok_or_else(|| SigningError::LockedKey(path.to_owned()))?;
    let unlocked = key.decrypt(&*passphrase.0);
    let unlocked = unlocked.map_err(|_| SigningError::WrongPassphrase(path.to_owned()))?;
    match unlocked.key_data() {
        KeypairData::Encrypted(_) => Err(SigningError::WrongPassphrase(path.to_owned())),
        _ => Ok(Way::InProcess(Box::new(unlocked))),
    }
}
