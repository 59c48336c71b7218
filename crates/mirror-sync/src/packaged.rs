//! The lockfiles that binary crates carry: `cargo install --locked` wants the releases that they name.
//!
//! The lockfiles are read from the packed release, in memory; nothing of a release is ever unpacked to disk.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use mirror_index::{LockSet, LockSources};
use mirror_repo::Mirror;
use mirror_types::{ReleaseId, chain};
use tokio_util::sync::CancellationToken;

use crate::error::SyncError;

/// Largest member of a release that is read, in bytes.
const MAX_MEMBER_BYTES: usize = 8 << 20;
/// Most bytes of an unpacked release that are searched.
const MAX_UNPACKED_BYTES: u64 = 512 << 20;
/// Block of a tar file, in bytes.
const BLOCK_BYTES: usize = 512;

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
        let mut decoder = GzDecoder::new(Members::of(id));
        let mut feed = |piece: &[u8]| decoder.write_all(piece).is_ok();
        let is_read = match mirror.locate(id, &held)? {
            Some(located) => mirror.read_in_pieces(id, &located, &mut feed)?,
            None => false,
        };
        if !is_read {
            packaged.unusable.push((id.clone(), "its bytes are gone or damaged".to_owned()));
            continue;
        }
        // Whatever follows the members does not matter, and neither does a damaged end of the stream.
        let _ = decoder.try_finish();
        match decoder.get_ref().lockfile() {
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

/// Takes an unpacked release and keeps two of its members.
struct Members {
    root: String,
    header: Vec<u8>,
    /// Bytes of the member and its padding that are still to come.
    left: u64,
    padding: u64,
    wanted: Option<Wanted>,
    lock: Option<Vec<u8>>,
    manifest: Vec<u8>,
    has_main: bool,
    seen_bytes: u64,
    fault: Option<String>,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Wanted {
    Lock,
    Manifest,
}

impl Members {
    fn of(id: &ReleaseId) -> Self {
        Self {
            root: format!("{}-{}/", id.name, id.version),
            header: Vec::with_capacity(BLOCK_BYTES),
            left: 0,
            padding: 0,
            wanted: None,
            lock: None,
            manifest: Vec::new(),
            has_main: false,
            seen_bytes: 0,
            fault: None,
            ended: false,
        }
    }

    /// Returns the lockfile of a release that has a binary.
    fn lockfile(&self) -> Result<Option<String>, String> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let Some(lock) = &self.lock else { return Ok(None) };
        let manifest = String::from_utf8_lossy(&self.manifest);
        let has_binary = self.has_main || manifest.lines().any(|line| line.trim() == "[[bin]]");
        if !has_binary {
            return Ok(None);
        }
        String::from_utf8(lock.clone()).map(Some).map_err(|_| "it is no text".to_owned())
    }

    fn begin_member(&mut self) {
        let header = std::mem::replace(&mut self.header, Vec::with_capacity(BLOCK_BYTES));
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        if header.iter().all(|&byte| byte == 0) {
            self.ended = true;
            return;
        }
        let Ok(size) = u64::from_str_radix(text(124..136).trim(), 8) else {
            self.fault = Some("a member has no size that can be read".to_owned());
            return;
        };
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK_BYTES as u64).saturating_sub(size);
        let prefix = text(345..500);
        let name = match header[257..262] == *b"ustar" && header[263] == b'0' && !prefix.is_empty() {
            true => format!("{prefix}/{}", text(0..100)),
            false => text(0..100),
        };
        let Some(name) = name.strip_prefix(&self.root).filter(|_| matches!(header[156], b'0' | 0)) else {
            return;
        };
        self.has_main |= name == "src/main.rs" || (name.starts_with("src/bin/") && name.ends_with(".rs"));
        self.wanted = match name {
            "Cargo.lock" => Some(Wanted::Lock),
            "Cargo.toml" => Some(Wanted::Manifest),
            _ => None,
        };
        if self.wanted.is_none() {
            return;
        }
        if size > MAX_MEMBER_BYTES as u64 {
            self.fault = Some(format!("its {name} has {size} bytes, {MAX_MEMBER_BYTES} are read"));
        }
        match self.wanted {
            Some(Wanted::Lock) => self.lock = Some(Vec::new()),
            _ => self.manifest.clear(),
        }
    }

    /// Takes bytes of a member, its padding or the next header; returns how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let n = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            match self.wanted {
                Some(Wanted::Lock) => self.lock.get_or_insert_default().extend_from_slice(&bytes[..n]),
                Some(Wanted::Manifest) => self.manifest.extend_from_slice(&bytes[..n]),
                None => {}
            }
            self.left -= n as u64;
            return n;
        }
        self.wanted = None;
        if self.padding > 0 {
            let n = bytes.len().min(usize::try_from(self.padding).unwrap_or(usize::MAX));
            self.padding -= n as u64;
            return n;
        }
        let n = bytes.len().min(BLOCK_BYTES - self.header.len());
        self.header.extend_from_slice(&bytes[..n]);
        if self.header.len() == BLOCK_BYTES {
            self.begin_member();
        }
        n
    }
}

impl Write for Members {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen_bytes += bytes.len() as u64;
        if self.seen_bytes > MAX_UNPACKED_BYTES && self.fault.is_none() {
            self.fault = Some(format!("it unpacks to more than {MAX_UNPACKED_BYTES} bytes"));
        }
        if self.fault.is_some() {
            return Err(io::Error::other("no more of it is read"));
        }
        let mut taken = 0;
        while taken < bytes.len() && !self.ended && self.fault.is_none() {
            taken += self.step(&bytes[taken..]);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a member of a tar file, in the form that Cargo writes.
    fn member(name: &str, body: &[u8]) -> Vec<u8> {
        let mut header = vec![0_u8; BLOCK_BYTES];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar  \0");
        let padding = vec![0; body.len().next_multiple_of(BLOCK_BYTES) - body.len()];
        [header, body.to_vec(), padding].concat()
    }

    fn lockfile(members: &[Vec<u8>], piece_bytes: usize) -> Result<Option<String>, String> {
        let id =
            ReleaseId { name: "tool".parse().expect("name"), version: "1.0.0".parse().expect("version") };
        let mut found = Members::of(&id);
        let tar = [members.concat(), vec![0; 2 * BLOCK_BYTES]].concat();
        for piece in tar.chunks(piece_bytes) {
            if found.write_all(piece).is_err() {
                break;
            }
        }
        found.lockfile()
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
                lockfile(&members, piece_bytes)
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
    fn hostile_members_are_bounded() {
        let mut huge = member("tool-1.0.0/Cargo.lock", b"");
        huge[124..135].copy_from_slice(b"77777777777");
        assert!(lockfile(&[huge], 512).is_err());
        let mut bad = member("tool-1.0.0/Cargo.lock", b"");
        bad[124..135].copy_from_slice(b"not a size!");
        assert!(lockfile(&[bad], 512).is_err());
        let nonsense: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
        let _ = lockfile(&[nonsense], 100);
    }
}
