//! Mirrors with index lines in the log of earlier versions.

use super::*;

/// Writes a log.
fn write_log(mirror: &Mirror, generation: u64, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let mut bytes = takeover::HEAD.to_vec();
    packed(files).iter().for_each(|lines| bytes.extend_from_slice(&lines.frame));
    let path = mirror.dir.path().join(format!("index.{generation}.lines"));
    fs::write(&path, bytes).expect("write");
    path
}

/// Records a log in the catalogue, as an earlier version did.
fn know_log(mirror: &Mirror) {
    let db = rusqlite::Connection::open(mirror.dir.path().join("c.sqlite")).expect("open");
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS index_files (path TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;
         INSERT OR REPLACE INTO index_files VALUES ('1/a', x'00');
         INSERT OR REPLACE INTO state VALUES ('lines_generation', '1'), ('lines_end', '500'), ('lines_dead', '0');",
    )
    .expect("known");
}

fn old_mirror() -> (Mirror, PathBuf) {
    let mut mirror = Mirror::new();
    let log = write_log(
        &mirror,
        1,
        &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9)), ("1/a", text("a", 10))],
    );
    know_log(&mirror);
    set_cursor(&mut mirror.catalogue);
    (mirror, log)
}

#[track_caller]
fn assert_converted(mirror: &Mirror) {
    assert_eq!(mirror.read("se/rd/serde"), Some(text("serde", 3)));
    assert_eq!(mirror.read("1/a"), Some(text("a", 10)), "the newest counts");
    assert!(takeover::logs(mirror.dir.path()).expect("logs").is_empty());
    assert!(!mirror.has_cursor(), "what the log could not say is read again");
    let db = rusqlite::Connection::open(mirror.dir.path().join("c.sqlite")).expect("open");
    let left = "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = 'index_files')
        + (SELECT count(*) FROM state WHERE key LIKE 'lines_%')";
    assert_eq!(db.query_row(left, [], |row| row.get::<_, u32>(0)).expect("count"), 0);
}

#[test]
fn a_log_is_converted_and_readers_ask_for_that_before() {
    let (mut mirror, log) = old_mirror();
    let Err(ManifestError::OldIndexCache { path }) = mirror.reader() else {
        panic!("a reader finds nothing");
    };
    assert_eq!(path, log);
    assert_eq!(mirror.open(false).1, IndexCacheReport::default());
    assert_converted(&mirror);
    set_cursor(&mut mirror.catalogue);
    assert_eq!(mirror.open(false).1, IndexCacheReport::default());
    assert!(mirror.has_cursor(), "once");
}

#[test]
fn frames_larger_than_the_window_are_converted_up_to_a_torn_one() {
    let mut mirror = Mirror::new();
    let mut rest = 1_u32;
    let large: Vec<u8> = text("large", 5)
        .into_iter()
        .chain(std::iter::repeat_with(|| {
            rest = rest.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (rest >> 24) as u8
        }))
        .take(5 << 20)
        .collect();
    let log = write_log(
        &mirror,
        4,
        &[("1/a", text("a", 9)), ("la/rg/large", large.clone()), ("2/ab", Vec::new()), ("1/b", text("b", 1))],
    );
    let torn = [fs::read(&log).expect("read").as_slice(), &[0x28, 0xb5, 0x2f, 0xfd, 4]].concat();
    fs::write(&log, torn).expect("write");
    assert_eq!(mirror.open(false).1, IndexCacheReport::default());
    assert_eq!(mirror.read("1/a"), Some(text("a", 9)));
    assert_eq!(mirror.read("1/b"), Some(text("b", 1)));
    assert_eq!(mirror.read("la/rg/large"), Some(large));
    assert_eq!(mirror.read("2/ab"), None, "nothing says whose it was");
}

/// Covers a run of an earlier version that was killed while it moved live files to another log.
#[test]
fn of_two_logs_the_newer_counts_where_both_have_a_file() {
    let mut mirror = Mirror::new();
    write_log(&mirror, 9, &[("1/a", text("a", 1)), ("1/b", text("b", 1))]);
    write_log(&mirror, 10, &[("1/a", text("a", 2))]);
    mirror.open(false);
    assert_eq!(mirror.read("1/a"), Some(text("a", 2)));
    assert_eq!(mirror.read("1/b"), Some(text("b", 1)));
}

#[test]
fn a_takeover_that_is_cut_anywhere_is_done_again() {
    let (mut mirror, log) = old_mirror();
    let log_bytes = fs::read(&log).expect("read");
    let (writer, _) = mirror.open(false);
    // Nothing has been moved out of SQLite's log yet.
    let [database, wal, ..] = mirror.files();
    let wal = wal.expect("its log");
    drop(writer);
    assert!(wal.len() > 4096);
    let mut lens: Vec<usize> = (0..wal.len()).step_by(509).collect();
    lens.extend([wal.len() - 1, wal.len()]);
    for len in lens {
        mirror.put_files(&[database.clone(), Some(wal[..len].to_vec()), None, None]);
        fs::write(&log, &log_bytes).expect("write");
        mirror.catalogue = Catalogue::open(&mirror.dir.path().join("c.sqlite")).expect("catalogue");
        know_log(&mirror);
        mirror.catalogue.apply(&[]).expect("apply");
        set_cursor(&mut mirror.catalogue);
        match mirror.reader() {
            Err(ManifestError::OldIndexCache { .. }) => {}
            read => assert!(read.expect("open").is_some(), "cut at {len}: nothing seems to be kept"),
        }
        mirror.open(false);
        assert_converted(&mirror);
    }
}

#[test]
fn a_log_that_is_gone_or_none_is_lost() {
    for replaced_by in [None, Some("something else, and long enough\n".repeat(100))] {
        let (mut mirror, log) = old_mirror();
        match replaced_by {
            None => fs::remove_file(&log).expect("remove"),
            Some(text) => fs::write(&log, text).expect("write"),
        }
        assert!(mirror.open(false).1.lost);
        assert!(!mirror.has_cursor());
        assert_eq!(mirror.read("1/a"), None);
        assert!(!log.exists());
    }
}

/// Covers an earlier version, which ignores the database and begins a log; the run reads its additions again.
#[test]
fn after_an_earlier_version_worked_with_it_the_cursor_goes() {
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    mirror.keep(&mut writer, &[("1/a", text("a", 1))]);
    drop(writer);
    write_log(&mirror, 1, &[("1/a", text("a", 2))]);
    know_log(&mirror);
    set_cursor(&mut mirror.catalogue);
    assert_eq!(mirror.open(false).1, IndexCacheReport::default());
    assert!(!mirror.has_cursor());
    assert!(takeover::logs(mirror.dir.path()).expect("logs").is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_a_log_is_refused() {
    let mut mirror = Mirror::new();
    let elsewhere = mirror.dir.path().join("elsewhere");
    fs::write(&elsewhere, takeover::HEAD).expect("write");
    std::os::unix::fs::symlink(&elsewhere, mirror.dir.path().join("index.1.lines")).expect("link");
    let refused =
        IndexCacheWriter::open(mirror.dir.path(), &mut mirror.catalogue, false).expect_err("refused");
    assert!(matches!(refused, ManifestError::Strange { .. }), "{refused}");
}
