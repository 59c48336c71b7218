//! Version requirements by the order of versions. Cargo's own comparison leaves pre-releases out unless a requirement
//! names one of the same version; a rule that protects must not.

use semver::{BuildMetadata, Comparator, Op, Prerelease, Version, VersionReq};

/// The reading of a requirement that names only a part of a version, such as `>1.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As Cargo: `>1.2` begins at 1.3.0, `<=1.2` and `=1.2` include 1.2.9.
    Cargo,
    /// As the tools of RustSec: the missing numbers are zero, so that `>1.2` includes 1.2.1.
    Rustsec,
}

/// Returns whether a version lies in the range of a requirement by the precedence of versions, which includes
/// pre-releases and ignores build metadata.
pub(crate) fn lies_in(version: &Version, requirement: &VersionReq, reading: Reading) -> bool {
    requirement.comparators.iter().all(|comparator| satisfies(version, comparator, reading))
}

fn satisfies(version: &Version, comparator: &Comparator, reading: Reading) -> bool {
    let &Comparator { ref op, major, minor, patch, ref pre } = comparator;
    let least = Version {
        major,
        minor: minor.unwrap_or(0),
        patch: patch.unwrap_or(0),
        pre: pre.clone(),
        build: BuildMetadata::EMPTY,
    };
    let order = version.cmp_precedence(&least);
    let before = |bound: Option<Version>| bound.is_none_or(|bound| version.cmp_precedence(&bound).is_lt());
    let is_range = patch.is_none() && reading == Reading::Cargo;
    match op {
        Op::Exact if is_range => order.is_ge() && before(after(major, minor, None)),
        Op::Exact => order.is_eq(),
        Op::Greater if is_range => !before(after(major, minor, None)),
        Op::Greater => order.is_gt(),
        Op::GreaterEq => order.is_ge(),
        Op::Less => order.is_lt(),
        Op::LessEq if is_range => before(after(major, minor, None)),
        Op::LessEq => order.is_le(),
        Op::Tilde | Op::Wildcard => order.is_ge() && before(after(major, minor, None)),
        Op::Caret => {
            let bound = match (major, minor, patch) {
                (0, Some(0), Some(_)) => after(major, minor, patch),
                (0, Some(_), _) => after(major, minor, None),
                _ => after(major, None, None),
            };
            order.is_ge() && before(bound)
        }
        _ => false,
    }
}

/// Returns the least version behind all that begin with these numbers: a pre-release of the next. `None` when there is
/// no greater number.
fn after(major: u64, minor: Option<u64>, patch: Option<u64>) -> Option<Version> {
    let mut version = match (minor, patch) {
        (None, _) => Version::new(major.checked_add(1)?, 0, 0),
        (Some(minor), None) => Version::new(major, minor.checked_add(1)?, 0),
        (Some(minor), Some(patch)) => Version::new(major, minor, patch.checked_add(1)?),
    };
    version.pre = Prerelease::new("0").ok()?;
    Some(version)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_include_pre_releases() {
        use Reading::{Cargo, Rustsec};
        for (requirement, version, cargo, rustsec) in [
            (">=1.2.3", "1.2.3-alpha", false, false),
            (">=1.2.3", "1.2.4-alpha", true, true),
            (">=1.2.3", "1.2.3+build", true, true),
            ("<2", "2.0.0-alpha", true, true),
            ("<2", "2.0.0", false, false),
            ("<=1.2.3", "1.2.3+build", true, true),
            ("<=1.2", "1.2.1", true, false),
            ("<=1.2", "1.3.0-alpha", false, false),
            ("=1.2", "1.2.9", true, false),
            ("=1.2", "1.2.0", true, true),
            (">1.2", "1.2.1", false, true),
            (">1.2", "1.3.0", true, true),
            (">1.2.0", "1.2.0+build", false, false),
            ("^1.2.3", "2.0.0-alpha", false, false),
            ("^1.2.3", "1.9.0-alpha", true, true),
            ("^0.2.3", "0.2.9", true, true),
            ("^0.2.3", "0.3.0-0", false, false),
            ("^0.0.3", "0.0.4", false, false),
            ("^0.0", "0.0.9", true, true),
            ("^0", "0.9.9", true, true),
            ("~1.2.3", "1.2.9", true, true),
            ("~1.2.3", "1.3.0-alpha", false, false),
            ("~1", "1.9.0", true, true),
            ("1.*", "1.9.0-rc.1", true, true),
            ("*", "0.0.0-0", true, true),
            (">=1.0.0, <1.1.0", "1.0.5", true, true),
            (">=1.0.0, <1.1.0", "1.1.0", false, false),
            ("<18446744073709551615", "1.0.0", true, true),
            ("^18446744073709551615", "18446744073709551615.1.0", true, true),
        ] {
            let (parsed, number) = (requirement.parse().expect(requirement), version.parse().expect(version));
            assert_eq!(lies_in(&number, &parsed, Cargo), cargo, "Cargo: {requirement} {version}");
            assert_eq!(lies_in(&number, &parsed, Rustsec), rustsec, "RustSec: {requirement} {version}");
        }
    }

    proptest! {
        /// Compares with the ranges of Cargo, which are the same where no pre-release is involved.
        #[test]
        fn without_pre_releases_the_answer_is_cargos(
            op in prop::sample::select(vec!["", "^", "~", "=", "<", "<=", ">", ">="]),
            parts in 1_usize..=3,
            numbers in prop::array::uniform3(0_u64..3),
            version in prop::array::uniform3(0_u64..4),
        ) {
            let text: Vec<String> = numbers[..parts].iter().map(u64::to_string).collect();
            let requirement: VersionReq = format!("{op}{}", text.join(".")).parse().expect("requirement");
            let [major, minor, patch] = version;
            let version = Version::new(major, minor, patch);
            prop_assert_eq!(lies_in(&version, &requirement, Reading::Cargo), requirement.matches(&version));
        }
    }
}
