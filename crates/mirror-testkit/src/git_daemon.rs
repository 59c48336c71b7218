//! The real `git daemon`, behind a listener that can cut and stall its answers.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use crate::listener::{Listener, Traffic};

/// The behaviour of a [`GitDaemon`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GitFault {
    /// No fault.
    #[default]
    None,
    /// The connection ends after this many bytes of the answer.
    Cut(u64),
    /// Nothing more comes after this many bytes; the connection stays.
    Stall(u64),
}

#[derive(Default)]
struct Faults {
    fault: Mutex<GitFault>,
    /// Connections that still get the fault.
    left: AtomicU64,
}

/// Serves the repositories below a directory, by `git daemon --inetd` for each connection. Stopped when
/// dropped.
pub struct GitDaemon {
    faults: Arc<Faults>,
    listener: Listener,
}

impl GitDaemon {
    /// Serves the repositories below `root`.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    #[must_use]
    pub fn start(root: &Path) -> Self {
        let faults = Arc::new(Faults::default());
        let (shared, root) = (Arc::clone(&faults), root.to_owned());
        let listener = Listener::start(move |client, traffic| serve(client, &shared, traffic, &root));
        Self { faults, listener }
    }

    /// Returns the address of a repository below the root.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("git://{}/{name}", self.listener.addr())
    }

    /// Answers the next `connections` connections with this fault.
    ///
    /// # Panics
    /// When another thread panicked.
    pub fn misbehave(&self, fault: GitFault, connections: u64) {
        *self.faults.fault.lock().expect("lock") = fault;
        self.faults.left.store(connections, SeqCst);
    }

    /// Returns the bytes of answers sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.listener.sent()
    }

    /// Returns the number of connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.listener.connections()
    }
}

fn serve(client: &TcpStream, faults: &Faults, traffic: &Traffic, root: &Path) {
    let left = faults.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
    let fault = if left.is_ok() { *faults.fault.lock().expect("lock") } else { GitFault::None };
    let _ = client.set_nodelay(true);
    let mut child = Command::new("git")
        .args(["-c", "uploadpack.allowFilter=true", "-c", "safe.directory=*"])
        .args(["daemon", "--inetd", "--export-all", "--informative-errors"])
        .arg(format!("--base-path={}", root.display()))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git runs");
    let (gone, leaving) = channel::<()>();
    let mut asked = child.stdin.take().expect("piped");
    let mut asking = client.try_clone().expect("a second handle");
    let requests = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = asking.read(&mut chunk) {
            if asked.write_all(&chunk[..n]).is_err() {
                break;
            }
        }
        drop((asked, gone));
    });
    answer(client, &mut child, fault, traffic, &leaving);
    let _ = client.shutdown(Shutdown::Both);
    let _ = child.kill();
    let _ = child.wait();
    let _ = requests.join();
}

/// Passes on the output of the child, as far as the fault allows.
fn answer(
    mut client: &TcpStream,
    child: &mut Child,
    fault: GitFault,
    traffic: &Traffic,
    leaving: &Receiver<()>,
) {
    let mut from = child.stdout.take().expect("piped");
    let limit = match fault {
        GitFault::None => u64::MAX,
        GitFault::Cut(limit) | GitFault::Stall(limit) => limit,
    };
    let (mut passed, mut chunk) = (0, vec![0; 16 << 10]);
    while passed < limit {
        let Ok(n @ 1..) = from.read(&mut chunk) else { return };
        let n = n.min(usize::try_from(limit - passed).unwrap_or(usize::MAX));
        if client.write_all(&chunk[..n]).is_err() {
            return;
        }
        passed += n as u64;
        traffic.sent.fetch_add(n as u64, SeqCst);
    }
    if let GitFault::Stall(_) = fault {
        // Waits until the client closes the connection.
        let _ = leaving.recv();
    }
}
