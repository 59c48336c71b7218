//! The status lines of `gpg` (`doc/DETAILS` of GnuPG), read strictly.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mirror_types::{CLIPPED_VALUE_BYTES, clipped};

use super::error::{PassedOver, Reason, SignatureError};
use super::trust::{Checked, KeyId, Signer};
use crate::accept::CLOCK_TOLERANCE;

/// Error code of a signature whose public key is missing.
const NO_PUBLIC_KEY: &str = "9";
/// Error code of a signature by an unknown algorithm.
const UNKNOWN_ALGORITHM: &str = "4";
/// Error code of a public key that gpg will not use: among other faults, one made after the time of the check.
const BAD_PUBLIC_KEY: &str = "6";
/// Class of a signature over a document as it is.
const BINARY_DOCUMENT: &str = "00";
/// The shortest key id in a line about a good signature.
const MIN_KEY_ID_DIGITS: usize = 16;
/// Numbers of hashes for which two documents with one hash can be made: MD5, SHA-1, RIPEMD-160.
const WEAK_HASHES: [&str; 3] = ["1", "2", "3"];

/// Everything that gpg reported of one signature.
#[derive(Default)]
struct Report<'a> {
    /// Keyword and arguments, in order.
    lines: Vec<(&'a str, Vec<&'a str>)>,
}

/// Returns the results for all signatures of one file, in order.
pub(super) fn read(status: &str, signature: &str, at: SystemTime) -> Result<Vec<Checked>, SignatureError> {
    let mut reports: Vec<Report<'_>> = Vec::new();
    for line in status.lines() {
        let Some(line) = line.strip_prefix("[GNUPG:] ") else {
            return Err(SignatureError::bad(signature, "gpg printed something else than status lines"));
        };
        let mut words = line.split(' ');
        let keyword = words.next().unwrap_or_default();
        match reports.last_mut() {
            _ if keyword == "NEWSIG" => reports.push(Report::default()),
            Some(report) => report.lines.push((keyword, words.collect())),
            // Lines about the keyring, before the first signature.
            None => {}
        }
    }
    if reports.is_empty() {
        return Err(SignatureError::bad(signature, "it is not an OpenPGP signature"));
    }
    reports.iter().map(|report| report.judge(signature, at)).collect()
}

impl<'a> Report<'a> {
    /// Returns the arguments of a line; `None` when it is missing, or there are several.
    fn only(&self, keyword: &str) -> Option<&[&'a str]> {
        let mut found = self.lines.iter().filter(|(own, _)| *own == keyword);
        let (_, arguments) = found.next()?;
        found.next().is_none().then_some(arguments)
    }

    fn has(&self, keyword: &str) -> bool {
        self.lines.iter().any(|(own, _)| *own == keyword)
    }

    fn judge(&self, signature: &str, at: SystemTime) -> Result<Checked, SignatureError> {
        let bad = |why: &str| Err(SignatureError::bad(signature, why));
        if self.has("BADSIG") {
            return bad("its key did not make it over these bytes");
        }
        if self.has("ERRSIG") {
            return self.unchecked(signature);
        }
        let Some(valid) = self.only("VALIDSIG").and_then(Valid::parse) else {
            return bad("gpg did not report that it is valid");
        };
        let passed_over = |reason| Ok(Err(PassedOver { key: valid.key(), reason }));
        let outside = |before| passed_over(Reason::OutsideValidity { after: None, before });
        if self.has("REVKEYSIG") || self.has("KEYREVOKED") {
            return passed_over(Reason::Revoked);
        }
        if self.has("EXPSIG") || self.has("EXPKEYSIG") {
            return outside(valid.expires);
        }
        // Exactly one good signature, of the key that is valid.
        let good = self.only("GOODSIG").and_then(|arguments| arguments.split_first());
        let is_its_key = |id: &str| id.len() >= MIN_KEY_ID_DIGITS && valid.signing_key.ends_with(id);
        let Some((_, user)) = good.filter(|(id, _)| is_its_key(id)) else {
            return bad("gpg did not report that it is good");
        };
        if valid.class != BINARY_DOCUMENT {
            return bad("it is not over the document as it is");
        }
        if WEAK_HASHES.contains(&valid.hash) {
            return bad("it was made with a broken hash");
        }
        let latest = at.checked_add(CLOCK_TOLERANCE);
        if latest.is_some_and(|latest| valid.made > latest) {
            return passed_over(Reason::OutsideValidity { after: Some(valid.made), before: None });
        }
        Ok(Ok(Signer { key: valid.key(), name: clipped(user.join(" "), CLIPPED_VALUE_BYTES) }))
    }

    /// Returns the result for a signature that gpg could not check.
    fn unchecked(&self, signature: &str) -> Result<Checked, SignatureError> {
        // Key id, algorithm, hash, class, time, error code, and from gpg 2.2.8 on the fingerprint or `-`.
        let arguments = self.only("ERRSIG").unwrap_or_default();
        let reason = match arguments.get(5) {
            Some(&NO_PUBLIC_KEY) => Reason::Unknown,
            Some(&UNKNOWN_ALGORITHM) => Reason::Unsupported,
            Some(&BAD_PUBLIC_KEY) => Reason::OutsideValidity { after: None, before: None },
            _ => return Err(SignatureError::bad(signature, "gpg could not check it")),
        };
        let fingerprint = arguments.get(6).filter(|word| is_hex(word)).or(arguments.first());
        let key = KeyId::OpenPgp(clipped(fingerprint.copied().unwrap_or_default(), CLIPPED_VALUE_BYTES));
        Ok(Err(PassedOver { key, reason }))
    }
}

/// The facts of a line `VALIDSIG`.
struct Valid<'a> {
    signing_key: &'a str,
    primary_key: &'a str,
    made: SystemTime,
    expires: Option<SystemTime>,
    hash: &'a str,
    class: &'a str,
}

impl<'a> Valid<'a> {
    fn parse(arguments: &[&'a str]) -> Option<Self> {
        let &[signing_key, _date, made, expires, _version, _reserved, _algorithm, hash, class, primary_key] =
            arguments
        else {
            return None;
        };
        let is_fingerprint = |text: &str| matches!(text.len(), 40 | 64) && is_hex(text);
        if !is_fingerprint(signing_key) || !is_fingerprint(primary_key) {
            return None;
        }
        let time = |text: &str| Some(UNIX_EPOCH + Duration::from_secs(u64::from(text.parse::<u32>().ok()?)));
        let expires = if expires == "0" { None } else { Some(time(expires)?) };
        Some(Self { signing_key, primary_key, made: time(made)?, expires, hash, class })
    }

    fn key(&self) -> KeyId {
        KeyId::OpenPgp(self.primary_key.to_owned())
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

#[cfg(test)]
mod tests;
