use mirror_checksum::Hasher;
use mirror_types::{Rule, Sha256};

use crate::names::Entry;
use crate::policy::Policy;

/// Version of the canonical form. A change of the form, or of what a key means, needs the next.
const FORMAT: u32 = 1;

impl Policy {
    /// Returns a digest of the policy: the same for all files that decide alike, whatever their comments, their order and
    /// their spelling (`7 days` and `1 week`, `A-b` and `a_B`). Leaves out the place of the advisory database, whose
    /// contents [`Advisories::digest`](crate::Advisories::digest) covers, and who made a waiver and why.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Hasher::of(self.canonical().as_bytes())
    }

    /// Returns the canonical form: a line for each setting, also where it is the default, and for each entry of a list,
    /// sorted.
    pub(crate) fn canonical(&self) -> String {
        let mut lines = vec![
            format!("format {FORMAT}"),
            format!("min-publish-age {}", self.min_publish_age.as_secs()),
            format!("offer-deleted {}", self.offer_deleted),
            format!("offer-yanked {}", self.offer_yanked),
            format!("newest {}", self.newest),
            format!("licenses-missing-denied {}", self.licences.denies_missing()),
            format!("advisories-malicious {}", self.on_malicious.name()),
            format!("advisories-vulnerable {}", self.on_vulnerable.name()),
        ];
        lines.extend(self.max_size_bytes.map(|bytes| format!("max-crate-size {bytes}")));
        let entry = |key: &'static str| move |entry: &Entry| format!("{key} {}", entry.canonical);
        lines.extend(self.allow.entries().iter().map(entry("allow")));
        lines.extend(self.deny.entries().iter().map(entry("deny")));
        lines.extend(self.licences.allow.iter().map(|licence| format!("licenses-allow {licence}")));
        lines.extend(self.licences.deny.iter().map(|licence| format!("licenses-deny {licence}")));
        lines.extend(self.waivers.values().map(|waiver| {
            let rules: Vec<&str> = waiver.rules().iter().copied().map(Rule::name).collect();
            let release = waiver.release();
            let (name, version) = (release.name.canonical(), &release.version);
            format!("waiver {name}@{version} until {} {}", waiver.until(), rules.join(" "))
        }));
        lines.sort_unstable();
        lines.dedup();
        format!("mirror-policy\n{}\n", lines.join("\n"))
    }
}
