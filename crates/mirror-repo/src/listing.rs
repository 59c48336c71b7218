//! The held part of an index file.

use std::collections::HashMap;

use bytes::Bytes;
use mirror_index_line::{records, with_yanked};
use mirror_manifest::{Held, Offered};
use mirror_types::{ReleaseId, last_of_each};

/// The offered versions of a crate.
pub(crate) type Versions = HashMap<String, Offered>;

/// The lines of an index file whose releases are held, byte for byte, in the order of upstream; at a snapshot, with the
/// flags of yanks as they were.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The text; never empty.
    pub text: Bytes,
    /// A hash of the text, 32 hexadecimal digits.
    pub hash: String,
}

impl Listing {
    /// Keeps the lines of `text` whose releases are offered; the last line of a release counts. Leaves a line out whose
    /// flag of a yank must change and cannot be set. `offered_of` returns the catalogue's rows of a crate; `is_there` returns whether the bytes are where a row says.
    pub(crate) fn of<E>(
        text: &[u8],
        offered_of: &mut dyn FnMut(&str) -> Result<Versions, E>,
        is_there: &mut dyn FnMut(&str, &str, &Held) -> Result<bool, E>,
    ) -> Result<Option<Self>, E> {
        let mut offered: HashMap<String, Versions> = HashMap::new();
        let mut kept = Vec::with_capacity(text.len());
        let mut all: Vec<_> = records(text).collect();
        last_of_each(&mut all, |(record, _)| &record.id);
        for (record, line) in all {
            let (name, version) = (record.id.name.as_str(), record.id.version.as_str());
            if !offered.contains_key(name) {
                offered.insert(name.to_owned(), offered_of(name)?);
            }
            let release = offered.get(name).and_then(|versions| versions.get(version));
            let Some(release) = release.filter(|release| release.held.sha256 == record.cksum) else {
                continue;
            };
            if !is_there(name, version, &release.held)? {
                continue;
            }
            let line = match release.yanked {
                Some(yanked) if yanked != record.yanked => with_yanked(line, yanked),
                _ => Some(line.into()),
            };
            if let Some(line) = line {
                kept.extend_from_slice(&line);
                kept.push(b'\n');
            }
        }
        Ok(Self::of_lines(kept))
    }

    fn of_lines(mut text: Vec<u8>) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        text.shrink_to_fit();
        let hash = blake3::hash(&text).to_hex()[..32].to_owned();
        Some(Self { text: text.into(), hash })
    }

    /// Yields the releases in the listing.
    pub fn releases(&self) -> impl Iterator<Item = ReleaseId> {
        records(&self.text).map(|(record, _)| record.id)
    }
}

#[cfg(test)]
mod tests {
    use mirror_types::{Location, Sha256};

    use super::*;

    fn offered(version: &str, sum: u8, yanked: Option<bool>) -> (String, Offered) {
        let (sha256, locations) = (Sha256::from_bytes([sum; 32]), Location::LOOSE.into());
        let held = Held { version: version.to_owned(), sha256, size: 1, locations, seen: 0 };
        (version.to_owned(), Offered { held, yanked })
    }

    fn held(version: &str, sum: u8) -> (String, Offered) {
        offered(version, sum, None)
    }

    #[test]
    fn a_snapshot_tells_of_its_own_yanks() {
        let sum = "01".repeat(32);
        let line = |flag: &str| format!(r#"{{"name":"a","vers":"1.0.0" ,"cksum":"{sum}"{flag}}}"#) + "\n";
        let (yes, no, none) = (line(r#", "yanked" : true"#), line(r#", "yanked" : false"#), line(""));
        for (text, yanked, expected) in [
            (&yes, None, &yes),
            (&yes, Some(true), &yes),
            (&yes, Some(false), &no),
            (&no, Some(false), &no),
            (&no, Some(true), &yes),
            (&none, Some(false), &none),
        ] {
            let mut offered_of = |_: &str| Ok(HashMap::from([offered("1.0.0", 1, yanked)]));
            let listing = Listing::of::<()>(text.as_bytes(), &mut offered_of, &mut |_, _, _| Ok(true));
            assert_eq!(listing.expect("listing").expect("offered").text, *expected, "{text} {yanked:?}");
        }
    }

    #[test]
    fn of_two_lines_of_a_release_the_last_counts() {
        let line = |sum: u8| {
            format!(r#"{{"name":"a","vers":"1.0.0","cksum":"{}"}}"#, format!("{sum:02x}").repeat(32)) + "\n"
        };
        let listed = |text: String| {
            let mut held_of = |_: &str| Ok(HashMap::from([held("1.0.0", 1)]));
            let listing = Listing::of::<()>(text.as_bytes(), &mut held_of, &mut |_, _, _| Ok(true));
            listing.expect("listing").map(|listing| listing.text)
        };
        assert_eq!(listed(line(9) + &line(1)), Some(line(1).into()));
        assert_eq!(listed(line(1) + &line(1)), Some(line(1).into()));
        assert_eq!(listed(line(1) + &line(9)), None);
    }

    /// Checks that a bad line hides nothing: it does not count when the index is mirrored, either.
    #[test]
    fn a_bad_line_behind_a_good_one_hides_nothing() {
        let sum = "01".repeat(32);
        let good = format!("{{\"name\":\"a\",\"vers\":\"1.0.0\",\"cksum\":\"{sum}\"}}\n");
        let long = "01".repeat(33);
        for bad in [
            r#"{"name":"a","vers":"1.0.0","cksum":"12"}"#.to_owned(),
            r#"{"name":"a","vers":"1.0.0","cksum":""}"#.to_owned(),
            format!(r#"{{"name":"a","vers":"1.0.0","cksum":"{long}"}}"#),
            format!(r#"{{"name":"a","vers":"1.0.0","cksum":"{sum}","yanked":"no"}}"#),
            format!(r#"{{"name":"a","vers":"1.0.0","cksum":7,"x":"{sum}"}}"#),
            r#"{"name":"a","vers":"1.0.0"}"#.to_owned(),
        ] {
            let mut held_of = |_: &str| Ok(HashMap::from([held("1.0.0", 1)]));
            let text = format!("{good}{bad}\n");
            let listing = Listing::of::<()>(text.as_bytes(), &mut held_of, &mut |_, _, _| Ok(true));
            assert_eq!(
                listing.expect("listing").map(|listing| listing.text),
                Some(good.clone().into()),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_yank_that_is_null_is_none() {
        let sum = "01".repeat(32);
        for (flag, yanked) in [
            (r#","yanked":null"#, false),
            (r#","yanked":false"#, false),
            (r#","yanked":true"#, true),
            ("", false),
        ] {
            let text = format!(r#"{{"name":"a","vers":"1.0.0","cksum":"{sum}"{flag}}}"#);
            let mut held_of = |_: &str| Ok(HashMap::from([held("1.0.0", 1)]));
            let listing = Listing::of::<()>(text.as_bytes(), &mut held_of, &mut |_, _, _| Ok(true));
            let listing = listing.expect("listing").expect("it is held");
            assert_eq!(listing.text, text.clone() + "\n", "byte for byte");
            let flags: Vec<bool> = records(&listing.text).map(|(record, _)| record.yanked).collect();
            assert_eq!(flags, [yanked], "{text}");
        }
    }

    #[test]
    fn only_what_is_held_is_listed_byte_for_byte() {
        let line = |name: &str, version: &str, sum: u8| {
            format!(
                r#"{{"x":1.50, "name":"{name}","vers":"{version}" ,"cksum":"{}","é":[]}}"#,
                format!("{sum:02X}").repeat(32)
            )
        };
        let lines =
            [line("a", "1.0.0", 1), line("a", "1.0.1", 2), line("A", "1.0.1", 3), line("a", "1.1.0", 9)];
        let text = format!("{}\nnonsense\n{}", lines[..2].join("\n"), lines[2..].join("\n"));
        let mut asked = Vec::new();
        let listing = Listing::of::<()>(
            text.as_bytes(),
            &mut |name| {
                asked.push(name.to_owned());
                Ok(HashMap::from(match name {
                    "a" => [held("1.0.0", 1), held("1.0.1", 3), held("1.1.0", 9)],
                    _ => [held("1.0.1", 3), held("7.0.0", 3), held("8.0.0", 3)],
                }))
            },
            &mut |name, version, _| Ok((name, version) != ("a", "1.1.0")),
        );
        // One has another checksum, one is missing from its place.
        let listing = listing.expect("listing").expect("some");
        assert_eq!(listing.text, format!("{}\n{}\n", lines[0], lines[2]));
        assert_eq!((asked.len(), listing.hash.len()), (2, 32));
        let nothing =
            Listing::of::<()>(text.as_bytes(), &mut |_| Ok(HashMap::new()), &mut |_, _, _| Ok(true));
        assert!(nothing.expect("listing").is_none());
    }
}
