//! Picks releases to try a mirror with.

use mirror_index_line::{Dependency, IndexLine, lines};
use mirror_repo::Mirror;
use mirror_types::ReleaseId;

use crate::error::ServeError;

/// Most candidates that are examined for each kind.
const MAX_CANDIDATES: usize = 200;

/// Releases without dependencies, so that a project with one of them resolves in any part of a registry.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Names of one, two and three characters.
    pub short: Vec<ReleaseId>,
    /// A name with capital letters.
    pub mixed_case: Option<ReleaseId>,
    /// A version with build metadata.
    pub build_metadata: Option<ReleaseId>,
    /// Any others, common ones first.
    pub plain: Vec<ReleaseId>,
}

/// Small libraries that build everywhere.
const USUAL: [&str; 8] = ["cfg-if", "itoa", "fnv", "bitflags", "scopeguard", "once_cell", "smallvec", "log"];

impl Samples {
    /// Picks releases to try a mirror with. Looks at every row; blocks.
    ///
    /// # Errors
    /// When the catalogue or the index lines cannot be read.
    pub fn of(mirror: &Mirror) -> Result<Self, ServeError> {
        let mut kinds: [Vec<ReleaseId>; 6] = Default::default();
        mirror.ask(|catalogue| {
            Ok(catalogue.releases(&mut |name, version| {
                let kind = match name.len() {
                    1..=3 => name.len() - 1,
                    _ if version.contains('+') => 3,
                    _ if name.bytes().any(|byte| byte.is_ascii_uppercase()) => 4,
                    _ => 5,
                };
                let usual = USUAL.contains(&name);
                if (kinds[kind].len() < MAX_CANDIDATES || usual)
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
            samples.short.extend(first_alone(mirror, &candidates)?);
        }
        samples.mixed_case = first_alone(mirror, &mixed)?;
        samples.build_metadata = first_alone(mirror, &plus)?;
        for id in &plain {
            if samples.plain.len() < 5
                && !samples.plain.iter().any(|known| known.name == id.name)
                && is_alone(mirror, id)?
            {
                samples.plain.push(id.clone());
            }
        }
        Ok(samples)
    }
}

fn first_alone(mirror: &Mirror, candidates: &[ReleaseId]) -> Result<Option<ReleaseId>, ServeError> {
    for id in candidates {
        if is_alone(mirror, id)? {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}

/// Returns whether a release is listed, not yanked, and has no dependencies.
fn is_alone(mirror: &Mirror, id: &ReleaseId) -> Result<bool, ServeError> {
    let Some(listing) = mirror.listing(&id.name)? else { return Ok(false) };
    let needs = |dep: &Dependency| !dep.is_optional() && !dep.is_for_development();
    let is_alone = |line: &IndexLine<'_>| {
        let deps = line.requirements().ok().and_then(|found| found.deps);
        deps.is_some_and(|deps| !deps.iter().any(needs))
    };
    Ok(lines(&listing.text).filter_map(|(_, line)| IndexLine::parse(line).ok()).any(|line| {
        line.name == id.name.as_str() && line.vers == id.version.as_str() && !line.yanked && is_alone(&line)
    }))
}
