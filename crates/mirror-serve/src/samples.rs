//! Releases to try a mirror with.

use std::collections::HashSet;

use mirror_index_line::{Dependency, IndexLine, lines};
use mirror_types::{CrateName, ReleaseId, index_path};

use crate::error::ServeError;
use crate::listing::Listing;
use crate::mirror::Mirror;

/// Candidates that are looked at for each kind.
const LOOKED_AT: usize = 200;

/// Releases without an index line that are named one by one.
const UNLISTED_NAMED: usize = 10;

/// Releases that need no others, so that a project with one of them resolves in any part of a registry.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Names of one, two and three characters.
    pub short: Vec<ReleaseId>,
    /// A name with capital letters.
    pub mixed_case: Option<ReleaseId>,
    /// A version with build metadata.
    pub build_metadata: Option<ReleaseId>,
    /// Any, the usual ones first.
    pub plain: Vec<ReleaseId>,
}

/// Small libraries that build everywhere.
const USUAL: [&str; 8] = ["cfg-if", "itoa", "fnv", "bitflags", "scopeguard", "once_cell", "smallvec", "log"];

impl Mirror {
    /// Picks releases to try the mirror with. Looks at every row; blocks.
    ///
    /// # Errors
    /// When the catalogue or the index lines cannot be read.
    pub fn samples(&self) -> Result<Samples, ServeError> {
        let mut kinds: [Vec<ReleaseId>; 6] = Default::default();
        self.ask(|catalogue, _| {
            Ok(catalogue.releases(&mut |name, version| {
                let kind = match name.len() {
                    1..=3 => name.len() - 1,
                    _ if version.contains('+') => 3,
                    _ if name.bytes().any(|byte| byte.is_ascii_uppercase()) => 4,
                    _ => 5,
                };
                let usual = USUAL.contains(&name);
                if (kinds[kind].len() < LOOKED_AT || usual)
                    && let (Ok(name), Ok(version)) = (name.parse(), version.parse())
                {
                    kinds[kind].push(ReleaseId { name, version });
                }
            })?)
        })?;
        let [one, two, three, plus, mixed, mut plain] = kinds;
        let place = |id: &ReleaseId| USUAL.iter().position(|usual| *usual == id.name.as_str());
        plain.sort_by_key(|id| place(id).unwrap_or(USUAL.len()));
        let mut samples = Samples::default();
        for candidates in [one, two, three] {
            samples.short.extend(self.first_alone(&candidates)?);
        }
        samples.mixed_case = self.first_alone(&mixed)?;
        samples.build_metadata = self.first_alone(&plus)?;
        for id in &plain {
            if samples.plain.len() < 5
                && !samples.plain.iter().any(|known| known.name == id.name)
                && self.is_alone(id)?
            {
                samples.plain.push(id.clone());
            }
        }
        Ok(samples)
    }

    /// Returns releases that are offered and of which no line of the index is known, so that Cargo cannot find them: how
    /// many, and the first. Reads all index lines; blocks.
    ///
    /// # Errors
    /// When the catalogue or the index lines cannot be read.
    pub fn unlisted(&self) -> Result<(u64, Vec<ReleaseId>), ServeError> {
        let mut listed = HashSet::new();
        for path in self.index_paths()? {
            let listing = self.listing_with(&path, &mut |_, _| Ok(true))?;
            listed.extend(listing.iter().flat_map(Listing::releases));
        }
        let (mut count, mut first) = (0, Vec::new());
        self.ask(|catalogue, _| {
            Ok(catalogue.releases(&mut |name, version| {
                let (Ok(name), Ok(version)) = (name.parse(), version.parse()) else { return };
                let id = ReleaseId { name, version };
                if !listed.contains(&id) {
                    count += 1;
                    if first.len() < UNLISTED_NAMED {
                        first.push(id);
                    }
                }
            })?)
        })?;
        Ok((count, first))
    }

    /// Returns how many crates are offered of which no index file is kept, and the first: of those Cargo finds
    /// nothing. Looks at every crate, and reads no index file; blocks.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn unlisted_crates(&self) -> Result<(u64, Vec<CrateName>), ServeError> {
        let paths: HashSet<String> = self.index_paths()?.into_iter().collect();
        let (mut count, mut first) = (0, Vec::<CrateName>::new());
        self.ask(|catalogue, _| {
            let mut last = String::new();
            Ok(catalogue.releases(&mut |name, _| {
                if name == last {
                    return;
                }
                name.clone_into(&mut last);
                if let Ok(name) = name.parse::<CrateName>()
                    && !paths.contains(&index_path(&name))
                {
                    count += 1;
                    if first.len() < UNLISTED_NAMED {
                        first.push(name);
                    }
                }
            })?)
        })?;
        Ok((count, first))
    }

    fn first_alone(&self, candidates: &[ReleaseId]) -> Result<Option<ReleaseId>, ServeError> {
        for id in candidates {
            if self.is_alone(id)? {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    /// Returns whether a release is listed, not yanked, and needs no other.
    fn is_alone(&self, id: &ReleaseId) -> Result<bool, ServeError> {
        let Some(listing) = self.listing(&id.name)? else { return Ok(false) };
        let needs = |dep: &Dependency| !dep.is_optional() && !dep.is_for_development();
        let is_alone = |line: &IndexLine<'_>| {
            let deps = line.requirements().ok().and_then(|found| found.deps);
            deps.is_some_and(|deps| !deps.iter().any(needs))
        };
        Ok(lines(&listing.text).filter_map(|(_, line)| IndexLine::parse(line).ok()).any(|line| {
            line.name == id.name.as_str()
                && line.vers == id.version.as_str()
                && !line.yanked
                && is_alone(&line)
        }))
    }
}
