//! Ages in the words of Cargo, and sizes.

use std::time::Duration;

/// Cargo's units of `registry.global-min-publish-age`, in seconds. A month is the twelfth of an average year.
const AGES: &[(&str, u64)] = &[
    ("second", 1),
    ("minute", 60),
    ("hour", 60 * 60),
    ("day", 24 * 60 * 60),
    ("week", 7 * 24 * 60 * 60),
    ("month", 2_629_746),
];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Parses an age: `0`, or a number, at most one space, and a unit in the singular or plural.
pub(crate) fn age(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (count, unit) = number(text)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let unit = unit.strip_suffix('s').unwrap_or(unit);
    let (_, seconds) = AGES.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*seconds).map(Duration::from_secs)
}

/// Parses a size: a number of bytes, or a number, spaces and a unit.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (count, unit) = number(text)?;
    let unit = unit.trim_start_matches(' ');
    if unit.is_empty() {
        return Some(count);
    }
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*bytes)
}

/// Splits a text behind the number at its beginning.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_cargo() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("0 seconds", Some(0)),
            ("1second", Some(1)),
            ("23 seconds", Some(23)),
            ("5 minutes", Some(300)),
            ("2 hours", Some(7_200)),
            ("1 day", Some(86_400)),
            ("7 days", Some(604_800)),
            ("2 weeks", Some(1_209_600)),
            ("6 months", Some(6 * 2_629_746)),
            ("1", None),
            ("", None),
            ("days", None),
            ("-1 days", None),
            ("1.5 days", None),
            ("7  days", None),
            ("7 Days", None),
            ("7 dayss", None),
            ("7 d", None),
            ("1 year", None),
            (" 7 days", None),
            ("18446744073709551615 seconds", Some(u64::MAX)),
            ("18446744073709551615 weeks", None),
            ("18446744073709551616 seconds", None),
        ] {
            assert_eq!(age(text), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        for (text, bytes) in [
            ("17", Some(17)),
            ("17 B", Some(17)),
            ("3kB", Some(3_000)),
            ("1 GB", Some(1_000_000_000)),
            ("50 MiB", Some(50 << 20)),
            ("2 TiB", Some(2 << 40)),
            ("", None),
            ("MiB", None),
            ("1.5 MiB", None),
            ("50 mib", None),
            ("50 M", None),
            ("99999999999 TiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
