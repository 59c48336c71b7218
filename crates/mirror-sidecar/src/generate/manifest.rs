//! The places of releases, from a downloader's manifest, in some 40 bytes for each.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::Path;

use mirror_manifest::{HoldingRecord, ManifestReader, PRUNED};
use mirror_types::{CrateName, KEPT_FAILURES, Layout, Printable};

use super::error::GenerateError;
use super::observe::{SidecarEvent, SidecarObserver};
use super::options::{ManifestRead, Stopped};

/// The places of releases, from the last record of each that names bytes. A record of a failure does not change the
/// earlier place; a record of pruning removes it.
#[derive(Debug, Default)]
pub(super) struct Enrichment {
    /// The places, by a hash of crate and version; the value has a second hash, so that together 96 bits distinguish
    /// releases.
    releases: HashMap<u64, Packed>,
    keys: [RandomState; 2],
    texts: Interned,
}

/// The place of one release.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held<'a> {
    pub(super) storage: Option<&'a str>,
    pub(super) bundle_path: Option<&'a str>,
    pub(super) member: Member<'a>,
}

/// Its name in the bundle.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member<'a> {
    #[default]
    Unknown,
    /// Its path in the shard layout, with this between the parts.
    Own { separator: char },
    /// Anything else.
    Other(&'a str),
}

#[derive(Debug, Clone, Copy)]
struct Packed {
    check: u32,
    storage: u32,
    bundle: u32,
    member: u32,
}

/// Stands for a missing text.
const NONE: u32 = u32::MAX;
const OWN: u32 = u32::MAX - 1;
const OWN_BACKSLASHES: u32 = u32::MAX - 2;

/// Texts that many records share.
#[derive(Debug, Default)]
struct Interned {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Interned {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(NONE).min(OWN_BACKSLASHES - 1);
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    fn text(&self, number: u32) -> Option<&str> {
        self.texts.get(number as usize).map(|text| &**text)
    }
}

impl Enrichment {
    /// Reads a manifest. Leaves out a last line without its newline: the run that writes it may still be running.
    pub(super) fn read(
        path: &Path,
        is_stopped: &Stopped<'_>,
        observer: &dyn SidecarObserver,
    ) -> Result<(Self, ManifestRead), GenerateError> {
        const LOOK_EVERY: u64 = 4_096;
        let fail = |source| GenerateError::Read { what: "the manifest", path: path.to_owned(), source };
        let mut reader = ManifestReader::open(path, 0).map_err(fail)?;
        let (mut all, mut read) = (Self::default(), ManifestRead::default());
        while let Some(line) = reader.next_line().map_err(fail)? {
            if line.number % LOOK_EVERY == 0 && is_stopped() {
                break;
            }
            if line.is_blank() {
                continue;
            }
            match line.holding() {
                Ok(record) => {
                    read.records += 1;
                    all.take(&record);
                }
                Err(error) => {
                    read.bad_lines += 1;
                    if read.first_bad_lines.len() < KEPT_FAILURES {
                        let reason = error.to_string();
                        read.first_bad_lines.push(format!("line {}: {}", line.number, Printable(&reason)));
                    }
                }
            }
        }
        if reader.is_torn() {
            read.torn = true;
            observer.event(SidecarEvent::ManifestTorn(path));
        }
        read.releases = all.releases.len() as u64;
        all.texts.numbers = HashMap::new();
        let ManifestRead { records, releases, .. } = read;
        observer.event(SidecarEvent::ManifestRead { manifest: path, records, releases });
        Ok((all, read))
    }

    fn key(&self, name: &str, version: &str) -> (u64, u32) {
        let [first, second] = &self.keys;
        let check = second.hash_one((name, version));
        #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of it")]
        (first.hash_one((name, version)), check as u32)
    }

    fn take(&mut self, record: &HoldingRecord<'_>) {
        let Some((name, version)) = record.release() else { return };
        let (key, check) = self.key(&name, &version);
        if record.status == PRUNED {
            self.releases.remove(&key);
            return;
        }
        if !record.ok {
            return;
        }
        let mut number = |text: Option<&str>| text.map_or(NONE, |text| self.texts.number(text));
        let storage = number(record.storage());
        let bundle = number(record.bundle_path());
        let member = match record.bundle_member() {
            None => NONE,
            Some(member) if is_own(member, '/', &name, &version) => OWN,
            Some(member) if is_own(member, '\\', &name, &version) => OWN_BACKSLASHES,
            other => number(other),
        };
        self.releases.insert(key, Packed { check, storage, bundle, member });
    }

    /// Returns where a release is held; `None` when the manifest has no place.
    pub(super) fn held(&self, name: &str, version: &str) -> Option<Held<'_>> {
        let (key, check) = self.key(name, version);
        let packed = self.releases.get(&key).filter(|packed| packed.check == check)?;
        let member = match packed.member {
            NONE => Member::Unknown,
            OWN => Member::Own { separator: '/' },
            OWN_BACKSLASHES => Member::Own { separator: '\\' },
            number => self.texts.text(number).map_or(Member::Unknown, Member::Other),
        };
        let text = |number| self.texts.text(number);
        Some(Held { storage: text(packed.storage), bundle_path: text(packed.bundle), member })
    }
}

/// Returns whether a member has the file name of the release in the shard layout.
fn is_own(member: &str, separator: char, name: &str, version: &str) -> bool {
    let Ok(name) = CrateName::new(name) else { return false };
    let (dir, file) = (Layout::Shard.dir(&name), format!("{name}-{version}.crate"));
    dir.split('/').chain([&*file]).eq(member.split(separator))
}
