use std::time::SystemTime;

use mirror_types::{BundleNumber, Codec, Location, Locations, MemberLocation, MirrorId, StoreId};
use serde::{Deserialize, Serialize};

/// The schema that this version writes: that of the source system (1) plus additions.
pub const SCHEMA_VERSION: u32 = 2;

/// One line of the manifest. Readers accept schema 1 and 2 and ignore unknown fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestRecord {
    /// 1 or 2.
    pub schema_version: u32,
    /// The address that it came from, `+` readable.
    pub url: String,
    /// The file, in the form in which the run had its path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// `filesystem`, `bundle`, `filesystem+bundle`; with `object` for each other store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub storage: String,
    /// Bundle that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_path: Option<String>,
    /// Its name in the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_member: Option<String>,
    /// Offset of its frame in the bundle (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_offset: Option<u64>,
    /// Length of its frame in the bundle (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_len: Option<u64>,
    /// The places in stores other than the loose tree and the bundles (since 2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<RecordedPlace>,
    /// Bytes.
    pub size: u64,
    /// Hash of the bytes, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub finished_at: String,
    /// True if it is held now.
    pub ok: bool,
    /// The reason why it is not held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// `downloaded`, [`EXISTING`], `verified_existing`, `error`, `unavailable`, or [`PRUNED`].
    pub status: String,
    /// Crate name (since 2).
    #[serde(rename = "crate", skip_serializing_if = "Option::is_none")]
    pub crate_name: Option<String>,
    /// Version (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Checksum of the index (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cksum: Option<String>,
    /// Last HTTP status (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The run that wrote it (since 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The mirror that it belongs to (since 2, not in the first records of that schema). Written by
    /// [`ManifestWriter::append`](crate::ManifestWriter::append).
    #[serde(skip_serializing)]
    pub mirror: Option<MirrorId>,
}

impl ManifestRecord {
    /// Records where the release is held. For a member of a bundle, `bundle_path` returns the path of a bundle by its
    /// number, and `name` is the name of the member.
    pub fn set_locations(&mut self, locations: &Locations, bundle_path: &dyn Fn(u32) -> String, name: &str) {
        let member = locations.member();
        self.storage.clear();
        for location in locations.iter() {
            if !self.storage.is_empty() {
                self.storage.push('+');
            }
            self.storage.push_str(storage_name(location.store()));
        }
        self.bundle_path = member.map(|member| bundle_path(member.bundle));
        self.bundle_member = member.map(|_| name.to_owned());
        self.frame_offset = member.map(|member| member.offset);
        self.frame_len = member.map(|member| member.len);
        let others = locations.iter().filter(|at| !matches!(at.store(), StoreId::LOOSE | StoreId::BUNDLES));
        self.places = others.map(RecordedPlace::of).collect();
    }

    /// Returns where the release is held according to the record, if it says so; a member of a bundle without an offset
    /// has to be found by rebuilding.
    #[must_use]
    pub fn locations(&self) -> Option<Locations> {
        let member = || {
            let bundle = BundleNumber::of_path(self.bundle_path.as_deref()?)?.get();
            Some(MemberLocation::tar(bundle, self.frame_offset?, self.frame_len?))
        };
        let member = self.storage.contains(BUNDLE).then(member).flatten();
        let mut all = Locations::of(self.storage.contains(FILESYSTEM), member);
        self.places.iter().for_each(|place| all.add(place.location()));
        Some(all).filter(|all| !all.is_empty())
    }
}

/// The place of a release in a store other than the loose tree and the bundles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedPlace {
    /// The number of the store.
    pub store: u16,
    /// The key of an object; `None` where the store derives it from the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// For a member of a bundle: the number of the bundle, and the place of the frame in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<RecordedMember>,
}

/// The place of a member in a bundle of such a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedMember {
    /// Number of the bundle.
    pub bundle: u32,
    /// Offset of the frame, bytes.
    pub frame_offset: u64,
    /// Length of the frame, bytes.
    pub frame_len: u64,
}

impl RecordedPlace {
    fn of(location: &Location) -> Self {
        let store = location.store().0;
        match location {
            Location::Member(at) => {
                let (bundle, frame_offset, frame_len) = (at.bundle, at.offset, at.len);
                let member = Some(RecordedMember { bundle, frame_offset, frame_len });
                Self { store, member, ..Self::default() }
            }
            Location::Object { key, .. } => {
                Self { store, key: key.as_deref().map(str::to_owned), ..Self::default() }
            }
            _ => Self { store, ..Self::default() },
        }
    }

    fn location(&self) -> Location {
        let store = StoreId(self.store);
        match self.member {
            Some(RecordedMember { bundle, frame_offset: offset, frame_len: len }) => {
                Location::Member(MemberLocation { store, bundle, offset, len, codec: Codec::Tar })
            }
            None => Location::Object { store, key: self.key.as_deref().map(Box::from) },
        }
    }
}

const FILESYSTEM: &str = "filesystem";
const BUNDLE: &str = "bundle";

/// Returns the name of a store in the field `storage`.
#[must_use]
pub fn storage_name(store: StoreId) -> &'static str {
    match store {
        StoreId::LOOSE => FILESYSTEM,
        StoreId::BUNDLES => BUNDLE,
        _ => "object",
    }
}

/// The status of a release that was found, and whose bytes were not read and compared with an index.
pub const EXISTING: &str = "existing";

/// The status of a release that is not held any more: it was pruned because upstream removed it or, where `error` says
/// so, its file or its bundle was found missing or damaged. A later record may say where it is still held.
pub const PRUNED: &str = "pruned";

/// The status of a held release that upstream deleted: it stays held and is not offered. No `path`, and not `ok`, so
/// that no reader takes the record for one of a file.
pub const REMOVED_UPSTREAM: &str = "removed_upstream";

/// The status of a release that upstream lists again and that is offered again.
pub const REINSTATED: &str = "reinstated";

/// Parses a time of the manifest, as milliseconds since 1970; `None` for one that cannot be read.
#[must_use]
pub fn millis(text: &str) -> Option<u64> {
    text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok())
}

/// Formats a time for the manifest: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => "1970-01-01T00:00:00.000Z".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_release_is_held_is_written_and_read_in_the_same_words() {
        let member = MemberLocation::tar(12, 100, 50);
        for (locations, storage) in [
            (Locations::of(true, None), "filesystem"),
            (Locations::of(false, Some(member)), "bundle"),
            (Locations::of(true, Some(member)), "filesystem+bundle"),
        ] {
            let mut record = ManifestRecord::default();
            record.set_locations(&locations, &|number| format!("b/bundle-{number:04}.tar.zst"), "s/a.crate");
            assert_eq!((record.storage.as_str(), record.locations()), (storage, Some(locations.clone())));
            let bundle = record.bundle_path.as_deref();
            assert_eq!(bundle, locations.member().map(|_| "b/bundle-0012.tar.zst"));
            assert_eq!(record.bundle_member.is_some(), bundle.is_some());
        }
        let object = |key: Option<&str>| Location::Object { store: StoreId(4), key: key.map(Box::from) };
        let elsewhere = Location::Member(MemberLocation { store: StoreId(9), ..member });
        for others in [vec![object(None)], vec![Location::LOOSE, object(Some("a/b")), elsewhere]] {
            let locations: Locations = others.into_iter().collect();
            let mut record = ManifestRecord::default();
            record.set_locations(&locations, &|_| String::new(), "s/a.crate");
            let text = serde_json::to_string(&record).expect("json");
            let read: ManifestRecord = serde_json::from_str(&text).expect("record");
            assert_eq!(read.locations(), Some(locations), "{text}");
        }
        // An unknown store proves nothing, and neither does a member without its place.
        for storage in ["object", "", "bundle"] {
            let record = ManifestRecord { storage: storage.to_owned(), ..ManifestRecord::default() };
            assert_eq!(record.locations(), None, "{storage}");
        }
    }
}
