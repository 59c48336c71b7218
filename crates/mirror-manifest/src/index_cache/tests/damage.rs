//! Checks that damage of every kind to a cache is reported as damage, and that the next run fills a new one.

use mirror_types::{Advice, FaultKind};
use proptest::prelude::*;

use super::*;
use crate::damages;

const PATHS: [&str; 3] = ["se/rd/serde", "1/a", "2/ab"];

/// Makes a mirror with a closed cache, and a cursor that belongs to it.
fn mirror() -> Mirror {
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
    mirror.keep(&mut writer, &[("2/ab", text("ab", 5))]);
    writer.finish().expect("finish");
    set_cursor(&mut mirror.catalogue);
    mirror
}

#[track_caller]
fn assert_damaged(mirror: &Mirror) {
    let error = mirror.reader().expect_err("damaged");
    let found = (error.kind(), error.advice());
    assert_eq!(found, (FaultKind::Integrity, Some(Advice::VerifyExisting)), "{error}");
}

fn offset_of(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|found| found == part).expect("it is in the file")
}

#[test]
fn a_file_cut_anywhere_is_begun_anew_and_what_is_behind_it_does_no_harm() {
    let mut mirror = mirror();
    let whole = fs::read(mirror.file()).expect("read");
    // Any bytes may follow the last page.
    fs::write(mirror.file(), [whole.as_slice(), &[7; 4096]].concat()).expect("write");
    assert_eq!(mirror.open(false).1, IndexCacheReport::default());
    assert_eq!(mirror.read("1/a"), Some(text("a", 9)));
    assert!(mirror.has_cursor());
    let lens = (0..110).chain((110..whole.len()).step_by(512)).chain([whole.len() - 1]);
    for len in lens {
        fs::write(mirror.file(), &whole[..len]).expect("write");
        let (mut writer, report) = mirror.open(false);
        assert!(report.lost, "cut at {len}");
        assert_eq!(mirror.read("1/a"), None);
        assert!(!mirror.has_cursor());
        mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
        assert_eq!(mirror.read("1/a"), Some(text("a", 9)));
        set_cursor(&mut mirror.catalogue);
    }
    std::fs::remove_file(mirror.file()).expect("remove");
    assert!(mirror.open(false).1.lost);
    assert!(!mirror.has_cursor());
}

#[test]
fn a_damaged_cache_is_set_aside() {
    let mut mirror = mirror();
    let other = "something else, and long enough\n".repeat(1_000);
    fs::write(mirror.file(), &other).expect("write");
    assert_damaged(&mirror);
    assert!(mirror.open(false).1.lost);
    let aside = mirror.file().with_file_name("index.damaged.sqlite");
    assert_eq!(fs::read(&aside).expect("aside"), other.as_bytes());
    fs::write(mirror.file(), &other[1..]).expect("write");
    assert!(mirror.open(false).1.lost, "again");
    assert_eq!(fs::read(&aside).expect("aside"), &other.as_bytes()[1..]);
}

#[test]
fn a_cache_whose_tables_are_others_is_set_aside() {
    let mut mirror = mirror();
    let mut bytes = fs::read(mirror.file()).expect("read");
    let at = offset_of(&bytes, b"path TEXT NOT NULL");
    bytes[at] ^= 1;
    fs::write(mirror.file(), &bytes).expect("write");
    assert_damaged(&mirror);
    assert!(mirror.open(false).1.lost);
    assert!(!mirror.has_cursor());
}

#[test]
fn a_damaged_frame_is_noticed() {
    let mut mirror = mirror();
    let frame = packed(&[("1/a", text("a", 9))]).remove(0).frame;
    let mut bytes = fs::read(mirror.file()).expect("read");
    let begin = offset_of(&bytes, &frame);
    for at in begin..begin + frame.len() {
        bytes[at] ^= 0x55;
        fs::write(mirror.file(), &bytes).expect("write");
        let reader = mirror.reader().expect("open").expect("some");
        let error = reader.read("1/a").expect_err("damaged");
        assert_eq!((error.kind(), error.advice()), (FaultKind::Integrity, Some(Advice::VerifyExisting)));
        assert!(error.to_string().contains("1/a"), "{error}");
        bytes[at] ^= 0x55;
    }
    bytes[begin + frame.len() / 2] ^= 1;
    fs::write(mirror.file(), &bytes).expect("write");
    assert_eq!(mirror.open(false).1.damaged, 0, "frames are not looked at");
    assert!(mirror.has_cursor());
    assert_eq!(mirror.open(true).1, IndexCacheReport { lost: false, damaged: 1 });
    assert!(!mirror.has_cursor());
    let reader = mirror.reader().expect("open").expect("some");
    assert_eq!(reader.digest("1/a").expect("digest"), None);
    assert_eq!(mirror.read("se/rd/serde"), Some(text("serde", 3)));
}

#[test]
fn a_cache_of_a_newer_format_is_left_as_it_is() {
    let mut mirror = mirror();
    let db = rusqlite::Connection::open(mirror.file()).expect("open");
    db.pragma_update(None, "user_version", 3).expect("newer");
    drop(db);
    let before = fs::read(mirror.file()).expect("read");
    let refused = [
        mirror.reader().expect_err("refused"),
        IndexCacheWriter::open(mirror.dir.path(), &mut mirror.catalogue, true).expect_err("refused"),
    ];
    for error in refused {
        assert!(matches!(error, ManifestError::NewerIndexCache { found: 3, known: 2, .. }), "{error}");
    }
    assert_eq!(fs::read(mirror.file()).expect("read"), before);
    assert!(mirror.has_cursor());
}

/// Reads everything; a text that is returned must be right.
fn read_all(mirror: &Mirror) -> Result<(), ManifestError> {
    let Some(reader) = mirror.reader()? else { return Ok(()) };
    reader.paths(&mut |_| {})?;
    reader.digests(&mut |_, _| {})?;
    let texts = [text("serde", 3), text("a", 9), text("ab", 5)];
    for (path, text) in PATHS.into_iter().zip(texts) {
        assert!(reader.read(path)?.is_none_or(|found| found == text), "{path}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_is_noticed_by_readers_and_repaired_by_a_run_that_verifies(
        damages in prop::collection::vec(damages::in_place(), 1..4),
    ) {
        thread_local! {
            static MADE: (Vec<u8>, Vec<u8>) = {
                let Mirror { dir, catalogue } = mirror();
                drop(catalogue);
                let read = |path: &Path| fs::read(path).expect("read");
                (read(&index_cache_in(dir.path())), read(&dir.path().join("c.sqlite")))
            };
        }
        let (mut bytes, catalogue) = MADE.with(Clone::clone);
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("c.sqlite"), catalogue).expect("write");
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).expect("catalogue");
        let mut mirror = Mirror { dir, catalogue };
        prop_assert!(mirror.has_cursor());
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        fs::write(mirror.file(), bytes).expect("write");
        if let Err(error) = read_all(&mirror) {
            let newer = matches!(error, ManifestError::NewerIndexCache { .. });
            prop_assert_eq!(error.kind(), FaultKind::Integrity, "{}", error);
            prop_assert_eq!(error.advice(), (!newer).then_some(Advice::VerifyExisting), "{}", error);
        }
        match IndexCacheWriter::open(mirror.dir.path(), &mut mirror.catalogue, true) {
            Err(ManifestError::NewerIndexCache { .. }) => return Ok(()),
            opened => drop(opened.expect("repaired")),
        }
        let missing = PATHS.iter().any(|path| mirror.read(path).is_none());
        prop_assert!(!(missing && mirror.has_cursor()), "the cursor would pass over lines that are gone");
        read_all(&mirror).expect("what is there is right");
    }
}
