use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use mirror_types::{CrateName, ReleaseId, Sha256, VersionText, index_path};

use super::{line, names};
use crate::registry::checksum;

/// Most versions that one crate has.
const MAX_VERSIONS: usize = 3_000;

/// The size of an index, and of its releases.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The same seed makes the same index.
    pub seed: u64,
    /// The exact number of releases before any changes.
    pub releases: usize,
    /// Number of crates.
    pub crates: usize,
    /// Mean size in bytes of a `.crate` whose bytes match its checksum; 0: no bytes match the checksums.
    pub mean_bytes: usize,
}

/// One day's changes of an index.
#[derive(Debug, Clone, Copy, Default)]
pub struct DayChanges {
    /// Crates that get one more version.
    pub published: usize,
    /// Crates one of whose versions is yanked.
    pub yanked: usize,
    /// Crates one of whose versions is deleted.
    pub deleted: usize,
    /// Crates one of whose versions gets another checksum.
    pub republished: usize,
    /// New crates.
    pub created: usize,
    /// Crates that disappear.
    pub removed: usize,
}

/// The changes of a crate since the beginning.
#[derive(Debug, Clone, Default)]
struct Edits {
    more: usize,
    yanked: Vec<usize>,
    deleted: Vec<usize>,
    republished: Vec<usize>,
    removed: bool,
}

type Edit = fn(&mut Edits, usize);

/// An index whose files are made on demand.
#[derive(Debug, Clone)]
pub struct Synthetic {
    pub(super) scale: Scale,
    pub(super) names: Vec<CrateName>,
    counts: Vec<u16>,
    edits: HashMap<usize, Edits>,
    days: u64,
}

/// A release of a synthetic index.
#[derive(Debug, Clone)]
pub struct SyntheticRelease {
    /// Version text.
    pub version: String,
    /// True if it is yanked.
    pub yanked: bool,
    /// The number of the crate, the number of the version, and whether it was published again.
    pub(super) place: (usize, usize, bool),
}

impl Synthetic {
    /// Makes an index of this scale.
    ///
    /// # Panics
    /// When there are more crates than releases, or so few crates that they cannot hold the releases.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        assert!(scale.crates <= scale.releases, "a crate has at least one release");
        assert!(scale.releases <= scale.crates * MAX_VERSIONS, "too many releases for so few crates");
        let mut random = fastrand::Rng::with_seed(scale.seed);
        let names = names::distinct(&mut random, scale.crates);
        let counts = counts(&mut random, &scale);
        Self { scale, names, counts, edits: HashMap::new(), days: 0 }
    }

    /// Returns the number of releases, including those published since.
    #[must_use]
    pub fn releases(&self) -> usize {
        let plain: usize = self.counts.iter().map(|count| usize::from(*count)).sum();
        self.edits.iter().fold(plain, |sum, (at, edits)| {
            sum - usize::from(self.counts[*at]) + self.versions_of(*at, edits).count()
        })
    }

    /// Returns the number of crates that have an index file.
    #[must_use]
    pub fn crates(&self) -> usize {
        self.names.len() - self.edits.values().filter(|edits| edits.removed).count()
    }

    /// Returns the numbers of the crates, in the order in which they were made.
    #[must_use]
    pub fn numbers(&self) -> Range<usize> {
        0..self.names.len()
    }

    /// Returns the name of a crate.
    #[must_use]
    pub fn name(&self, at: usize) -> &CrateName {
        &self.names[at]
    }

    fn versions_of<'a>(&self, at: usize, edits: &'a Edits) -> impl Iterator<Item = usize> + use<'a> {
        let end = if edits.removed { 0 } else { usize::from(self.counts[at]) + edits.more };
        (0..end).filter(|version| !edits.deleted.contains(version))
    }

    /// Returns crate and version of a release.
    ///
    /// # Panics
    /// Never: all versions are valid.
    #[must_use]
    pub fn id(&self, release: &SyntheticRelease) -> ReleaseId {
        let version = VersionText::new(&release.version).expect("a version");
        ReleaseId { name: self.names[release.place.0].clone(), version }
    }

    /// Returns the releases of a crate, in the order of its index file; none when the crate was removed.
    #[must_use]
    pub fn releases_of(&self, at: usize) -> Vec<SyntheticRelease> {
        let none = Edits::default();
        let edits = self.edits.get(&at).unwrap_or(&none);
        self.versions_of(at, edits)
            .map(|n| SyntheticRelease {
                version: line::version(&mut self.random(at, n as u64 | 1 << 43), n),
                yanked: n % 29 == 28 || edits.yanked.contains(&n),
                place: (at, n, edits.republished.contains(&n)),
            })
            .collect()
    }

    /// Returns the path and the bytes of a crate's index file; `None` when the crate was removed.
    #[must_use]
    pub fn file(&self, at: usize) -> Option<(String, Vec<u8>)> {
        let releases = self.releases_of(at);
        if releases.is_empty() {
            return None;
        }
        let crate_line = line::Template::new(self, at);
        let mut text = Vec::with_capacity(releases.len() * 800);
        for release in &releases {
            crate_line.push(
                &mut text,
                release,
                self.cksum(release),
                &mut self.random(at, release.place.1 as u64),
            );
        }
        Some((index_path(&self.names[at]), text))
    }

    /// Returns the bytes of a release's `.crate`.
    #[must_use]
    pub fn body(&self, release: &SyntheticRelease) -> Vec<u8> {
        let (at, n, again) = release.place;
        let mut random = self.random(at, (n as u64) << 1 | u64::from(again) | 1 << 40);
        let size = random.usize(1..=2 * self.scale.mean_bytes.max(1));
        let mut body = vec![0; size];
        random.fill(&mut body);
        body
    }

    /// Returns the checksum of a release: that of its bytes, when the scale has a size for them.
    #[must_use]
    pub fn cksum(&self, release: &SyntheticRelease) -> Sha256 {
        if self.scale.mean_bytes > 0 {
            return checksum(&self.body(release));
        }
        let (at, n, again) = release.place;
        let mut sum = [0; 32];
        self.random(at, (n as u64) << 1 | u64::from(again) | 1 << 41).fill(&mut sum);
        Sha256::from_bytes(sum)
    }

    pub(super) fn random(&self, at: usize, what: u64) -> fastrand::Rng {
        let seed = self.scale.seed ^ (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what.rotate_left(32);
        let mut random = fastrand::Rng::with_seed(seed);
        // Close seeds give similar first values.
        random.u64(..);
        random.fork()
    }

    /// Applies one day's changes, and returns the crates that changed.
    pub fn pass(&mut self, changes: &DayChanges) -> Vec<usize> {
        self.days += 1;
        let mut random = self.random(0, self.days | 1 << 50);
        let mut changed = BTreeMap::new();
        for _ in 0..changes.created {
            self.names.push(names::one_more(&mut random, self.names.len()));
            self.counts.push(1);
            changed.insert(self.names.len() - 1, ());
        }
        let kinds: [(usize, Edit); 5] = [
            (changes.published, |edits, _| edits.more += 1),
            (changes.yanked, |edits, n| edits.yanked.push(n)),
            (changes.deleted, |edits, n| edits.deleted.push(n)),
            (changes.republished, |edits, n| edits.republished.push(n)),
            (changes.removed, |edits, _| edits.removed = true),
        ];
        for (count, edit) in kinds {
            let mut left = count;
            while left > 0 {
                let at = random.usize(..self.names.len());
                let count = usize::from(self.counts[at]);
                // Every change has a crate of its own, so that counts can be predicted; a crate that loses a version
                // keeps others.
                if self.edits.contains_key(&at) || changed.contains_key(&at) || count < 2 {
                    continue;
                }
                edit(self.edits.entry(at).or_default(), random.usize(..count.min(28)));
                changed.insert(at, ());
                left -= 1;
            }
        }
        changed.into_keys().collect()
    }
}

/// Returns a long-tailed number of versions for each crate; together they are exactly the wanted number of releases.
fn counts(random: &mut fastrand::Rng, scale: &Scale) -> Vec<u16> {
    let weights: Vec<f64> =
        (0..scale.crates).map(|_| (1.0 - random.f64()).powf(-1.0 / 1.2).min(2_000.0)).collect();
    let all: f64 = weights.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "shares of a whole")]
    let factor = scale.releases as f64 / all;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the most versions of a crate"
    )]
    let mut counts: Vec<u16> = weights
        .iter()
        .map(|weight| (weight * factor).round().clamp(1.0, MAX_VERSIONS as f64) as u16)
        .collect();
    let mut sum: usize = counts.iter().map(|count| usize::from(*count)).sum();
    while sum != scale.releases {
        let at = random.usize(..counts.len());
        if sum < scale.releases && usize::from(counts[at]) < MAX_VERSIONS {
            counts[at] += 1;
            sum += 1;
        } else if sum > scale.releases && counts[at] > 1 {
            counts[at] -= 1;
            sum -= 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SMALL: Scale = Scale { seed: 3, releases: 2_000, crates: 200, mean_bytes: 50 };

    #[test]
    fn the_same_seed_makes_the_same_index_of_the_size_asked_for() {
        let (one, two) = (Synthetic::new(SMALL), Synthetic::new(SMALL));
        let files = |index: &Synthetic| index.numbers().filter_map(|at| index.file(at)).collect::<Vec<_>>();
        assert!(files(&one) == files(&two));
        assert_eq!((one.releases(), one.crates(), files(&one).len()), (2_000, 200, 200));
    }

    #[test]
    fn lines_are_records_with_the_checksums_of_their_bodies() {
        let index = Synthetic::new(SMALL);
        let (mut bytes, mut lines) = (0, 0);
        for at in index.numbers() {
            let (path, text) = index.file(at).expect("a file");
            assert_eq!(path, index_path(index.name(at)));
            bytes += text.len();
            for (line, release) in text.split(|b| *b == b'\n').zip(index.releases_of(at)) {
                let line: serde_json::Value = serde_json::from_slice(line).expect("JSON");
                assert_eq!(line["cksum"], checksum(&index.body(&release)).to_hex());
                assert_eq!(line["vers"], release.version.as_str());
                assert_eq!(line["yanked"], release.yanked);
                lines += 1;
            }
        }
        assert_eq!(lines, 2_000);
        assert!((500..1_000).contains(&(bytes / lines)), "{} bytes a line", bytes / lines);
    }

    #[test]
    fn a_day_changes_what_it_says() {
        let mut index = Synthetic::new(SMALL);
        let before: Vec<_> = index.numbers().map(|at| index.file(at)).collect();
        let changes =
            DayChanges { published: 5, yanked: 4, deleted: 3, republished: 2, created: 2, removed: 1 };
        let changed = index.pass(&changes);
        assert_eq!(changed.len(), 17);
        assert_eq!(index.crates(), 201);
        for at in index.numbers() {
            let same = before.get(at).is_some_and(|file| *file == index.file(at));
            assert_eq!(same, !changed.contains(&at), "{at}");
        }
        let lines = |file: &Option<(String, Vec<u8>)>| -> HashSet<Vec<u8>> {
            file.iter().flat_map(|(_, text)| text.split(|b| *b == b'\n')).map(<[u8]>::to_vec).collect()
        };
        let gone: usize = index
            .numbers()
            .filter_map(|at| Some((before.get(at)?, index.file(at)?)))
            .map(|(was, is)| lines(was).difference(&lines(&Some(is))).count())
            .sum();
        assert_eq!(gone, 4 + 3 + 2, "a line differs for each that was yanked, deleted or republished");
    }
}
