//! Chosen files of a packed release, read in memory: nothing of a release is ever unpacked to disk.
//!
//! A release is a tar file that gzip compressed. Anyone may have made it, so everything is bounded: the file that is
//! read, what it is unpacked to, and the names. Format: POSIX `ustar` and PAX, and the long names of GNU tar, which Cargo
//! writes.

use std::io::{self, Write};

use flate2::write::GzDecoder;
use mirror_manifest::StatedLicence;
use mirror_types::{Printable, ReleaseId};
use serde::Deserialize;

/// Most bytes of an unpacked release that are searched.
const MAX_UNPACKED_BYTES: u64 = 512 << 20;
/// Largest `Cargo.toml` that is read for its licence, bytes: parsed, it needs several times as much.
const MAX_MANIFEST_BYTES: u64 = 2 << 20;
/// Largest record of a long name, bytes.
const MAX_NAME_BYTES: u64 = 64 << 10;
/// Longest reason that is kept, in characters: it may quote the file.
const MAX_REASON_CHARS: usize = 200;
/// Block of a tar file, in bytes.
const BLOCK_BYTES: usize = 512;

/// A file to be kept, by its path below the root of the release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) path: &'static str,
    /// A larger one is a fault.
    pub(crate) max_bytes: u64,
}

/// The result of searching a release.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The wanted files, in the order in which they were asked for.
    pub(crate) files: Vec<Option<Vec<u8>>>,
    /// True if a file was noticed.
    pub(crate) noticed: bool,
    /// The reason for which the rest was not searched.
    pub(crate) damage: Option<String>,
}

/// Unpacks a release piece by piece, and keeps the wanted files.
pub(crate) struct Package {
    decoder: GzDecoder<Members>,
    broken: Option<String>,
}

impl Package {
    /// Searches a release for `wanted`, and for any file whose path `notices` accepts. `stops`: unpacks no more once all
    /// wanted files were found.
    pub(crate) fn new(
        id: &ReleaseId,
        wanted: &'static [Wanted],
        notices: fn(&str) -> bool,
        stops: bool,
    ) -> Self {
        Self { decoder: GzDecoder::new(Members::new(id, wanted, notices, stops)), broken: None }
    }

    /// Takes the next piece of the packed release; returns whether more of it is needed.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> bool {
        if let Err(error) = self.decoder.write_all(piece) {
            self.broken.get_or_insert_with(|| error.to_string());
            return false;
        }
        true
    }

    /// Returns what was found.
    ///
    /// # Errors
    /// The reason for which a wanted file cannot be read, or the release is not searched.
    pub(crate) fn finish(mut self) -> Result<Found, String> {
        // Whatever follows the members does not matter, and neither does a damaged end of the stream.
        let finished = self.decoder.try_finish();
        let members = self.decoder.get_mut();
        if let Some(fault) = members.fault.take() {
            return Err(fault);
        }
        if !members.is_done {
            let broken = self.broken.take().or(finished.err().map(|error| error.to_string()));
            let damage = match broken {
                Some(broken) => Some(format!("the release cannot be unpacked: {broken}")),
                None => members.is_inside().then(|| "the release ends too early".to_owned()),
            };
            if let (Use::Kept(_), Some(damage)) = (members.purpose, &damage) {
                return Err(damage.clone());
            }
            members.found.damage = damage;
        }
        Ok(std::mem::take(&mut members.found))
    }
}

/// Reads the licence that a release states in its `Cargo.toml`; `read` passes the pieces of the packed release on until
/// it is told to stop. Blocks if `read` does. Memory: the file, parsed.
///
/// # Errors
/// Those of `read`.
pub(crate) fn licence_of<E>(
    id: &ReleaseId,
    read: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> Result<(), E>,
) -> Result<StatedLicence, E> {
    const MANIFEST: &[Wanted] = &[Wanted { path: "Cargo.toml", max_bytes: MAX_MANIFEST_BYTES }];
    let mut package = Package::new(id, MANIFEST, |_| false, true);
    read(&mut |piece| package.feed(piece))?;
    let found = package.finish().and_then(|mut found| {
        let missing = || found.damage.unwrap_or_else(|| "the release has none".to_owned());
        let text = found.files.pop().flatten().ok_or_else(missing)?;
        stated(&text)
    });
    Ok(found.unwrap_or_else(|reason| {
        let reason = reason.lines().next().unwrap_or_default();
        StatedLicence::Unreadable(Printable(reason).to_string().chars().take(MAX_REASON_CHARS).collect())
    }))
}

/// Returns the licence in the text of a `Cargo.toml`.
fn stated(text: &[u8]) -> Result<StatedLicence, String> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(alias = "project")]
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        license: Option<String>,
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    let manifest: Manifest = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let licence = manifest.package.license.filter(|licence| !licence.trim().is_empty());
    Ok(licence.map_or(StatedLicence::Missing, StatedLicence::Text))
}

/// The use of the member whose bytes come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Skipped,
    /// It is kept as the wanted file with this number.
    Kept(usize),
    /// It is the name of the member behind it, in the form of GNU tar.
    LongName,
    /// It has records about the member behind it, in the form of PAX.
    Records,
}

/// Takes an unpacked release, and keeps the wanted files.
struct Members {
    root: String,
    wanted: &'static [Wanted],
    notices: fn(&str) -> bool,
    stops: bool,
    header: Vec<u8>,
    /// Bytes of the member and its padding that are still to come.
    left: u64,
    padding: u64,
    purpose: Use,
    /// The bytes of the member so far, unless they are skipped.
    body: Vec<u8>,
    /// Name and size of the next member, where a member before it states them.
    next_name: Option<Vec<u8>>,
    next_size: Option<u64>,
    found: Found,
    seen_bytes: u64,
    fault: Option<String>,
    /// True if the rest does not matter.
    is_done: bool,
}

impl Members {
    fn new(id: &ReleaseId, wanted: &'static [Wanted], notices: fn(&str) -> bool, stops: bool) -> Self {
        Self {
            root: format!("{}-{}/", id.name, id.version),
            wanted,
            notices,
            stops,
            header: Vec::with_capacity(BLOCK_BYTES),
            left: 0,
            padding: 0,
            purpose: Use::Skipped,
            body: Vec::new(),
            next_name: None,
            next_size: None,
            found: Found { files: vec![None; wanted.len()], noticed: false, damage: None },
            seen_bytes: 0,
            fault: None,
            is_done: false,
        }
    }

    /// Returns whether the bytes so far end inside a member or a header, or before the first.
    fn is_inside(&self) -> bool {
        self.left > 0 || !self.header.is_empty() || self.seen_bytes == 0
    }

    fn begin_member(&mut self) {
        let header = std::mem::replace(&mut self.header, Vec::with_capacity(BLOCK_BYTES));
        if header.iter().all(|&byte| byte == 0) {
            self.is_done = true;
            return;
        }
        let field = |range: std::ops::Range<usize>| until_zero(&header[range]);
        let digits = String::from_utf8_lossy(field(124..136));
        let stated = u64::from_str_radix(digits.trim(), 8).ok();
        let kind = header[156];
        // Records are about the next member that is none of them.
        let describes = matches!(kind, b'L' | b'K' | b'x' | b'g');
        let size = if describes { stated } else { self.next_size.take().or(stated) };
        let Some(size) = size else {
            self.fault = Some("a member has no size that can be read".to_owned());
            return;
        };
        self.left = size;
        // The next multiple of a block may be more than a number can be.
        self.padding = size.wrapping_neg() % BLOCK_BYTES as u64;
        self.body.clear();
        let is_ustar = header[257..262] == *b"ustar" && header[263] == b'0';
        self.purpose = match kind {
            b'L' => Use::LongName,
            b'x' => Use::Records,
            b'K' | b'g' => Use::Skipped,
            _ => {
                let prefix = if is_ustar { field(345..500) } else { &[] };
                let short = match prefix {
                    [] => field(0..100).to_vec(),
                    prefix => [prefix, b"/", field(0..100)].concat(),
                };
                let name = self.next_name.take().unwrap_or(short);
                self.use_of_file(matches!(kind, b'0' | 0), &String::from_utf8_lossy(&name), size)
            }
        };
        if matches!(self.purpose, Use::LongName | Use::Records) && size > MAX_NAME_BYTES {
            self.fault = Some(format!("a name has {size} bytes, {MAX_NAME_BYTES} are read"));
        }
        if self.left == 0 {
            self.end_member();
        }
    }

    fn use_of_file(&mut self, is_file: bool, name: &str, size: u64) -> Use {
        let Some(name) = name.strip_prefix(&self.root).filter(|_| is_file) else { return Use::Skipped };
        self.found.noticed |= (self.notices)(name);
        let Some(which) = self.wanted.iter().position(|wanted| wanted.path == name) else {
            return Use::Skipped;
        };
        let Wanted { path, max_bytes } = self.wanted[which];
        if size > max_bytes {
            self.fault = Some(format!("{path} has {size} bytes, {max_bytes} are read"));
        }
        Use::Kept(which)
    }

    /// Puts a whole member to its use.
    fn end_member(&mut self) {
        match std::mem::replace(&mut self.purpose, Use::Skipped) {
            Use::Skipped => {}
            Use::LongName => self.next_name = Some(until_zero(&self.body).to_vec()),
            Use::Records => self.take_records(),
            Use::Kept(which) => {
                self.found.files[which] = Some(std::mem::take(&mut self.body));
                self.is_done = self.stops && self.found.files.iter().all(Option::is_some);
            }
        }
    }

    fn take_records(&mut self) {
        for record in mirror_tar::records(&self.body) {
            let Ok((key, value)) = record else {
                self.fault = Some("records about a member cannot be read".to_owned());
                return;
            };
            match key {
                b"path" => self.next_name = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    if size.is_none() {
                        self.fault = Some("a member has no size that can be read".to_owned());
                    }
                    self.next_size = size;
                }
                _ => {}
            }
        }
    }

    /// Takes bytes of a member, its padding or the next header; returns how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let n = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            if self.purpose != Use::Skipped {
                self.body.extend_from_slice(&bytes[..n]);
            }
            self.left -= n as u64;
            if self.left == 0 {
                self.end_member();
            }
            return n;
        }
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

/// Returns the bytes of a field before its first zero.
fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

impl Write for Members {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen_bytes += bytes.len() as u64;
        if self.seen_bytes > MAX_UNPACKED_BYTES && self.fault.is_none() && !self.is_done {
            self.fault = Some(format!("the release unpacks to more than {MAX_UNPACKED_BYTES} bytes"));
        }
        let mut taken = 0;
        while taken < bytes.len() && !self.is_done && self.fault.is_none() {
            taken += self.step(&bytes[taken..]);
        }
        if self.is_done || self.fault.is_some() {
            return Err(io::Error::other("no more of it is read"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
