//! The state that a run saves for the next one, each value under a key of its own in the table `state`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirror_types::Sha256;
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use serde::{Deserialize, Serialize};

use super::database::Catalogue;
use crate::error::{ManifestError, at};
use crate::record::rfc3339;

const CURSOR: &str = "index_cursor";
const MANIFEST_LEN: &str = "manifest_len";
const MANIFEST_IDENTITY: &str = "manifest_identity";
const BUNDLES_DIR: &str = "bundles_dir";
const BUNDLE_MANIFESTS: &str = "bundle_manifests";
const BUNDLES_IDENTITY: &str = "bundles_identity";
const SCANNED_MIRROR: &str = "swept_place";
const DOWNLOAD_RATE: &str = "files_per_sec";
const LAST_RUN: &str = "last_run";
const POLICY: &str = "policy";
const ADVISORIES_OF: &str = "advisories_of";
/// Present while a policy that is in force has not judged everything that this catalogue was made with.
const UNJUDGED: &str = "unjudged";
/// The file beside a catalogue that says that a policy is in force. It survives the catalogue.
const POLICY_IN_FORCE: &str = "policy-in-force";
/// The prefix of the number of a source.
const SOURCE: &str = "index_source_";

/// The version of the cursor that this version reads and writes.
const CURSOR_FORMAT: u32 = 2;

/// The progress of a mirror through its index: the tree that a whole run read, and what was selected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexCursor {
    /// The id of the tree.
    pub tree: String,
    /// The selection as a text: another selection invalidates the cursor.
    pub selection: String,
    /// Releases that were selected.
    pub selected: u64,
    /// Releases that were left out because they are yanked.
    pub yanked_skipped: u64,
    /// Index files that had bad lines.
    pub bad_files: BTreeSet<String>,
}

/// The cursor in its stored form.
#[derive(Serialize, Deserialize)]
struct StoredCursor {
    format_version: u32,
    tree: String,
    selection: String,
    totals: StoredTotals,
    bad_files: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredTotals {
    selected: u64,
    yanked_skipped: u64,
}

/// Distinguishes the bundles of a mirror from those of another one: a bundle, and its first member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlesIdentity {
    /// The number of the bundle.
    pub bundle: u32,
    /// The name of its first member.
    pub member: String,
    /// The checksum of that member's bytes.
    pub sha256: Sha256,
}

impl fmt::Display for BundlesIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.bundle, self.member, self.sha256)
    }
}

impl BundlesIdentity {
    fn parse(text: &str) -> Option<Self> {
        let (bundle, rest) = text.split_once(' ')?;
        let (member, sha256) = rest.rsplit_once(' ')?;
        Some(Self { bundle: bundle.parse().ok()?, member: member.to_owned(), sha256: sha256.parse().ok()? })
    }
}

impl Catalogue {
    /// Returns how far the mirror has come with its index, as its last whole run saved it. It is gone as soon as
    /// something changes that a later run could not find by comparing trees; an unreadable one counts as gone.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn cursor(&self) -> Result<Option<IndexCursor>, ManifestError> {
        let text = self.recall(CURSOR)?;
        let stored = text.and_then(|text| serde_json::from_str::<StoredCursor>(&text).ok());
        Ok(stored.filter(|stored| stored.format_version == CURSOR_FORMAT).map(|stored| IndexCursor {
            tree: stored.tree,
            selection: stored.selection,
            selected: stored.totals.selected,
            yanked_skipped: stored.totals.yanked_skipped,
            bad_files: stored.bad_files,
        }))
    }

    /// Saves how far the mirror has come with its index.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_cursor(&mut self, cursor: &IndexCursor) -> Result<(), ManifestError> {
        let IndexCursor { tree, selection, selected, yanked_skipped, bad_files } = cursor.clone();
        let totals = StoredTotals { selected, yanked_skipped };
        let stored = StoredCursor { format_version: CURSOR_FORMAT, tree, selection, totals, bad_files };
        let text = self.to_json(&stored)?;
        self.remember(CURSOR, &text)
    }

    /// Notes beside the catalogue whether a policy is in force, durable on return. While the note is there, a catalogue
    /// that is made anew offers nothing before a policy has judged it. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_policy_in_force(&self, is_in_force: bool) -> Result<(), ManifestError> {
        const TEXT: &[u8] = b"A policy decides what this mirror offers. Only a run removes this file.\n";
        let Some(dir) = self.path.parent() else { return Ok(()) };
        if is_policy_in_force(&self.path) == is_in_force {
            return Ok(());
        }
        let note = dir.join(POLICY_IN_FORCE);
        let write = || {
            match is_in_force {
                true => mirror_fs::replace(&note, &dir.join(format!("{POLICY_IN_FORCE}.unfinished")), TEXT)?,
                false => mirror_fs::remove(&note)?,
            }
            mirror_fs::sync_dir(dir)
        };
        write().map_err(at("note the policy beside", &note))
    }

    /// Returns whether a policy that is in force has not judged everything that this catalogue was made with.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn is_unjudged(&self) -> Result<bool, ManifestError> {
        let query = || {
            let exists = "SELECT EXISTS (SELECT 1 FROM state WHERE key = ?1)";
            self.db.prepare_cached(exists)?.query_row([UNJUDGED], |row| row.get(0))
        };
        query().map_err(self.fail("read the state of"))
    }

    /// Refuses to tell what is offered while that is not judged.
    pub(super) fn check_judged(&self) -> Result<(), ManifestError> {
        if self.is_unjudged()? { Err(ManifestError::Unjudged { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Returns the number of bytes of the manifest that the catalogue covers.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn manifest_len(&self) -> Result<u64, ManifestError> {
        let text = self.recall(MANIFEST_LEN)?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// Returns the identity of the manifest that was replayed.
    pub(super) fn manifest_identity(&self) -> Result<Option<String>, ManifestError> {
        self.recall(MANIFEST_IDENTITY)
    }

    pub(super) fn set_manifest_identity(&mut self, identity: &str) -> Result<(), ManifestError> {
        self.keep(MANIFEST_IDENTITY, identity)
    }

    /// Returns the directory of the bundles in the last run that wrote some. Earlier versions recorded it only here.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn bundles_dir(&self) -> Result<Option<PathBuf>, ManifestError> {
        Ok(self.recall(BUNDLES_DIR)?.map(PathBuf::from))
    }

    /// Saves the directory of the bundles; ignores one that is no text.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_bundles_dir(&mut self, dir: &Path) -> Result<(), ManifestError> {
        dir.to_str().map_or(Ok(()), |dir| self.keep(BUNDLES_DIR, dir))
    }

    /// Returns the lengths of the manifests of the bundles when they were last read, in bytes, by the numbers of the
    /// bundles. Empty when the value is unreadable: the manifests are read again.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn bundle_manifests(&self) -> Result<BTreeMap<u32, u64>, ManifestError> {
        let text = self.recall(BUNDLE_MANIFESTS)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Saves the lengths of the manifests of the bundles that were read.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_bundle_manifests(&mut self, lens: &BTreeMap<u32, u64>) -> Result<(), ManifestError> {
        let text = self.to_json(lens)?;
        self.keep(BUNDLE_MANIFESTS, &text)
    }

    /// Returns the identity of the bundles in use; `None` when it has to be determined.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn bundles_identity(&self) -> Result<Option<BundlesIdentity>, ManifestError> {
        Ok(self.recall(BUNDLES_IDENTITY)?.and_then(|text| BundlesIdentity::parse(&text)))
    }

    /// Records the identity of the bundles; `None` makes the next run determine it again.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_bundles_identity(&mut self, identity: Option<&BundlesIdentity>) -> Result<(), ManifestError> {
        let text = identity.map_or_else(String::new, BundlesIdentity::to_string);
        self.keep(BUNDLES_IDENTITY, &text)
    }

    /// Returns whether the times of directories are those of this mirror, and not of one that it is a copy of. `mirror`
    /// is its identity.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn has_times_of(&self, mirror: &str) -> Result<bool, ManifestError> {
        Ok(self.recall(SCANNED_MIRROR)?.is_none_or(|known| known == mirror))
    }

    /// Records that the times of directories are those of this mirror; with `None`, that they must not be trusted.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_times_of(&mut self, mirror: Option<&str>) -> Result<(), ManifestError> {
        self.keep(SCANNED_MIRROR, mirror.unwrap_or(""))
    }

    /// Returns the download rate of the last run of some size, in files per second.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn download_rate(&self) -> Result<Option<f64>, ManifestError> {
        Ok(self.recall(DOWNLOAD_RATE)?.and_then(|text| text.parse().ok()))
    }

    /// Saves the download rate of a run, in files per second.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_download_rate(&mut self, files_per_sec: f64) -> Result<(), ManifestError> {
        self.remember(DOWNLOAD_RATE, &format!("{files_per_sec:.1}"))
    }

    /// Returns the time at which the last whole run ended, RFC 3339.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn last_run(&self) -> Result<Option<String>, ManifestError> {
        self.recall(LAST_RUN)
    }

    /// Saves the time at which a run ended.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_last_run(&mut self, ended: SystemTime) -> Result<(), ManifestError> {
        self.remember(LAST_RUN, &rfc3339(ended))
    }

    /// Returns the text that identifies the policy by which everything that is held was judged; `None` where none was.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn policy(&self) -> Result<Option<String>, ManifestError> {
        self.recall(POLICY)
    }

    /// Returns the moment of the newest commit of the advisory database by which the last run decided; `None` where it
    /// had none, or no git clone. An unreadable one counts as missing.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn advisories_of(&self) -> Result<Option<SystemTime>, ManifestError> {
        let text = self.recall(ADVISORIES_OF)?;
        Ok(text.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(SystemTime::from))
    }

    /// Returns the source with a number.
    pub(super) fn source(&self, number: u32) -> Result<Option<String>, ManifestError> {
        self.recall(&format!("{SOURCE}{number}"))
    }

    pub(super) fn set_source(&mut self, number: u32, source: &str) -> Result<(), ManifestError> {
        self.remember(&format!("{SOURCE}{number}"), source)
    }

    pub(super) fn recall(&self, key: &str) -> Result<Option<String>, ManifestError> {
        // A server asks before each look at index lines.
        let query = || {
            let mut statement = self.db.prepare_cached("SELECT value FROM state WHERE key = ?1")?;
            statement.query_row([key], |row| row.get(0)).optional()
        };
        query().map_err(self.fail("read the state of"))
    }

    fn remember(&mut self, key: &str, value: &str) -> Result<(), ManifestError> {
        let written = self.db.execute("INSERT OR REPLACE INTO state VALUES (?1, ?2)", [key, value]);
        written.map(drop).map_err(self.fail("write to"))
    }

    /// Writes only values that changed: readers of the catalogue notice every write.
    pub(super) fn keep(&mut self, key: &str, value: &str) -> Result<(), ManifestError> {
        if self.recall(key)?.as_deref() == Some(value) { Ok(()) } else { self.remember(key, value) }
    }

    fn to_json(&self, value: &impl Serialize) -> Result<String, ManifestError> {
        serde_json::to_string(value)
            .map_err(|error| self.fail("write to")(rusqlite::Error::ToSqlConversionFailure(error.into())))
    }
}

pub(super) fn set_manifest_len(to: &Transaction<'_>, len: u64) -> rusqlite::Result<()> {
    to.execute("INSERT OR REPLACE INTO state VALUES (?1, ?2)", [MANIFEST_LEN, &len.to_string()]).map(drop)
}

/// Returns whether a policy is in force in the mirror whose catalogue is at `path`.
pub(super) fn is_policy_in_force(path: &Path) -> bool {
    path.with_file_name(POLICY_IN_FORCE).exists()
}

/// Notes in a new catalogue that nothing in it is judged.
pub(super) fn set_unjudged(to: &Connection) -> rusqlite::Result<()> {
    to.execute("INSERT OR REPLACE INTO state VALUES (?1, '1')", [UNJUDGED]).map(drop)
}

/// Records that a policy has judged everything; an empty text, that something new is not judged.
pub(super) fn set_policy(to: &Transaction<'_>, policy: &str) -> rusqlite::Result<()> {
    if !policy.is_empty() {
        to.execute("DELETE FROM state WHERE key = ?1", [UNJUDGED])?;
    }
    to.execute("INSERT OR REPLACE INTO state VALUES (?1, ?2)", [POLICY, policy]).map(drop)
}

pub(super) fn set_advisories_of(to: &Transaction<'_>, moment: Option<SystemTime>) -> rusqlite::Result<()> {
    let set = match moment {
        Some(moment) => {
            to.execute("INSERT OR REPLACE INTO state VALUES (?1, ?2)", [ADVISORIES_OF, &rfc3339(moment)])
        }
        None => to.execute("DELETE FROM state WHERE key = ?1", [ADVISORIES_OF]),
    };
    set.map(drop)
}

pub(super) fn drop_cursor(to: &Transaction<'_>) -> rusqlite::Result<()> {
    to.execute("DELETE FROM state WHERE key = ?1", [CURSOR]).map(drop)
}

#[cfg(test)]
mod tests {
    use mirror_types::{CrateName, Location, ReleaseId};

    use super::*;
    use crate::{Change, HeldRelease};

    #[test]
    fn what_is_left_behind_is_found_again() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        let cursor = IndexCursor {
            tree: "t".to_owned(),
            selection: "all".to_owned(),
            selected: 7,
            yanked_skipped: 2,
            bad_files: ["a/b".to_owned()].into(),
        };
        assert_eq!(catalogue.cursor().expect("cursor"), None);
        catalogue.set_cursor(&cursor).expect("set");
        assert_eq!(catalogue.cursor().expect("cursor"), Some(cursor));
        let identity = BundlesIdentity {
            bundle: 12,
            member: "s/er/a b.crate".to_owned(),
            sha256: Sha256::from_bytes([9; 32]),
        };
        catalogue.set_bundles_identity(Some(&identity)).expect("set");
        assert_eq!(catalogue.bundles_identity().expect("identity"), Some(identity));
        catalogue.set_bundles_identity(None).expect("set");
        assert_eq!(catalogue.bundles_identity().expect("identity"), None);
        let lens = BTreeMap::from([(0, 10), (3, 7)]);
        catalogue.set_bundle_manifests(&lens).expect("set");
        assert_eq!(catalogue.bundle_manifests().expect("lens"), lens);
        assert!(catalogue.has_times_of("here").expect("times"), "nothing is known yet");
        catalogue.set_times_of(Some("here")).expect("set");
        assert!(!catalogue.has_times_of("there").expect("times"));
        catalogue.set_times_of(None).expect("set");
        assert!(!catalogue.has_times_of("here").expect("times"));
        catalogue.set_download_rate(12.34).expect("set");
        assert_eq!(catalogue.download_rate().expect("rate"), Some(12.3));
    }

    /// A catalogue that is made while a policy is in force tells nothing of what is offered before the policy has judged
    /// it; what is held is told.
    #[test]
    fn what_is_not_judged_is_not_offered() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let name = "a".parse::<CrateName>().expect("name");
        let id = ReleaseId { name: name.clone(), version: "1.0.0".parse().expect("version") };
        let release = HeldRelease {
            id: id.clone(),
            sha256: Sha256::from_bytes([7; 32]),
            size: 5,
            locations: Location::LOOSE.into(),
        };
        let told = |catalogue: &Catalogue| {
            assert_eq!(catalogue.held_of(&name).expect("held").len(), 1);
            let told = [
                catalogue.offered_of(&name).map(drop),
                catalogue.offered_release(&id).map(drop),
                catalogue.releases(&mut |_, _| ()),
                catalogue.totals().map(drop),
                catalogue.search("a", 0, 1).map(drop),
            ];
            let refused =
                told.iter().filter(|told| matches!(told, Err(ManifestError::Unjudged { .. }))).count();
            assert_eq!(told.iter().filter(|told| told.is_err()).count(), refused, "{told:?}");
            assert!(refused == 0 || refused == told.len(), "{told:?}");
            refused == 0
        };
        let make = || {
            let mut catalogue = Catalogue::open(&path).expect("open");
            catalogue.apply(&[Change::Held { release: release.clone(), source: 0 }]).expect("held");
            catalogue
        };
        let catalogue = make();
        assert!(told(&catalogue), "a mirror without a policy");
        catalogue.set_policy_in_force(true).expect("noted");
        assert!(told(&catalogue), "it was judged as it grew");
        drop(catalogue);
        Catalogue::remove(&path).expect("removed");

        let mut catalogue = make();
        assert!(!told(&catalogue));
        assert!(!told(&Catalogue::open_read_only(&path).expect("open").expect("some")));
        drop(catalogue);
        catalogue = Catalogue::open(&path).expect("open");
        assert!(!told(&catalogue), "opening does not judge");
        catalogue.apply(&[Change::PolicyApplied(String::new())]).expect("marked");
        assert!(!told(&catalogue), "a mark does not judge");
        catalogue.apply(&[Change::PolicyApplied("some policy".to_owned())]).expect("judged");
        assert!(told(&catalogue));

        catalogue.set_policy_in_force(false).expect("noted");
        drop(catalogue);
        Catalogue::remove(&path).expect("removed");
        assert!(told(&make()), "no policy is in force any more");
    }

    #[test]
    fn the_age_of_advisories_is_kept_until_there_are_none() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let mut catalogue = Catalogue::open(&path).expect("open");
        let moment = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_790_000_000);
        for known in [Some(moment), None] {
            catalogue.apply(&[Change::AdvisoriesOf(known)]).expect("noted");
            let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
            assert_eq!(reader.advisories_of().expect("read"), known);
        }
        catalogue.remember(ADVISORIES_OF, "yesterday").expect("remember");
        assert_eq!(catalogue.advisories_of().expect("read"), None);
    }

    #[test]
    fn what_cannot_be_read_counts_as_gone() {
        let dir = tempfile::tempdir().expect("dir");
        let mut catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("open");
        let other_format = r#"{"format_version":1,"tree":"t","selection":"","totals":{"selected":1,"yanked_skipped":0},"bad_files":[]}"#;
        for text in ["", "{}", "null", other_format] {
            catalogue.remember(CURSOR, text).expect("remember");
            assert_eq!(catalogue.cursor().expect("cursor"), None, "{text}");
        }
        let known = other_format.replace(":1,\"tree", ":2,\"tree");
        catalogue.remember(CURSOR, &known).expect("remember");
        assert!(catalogue.cursor().expect("cursor").is_some(), "the text is otherwise right");
        for text in ["", "7", "x a 00", "7 a b"] {
            catalogue.remember(BUNDLES_IDENTITY, text).expect("remember");
            assert_eq!(catalogue.bundles_identity().expect("identity"), None, "{text}");
        }
        catalogue.remember(BUNDLE_MANIFESTS, "[1]").expect("remember");
        assert_eq!(catalogue.bundle_manifests().expect("lens"), BTreeMap::new());
    }

    /// Checks that nothing is written twice: a server reads everything again whenever the catalogue changes.
    #[test]
    fn what_is_known_already_is_not_written() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("c.sqlite");
        let mut catalogue = Catalogue::open(&path).expect("open");
        catalogue.set_times_of(Some("here")).expect("set");
        let reader = Catalogue::open_read_only(&path).expect("open").expect("some");
        let before = reader.changes().expect("changes");
        catalogue.set_times_of(Some("here")).expect("set");
        assert_eq!(reader.changes().expect("changes"), before);
        catalogue.set_times_of(None).expect("set");
        assert_ne!(reader.changes().expect("changes"), before);
    }
}
