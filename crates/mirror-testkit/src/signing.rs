//! Keys, signatures and agents of OpenSSH and GnuPG.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::{Ended, has, run};

/// The identity of all keys in [`Ssh::allowed`].
pub const SSH_IDENTITY: &str = "mirror@example.org";

/// A directory of keys.
#[derive(Debug)]
pub struct Ssh(tempfile::TempDir);

impl Ssh {
    /// Makes a directory; `None` without OpenSSH.
    #[must_use]
    pub fn new() -> Option<Self> {
        has("ssh", &["-V"]).then(|| Self(tempfile::tempdir().expect("make a directory")))
    }

    /// Returns the path of a file in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file into the directory.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).expect("write");
        self.path(name)
    }

    /// Generates a key: `NAME` and `NAME.pub`. The kind has its bits behind a space.
    pub fn generate(&self, name: &str, kind: &str, passphrase: &str) -> PathBuf {
        let mut command = Command::new("ssh-keygen");
        let (kind, bits) = kind.split_once(' ').map_or((kind, None), |(kind, bits)| (kind, Some(bits)));
        command.args(["-q", "-t", kind, "-N", passphrase, "-C", name, "-f"]).arg(self.path(name));
        command.args(bits.map(|bits| ["-b", bits]).iter().flatten());
        run(&mut command).expect(0);
        self.path(name)
    }

    /// Returns the public half of a key.
    #[must_use]
    pub fn public(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.pub"))).expect("read the key")
    }

    /// Returns a list of allowed signers: these keys, with these options in front of each.
    #[must_use]
    pub fn allowed(&self, options: &str, names: &[&str]) -> String {
        names.iter().map(|name| format!("{SSH_IDENTITY} {options} {}", self.public(name))).collect()
    }

    /// Signs as `docs/snapshot.md` says, and returns the armored signature.
    #[must_use]
    pub fn sign(&self, key: &str, namespace: &str, document: &[u8]) -> Vec<u8> {
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "sign", "-n", namespace, "-f"]).arg(self.path(key));
        let ended = with_input(&mut command, document);
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        ended.stdout
    }

    /// Verifies as `docs/snapshot.md` says; returns whether ssh-keygen accepts the signature.
    #[must_use]
    pub fn verify(&self, allowed: &str, more: &[&str], signature: &[u8], document: &[u8]) -> bool {
        self.put("allowed_signers", allowed);
        self.put("signature", signature);
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "verify", "-n", "mirror-snapshot", "-I", SSH_IDENTITY, "-f"]);
        command.arg(self.path("allowed_signers")).arg("-s").arg(self.path("signature")).args(more);
        with_input(&mut command, document).status.success()
    }
}

fn with_input(command: &mut Command, input: &[u8]) -> std::process::Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start");
    // It may refuse before it has read everything.
    let _ = child.stdin.take().expect("its input").write_all(input);
    child.wait_with_output().expect("wait")
}

/// A running agent, which ends with the test.
#[derive(Debug)]
pub struct SshAgent {
    child: Child,
    /// Its socket.
    pub socket: PathBuf,
}

impl SshAgent {
    /// Starts it.
    #[must_use]
    pub fn start(ssh: &Ssh) -> Self {
        let socket = ssh.path("agent");
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().expect("start");
        while !socket.exists() {
            assert!(child.try_wait().expect("look").is_none(), "the agent ended");
            std::thread::yield_now();
        }
        Self { child, socket }
    }

    /// Adds a key.
    #[must_use]
    pub fn add(&self, key: &Path) -> Ended {
        let mut command = Command::new("ssh-add");
        run(command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket))
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home directory of gpg, with an agent that ends with it.
#[derive(Debug)]
pub struct Gpg(tempfile::TempDir);

impl Gpg {
    /// Makes a home; `None` without gpg.
    #[must_use]
    pub fn new() -> Option<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        if !has("gpg", &["--version"]) || !has("gpgconf", &["--version"]) {
            return None;
        }
        let home = tempfile::tempdir().expect("make a directory");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700))
            .expect("close it to others");
        Some(Self(home))
    }

    /// Returns the directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.0.path()
    }

    /// Returns the path of a file in the home.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs gpg, without a terminal.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.0.path());
        command.args(["--batch", "--no-tty", "--yes", "--pinentry-mode", "loopback"]);
        run(command.args(arguments))
    }

    /// Makes an Ed25519 key that signs, without a passphrase, and returns its fingerprint.
    #[must_use]
    pub fn generate(&self, name: &str, expires: &str) -> String {
        let id = format!("{name} <{name}@example.org>");
        self.run(&["--passphrase", "", "--quick-generate-key", &id, "ed25519", "sign", expires]).expect(0);
        self.fingerprint(&format!("<{name}@example.org>"))
    }

    /// Returns the fingerprint of a key.
    #[must_use]
    pub fn fingerprint(&self, id: &str) -> String {
        let listed = self.run(&["--with-colons", "--list-keys", id]).expect(0).stdout;
        let line = listed.lines().find(|line| line.starts_with("fpr")).expect("a fingerprint");
        line.split(':').nth(9).expect("a field").to_owned()
    }

    /// Exports public keys as a keyring, and returns its path.
    #[must_use]
    pub fn keyring(&self, more: &[&str], keys: &[&str]) -> PathBuf {
        let path = self.path("exported");
        let arguments = [more, &["--output", path.to_str().expect("UTF-8"), "--export"], keys].concat();
        self.run(&arguments).expect(0);
        let kept = self.path(&format!("keyring-{}", keys.join("-")));
        std::fs::rename(path, &kept).expect("rename");
        kept
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).status();
    }
}
