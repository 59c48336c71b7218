//! The places where the bytes of a release are held.

use smallvec::SmallVec;

/// The number of a store of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u16);

impl StoreId {
    /// The loose tree: one file for each release.
    pub const LOOSE: Self = Self(0);
    /// The bundles: many releases in one file.
    pub const BUNDLES: Self = Self(1);
}

/// The form of a release's bytes in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Codec {
    /// A tar member of the same bytes, in a zstd frame of its own.
    #[default]
    Tar,
}

/// The place of a release in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberLocation {
    /// The store that has the bundle.
    pub store: StoreId,
    /// The number in the bundle's name.
    pub bundle: u32,
    /// Offset of its frame in the bundle, bytes.
    pub offset: u64,
    /// Length of its frame, bytes.
    pub len: u64,
    /// The form of its bytes.
    pub codec: Codec,
}

impl MemberLocation {
    /// Makes the location of the tar member whose frame has this place in a bundle.
    #[must_use]
    pub const fn tar(bundle: u32, offset: u64, len: u64) -> Self {
        Self { store: StoreId::BUNDLES, bundle, offset, len, codec: Codec::Tar }
    }
}

/// One place where the bytes of a release are held.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// A file or an object of its own.
    Object {
        /// The store that has it.
        store: StoreId,
        /// Its key; `None` where the store derives it from the release.
        key: Option<Box<str>>,
    },
    /// A part of a bundle.
    Member(MemberLocation),
}

impl Location {
    /// A file of its own in the loose tree, at its place in the layout.
    pub const LOOSE: Self = Self::Object { store: StoreId::LOOSE, key: None };

    /// Returns the store that holds it.
    #[must_use]
    pub const fn store(&self) -> StoreId {
        match self {
            Self::Object { store, .. } | Self::Member(MemberLocation { store, .. }) => *store,
        }
    }
}

impl From<MemberLocation> for Location {
    fn from(member: MemberLocation) -> Self {
        Self::Member(member)
    }
}

/// All places where one release is held, at most one in each store, in the order of the stores. Up to two take no
/// memory of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Locations(SmallVec<[Location; 2]>);

impl Locations {
    /// Returns an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a file in the loose tree, a member of a bundle, both or neither.
    #[must_use]
    pub fn of(is_loose: bool, member: Option<MemberLocation>) -> Self {
        let mut all = Self::new();
        if is_loose {
            all.add(Location::LOOSE);
        }
        if let Some(member) = member {
            all.add(member.into());
        }
        all
    }

    /// Adds a place, replacing the one in the same store.
    pub fn add(&mut self, location: Location) {
        match self.find(location.store()) {
            Ok(at) => self.0[at] = location,
            Err(at) => self.0.insert(at, location),
        }
    }

    /// Removes the place in a store, and returns it.
    pub fn remove(&mut self, store: StoreId) -> Option<Location> {
        self.find(store).ok().map(|at| self.0.remove(at))
    }

    /// Returns the place in a store.
    #[must_use]
    pub fn get(&self, store: StoreId) -> Option<&Location> {
        self.find(store).ok().map(|at| &self.0[at])
    }

    /// Returns whether the loose tree holds the release.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.get(StoreId::LOOSE).is_some()
    }

    /// Returns the place in the bundles.
    #[must_use]
    pub fn member(&self) -> Option<MemberLocation> {
        match self.get(StoreId::BUNDLES) {
            Some(Location::Member(member)) => Some(*member),
            _ => None,
        }
    }

    /// Returns whether no store holds the release.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Yields the places.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Location> {
        self.0.iter()
    }

    fn find(&self, store: StoreId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&store, Location::store)
    }
}

impl From<Location> for Locations {
    fn from(location: Location) -> Self {
        Self(SmallVec::from_iter([location]))
    }
}

impl From<MemberLocation> for Locations {
    fn from(member: MemberLocation) -> Self {
        Location::Member(member).into()
    }
}

impl FromIterator<Location> for Locations {
    fn from_iter<T: IntoIterator<Item = Location>>(all: T) -> Self {
        let mut locations = Self::new();
        for location in all {
            locations.add(location);
        }
        locations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: StoreId = StoreId(7);

    fn object(key: &str) -> Location {
        Location::Object { store: BUCKET, key: Some(key.into()) }
    }

    #[test]
    fn a_store_has_a_release_once() {
        let mut all: Locations =
            [MemberLocation::tar(3, 10, 20).into(), object("a"), Location::LOOSE].into_iter().collect();
        assert_eq!(
            all.iter().map(Location::store).collect::<Vec<_>>(),
            [StoreId::LOOSE, StoreId::BUNDLES, BUCKET]
        );
        all.add(MemberLocation::tar(4, 0, 5).into());
        all.add(object("b"));
        assert_eq!(all.iter().len(), 3);
        assert_eq!(all.member(), Some(MemberLocation::tar(4, 0, 5)));
        assert_eq!(all.get(BUCKET), Some(&object("b")));
        assert_eq!(all.remove(StoreId::LOOSE), Some(Location::LOOSE));
        assert_eq!(all.remove(StoreId::LOOSE), None);
        assert!(!all.is_loose() && !all.is_empty());
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let member = MemberLocation::tar(0, 0, 1);
        let there: Locations = [Location::LOOSE, member.into()].into_iter().collect();
        let back: Locations = [member.into(), Location::LOOSE].into_iter().collect();
        assert_eq!(there, back);
        assert_eq!(there, Locations::of(true, Some(member)));
        assert!(!there.0.spilled(), "two take no memory of their own");
        assert_eq!(Locations::of(false, None), Locations::new());
    }
}
