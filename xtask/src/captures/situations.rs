//! The situations in which runs fail.

use std::any::Any;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mirror_testkit::Fault;

use crate::local::{Registry, SmallDisk, closed_port, is_release};

/// A situation, and what a run says in it.
pub(super) struct Situation {
    pub(super) name: &'static str,
    /// The flags of the run, but for the mirror.
    pub(super) arguments: Vec<String>,
    /// The mirror; removed after each run.
    pub(super) out: PathBuf,
    pub(super) code: i32,
    /// What every form says, whatever its lines.
    pub(super) says: &'static [&'static str],
    /// What it needs as long as it lasts.
    _needs: Box<dyn Any>,
}

/// Retries that make nobody wait.
const QUICK: [&str; 4] = ["--retries", "1", "--retry-base", "10ms"];

fn arguments(registry: &Registry, base: &str, more: &[&str]) -> Vec<String> {
    let index = registry.index();
    let all = ["--index-dir", &index, "--crates-base-url", base];
    all.iter().chain(&QUICK).chain(more).map(|word| (*word).to_owned()).collect()
}

/// Sets all situations up.
pub(super) fn all(dir: &Path) -> anyhow::Result<Vec<Situation>> {
    let mut all = vec![wrong_bytes(dir)?, origin_down(dir)?, wrong_base(dir)?, no_index(dir)?];
    match disk_full(dir)? {
        Some(situation) => all.push(situation),
        None => println!("disk nearly full: skipped, no file system can be mounted here"),
    }
    Ok(all)
}

fn wrong_bytes(dir: &Path) -> anyhow::Result<Situation> {
    let registry = Registry::start(400, 2_000, 2)?;
    registry.origin.script(|ask| if is_release(ask) { Fault::WrongBytes } else { Fault::None });
    Ok(Situation {
        name: "all checksums wrong",
        arguments: arguments(&registry, &registry.downloads(), &[]),
        out: dir.join("mirror"),
        code: 5,
        says: &["every file has another checksum than the index lists"],
        _needs: Box::new(registry),
    })
}

fn origin_down(dir: &Path) -> anyhow::Result<Situation> {
    let registry = Registry::start(400, 2_000, 0)?;
    let base = format!("http://{}/crates", closed_port()?);
    Ok(Situation {
        name: "origin down",
        arguments: arguments(&registry, &base, &[]),
        out: dir.join("mirror"),
        code: 5,
        says: &["Connection refused"],
        _needs: Box::new(registry),
    })
}

fn wrong_base(dir: &Path) -> anyhow::Result<Situation> {
    let registry = Registry::start(400, 2_000, 2)?;
    let base = format!("{}/elsewhere", registry.origin.base());
    Ok(Situation {
        name: "wrong base address",
        arguments: arguments(&registry, &base, &[]),
        out: dir.join("mirror"),
        code: 5,
        says: &[
            "the origin answers every request with 404",
            "the base address of the downloads is probably wrong",
        ],
        _needs: Box::new(registry),
    })
}

fn no_index(dir: &Path) -> anyhow::Result<Situation> {
    let empty = tempfile::tempdir_in(dir).context("an empty directory")?;
    let index = empty.path().display().to_string();
    Ok(Situation {
        name: "no index there",
        arguments: vec!["--index-dir".to_owned(), index],
        out: dir.join("mirror"),
        code: 2,
        says: &["holds no crate", "hint: --index-dir says where the index is"],
        _needs: Box::new(empty),
    })
}

fn disk_full(dir: &Path) -> anyhow::Result<Option<Situation>> {
    let Some(small) = SmallDisk::mount(dir.join("small"), 8)? else { return Ok(None) };
    let registry = Registry::start(1_000, 20_000, 1)?;
    Ok(Some(Situation {
        name: "disk nearly full",
        arguments: arguments(&registry, &registry.downloads(), &[]),
        out: small.path().join("mirror"),
        code: 6,
        says: &["the disk is full; free space", "No space left on device"],
        _needs: Box::new((registry, small)),
    }))
}

/// Sets up a run most of whose releases fail, of several kinds, and some do not: it goes on to its end.
pub(super) fn many_failures(failing: usize, dir: &Path) -> anyhow::Result<Situation> {
    // One of ten arrives.
    let registry = Registry::start(failing / 9 * 10, 200, 0)?;
    // A release that fails fails each time.
    registry.origin.script(|ask| match ask.path.bytes().map(u64::from).sum::<u64>() % 10 {
        _ if !is_release(ask) => Fault::None,
        0 => Fault::None,
        1..5 => Fault::WrongBytes,
        5..8 => Fault::Status(404),
        _ => Fault::Status(403),
    });
    Ok(Situation {
        name: "many failing releases",
        arguments: arguments(&registry, &registry.downloads(), &[]),
        out: dir.join("mirror"),
        code: 3,
        says: &["wrong_hash", "http_status"],
        _needs: Box::new(registry),
    })
}
