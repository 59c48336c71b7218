use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// Facts about a release beside its index record, which only some rules need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The time of publication, or the later moment at which the mirror saw these bytes replace others.
    pub publication_time: bool,
    /// The size of the `.crate` file.
    pub size: bool,
    /// The licence that the release states in its `Cargo.toml`.
    pub licence: bool,
    /// The other releases of the crate.
    pub releases: bool,
}

impl Facts {
    /// No fact.
    pub const NONE: Self = Self { publication_time: false, size: false, licence: false, releases: false };
    pub(crate) const PUBLICATION_TIME: Self = Self { publication_time: true, ..Self::NONE };
    pub(crate) const SIZE: Self = Self { size: true, ..Self::NONE };
    pub(crate) const LICENCE: Self = Self { licence: true, ..Self::NONE };
    pub(crate) const RELEASES: Self = Self { releases: true, ..Self::NONE };

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn when(self, needed: bool) -> Self {
        if needed { self } else { Self::NONE }
    }
}

impl BitOr for Facts {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            publication_time: self.publication_time | other.publication_time,
            size: self.size | other.size,
            licence: self.licence | other.licence,
            releases: self.releases | other.releases,
        }
    }
}

impl BitOrAssign for Facts {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// Lists the facts, with `, ` between them.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.publication_time, "publication time"),
            (self.size, "size"),
            (self.licence, "licence"),
            (self.releases, "other releases of the crate"),
        ];
        let named: Vec<&str> = names.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect();
        f.write_str(&named.join(", "))
    }
}
