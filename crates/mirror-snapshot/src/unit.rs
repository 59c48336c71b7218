use std::fmt;

use mirror_checksum::Hasher;
use mirror_types::{CrateName, Sha256};

/// The number of units of a mirror.
pub const UNITS: usize = 256;

/// A part of a mirror: the crates whose names, in lower case, have the same first byte of SHA-256. Shown as two
/// hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(u8);

impl Unit {
    /// Returns the unit with this number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Returns the number, which is the position of the unit in the document.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the unit of a crate.
    #[must_use]
    pub fn of(name: &CrateName) -> Self {
        let mut lower = [0; mirror_types::MAX_NAME_BYTES];
        // A name is never longer: its constructor checks that.
        let lower = &mut lower[..name.as_str().len()];
        lower.copy_from_slice(name.as_str().as_bytes());
        lower.make_ascii_lowercase();
        Self(Hasher::of(lower).as_bytes()[0])
    }

    /// Returns all units, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

/// The digest of each unit of a mirror: SHA-256 of its sorted rows.
#[derive(Clone, PartialEq, Eq)]
pub struct UnitDigests(Box<[Sha256; UNITS]>);

impl UnitDigests {
    /// Wraps the digests of all units, in order.
    #[must_use]
    pub fn new(digests: [Sha256; UNITS]) -> Self {
        Self(Box::new(digests))
    }

    /// Wraps the digests of all units, in order; `None` unless there are 256.
    #[must_use]
    pub fn from_slice(digests: &[Sha256]) -> Option<Self> {
        digests.try_into().ok().map(Self::new)
    }

    /// Returns the digests of a mirror that offers nothing: each unit has the digest of no bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::new([Hasher::of(b""); UNITS])
    }

    /// Returns the digest of a unit.
    #[must_use]
    pub fn get(&self, unit: Unit) -> Sha256 {
        self.0[usize::from(unit.0)]
    }

    /// Replaces the digest of a unit, after its rows changed.
    pub fn set(&mut self, unit: Unit, digest: Sha256) {
        self.0[usize::from(unit.0)] = digest;
    }

    /// Returns the digests in the order of their units.
    #[must_use]
    pub fn as_slice(&self) -> &[Sha256] {
        &self.0[..]
    }

    /// Returns the digest of these digests: SHA-256 of their 256 lines, each 64 lower-case hexadecimal digits and a
    /// newline.
    #[must_use]
    pub fn root(&self) -> Sha256 {
        let mut lines = String::with_capacity(UNITS * 65);
        for digest in self.as_slice() {
            digest.push_hex(&mut lines);
            lines.push('\n');
        }
        Hasher::of(lines.as_bytes())
    }
}

impl fmt::Debug for UnitDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnitDigests(root {})", self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the first byte of what `printf serde | sha256sum` prints.
    #[test]
    fn a_unit_is_the_first_byte_of_the_digest_of_the_lower_case_name() {
        for (name, unit) in [("serde", "8b"), ("Serde", "8b"), ("inflector", "c3"), ("Inflector", "c3")] {
            let name: CrateName = name.parse().expect("name");
            assert_eq!(Unit::of(&name).to_string(), unit, "{name}");
        }
        let longest: CrateName = "x".repeat(64).parse().expect("name");
        assert_eq!(Unit::of(&longest).number(), Hasher::of("x".repeat(64).as_bytes()).as_bytes()[0]);
    }

    #[test]
    fn the_root_depends_on_every_unit_and_on_their_order() {
        let empty = UnitDigests::empty();
        let mut roots = vec![empty.root()];
        for unit in Unit::all() {
            let mut digests = empty.clone();
            digests.set(unit, Hasher::of(b"x"));
            assert_eq!(digests.get(unit), Hasher::of(b"x"));
            roots.push(digests.root());
        }
        roots.sort();
        roots.dedup();
        assert_eq!(roots.len(), UNITS + 1);
    }
}
