//! A registry and a small disk on this machine, for runs that are looked at.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mirror_testkit::{Ask, Origin, OriginOptions, Protocol, Scale, Synthetic};

/// A registry on this machine.
pub(crate) struct Registry {
    pub(crate) origin: Origin,
    /// The index, as a plain directory.
    index: tempfile::TempDir,
}

impl Registry {
    /// Starts one whose origin delays each answer.
    pub(crate) fn start(releases: usize, mean_bytes: usize, delay_ms: u64) -> anyhow::Result<Self> {
        let scale = Scale { seed: 7, releases, crates: releases.div_ceil(8), mean_bytes };
        let registry = Arc::new(Synthetic::new(scale));
        let options = OriginOptions {
            protocol: Protocol::Http1,
            delay: Duration::from_millis(delay_ms),
            ..OriginOptions::default()
        };
        let origin = Origin::start(options, Arc::new(|_| None));
        let base = origin.base();
        origin.replace_site(registry.site(&format!("{base}/crates/{{crate}}/{{crate}}-{{version}}.crate")));
        let index = tempfile::tempdir().context("a directory for the index")?;
        registry.write_tree(index.path());
        Ok(Self { origin, index })
    }

    /// Returns the path of its index, a plain directory.
    pub(crate) fn index(&self) -> String {
        self.index.path().display().to_string()
    }

    /// Returns the address below which its releases are.
    pub(crate) fn downloads(&self) -> String {
        format!("{}/crates", self.origin.base())
    }
}

/// Returns whether a request is for a release.
pub(crate) fn is_release(ask: &Ask) -> bool {
    ask.path.starts_with("/crates/")
}

/// Returns whether a request is for one of about `n` releases: always the same ones.
pub(crate) fn is_one_in(n: u64, ask: &Ask) -> bool {
    let hash = |hash: u64, byte: u8| hash.wrapping_mul(31).wrapping_add(u64::from(byte));
    is_release(ask) && ask.path.bytes().fold(7, hash) % n == 0
}

/// Returns an address of this machine at which nothing listens.
pub(crate) fn closed_port() -> anyhow::Result<std::net::SocketAddr> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").context("a port")?;
    socket.local_addr().context("its address")
}

/// A file system of its own, in memory. Unmounted when this is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this size in MiB; `None` where that is not allowed.
    pub(crate) fn mount(at: PathBuf, size_mib: u32) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
        let size = format!("size={size_mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        Ok(mounted.is_ok_and(|output| output.status.success()).then_some(Self(at)))
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
