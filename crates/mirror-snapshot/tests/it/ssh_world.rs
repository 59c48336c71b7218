//! Keys, signatures and an agent of OpenSSH.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mirror_testkit::{Ended, has, run};

/// The identity of all keys in [`Ssh::allowed`].
pub(crate) const IDENTITY: &str = "mirror@example.org";

/// A directory of keys.
pub(crate) struct Ssh(tempfile::TempDir);

impl Ssh {
    /// Makes a directory; `None` without OpenSSH.
    pub(crate) fn new() -> Option<Self> {
        has("ssh", &["-V"]).then(|| Self(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Generates a key: `NAME` and `NAME.pub`. The kind has its bits behind a space.
    pub(crate) fn generate(&self, name: &str, kind: &str, passphrase: &str) -> PathBuf {
        let mut command = Command::new("ssh-keygen");
        let (kind, bits) = kind.split_once(' ').map_or((kind, None), |(kind, bits)| (kind, Some(bits)));
        command.args(["-q", "-t", kind, "-N", passphrase, "-C", name, "-f"]).arg(self.path(name));
        command.args(bits.map(|bits| ["-b", bits]).iter().flatten());
        run(&mut command).expect(0);
        self.path(name)
    }

    pub(crate) fn public(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap()
    }

    /// Returns a list of allowed signers: these keys, with these options in front of each.
    pub(crate) fn allowed(&self, options: &str, names: &[&str]) -> String {
        names.iter().map(|name| format!("{IDENTITY} {options} {}", self.public(name))).collect()
    }

    /// Signs as `docs/snapshot.md` says, and returns the armored signature.
    pub(crate) fn sign(&self, key: &str, namespace: &str, document: &[u8]) -> Vec<u8> {
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "sign", "-n", namespace, "-f"]).arg(self.path(key));
        let ended = with_input(&mut command, document);
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        ended.stdout
    }

    /// Verifies as `docs/snapshot.md` says; returns whether ssh-keygen accepts the signature.
    pub(crate) fn verify(&self, allowed: &str, more: &[&str], signature: &[u8], document: &[u8]) -> bool {
        self.put("allowed_signers", allowed);
        self.put("signature", signature);
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "verify", "-n", "mirror-snapshot", "-I", IDENTITY, "-f"]);
        command.arg(self.path("allowed_signers")).arg("-s").arg(self.path("signature")).args(more);
        with_input(&mut command, document).status.success()
    }
}

fn with_input(command: &mut Command, input: &[u8]) -> std::process::Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A running agent, which ends with the test.
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Agent {
    pub(crate) fn start(ssh: &Ssh) -> Self {
        let socket = ssh.path("agent");
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        while !socket.exists() {
            assert!(child.try_wait().unwrap().is_none(), "the agent ended");
            std::thread::yield_now();
        }
        Self { child, socket }
    }

    pub(crate) fn add(&self, key: &Path) -> Ended {
        let mut command = Command::new("ssh-add");
        run(command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
