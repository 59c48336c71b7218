//! Licences as the model knows them: what releases state, and what a rule makes of it.

use mirror_types::ReleaseId;

use crate::licences::pack;

/// The expressions of releases, each with the ways in which it can be satisfied.
const EXPRESSIONS: [(&str, &[&[&str]]); 7] = [
    ("MIT", &[&["MIT"]]),
    ("Apache-2.0", &[&["Apache-2.0"]]),
    ("GPL-3.0", &[&["GPL-3.0-only"]]),
    ("MIT OR GPL-3.0-only", &[&["MIT"], &["GPL-3.0-only"]]),
    ("MIT/Apache-2.0", &[&["MIT"], &["Apache-2.0"]]),
    ("MIT AND GPL-3.0-only", &[&["MIT", "GPL-3.0-only"]]),
    ("(MIT OR Apache-2.0) AND GPL-3.0-only", &[&["MIT", "GPL-3.0-only"], &["Apache-2.0", "GPL-3.0-only"]]),
];
/// The licences in lists of the policy.
const LICENCES: [&str; 3] = ["MIT", "Apache-2.0", "GPL-3.0-only"];

/// The licence that a release states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stated {
    /// One of [`EXPRESSIONS`].
    Expression(usize),
    Missing,
    /// It has no `Cargo.toml` that can be read.
    Unreadable,
}

/// The bytes of a release.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    licence: Stated,
    /// No two bodies have the same.
    serial: usize,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "body {} of {} bytes ({:?})", self.serial, self.bytes.len(), self.licence)
    }
}

impl Body {
    /// Makes a body that is no package.
    pub(super) fn text(serial: usize, size: usize) -> Self {
        let bytes = format!("{:.<size$}", format!("body {serial} of {size} ")).into_bytes();
        Self { bytes, licence: Stated::Unreadable, serial }
    }

    /// Packs a release with any licence.
    pub(super) fn package(serial: usize, id: &ReleaseId, random: &mut fastrand::Rng) -> Self {
        let length = random.usize(..200);
        let letters: String = std::iter::repeat_with(|| random.lowercase()).take(length).collect();
        let readme = format!("{serial} {letters}");
        let (licence, line) = match random.u8(..12) {
            0 => (Stated::Missing, String::new()),
            1 => (Stated::Missing, "license-file = \"LICENSE\"".to_owned()),
            2 => (Stated::Unreadable, "license = [".to_owned()),
            3 => (Stated::Unreadable, String::new()),
            _ => {
                let at = random.usize(..EXPRESSIONS.len());
                (Stated::Expression(at), format!("license = \"{}\"", EXPRESSIONS[at].0))
            }
        };
        let manifest = format!("[package]\nname = \"{}\"\nversion = \"{}\"\n{line}\n", id.name, id.version);
        let has_manifest = licence != Stated::Unreadable || !line.is_empty();
        let manifest = has_manifest.then_some(manifest.as_str());
        let mut bytes = pack(id.name.as_str(), id.version.as_str(), manifest, &readme);
        if licence == Stated::Unreadable && random.bool() {
            bytes.truncate(bytes.len() / 2);
        }
        Self { bytes, licence, serial }
    }
}

/// The rule `licenses`.
#[derive(Debug, Clone)]
pub(super) struct LicenceRule {
    allow: Vec<&'static str>,
    deny: Vec<&'static str>,
    /// Whether a release without a licence is offered, where the policy says so.
    offers_missing: Option<bool>,
}

impl LicenceRule {
    pub(super) fn any(random: &mut fastrand::Rng) -> Self {
        let some = |random: &mut fastrand::Rng| -> Vec<_> {
            LICENCES.into_iter().filter(|_| random.u8(..3) == 0).collect()
        };
        let (mut allow, deny) = (some(random), some(random));
        if allow.is_empty() && deny.is_empty() {
            allow.push(LICENCES[random.usize(..LICENCES.len())]);
        }
        let offers_missing = (random.u8(..3) == 0).then(|| random.bool());
        Self { allow, deny, offers_missing }
    }

    pub(super) fn text(&self) -> String {
        let list =
            |of: &[&str]| of.iter().map(|licence| format!("\"{licence}\"")).collect::<Vec<_>>().join(", ");
        let missing = match self.offers_missing {
            None => "",
            Some(true) => ", missing = \"offer\"",
            Some(false) => ", missing = \"deny\"",
        };
        format!("licenses = {{ allow = [{}], deny = [{}]{missing} }}\n", list(&self.allow), list(&self.deny))
    }

    /// Returns whether the rule lets a release pass once its licence is known.
    pub(super) fn allows(&self, body: &Body) -> bool {
        let is_allowed = |licence: &&str| {
            (self.allow.is_empty() || self.allow.contains(licence)) && !self.deny.contains(licence)
        };
        match body.licence {
            Stated::Expression(at) => EXPRESSIONS[at].1.iter().any(|way| way.iter().all(is_allowed)),
            Stated::Missing => self.offers_missing.unwrap_or(self.allow.is_empty()),
            Stated::Unreadable => false,
        }
    }
}
