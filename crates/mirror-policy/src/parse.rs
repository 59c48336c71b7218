//! The parser of `policy.toml`. Each refusal names its line and what is allowed there.

use std::ops::Range;
use std::time::Duration;

use mirror_types::{CLIPPED_VALUE_BYTES, ReleaseId, Rule, clipped, nearest};
use spdx::Licensee;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::PolicyFault;
use crate::licences::{Licences, licence};
use crate::names::{Entry, List};
use crate::policy::{OnAdvisory, Policy};
use crate::units::{age, size};
use crate::waiver::Waiver;

/// The version of the format that is read.
const FORMAT: u64 = 1;
/// Longest value of one line, characters.
const MAX_VALUE_CHARS: usize = 1_000;

const KEYS: &[&str] = &[
    "format",
    "min-publish-age",
    "offer-deleted",
    "yanked",
    "newest",
    "allow",
    "deny",
    "max-crate-size",
    "licenses",
    "advisories",
    "waiver",
];
const LICENCE_KEYS: &[&str] = &["allow", "deny", "missing"];
const ADVISORY_KEYS: &[&str] = &["database", "malicious", "vulnerable"];
const WAIVER_KEYS: &[&str] = &["release", "rules", "until", "who", "why"];

const ON_ADVISORY: &[(&str, OnAdvisory)] = &[
    (OnAdvisory::Deny.name(), OnAdvisory::Deny),
    (OnAdvisory::Report.name(), OnAdvisory::Report),
    (OnAdvisory::Ignore.name(), OnAdvisory::Ignore),
];

impl Policy {
    /// Parses a policy file. Every key may be left out; an empty text is the default policy.
    ///
    /// # Errors
    /// At the first key or value that this version does not know: its line, and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        let document = Document { text };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().unwrap_or_default();
            document.fault(at, format!("this is not TOML: {}", clipped(error.message(), CLIPPED_VALUE_BYTES)))
        })?;
        let table = table.get_ref();
        // Another format may have other keys: it is refused before they are.
        if let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == "format") {
            document.format(value)?;
        }
        let keys = document.keys(table, "", KEYS)?;
        let mut policy = Self::default();
        for (key, value) in keys {
            document.set(&mut policy, key, value)?;
        }
        Ok(policy)
    }
}

type Value<'t> = Spanned<DeValue<'t>>;
type Parsed<T> = Result<T, PolicyFault>;

/// The text of a policy, in which faults have lines.
struct Document<'t> {
    text: &'t str,
}

impl<'t> Document<'t> {
    fn fault(&self, at: Range<usize>, reason: impl Into<String>) -> PolicyFault {
        let before = self.text.as_bytes().iter().take(at.start);
        PolicyFault { line: 1 + before.filter(|byte| **byte == b'\n').count(), reason: reason.into() }
    }

    /// Returns the entries of a table in the order of their lines.
    fn keys<'a>(
        &self,
        table: &'a DeTable<'t>,
        prefix: &str,
        known: &[&str],
    ) -> Parsed<Vec<(&'a str, &'a Value<'t>)>> {
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        let mut found = Vec::with_capacity(keys.len());
        for (key, value) in keys {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let (shown, nearest) = (clipped(name, CLIPPED_VALUE_BYTES), nearest(name, known));
                let reason = format!("{prefix}{shown} is not known; the nearest key is {prefix}{nearest}");
                return Err(self.fault(key.span(), reason));
            }
            found.push((name, value));
        }
        Ok(found)
    }

    fn set(&self, policy: &mut Policy, key: &str, value: &Value<'t>) -> Parsed<()> {
        match key {
            "min-publish-age" => policy.min_publish_age = self.age(value)?,
            "offer-deleted" => {
                let DeValue::Boolean(offer) = value.get_ref() else {
                    return Err(self.fault(value.span(), "offer-deleted is true or false"));
                };
                policy.offer_deleted = *offer;
            }
            "yanked" => policy.offer_yanked = self.choice(value, key, &[("offer", true), ("deny", false)])?,
            "newest" => policy.newest = self.newest(value)?,
            "allow" => policy.allow = self.list(value, key)?,
            "deny" => policy.deny = self.list(value, key)?,
            "max-crate-size" => policy.max_size_bytes = Some(self.size(value)?),
            "licenses" => policy.licences = self.licences(value)?,
            "advisories" => self.advisories(policy, value)?,
            "waiver" => self.waivers(policy, value)?,
            // The format was checked before the keys.
            _ => {}
        }
        Ok(())
    }

    fn format(&self, value: &Value<'t>) -> Parsed<()> {
        if integer(value) == Some(FORMAT) {
            return Ok(());
        }
        Err(self.fault(value.span(), format!("format is not known; this version reads {FORMAT}")))
    }

    fn age(&self, value: &Value<'t>) -> Parsed<Duration> {
        string(value).and_then(age).ok_or_else(|| {
            self.fault(
                value.span(),
                "min-publish-age is \"0\", or a number of seconds, minutes, hours, days, weeks or months, as in \
                 \"7 days\"",
            )
        })
    }

    fn newest(&self, value: &Value<'t>) -> Parsed<usize> {
        integer(value).and_then(|count| usize::try_from(count).ok()).ok_or_else(|| {
            self.fault(value.span(), "newest is a number of versions, as in 3; 0 means all of them")
        })
    }

    fn size(&self, value: &Value<'t>) -> Parsed<u64> {
        let bytes = integer(value).or_else(|| string(value).and_then(size));
        bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
            self.fault(
                value.span(),
                "max-crate-size is a number of bytes above 0, or such a number and one of B, kB, MB, GB, TB, KiB, MiB, \
                 GiB, TiB, as in \"50 MiB\"",
            )
        })
    }

    fn choice<T: Copy>(&self, value: &Value<'t>, key: &str, choices: &[(&str, T)]) -> Parsed<T> {
        let text = string(value).unwrap_or_default();
        choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
            let mut names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let last = names.pop().unwrap_or_default();
            self.fault(value.span(), format!("{key} is {} or {last}", names.join(", ")))
        })
    }

    /// Returns the texts of a list, with their places.
    fn texts<'a>(&self, value: &'a Value<'t>, reason: &str) -> Parsed<Vec<(&'a str, Range<usize>)>> {
        let DeValue::Array(values) = value.get_ref() else { return Err(self.fault(value.span(), reason)) };
        let texts = values.iter().map(|value| match string(value) {
            Some(text) => Ok((text, value.span())),
            None => Err(self.fault(value.span(), reason)),
        });
        texts.collect()
    }

    fn list(&self, value: &Value<'t>, key: &str) -> Parsed<List> {
        let reason = format!("{key} is a list of texts, as in [\"serde\", \"left-pad@<2\", \"spam-*\"]");
        let mut entries = Vec::new();
        for (text, at) in self.texts(value, &reason)? {
            let shown = clipped(text, CLIPPED_VALUE_BYTES);
            entries.push(
                Entry::parse(text).map_err(|fault| self.fault(at, format!("{key}: `{shown}` {fault}")))?,
            );
        }
        List::new(entries).map_err(|fault| self.fault(value.span(), format!("{key} {fault}")))
    }

    fn table<'a>(&self, value: &'a Value<'t>, reason: &str) -> Parsed<&'a DeTable<'t>> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.fault(value.span(), reason)),
        }
    }

    fn licences(&self, value: &Value<'t>) -> Parsed<Licences> {
        let table =
            self.table(value, "licenses is a table, as in { allow = [\"MIT\"], missing = \"deny\" }")?;
        let mut licences = Licences::default();
        for (key, value) in self.keys(table, "licenses.", LICENCE_KEYS)? {
            match key {
                "allow" => licences.allow = self.identifiers(value, "licenses.allow")?,
                "deny" => licences.deny = self.identifiers(value, "licenses.deny")?,
                _ => {
                    let choices = &[("deny", true), ("offer", false)];
                    licences.deny_missing = Some(self.choice(value, "licenses.missing", choices)?);
                }
            }
        }
        Ok(licences)
    }

    fn identifiers(&self, value: &Value<'t>, key: &str) -> Parsed<Vec<Licensee>> {
        let reason = format!("{key} is a list of texts, as in [\"MIT\", \"Apache-2.0 WITH LLVM-exception\"]");
        let texts = self.texts(value, &reason)?.into_iter().map(|(text, at)| {
            licence(text).ok_or_else(|| {
                let shown = clipped(text, CLIPPED_VALUE_BYTES);
                self.fault(
                    at,
                    format!(
                        "{key}: `{shown}` is not an SPDX licence, such as MIT or Apache-2.0 WITH LLVM-exception"
                    ),
                )
            })
        });
        texts.collect()
    }

    fn advisories(&self, policy: &mut Policy, value: &Value<'t>) -> Parsed<()> {
        let table = self.table(value, "advisories is a table; write [advisories] above its keys")?;
        for (key, value) in self.keys(table, "advisories.", ADVISORY_KEYS)? {
            match key {
                "malicious" => {
                    policy.on_malicious = self.choice(value, "advisories.malicious", ON_ADVISORY)?;
                }
                "vulnerable" => {
                    policy.on_vulnerable = self.choice(value, "advisories.vulnerable", ON_ADVISORY)?;
                }
                _ => {
                    let path = line(value).ok_or_else(|| {
                        self.fault(
                            value.span(),
                            "advisories.database is the path of a directory or a git clone",
                        )
                    })?;
                    policy.database = Some(path);
                }
            }
        }
        Ok(())
    }

    fn waivers(&self, policy: &mut Policy, value: &Value<'t>) -> Parsed<()> {
        let reason = "waiver is a list of tables; write [[waiver]] above each";
        let DeValue::Array(waivers) = value.get_ref() else { return Err(self.fault(value.span(), reason)) };
        for value in waivers.iter() {
            let waiver = self.waiver(value, self.table(value, reason)?)?;
            let name = waiver.release().name.clone();
            policy.waivers.add(&name, waiver);
        }
        Ok(())
    }

    fn waiver(&self, waiver: &Value<'t>, table: &DeTable<'t>) -> Parsed<Waiver> {
        let keys = self.keys(table, "waiver.", WAIVER_KEYS)?;
        let value = |key: &str| {
            let found = keys.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let reason = format!("the waiver has no {key}; it needs release, rules, until, who and why");
                self.fault(waiver.span(), reason)
            })
        };
        let text = |key: &str| {
            let value = value(key)?;
            line(value).ok_or_else(|| {
                let reason =
                    format!("waiver.{key} is a text of one line, at most {MAX_VALUE_CHARS} characters");
                self.fault(value.span(), reason)
            })
        };
        let release = value("release")?;
        let id = string(release).and_then(release_id).ok_or_else(|| {
            self.fault(release.span(), "waiver.release is one release, NAME@VERSION, as in \"serde@1.0.0\"")
        })?;
        let rules = self.rules(value("rules")?)?;
        let until = value("until")?;
        let date = date(until)
            .ok_or_else(|| self.fault(until.span(), "waiver.until is a date, as in 2026-12-31"))?;
        Waiver::new(id, rules, date, text("who")?, text("why")?)
            .ok_or_else(|| self.fault(until.span(), "waiver.until is a date, as in 2026-12-31"))
    }

    fn rules(&self, value: &Value<'t>) -> Parsed<Vec<Rule>> {
        let names = Rule::ALL.map(Rule::name).join(", ");
        let reason = format!("waiver.rules is a list of rules, at least one of {names}");
        let texts = self.texts(value, &reason)?;
        if texts.is_empty() {
            return Err(self.fault(value.span(), reason));
        }
        let rules = texts
            .into_iter()
            .map(|(text, at)| text.parse().map_err(|error| self.fault(at, format!("waiver.rules: {error}"))));
        rules.collect()
    }
}

fn string<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

/// Returns a text that is not empty and has one line.
fn line(value: &Value<'_>) -> Option<String> {
    let text = string(value)?.trim();
    let is_line = !text.is_empty() && !text.chars().any(char::is_control);
    (is_line && text.chars().count() <= MAX_VALUE_CHARS).then(|| text.to_owned())
}

fn integer(value: &Value<'_>) -> Option<u64> {
    match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn release_id(text: &str) -> Option<ReleaseId> {
    let (name, version) = text.trim().split_once('@')?;
    Some(ReleaseId { name: name.parse().ok()?, version: version.parse().ok()? })
}

/// Returns a date, in quotes or not, that has no time.
fn date(value: &Value<'_>) -> Option<jiff::civil::Date> {
    let date = match value.get_ref() {
        DeValue::Datetime(moment) => *moment,
        DeValue::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let toml::value::Datetime { date: Some(date), time: None, offset: None } = date else { return None };
    let number = |number: u8| i8::try_from(number).ok();
    jiff::civil::Date::new(i16::try_from(date.year).ok()?, number(date.month)?, number(date.day)?).ok()
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::*;
    use crate::policy::SAMPLE;

    #[test]
    fn the_sample_and_the_parser_have_the_same_keys() {
        let sample: Table = SAMPLE.parse().expect("sample");
        let table = |value: &Value| value.as_table().expect("table").clone();
        let waiver = table(&sample["waiver"][0]);
        for (table, known) in [
            (&sample, KEYS),
            (&table(&sample["licenses"]), LICENCE_KEYS),
            (&table(&sample["advisories"]), ADVISORY_KEYS),
            (&waiver, WAIVER_KEYS),
        ] {
            let mut known = known.to_vec();
            known.sort_unstable();
            assert_eq!(table.keys().map(String::as_str).collect::<Vec<_>>(), known);
        }
    }

    /// A key that is known and not read would be a rule that does nothing.
    #[test]
    fn every_known_key_is_read() {
        let wrong = |key: &str| format!("{key} = 1.5\n");
        let of_table = |table: &str, keys: &[&str]| {
            keys.iter().map(|key| format!("[{table}]\n{}", wrong(key))).collect::<Vec<_>>()
        };
        let mut texts: Vec<String> = KEYS.iter().map(|key| wrong(key)).collect();
        texts.extend(of_table("licenses", LICENCE_KEYS));
        texts.extend(of_table("advisories", ADVISORY_KEYS));
        for text in texts {
            let fault = Policy::parse(&text).expect_err(&text);
            assert!(!fault.reason.contains("not known;") || text.starts_with("format"), "{text}: {fault}");
        }
    }
}
