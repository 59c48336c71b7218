use std::fmt;

/// The identity of a state of an index cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheState {
    /// A random number, chosen when the cache was created.
    pub(super) id: i64,
    /// Counts the files that were ever added.
    pub(super) added: i64,
    /// Counts the files whose lines were ever replaced or removed.
    pub(super) replaced: i64,
}

impl CacheState {
    /// Returns whether two states are of the same cache.
    #[must_use]
    pub fn is_of_same_cache(self, other: Self) -> bool {
        self.id == other.id
    }

    /// Returns whether this state has everything of `before`, unchanged.
    pub(crate) fn extends(self, before: Self) -> bool {
        self.id == before.id && self.replaced == before.replaced && self.added >= before.added
    }

    /// Returns whether something of `before` is missing, beside what was replaced on purpose.
    pub(super) fn lacks_some_of(self, before: Self) -> bool {
        self.id != before.id || self.replaced < before.replaced || self.added < before.added
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(str::parse);
        let (id, added, replaced) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        numbers.next().is_none().then_some(Self { id, added, replaced })
    }
}

/// Formats the state as the catalogue stores it.
impl fmt::Display for CacheState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.id, self.added, self.replaced)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_state_is_read_as_it_was_written(id: i64, added: i64, replaced: i64) {
            let state = CacheState { id, added, replaced };
            prop_assert_eq!(CacheState::parse(&state.to_string()), Some(state));
        }

        #[test]
        fn a_state_that_lacks_something_extends_nothing(
            (added, replaced) in (0..4_i64, 0..4_i64), (more, changed) in (0..4_i64, 0..4_i64), other: bool,
        ) {
            let before = CacheState { id: 1, added, replaced };
            let now = CacheState { id: 1 + i64::from(other), added: more, replaced: changed };
            prop_assert!(!(now.lacks_some_of(before) && now.extends(before)));
            prop_assert!(before.extends(before) && !before.lacks_some_of(before));
        }
    }

    #[test]
    fn what_is_no_state_is_none() {
        for text in ["", "1", "1 2", "1 2 3 4", "a 2 3", "1 2 ", " 1 2 3"] {
            assert_eq!(CacheState::parse(text), None, "{text:?}");
        }
    }
}
