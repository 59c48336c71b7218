//! Known gaps: releases that upstream lists and cannot deliver. A person acknowledges them; the mirror stores that in
//! `.mirror/gaps.toml`, and the catalogue has a copy for the server and for exports.

use std::fmt::Write as _;
use std::path::Path;

use mirror_manifest::{Catalogue, GapRow, UnavailableRow};
use mirror_store::Store;
use mirror_types::{Layout, Printable, ReleaseId, nearest};

use crate::error::RepoError;
use crate::open::{LockedMirror, OpenOptions};
use crate::writer::{MirrorWriter, catalogue_in};

/// The file, below `.mirror`, in which a mirror keeps them.
const KEPT: &str = "gaps.toml";
/// The version of the format that is written and read.
const FORMAT: i64 = 1;
/// Longest value, characters.
const MAX_VALUE_CHARS: usize = 1_000;

/// A gap that a person acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The release.
    pub release: ReleaseId,
    /// The date since when it is known, as the person wrote it.
    pub since: String,
    /// The person who acknowledged it.
    pub who: String,
    /// The reason why it is no alarm.
    pub why: String,
}

/// A release that upstream could not deliver, or an acknowledged gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGap {
    /// Crate and version.
    pub release: String,
    /// The acknowledgement by a person; `None` when it is new.
    pub acknowledged: Option<Gap>,
    /// The last answer of upstream, and the time of the first; `None` when no run has asked since.
    pub seen: Option<UnavailableRow>,
}

/// Parses a list of acknowledged gaps.
///
/// # Errors
/// Describes the fault: it is no TOML, or has an unknown key; then it names the nearest known one.
pub fn parse_gaps(text: &str) -> Result<Vec<Gap>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    known(&table, &["format", "gap"], "")?;
    match table.get("format") {
        None => {}
        Some(toml::Value::Integer(FORMAT)) => {}
        Some(_) => return Err(format!("its format is not known; this version reads {FORMAT}")),
    }
    let gaps = match table.get("gap") {
        None => return Ok(Vec::new()),
        Some(toml::Value::Array(gaps)) => gaps,
        Some(_) => return Err("gap is not a list; write [[gap]] above each".to_owned()),
    };
    let mut all: Vec<Gap> = Vec::new();
    for (at, gap) in gaps.iter().enumerate() {
        let place = format!("in the {}. [[gap]] ", at + 1);
        let toml::Value::Table(gap) = gap else { return Err(format!("{place}is no table")) };
        let gap = one(gap, &place)?;
        if all.iter().any(|other| other.release == gap.release) {
            return Err(format!("{place}{} is named a second time", gap.release));
        }
        all.push(gap);
    }
    Ok(all)
}

fn one(gap: &toml::Table, place: &str) -> Result<Gap, String> {
    known(gap, &["release", "since", "who", "why"], place)?;
    let text = |key: &str| {
        let value = match gap.get(key) {
            Some(toml::Value::String(text)) => text.trim().to_owned(),
            Some(toml::Value::Datetime(date)) if key == "since" => date.to_string(),
            Some(_) => return Err(format!("{place}{key} is not text")),
            None => return Err(format!("{place}{key} is missing; release, since, who and why are needed")),
        };
        let plain = !value.is_empty() && !value.chars().any(char::is_control);
        if plain && value.chars().count() <= MAX_VALUE_CHARS {
            Ok(value)
        } else {
            Err(format!("{place}{key} is empty, longer than {MAX_VALUE_CHARS} characters, or not one line"))
        }
    };
    let release = text("release")?;
    let id = release.split_once('@').and_then(|(name, version)| {
        Some(ReleaseId { name: name.parse().ok()?, version: version.parse().ok()? })
    });
    let Some(id) = id else {
        return Err(format!("{place}release {} is not NAME@VERSION", Printable(&release)));
    };
    Ok(Gap { release: id, since: text("since")?, who: text("who")?, why: text("why")? })
}

/// Refuses keys that are not among `keys`.
fn known(table: &toml::Table, keys: &[&str], place: &str) -> Result<(), String> {
    if let Some(key) = table.keys().find(|key| !keys.contains(&key.as_str())) {
        let nearest = nearest(key, keys);
        return Err(format!("{place}{} is not known; the nearest key is {nearest}", Printable(key)));
    }
    Ok(())
}

fn render(gaps: &[Gap]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!("format = {FORMAT}\n");
    for Gap { release, since, who, why } in gaps {
        let name = format!("{}@{}", release.name, release.version);
        let (name, since, who, why) = (quoted(&name), quoted(since), quoted(who), quoted(why));
        let _ = write!(text, "\n[[gap]]\nrelease = {name}\nsince = {since}\nwho = {who}\nwhy = {why}\n");
    }
    text
}

/// Returns the acknowledged gaps of a mirror, after replacing them with `new`, if there are any. On return, the
/// catalogue lists the same.
fn resolve(store: &Store, catalogue: &mut Catalogue, new: Option<&[Gap]>) -> Result<Vec<Gap>, RepoError> {
    let gaps = match new {
        Some(new) => {
            // A held release is no gap, whatever an old file lists.
            let mut open = Vec::new();
            for gap in new {
                if catalogue.held_release(&gap.release)?.is_none() {
                    open.push(gap.clone());
                }
            }
            let new = open.as_slice();
            store.write_state(KEPT, render(new).as_bytes())?;
            new.to_vec()
        }
        None => match store.read_state(KEPT)? {
            Some(bytes) => parse_gaps(&String::from_utf8_lossy(&bytes))
                .map_err(|reason| RepoError::BadGaps { path: store.state_dir().join(KEPT), reason })?,
            None => Vec::new(),
        },
    };
    let mut rows: Vec<GapRow> = gaps.iter().map(row).collect();
    rows.sort();
    if catalogue.acknowledged_gaps()? != rows {
        catalogue.acknowledge_gaps(&rows)?;
    }
    Ok(gaps)
}

impl MirrorWriter {
    /// Returns the acknowledged gaps of the mirror, after replacing them with `new`, if there are any; leaves out held
    /// releases.
    ///
    /// # Errors
    /// When the mirror's list is malformed, or the disk or SQLite fails.
    pub fn resolve_gaps(&mut self, new: Option<&[Gap]>) -> Result<Vec<Gap>, RepoError> {
        let store = self.store().clone();
        resolve(&store, self.catalogue_mut(), new)
    }
}

fn row(gap: &Gap) -> GapRow {
    GapRow {
        name: gap.release.name.to_string(),
        version: gap.release.version.to_string(),
        who: gap.who.clone(),
        why: gap.why.clone(),
        since: gap.since.clone(),
    }
}

/// Records the gaps that a person acknowledged, without a run. Takes the lock of the mirror.
///
/// # Errors
/// When another run holds the mirror, the catalogue is damaged, or the disk refuses.
pub fn acknowledge_gaps(options: &OpenOptions, gaps: &[Gap]) -> Result<(), RepoError> {
    let store = LockedMirror::lock(options)?;
    let mut catalogue = Catalogue::open(&catalogue_in(&store.state_dir()))?;
    resolve(&store, &mut catalogue, Some(gaps)).map(drop)
}

/// Lists the gaps of a mirror, by release: those that a person acknowledged, and those in the failure ledger because
/// upstream answered 403, 404, 410 or 451. Writes nothing.
///
/// # Errors
/// When there is no mirror, or its catalogue cannot be read.
pub fn list_gaps(out: &Path, layout: Layout) -> Result<Vec<ListedGap>, RepoError> {
    let none = || RepoError::NoMirror { path: out.to_owned() };
    let store = Store::open_read_only(out, layout)?.ok_or_else(none)?;
    let catalogue = Catalogue::open_read_only(&catalogue_in(&store.state_dir()))?.ok_or_else(none)?;
    let mut seen = catalogue.unavailable()?;
    let mut listed: Vec<ListedGap> = Vec::new();
    for GapRow { name, version, who, why, since } in catalogue.acknowledged_gaps()? {
        let (Ok(id), Ok(number)) = (name.parse(), version.parse()) else { continue };
        let at = seen.iter().position(|row| row.name == name && row.version == version);
        listed.push(ListedGap {
            release: format!("{name} {version}"),
            acknowledged: Some(Gap { release: ReleaseId { name: id, version: number }, since, who, why }),
            seen: at.map(|at| seen.swap_remove(at)),
        });
    }
    listed.extend(seen.into_iter().map(|row| ListedGap {
        release: format!("{} {}", row.name, row.version),
        acknowledged: None,
        seen: Some(row),
    }));
    listed.sort_by(|a, b| a.release.cmp(&b.release));
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "[[gap]]\nrelease = \"a@1.0.0\"\nsince = 2019-11-26\nwho = \"platform \\\"team\\\"\"\nwhy = \"403 for years: ü\"\n";

    #[test]
    fn gaps_are_kept_as_they_were_acknowledged() {
        let gaps = parse_gaps(SAMPLE).expect("gaps");
        assert_eq!((gaps.len(), gaps[0].since.as_str()), (1, "2019-11-26"));
        assert_eq!(parse_gaps(&render(&gaps)).expect("kept"), gaps);
        assert_eq!(parse_gaps("").expect("none"), []);
        assert_eq!(parse_gaps(&render(&[])).expect("none"), []);
    }

    #[test]
    fn what_is_not_known_is_refused_with_the_nearest_that_is() {
        for (text, why) in [
            (SAMPLE.replace("since", "sinse"), "sinse is not known; the nearest key is since"),
            (SAMPLE.replace("who", "Who"), "the nearest key is who"),
            (SAMPLE.replace("[[gap]]", "[[gaps]]"), "gaps is not known; the nearest key is gap"),
            (SAMPLE.replace("[[gap]]", "[gap]"), "[[gap]]"),
            (SAMPLE.replace("a@1.0.0", "a 1.0.0"), "NAME@VERSION"),
            (SAMPLE.replace("a@1.0.0", "../a@1.0.0"), "NAME@VERSION"),
            (SAMPLE.replace("why", "# why"), "why is missing"),
            (SAMPLE.replace("2019-11-26", "7"), "since is not text"),
            (SAMPLE.replace("403 for", "403\\nfor"), "not one line"),
            (format!("{SAMPLE}{SAMPLE}"), "a second time"),
            (format!("format = 2\n{SAMPLE}"), "its format is not known"),
            ("no toml".to_owned(), "line 1"),
        ] {
            let said = parse_gaps(&text).expect_err(&text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
