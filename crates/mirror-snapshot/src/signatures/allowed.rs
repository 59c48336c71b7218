use std::time::SystemTime;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use mirror_types::{FaultKind, Printable};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::error::Reason;
use super::{NAMESPACE, pattern};

/// Why a list of allowed signers, or one of revoked keys, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowedSignersError {
    /// A line is wrong. Correct it: a list that is only read in part would trust others than its author meant.
    #[error("line {line} of the list of keys: {why}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// The reason.
        why: String,
    },
    /// The file is a key revocation list in OpenSSH's binary format. Write the public keys into a text file, one a line.
    #[error("this is a binary key revocation list; a text file with one public key a line is needed")]
    BinaryList,
}

impl AllowedSignersError {
    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        FaultKind::Usage
    }
}

const NO_KEY: &str = "there is no public key behind the principals and options";

/// The keys whose SSH signatures count, in the format of `ssh-keygen(1)`, section ALLOWED SIGNERS: in each line the
/// principals, options, and a public key. Certificate authorities are refused: only keys that are listed themselves count.
#[derive(Debug, Clone, Default)]
pub struct AllowedSigners(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    principals: String,
    options: Options,
    key: KeyData,
}

#[derive(Debug, Clone, Default)]
struct Options {
    namespaces: Option<String>,
    valid_after: Option<SystemTime>,
    valid_before: Option<SystemTime>,
}

impl AllowedSigners {
    /// Parses the text of a file. Times without `Z` at the end are local time, as for OpenSSH; end them with `Z`, so that
    /// they mean the same on every machine.
    ///
    /// # Errors
    /// When a line is wrong, names a certificate authority, or has an option that is not known.
    pub fn parse(text: &str) -> Result<Self, AllowedSignersError> {
        Self::parse_in(text, &TimeZone::system())
    }

    fn parse_in(text: &str, zone: &TimeZone) -> Result<Self, AllowedSignersError> {
        let mut entries = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = Entry::parse(line, zone);
            entries.push(entry.map_err(|why| AllowedSignersError::Line { line: number, why })?);
        }
        Ok(Self(entries))
    }

    /// Returns whether the list has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the principals of the first entry by which a signature of this key counts; otherwise the reason why none
    /// does.
    pub(super) fn find(&self, key: &KeyData, identity: Option<&str>, at: SystemTime) -> Result<&str, Reason> {
        let mut reason = Reason::Unknown;
        for entry in self.0.iter().filter(|entry| entry.key == *key) {
            match entry.check(identity, at) {
                Ok(()) => return Ok(&entry.principals),
                Err(found) => reason = reason.max(found),
            }
        }
        Err(reason)
    }
}

impl Entry {
    fn parse(line: &str, zone: &TimeZone) -> Result<Self, String> {
        let (principals, rest) = principals(line)?;
        let (options, key) = match PublicKey::from_openssh(rest) {
            Ok(key) => (Options::default(), key),
            Err(_) => {
                let (options, key) = Options::parse(rest, zone)?;
                let key = PublicKey::from_openssh(key).map_err(|_| NO_KEY.to_owned())?;
                (options, key)
            }
        };
        if let KeyData::Other(_) = key.key_data() {
            return Err(format!("keys of type {} are not supported", Printable(key.algorithm().as_str())));
        }
        Ok(Self { principals: principals.to_owned(), options, key: key.key_data().clone() })
    }

    /// Checks everything but the key. Both ends of the validity are inside, as for OpenSSH.
    fn check(&self, identity: Option<&str>, at: SystemTime) -> Result<(), Reason> {
        let Options { namespaces, valid_after, valid_before } = &self.options;
        if namespaces.as_ref().is_some_and(|list| !pattern::matches_list(NAMESPACE, list)) {
            return Err(Reason::OtherNamespace);
        }
        if identity.is_some_and(|identity| !pattern::matches_list(identity, &self.principals)) {
            return Err(Reason::OtherIdentity);
        }
        if valid_after.is_some_and(|after| at < after) || valid_before.is_some_and(|before| at > before) {
            return Err(Reason::OutsideValidity { after: *valid_after, before: *valid_before });
        }
        Ok(())
    }
}

impl Options {
    /// Parses the options at the beginning of a text, and returns what follows them.
    fn parse<'a>(mut text: &'a str, zone: &TimeZone) -> Result<(Self, &'a str), String> {
        let mut options = Self::default();
        loop {
            let end = text.find([' ', '\t', ',', '=']).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let (value, rest) = match rest.strip_prefix('=') {
                Some(value) => quoted(value).map(|(value, rest)| (Some(value), rest))?,
                None => (None, rest),
            };
            options.add(&name.to_ascii_lowercase(), value, zone)?;
            match rest.strip_prefix(',') {
                Some(more) => text = more,
                None if rest.starts_with([' ', '\t']) => {
                    options.check()?;
                    return Ok((options, rest.trim_start()));
                }
                None => return Err(NO_KEY.to_owned()),
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        match (self.valid_after, self.valid_before) {
            (Some(after), Some(before)) if before <= after => {
                Err("valid-before is not later than valid-after".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, name: &str, value: Option<String>, zone: &TimeZone) -> Result<(), String> {
        let time = |value: &str| {
            parse_time(value, zone)
                .ok_or_else(|| format!("{name} is a time such as 20271231Z or 20271231235959Z"))
        };
        let is_repeated = match (name, value) {
            ("cert-authority", _) => {
                return Err("certificate authorities are not supported: list the keys themselves".to_owned());
            }
            ("namespaces", Some(value)) => self.namespaces.replace(value).is_some(),
            ("valid-after", Some(value)) => self.valid_after.replace(time(&value)?).is_some(),
            ("valid-before", Some(value)) => self.valid_before.replace(time(&value)?).is_some(),
            ("namespaces" | "valid-after" | "valid-before", None) => {
                return Err(format!("the option {name} needs a value in quotes"));
            }
            _ => {
                return Err(format!(
                    "{} is neither a public key nor one of the options namespaces, valid-after and valid-before",
                    Printable(name.chars().take(40).collect::<String>())
                ));
            }
        };
        if is_repeated { Err(format!("the option {name} is there twice")) } else { Ok(()) }
    }
}

/// Splits a line into its principals, which may be in quotes, and what follows them.
fn principals(line: &str) -> Result<(&str, &str), String> {
    let split = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').filter(|(_, rest)| rest.starts_with([' ', '\t'])),
        None => line.split_once([' ', '\t']),
    };
    match split {
        Some((principals, rest)) if !principals.is_empty() => Ok((principals, rest.trim_start())),
        _ => Err("it does not begin with principals and white space".to_owned()),
    }
}

/// Takes a value in quotes from the beginning of a text; `\"` stands for a quote in it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let bad = || "the value of an option is in quotes, as in namespaces=\"mirror-snapshot\"".to_owned();
    let inner = text.strip_prefix('"').ok_or_else(bad)?;
    let mut value = String::new();
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &inner[at + 1..])),
            '\\' if chars.next_if(|(_, next)| *next == '"').is_some() => value.push('"'),
            other => value.push(other),
        }
    }
    Err(bad())
}

/// Parses `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with `Z` or `UTC` behind it for UTC.
fn parse_time(text: &str, zone: &TimeZone) -> Option<SystemTime> {
    let upper = text.to_ascii_uppercase();
    let (digits, is_utc) = match upper.strip_suffix("UTC").or_else(|| upper.strip_suffix('Z')) {
        Some(digits) => (digits, true),
        None => (upper.as_str(), false),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(digits.len(), 8 | 12 | 14) {
        return None;
    }
    let part =
        |from: usize, len: usize| digits.get(from..from + len).map_or(Some(0), |part| part.parse().ok());
    let year = digits[..4].parse().ok()?;
    let time =
        DateTime::new(year, part(4, 2)?, part(6, 2)?, part(8, 2)?, part(10, 2)?, part(12, 2)?, 0).ok()?;
    let zone = if is_utc { TimeZone::UTC } else { zone.clone() };
    let time = time.to_zoned(zone).ok()?.timestamp();
    (time.as_second() > 0).then(|| SystemTime::from(time))
}

#[cfg(test)]
mod tests;
