//! The digest of a policy is that of its meaning.

use std::collections::HashSet;

use mirror_policy::Policy;

use crate::setup::policy;

fn digest(text: &str) -> String {
    policy(text).digest().to_hex()
}

#[test]
fn comments_order_and_spelling_do_not_matter() {
    let waivers = ["a@1.0.0", "b@1.0.0"].map(|release| {
        format!("[[waiver]]\nrelease = \"{release}\"\nrules = [\"deny\", \"allow\"]\nuntil = 2026-12-31\nwho = \"x\"\nwhy = \"y\"\n")
    });
    let one = format!(
        "format = 1\nmin-publish-age = \"7 days\"\ndeny = [\"Left-Pad@<2\", \"spam-*\"]\nmax-crate-size = \"1 KiB\"\n\
         licenses = {{ allow = [\"MIT\", \"GPL-3.0\"] }}\n{}{}",
        waivers[0], waivers[1]
    );
    let other = format!(
        "# A comment.\nmax-crate-size = 1024\nyanked = \"offer\"\ndeny = [\"spam_*\", \"left_pad@ <2\", \"spam-*\"]\n\
         licenses.allow = [\"GPL-3.0-only\", \"MIT\"]\nlicenses.missing = \"deny\"\nmin-publish-age = \"1 week\"\n\
         advisories = {{ database = \"anywhere\", malicious = \"deny\" }}\n{}{}",
        waivers[1].replace("b@", "B@").replace("\"y\"", "\"another reason\""),
        waivers[0].replace("\"deny\", \"allow\"", "\"allow\", \"deny\", \"allow\""),
    );
    assert_eq!(digest(&one), digest(&other));
}

#[test]
fn everything_that_decides_changes_the_digest() {
    let waiver = "[[waiver]]\nrelease = \"a@1.0.0\"\nrules = [\"deny\"]\nuntil = 2026-12-31\nwho = \"x\"\nwhy = \"y\"\n";
    let texts = [
        "",
        "min-publish-age = \"7 days\"",
        "min-publish-age = \"8 days\"",
        "offer-deleted = true",
        "yanked = \"deny\"",
        "newest = 1",
        "newest = 2",
        "allow = [\"a\"]",
        "deny = [\"a\"]",
        "deny = [\"a@1\"]",
        "deny = [\"a@=1\"]",
        "deny = [\"a*\"]",
        "max-crate-size = 1",
        "licenses.allow = [\"MIT\"]",
        "licenses.deny = [\"MIT\"]",
        "licenses = { allow = [\"MIT\"], missing = \"offer\" }",
        "licenses.missing = \"deny\"",
        "licenses.allow = [\"Apache-2.0\"]",
        "licenses.allow = [\"Apache-2.0 WITH LLVM-exception\"]",
        "advisories.malicious = \"ignore\"",
        "advisories.malicious = \"report\"",
        "advisories.vulnerable = \"deny\"",
        waiver,
        &waiver.replace("1.0.0", "1.0.1"),
        &waiver.replace("2026-12-31", "2026-12-30"),
        &waiver.replace("\"deny\"", "\"allow\""),
    ];
    let digests: HashSet<String> = texts.iter().map(|text| digest(text)).collect();
    assert_eq!(digests.len(), texts.len());
}

/// Snapshots carry the digest: a change of the canonical form needs another version in it.
#[test]
fn the_digest_of_the_default_policy_stays() {
    assert_eq!(
        Policy::default().digest().to_hex(),
        "4f00ce2fa662b86d8796fc47e843b628ab596f4e5f0793ce7e795b9f8a01468d"
    );
}

#[test]
fn a_decision_in_place_of_the_file_counts() {
    let mut changed = Policy::default();
    changed.offer_deleted(true);
    assert_eq!(changed.digest(), policy("offer-deleted = true").digest());
}
