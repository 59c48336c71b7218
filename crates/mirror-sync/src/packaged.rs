//! The lockfiles that binary crates carry: `cargo install --locked` wants the releases that they name.
//!
//! The lockfiles are read from the packed release, in memory; nothing of a release is ever unpacked to disk.

use mirror_index::{LockSet, LockSources};
use mirror_repo::Mirror;
use mirror_types::{ReleaseId, chain};
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;
use crate::package::{Package, Wanted};

/// Largest lockfile or manifest that is read, bytes.
const MAX_FILE_BYTES: u64 = 8 << 20;
const LOCK_AND_MANIFEST: &[Wanted] = &[
    Wanted { path: "Cargo.lock", max_bytes: MAX_FILE_BYTES },
    Wanted { path: "Cargo.toml", max_bytes: MAX_FILE_BYTES },
];

/// The releases that the lockfiles inside of releases name.
#[derive(Debug, Default)]
pub(crate) struct Packaged {
    pub(crate) set: LockSet,
    /// Lockfiles that were read.
    pub(crate) read: u64,
    /// Those that could not be used, with the reason.
    pub(crate) unusable: Vec<(ReleaseId, String)>,
}

/// Reads the lockfiles of those releases that are held and have a binary. Blocks. Memory: the manifest and the lockfile
/// of one release at a time, and what the lockfiles name.
pub(crate) fn read(
    mirror: &Mirror,
    releases: &[ReleaseId],
    sources: &LockSources,
    cancel: &CancellationToken,
) -> Result<Packaged, SyncError> {
    let mut packaged = Packaged::default();
    for id in releases {
        if cancel.is_cancelled() {
            break;
        }
        let Some(held) = mirror.ask(|catalogue| Ok(catalogue.held_release(id)?))? else { continue };
        let mut package = package_of(id);
        let mut feed = |piece: &[u8]| package.feed(piece);
        let is_read = match mirror.locate(id, &held)? {
            Some(located) => mirror.read_in_pieces(id, &located, &mut feed)?,
            None => false,
        };
        if !is_read {
            packaged.unusable.push((id.clone(), "its bytes are gone or damaged".to_owned()));
            continue;
        }
        match lockfile(package) {
            Ok(None) => {}
            Ok(Some(text)) => match packaged.take(id, text, sources) {
                Ok(()) => packaged.read += 1,
                Err(why) => packaged.unusable.push((id.clone(), why)),
            },
            Err(why) => packaged.unusable.push((id.clone(), why)),
        }
    }
    Ok(packaged)
}

impl Packaged {
    fn take(&mut self, id: &ReleaseId, text: String, sources: &LockSources) -> Result<(), String> {
        let label = format!("Cargo.lock of {id}");
        let set = LockSet::parse(&[(label.clone(), text)], sources).map_err(|error| chain(&error))?;
        self.set.merge(&label, set).map_err(|error| chain(&error))
    }
}

fn package_of(id: &ReleaseId) -> Package {
    let is_binary =
        |path: &str| path == "src/main.rs" || (path.starts_with("src/bin/") && path.ends_with(".rs"));
    Package::new(id, LOCK_AND_MANIFEST, is_binary, false)
}

/// Returns the lockfile of a release that has a binary.
fn lockfile(package: Package) -> Result<Option<String>, String> {
    // What is no archive has no lockfile, either.
    let found = package.finish()?;
    let [lock, manifest] = found.files.try_into().unwrap_or_default();
    let Some(lock): Option<Vec<u8>> = lock else { return Ok(None) };
    let manifest: Vec<u8> = manifest.unwrap_or_default();
    let manifest = String::from_utf8_lossy(&manifest);
    if !found.noticed && !manifest.lines().any(|line| line.trim() == "[[bin]]") {
        return Ok(None);
    }
    String::from_utf8(lock).map(Some).map_err(|_| "it is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tests::{member, packed};

    fn found(members: &[Vec<u8>], piece_bytes: usize) -> Result<Option<String>, String> {
        let id =
            ReleaseId { name: "tool".parse().expect("name"), version: "1.0.0".parse().expect("version") };
        let mut package = package_of(&id);
        for piece in packed(members).chunks(piece_bytes) {
            if !package.feed(piece) {
                break;
            }
        }
        lockfile(package)
    }

    #[test]
    fn the_lockfile_of_a_binary_is_read_however_it_is_cut() {
        let lock = member("tool-1.0.0/Cargo.lock", b"version = 4\n");
        let main = member("tool-1.0.0/src/main.rs", &[b'x'; 700]);
        let library = member("tool-1.0.0/src/lib.rs", b"");
        let named = member("tool-1.0.0/Cargo.toml", b"[package]\n[[bin]]\nname = \"tool\"\n");
        let elsewhere = member("other-1.0.0/Cargo.lock", b"wrong");
        for piece_bytes in [1, 7, 512, 1000, 1 << 20] {
            let found = |members: &[&Vec<u8>]| {
                let members: Vec<_> = members.iter().map(|member| (*member).clone()).collect();
                found(&members, piece_bytes)
            };
            let text = Ok(Some("version = 4\n".to_owned()));
            assert_eq!(found(&[&lock, &main, &elsewhere]), text);
            assert_eq!(found(&[&elsewhere, &main, &lock]), text);
            assert_eq!(found(&[&named, &lock]), text);
            assert_eq!(found(&[&lock, &library]), Ok(None), "a library's own lockfile binds nobody");
            assert_eq!(found(&[&main]), Ok(None));
            assert_eq!(found(&[]), Ok(None));
        }
    }

    #[test]
    fn a_lockfile_that_cannot_be_read_is_no_missing_one() {
        let mut huge = member("tool-1.0.0/Cargo.lock", b"");
        huge[124..135].copy_from_slice(b"77777777777");
        assert!(found(&[huge], 512).is_err());
        let mut bad = member("tool-1.0.0/Cargo.lock", b"");
        bad[124..135].copy_from_slice(b"not a size!");
        assert!(found(&[bad], 512).is_err());
        let cut = member("tool-1.0.0/Cargo.lock", &[b'#'; 4096])[..1024].to_vec();
        assert!(found(&[cut], 512).is_err());
    }
}
