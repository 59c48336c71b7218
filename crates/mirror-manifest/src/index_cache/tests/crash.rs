//! Checks that the cursor does not pass over missing lines, whatever a crash takes from the cache, from the catalogue,
//! or from both.

use proptest::prelude::*;

use super::*;

/// Copies the files of a database.
fn copy(from: &Path, to: &Path) {
    for (from, to) in files_of(from).iter().zip(files_of(to)) {
        match fs::read(from) {
            Ok(bytes) => fs::write(to, bytes).expect("write"),
            Err(_) => mirror_fs::remove(&to).expect("remove"),
        }
    }
}

#[test]
fn a_crash_between_cache_and_catalogue_costs_the_cursor_and_no_lines() {
    for (path, replaces) in [("1/a", true), ("1/b", false)] {
        let mut mirror = Mirror::new();
        let (mut writer, _) = mirror.open(false);
        mirror.keep(&mut writer, &[("1/a", text("a", 1))]);
        set_cursor(&mut mirror.catalogue);
        writer.append(&packed(&[(path, text("new", 2))])).expect("append");
        drop(writer);
        let (_, report) = mirror.open(false);
        assert_eq!(report, IndexCacheReport::default(), "nothing is lost");
        assert_eq!(mirror.read(path), Some(text("new", 2)));
        assert_eq!(mirror.has_cursor(), !replaces, "{path}");
    }
}

#[test]
fn a_cache_that_was_set_back_is_noticed() {
    for (later, name) in [("1/a", "replaced"), ("1/b", "added")] {
        let mut mirror = Mirror::new();
        let (mut writer, _) = mirror.open(false);
        mirror.keep(&mut writer, &[("1/a", text("a", 1))]);
        drop(writer);
        let backup = mirror.files();
        let (mut writer, _) = mirror.open(false);
        mirror.keep(&mut writer, &[(later, text("x", 2))]);
        drop(writer);
        set_cursor(&mut mirror.catalogue);
        mirror.put_files(&backup);
        let (_, report) = mirror.open(false);
        assert!(report.lost, "{name}");
        assert!(!mirror.has_cursor(), "{name}");
        assert_eq!(mirror.read("1/a"), Some(text("a", 1)), "what is there stays");
        set_cursor(&mut mirror.catalogue);
        assert_eq!(mirror.open(false).1, IndexCacheReport::default(), "once");
        assert!(mirror.has_cursor());
    }
}

#[test]
fn a_catalogue_that_was_set_back_loses_its_cursor() {
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    mirror.keep(&mut writer, &[("1/a", text("a", 1))]);
    set_cursor(&mut mirror.catalogue);
    let (now, backup) = (mirror.dir.path().join("c.sqlite"), mirror.dir.path().join("backup.sqlite"));
    copy(&now, &backup);
    mirror.keep(&mut writer, &[("1/a", text("a", 2))]);
    drop(writer);
    mirror.catalogue = Catalogue::open(&backup).expect("catalogue");
    assert!(mirror.has_cursor(), "of the tree with the old lines");
    assert_eq!(mirror.open(false).1, IndexCacheReport::default());
    assert!(!mirror.has_cursor());
    assert_eq!(mirror.read("1/a"), Some(text("a", 2)));
}

#[test]
fn the_cache_of_another_mirror_is_noticed() {
    let mut mirrors = [Mirror::new(), Mirror::new()];
    for mirror in &mut mirrors {
        let (mut writer, _) = mirror.open(false);
        mirror.keep(&mut writer, &[("1/a", text("a", 1))]);
        set_cursor(&mut mirror.catalogue);
    }
    let [mut one, other] = mirrors;
    one.put_files(&other.files());
    assert!(one.open(false).1.lost);
    assert!(!one.has_cursor());
}

/// Yields commits of files, as their numbers.
fn commits() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(0..12_usize, 1..5), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Checks states that a power cut may leave: each of the two can lose its last writes, independently of the other.
    #[test]
    fn a_cursor_that_stands_goes_with_lines_that_are_there(
        commits in commits(), cut: prop::sample::Index, cursor_after: prop::sample::Index, catalogue_at: prop::sample::Index,
    ) {
        let mut mirror = Mirror::new();
        let (mut writer, _) = mirror.open(false);
        let cursor_after = cursor_after.index(commits.len());
        // The files in the cache when the cursor is set, and the catalogue after each commit.
        let (mut now, mut promised, mut catalogues) = (std::collections::BTreeMap::new(), None, Vec::new());
        for (at, files) in commits.iter().enumerate() {
            let texts: Vec<_> = files.iter().map(|n| (format!("2/f{n}"), text("x", 100 * at + n))).collect();
            let files: Vec<_> = texts.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
            mirror.keep(&mut writer, &files);
            now.extend(texts);
            if at == cursor_after {
                set_cursor(&mut mirror.catalogue);
                promised = Some(now.clone());
            }
            let to = mirror.dir.path().join(format!("catalogue-{at}.sqlite"));
            copy(&mirror.dir.path().join("c.sqlite"), &to);
            catalogues.push(to);
        }
        let [database, log, ..] = mirror.files();
        drop(writer);
        let log = log.map(|log| log[..cut.index(log.len() + 1)].to_vec());
        mirror.put_files(&[database, log, None, None]);
        mirror.catalogue = Catalogue::open(&catalogues[catalogue_at.index(catalogues.len())]).expect("catalogue");
        let had_cursor = mirror.has_cursor();
        mirror.open(false);
        if mirror.has_cursor() {
            prop_assert!(had_cursor);
            for (path, text) in promised.expect("a cursor") {
                prop_assert_eq!(mirror.read(&path), Some(text), "{}", path);
            }
        }
    }
}
