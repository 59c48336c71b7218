//! Licence expressions of SPDX, and which of them are allowed.

use mirror_types::{CLIPPED_VALUE_BYTES, clipped};
use spdx::{Expression, LicenseId, LicenseItem, LicenseReq, Licensee, ParseMode};

/// The longest expression that is read, bytes; the longest on the registry have a few hundred.
const MAX_EXPRESSION_BYTES: usize = 4_096;

/// Identifiers must be those of SPDX, deprecated ones included.
const OF_POLICY: ParseMode = ParseMode { allow_deprecated: true, ..ParseMode::STRICT };

/// Old releases have `MIT/Apache-2.0` and `GPL-3.0+`. An unknown identifier is a licence that no list names; imprecise
/// names such as `gpl` are not guessed.
const OF_RELEASES: ParseMode = ParseMode {
    allow_slash_as_or_operator: true,
    allow_imprecise_license_names: false,
    allow_postfix_plus_on_gpl: true,
    allow_deprecated: true,
    allow_unknown: true,
};

/// The rule on licences.
#[derive(Debug, Clone, Default)]
pub(crate) struct Licences {
    /// When it is not empty, no other licence is allowed.
    pub(crate) allow: Vec<Licensee>,
    pub(crate) deny: Vec<Licensee>,
    /// True if a release without a licence is held back; `None` where the policy does not say.
    pub(crate) deny_missing: Option<bool>,
}

/// Parses one licence of a policy, with or without an exception.
pub(crate) fn licence(text: &str) -> Option<Licensee> {
    let licence = Licensee::parse_mode(text, OF_POLICY).ok()?.into_req();
    Some(Licensee::new(plain(&licence).license, licence.addition))
}

impl Licences {
    /// Returns whether the rule decides anything.
    pub(crate) fn is_on(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty() || self.denies_missing()
    }

    /// Returns whether a release without a licence is held back: as the policy says; otherwise only with a list of allowed
    /// licences, because no licence is not one of them.
    pub(crate) fn denies_missing(&self) -> bool {
        self.deny_missing.unwrap_or(!self.allow.is_empty())
    }

    /// Checks the expression of a release: it must be possible to satisfy it by allowed licences alone. An expression that
    /// cannot be read is not allowed.
    ///
    /// # Errors
    /// Returns the reason for holding the release back.
    pub(crate) fn check(&self, expression: &str) -> Result<(), String> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return Ok(());
        }
        let quoted = || clipped(expression, CLIPPED_VALUE_BYTES);
        let parsed = (expression.len() <= MAX_EXPRESSION_BYTES)
            .then(|| Expression::parse_mode(expression, OF_RELEASES).ok())
            .flatten();
        match parsed {
            None => Err(format!("`{}` is not a licence expression", quoted())),
            Some(parsed) if parsed.evaluate(|term| self.accepts(&plain(term))) => Ok(()),
            Some(_) => Err(format!("`{}` is not allowed", quoted())),
        }
    }

    fn accepts(&self, term: &LicenseReq) -> bool {
        let is_allowed = self.allow.is_empty() || self.allow.iter().any(|licence| licence.satisfies(term));
        is_allowed && !self.deny.iter().any(|licence| is_same(licence.as_ref(), term))
    }
}

/// Returns whether two terms name one licence with the same exception, or a later version of it.
fn is_same(one: &LicenseReq, other: &LicenseReq) -> bool {
    let is_one_licence = match (&one.license, &other.license) {
        (LicenseItem::Spdx { id: one, .. }, LicenseItem::Spdx { id: other, .. }) => one == other,
        (one, other) => one == other,
    };
    is_one_licence && one.addition == other.addition
}

/// Returns a term in which the old `GPL-3.0` is `GPL-3.0-only`, as SPDX defines it.
fn plain(term: &LicenseReq) -> LicenseReq {
    let mut term = term.clone();
    if let LicenseItem::Spdx { id, .. } = &mut term.license {
        *id = plain_id(*id);
    }
    term
}

fn plain_id(id: LicenseId) -> LicenseId {
    let is_old = id.is_gnu() && !id.name.ends_with("-only") && !id.name.ends_with("-or-later");
    is_old.then(|| spdx::license_id(&format!("{}-only", id.name))).flatten().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(allow: &[&str], deny: &[&str]) -> Licences {
        let all = |texts: &[&str]| texts.iter().map(|text| licence(text).expect(text)).collect();
        Licences { allow: all(allow), deny: all(deny), deny_missing: None }
    }

    #[test]
    fn an_expression_must_be_satisfied_by_allowed_licences() {
        let rule =
            rule(&["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "GPL-3.0-only", "MPL-2.0"], &[]);
        for (expression, is_allowed) in [
            ("MIT", true),
            ("MIT OR GPL-2.0-only", true),
            ("MIT AND GPL-2.0-only", false),
            ("MIT AND Apache-2.0", true),
            ("(MIT OR GPL-2.0-only) AND (ISC OR Apache-2.0)", true),
            ("MIT AND (ISC OR GPL-2.0-only)", false),
            // AND binds more tightly than OR.
            ("ISC AND GPL-2.0-only OR MIT", true),
            ("MIT/Apache-2.0", true),
            ("MIT / GPL-2.0", true),
            ("ISC/GPL-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("Apache-2.0+", true),
            ("MPL-1.1+", true),
            ("GPL-3.0", true),
            ("GPL-3.0+", false),
            ("GPL-3.0-or-later", false),
            ("LicenseRef-ours", false),
            ("MIT OR Unheard-Of", true),
            ("Unheard-Of", false),
            ("mit", false),
            ("gpl", false),
        ] {
            let answer = rule.check(expression);
            assert_eq!(answer.is_ok(), is_allowed, "{expression}: {answer:?}");
            if !is_allowed {
                assert_eq!(answer, Err(format!("`{expression}` is not allowed")));
            }
        }
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_not_allowed() {
        for rule in [rule(&["MIT"], &[]), rule(&[], &["MIT"])] {
            for expression in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "MIT, Apache-2.0", "see LICENSE!", "ü"]
            {
                let said = rule.check(expression).expect_err(expression);
                assert!(said.ends_with("is not a licence expression"), "{said}");
            }
            assert!(rule.check(&format!("MIT{}", " OR MIT".repeat(1_000))).is_err());
        }
    }

    #[test]
    fn a_denied_licence_counts_where_no_other_is_left() {
        let deny = rule(&[], &["GPL-3.0-only", "AGPL-3.0", "MPL-2.0"]);
        for (expression, is_allowed) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("AGPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("MPL-2.0+", false),
            ("GPL-3.0-or-later", true),
            ("GPL-3.0-only WITH Classpath-exception-2.0", true),
            ("Unheard-Of", true),
        ] {
            assert_eq!(deny.check(expression).is_ok(), is_allowed, "{expression}");
        }
        let both = rule(&["MIT", "ISC"], &["ISC"]);
        assert!(both.check("ISC").is_err() && both.check("MIT").is_ok());
    }

    #[test]
    fn missing_licences_are_denied_beside_allowed_ones() {
        assert!(!Licences::default().is_on());
        assert!(rule(&["MIT"], &[]).denies_missing());
        assert!(!rule(&[], &["MIT"]).denies_missing());
        let missing = Licences { deny_missing: Some(true), ..Licences::default() };
        assert!(missing.is_on() && missing.check("anything at all").is_ok());
        assert!(!Licences { deny_missing: Some(false), ..rule(&["MIT"], &[]) }.denies_missing());
    }

    #[test]
    fn only_identifiers_of_spdx_are_licences_of_a_policy() {
        for good in ["MIT", "GPL-3.0", "Apache-2.0 WITH LLVM-exception", "LicenseRef-ours"] {
            assert!(licence(good).is_some(), "{good}");
        }
        for bad in ["", "MITT", "mit", "Apache", "MIT OR ISC", "Apache-2.0+", "MIT WITH", "MIT WITH MIT"] {
            assert!(licence(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        /// A licence is text that a stranger wrote.
        #[test]
        fn no_text_does_harm(text in "(MIT|GPL-2.0|WITH|AND|OR|LicenseRef-|DocumentRef-a:|[ /()+:.ü-]|\\PC){0,12}") {
            let _ = rule(&["MIT"], &["ISC"]).check(&text);
            let _ = licence(&text);
        }
    }
}
