//! Tests of an undamaged index cache.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn what_was_kept_is_read_byte_for_byte() {
    let mut mirror = Mirror::new();
    let (mut writer, report) = mirror.open(false);
    assert_eq!(report, IndexCacheReport::default());
    mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
    mirror.keep(&mut writer, &[("1/a", text("a", 10)), ("2/ab", Vec::new())]);
    assert_eq!(mirror.read("se/rd/serde"), Some(text("serde", 3)));
    assert_eq!(mirror.read("1/a"), Some(text("a", 10)));
    assert_eq!(mirror.read("2/ab"), Some(Vec::new()));
    assert_eq!(mirror.read("2/cd"), None);
    assert!(writer.has("1/a").expect("has") && !writer.has("2/cd").expect("has"));
    writer.finish().expect("finish");
    assert_eq!(mirror.open(true).1, IndexCacheReport::default());
    assert_eq!(mirror.read("1/a"), Some(text("a", 10)));
}

#[test]
fn paths_come_in_their_order_and_digests_with_them() {
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
    mirror.keep(&mut writer, &[("2/ab", text("ab", 1)), ("1/a", text("a", 2))]);
    let reader = mirror.reader().expect("open").expect("some");
    let (mut paths, mut digests) = (Vec::new(), Vec::new());
    reader.paths(&mut |path| paths.push(path.to_owned())).expect("paths");
    assert_eq!(paths, ["1/a", "2/ab", "se/rd/serde"]);
    reader.digests(&mut |path, digest| digests.push((path.to_owned(), digest))).expect("digests");
    digests.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [("1/a", text("a", 2)), ("2/ab", text("ab", 1)), ("se/rd/serde", text("serde", 3))]
        .map(|(path, text)| (path.to_owned(), TextDigest::of(&text)));
    assert_eq!(digests, expected);
    assert_eq!(reader.digest("1/a").expect("digest"), Some(TextDigest::of(&text("a", 2))));
    assert_eq!(reader.digest("1/b").expect("digest"), None);
}

#[test]
fn what_is_added_keeps_the_cursor_and_what_is_replaced_takes_it_away() {
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    mirror.keep(&mut writer, &[("1/a", text("a", 1))]);
    set_cursor(&mut mirror.catalogue);
    mirror.keep(&mut writer, &[("1/b", text("b", 1))]);
    assert!(mirror.has_cursor(), "comparing trees would find the file again");
    mirror.keep(&mut writer, &[("1/a", text("a", 2))]);
    assert!(!mirror.has_cursor(), "upstream may go back to the tree of the cursor");
}

#[test]
fn a_catalogue_that_was_made_anew_finds_the_lines_where_they_were() {
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    mirror.keep(&mut writer, &[("se/rd/serde", text("serde", 3)), ("1/a", text("a", 9))]);
    mirror.keep(&mut writer, &[("1/a", text("a", 10)), ("2/ab", Vec::new())]);
    drop(writer);
    mirror.catalogue = Catalogue::open(&mirror.dir.path().join("other.sqlite")).expect("catalogue");
    set_cursor(&mut mirror.catalogue);
    assert_eq!(mirror.open(false).1, IndexCacheReport::default());
    assert_eq!(mirror.read("se/rd/serde"), Some(text("serde", 3)));
    assert_eq!(mirror.read("1/a"), Some(text("a", 10)), "the newest counts");
    assert_eq!(mirror.read("2/ab"), Some(Vec::new()));
    assert!(!mirror.has_cursor(), "nobody knows whether it goes with these lines");
}

#[test]
fn what_is_dead_is_used_again_and_readers_go_on() {
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    let large = |n: usize| {
        let line =
            |m: usize| format!("{{\"name\":\"a\",\"n\":{}}}\n", (n * 7919 + m).wrapping_mul(0x9E37_79B1));
        (0..4_000).map(line).collect::<String>().into_bytes()
    };
    mirror.keep(&mut writer, &[("1/b", text("b", 1)), ("1/a", large(0))]);
    mirror.keep(&mut writer, &[("1/a", large(1))]);
    writer.finish().expect("finish");
    let before = fs::metadata(mirror.file()).expect("file").len();
    let reader = mirror.reader().expect("open").expect("some");
    for n in 2..40 {
        let (mut writer, report) = mirror.open(false);
        assert_eq!(report, IndexCacheReport::default());
        mirror.keep(&mut writer, &[("1/a", large(n))]);
        writer.finish().expect("finish");
        assert_eq!(reader.read("1/a").expect("read"), Some(large(n)));
    }
    drop(reader);
    let after = fs::metadata(mirror.file()).expect("file").len();
    assert!(after < 2 * before, "{before} bytes became {after}");
    assert_eq!(mirror.read("1/b"), Some(text("b", 1)));
}

#[test]
fn a_reader_sees_whole_texts_while_they_are_replaced() {
    const FILES: usize = 8;
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    let paths: Vec<String> = (0..FILES).map(|n| format!("3/f/f{n}")).collect();
    let all = |n: usize| paths.iter().map(|path| (path.as_str(), text(path, n))).collect::<Vec<_>>();
    mirror.keep(&mut writer, &all(0));
    let (done, reader) = (AtomicBool::new(false), mirror.reader().expect("open").expect("some"));
    let seen = std::thread::scope(|scope| {
        let (done, paths) = (&done, &paths);
        let reading = scope.spawn(move || {
            let (mut newest, mut seen) = ([0; FILES], 0_u32);
            loop {
                // Once more after the last change.
                let is_last = done.load(Ordering::SeqCst);
                for (path, newest) in paths.iter().zip(&mut newest) {
                    let found = reader.read(path).expect("read").expect("kept");
                    let found = (0..50).find(|n| text(path, *n) == found).expect("a whole text");
                    assert!(found >= *newest, "{path} went back from {newest} to {found}");
                    *newest = found;
                    seen += 1;
                }
                if is_last {
                    assert_eq!(newest, [49; FILES]);
                    return seen;
                }
            }
        });
        for n in 1..50 {
            mirror.keep(&mut writer, &all(n));
        }
        done.store(true, Ordering::SeqCst);
        reading.join().expect("reader")
    });
    assert!(seen as usize >= FILES);
}

#[test]
fn there_is_nothing_to_read_before_a_run_made_it() {
    let mirror = Mirror::new();
    assert!(mirror.reader().expect("open").is_none());
    fs::write(mirror.file(), "").expect("write");
    assert!(mirror.reader().expect("open").is_none(), "its making was stopped");
}

#[cfg(unix)]
#[test]
fn a_cache_on_a_medium_that_cannot_be_written_is_read_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut mirror = Mirror::new();
    let (mut writer, _) = mirror.open(false);
    mirror.keep(&mut writer, &[("1/a", text("a", 9))]);
    writer.finish().expect("finish");
    let set = |mode| fs::set_permissions(mirror.dir.path(), fs::Permissions::from_mode(mode)).expect("mode");
    set(0o555);
    let can_write = fs::write(mirror.dir.path().join("probe"), "").is_ok();
    let reader = mirror.reader().expect("open").expect("some");
    let (read, is_frozen) = (reader.read("1/a").expect("read"), reader.is_frozen());
    set(0o755);
    assert_eq!(read, Some(text("a", 9)));
    assert!(is_frozen || can_write, "permissions do not bind the superuser");
}
