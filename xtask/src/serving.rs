//! Runs `serve-mirror`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// A running server, stopped when dropped.
pub(crate) struct Serving {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
}

impl Serving {
    /// Serves a mirror, over TLS if a directory with `cert.pem` and `key.pem` is given.
    pub(crate) fn start(program: &Path, mirror: &Path, tls: Option<&Path>) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--mirror"]).arg(mirror);
        if let Some(tls) = tls {
            command.arg("--tls-cert").arg(tls.join("cert.pem"));
            command.arg("--tls-key").arg(tls.join("key.pem"));
        }
        Self::spawn(command)
    }

    /// Starts a server whose command line is complete, and waits until it serves.
    pub(crate) fn spawn(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting serve-mirror")?;
        let log = child.stderr.take().context("its log")?;
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let base = lines.find_map(|line| {
            let address = line.split_once("serving at ")?.1.split_whitespace().next()?.trim_end_matches('/');
            Some(address.to_owned())
        });
        // Reads its log to the end, or the server would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, base: base.context("serve-mirror ended before it served")? })
    }

    /// Waits until it has used no processor for a second: it looks through its mirror when it starts.
    pub(crate) fn wait_until_idle(&self) -> anyhow::Result<()> {
        let used = || {
            let stat =
                std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("its times")?;
            // User and system time are the 12th and 13th field behind the name.
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            Ok::<Vec<String>, anyhow::Error>(fields.skip(11).take(2).map(str::to_owned).collect())
        };
        let mut before = used()?;
        loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
            let now = used()?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    /// Returns its peak memory, MiB.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("its status")?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("its peak")? / 1024.0)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
