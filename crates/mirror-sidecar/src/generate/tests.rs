#![expect(clippy::disallowed_methods, reason = "tests write their own files")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;

/// Records the events, one line for each.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl SidecarObserver for Notes {
    fn event(&self, event: SidecarEvent<'_>) {
        let note = match event {
            SidecarEvent::Phase(phase) => format!("{phase:?}"),
            SidecarEvent::IndexOpened { what, .. } => format!("index: {what}"),
            SidecarEvent::ManifestTorn(_) => "manifest torn".to_owned(),
            SidecarEvent::ManifestElsewhere { used, .. } => format!("manifest: {}", name(used)),
            SidecarEvent::ManifestRead { records, releases, .. } => {
                format!("manifest: {records}, {releases}")
            }
            SidecarEvent::Written { sidecars, .. } => format!("written {sidecars}"),
            event => format!("{event:?}"),
        };
        self.0.lock().unwrap().push(note);
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Makes two crates of three releases in a plain directory.
fn world() -> (tempfile::TempDir, SidecarOptions) {
    let dir = tempfile::tempdir().unwrap();
    let line = |name: &str, version: &str| {
        format!("{{\"name\":\"{name}\",\"vers\":\"{version}\",\"cksum\":\"{}\"}}\n", "ab".repeat(32))
    };
    let index = dir.path().join("index");
    for (path, text) in [
        ("3/a/abc", line("abc", "0.1.0")),
        ("se/rd/serde", line("serde", "1.0.0") + &line("serde", "1.0.1")),
        ("config.json", r#"{"dl":"https://h/crates"}"#.to_owned()),
    ] {
        std::fs::create_dir_all(index.join(path).parent().unwrap()).unwrap();
        std::fs::write(index.join(path), text).unwrap();
    }
    let options = SidecarOptions {
        source: SidecarSource::Local(index),
        mode: SidecarMode::Files { out: dir.path().join("out") },
        manifest: None,
        include_yanked: false,
        limit: 0,
        concurrency: 1,
        crates_base_url: None,
        refresh: false,
        offered: false,
        with_licence: false,
    };
    (dir, options)
}

fn run(options: &SidecarOptions) -> (SidecarOutcome, Vec<String>) {
    let notes = Notes::default();
    let outcome = generate(options, &notes, &|| false).unwrap();
    (outcome, notes.0.into_inner().unwrap())
}

fn jsonl(dir: &Path) -> SidecarMode {
    SidecarMode::Jsonl { path: dir.join("s.jsonl"), layout_of: dir.join("out") }
}

#[test]
fn written_and_existing_files_are_reported() {
    let (_dir, options) = world();
    let (outcome, notes) = run(&options);
    assert_eq!(outcome.written, 3);
    assert_eq!(notes, ["Open", "index: plain directory", "Write", "written 1", "written 2", "Done"]);
    let (outcome, notes) = run(&options);
    assert_eq!(outcome.existing, 3);
    assert_eq!(notes, ["Open", "index: plain directory", "Write", "Existing(1)", "Existing(2)", "Done"]);
}

#[test]
fn a_jsonl_is_measured_before_it_is_written() {
    let (dir, options) = world();
    let options = SidecarOptions { mode: jsonl(dir.path()), ..options };
    let (outcome, notes) = run(&options);
    assert_eq!(outcome.written, 3);
    let (begin, end) = (["Open", "index: plain directory", "Measure", "Selected(3)", "Write"], "Done");
    assert_eq!((&notes[..5], &*notes[notes.len() - 1]), (&begin.map(str::to_owned)[..], end));
    let mut written = notes[5..notes.len() - 1].to_vec();
    written.sort();
    assert_eq!(written, ["written 1", "written 2"]);
    // The first records need no measuring.
    let (_, notes) = run(&SidecarOptions { limit: 2, ..options });
    assert_eq!(notes, ["Open", "index: plain directory", "Write", "written 1", "written 1", "Done"]);
}

#[test]
fn the_manifest_that_is_read_is_reported() {
    let (dir, options) = world();
    let record = r#"{"crate":"serde","version":"1.0.1","ok":true,"storage":"filesystem"}"#;
    let manifest = dir.path().join("m.jsonl");
    std::fs::write(&manifest, format!("{record}\n{record}\n{{\"crate\":\"ser")).unwrap();
    let given = |manifest: PathBuf| SidecarOptions {
        mode: jsonl(dir.path()),
        manifest: Some(manifest),
        ..options.clone()
    };
    let (_, notes) = run(&given(manifest));
    assert_eq!(notes[2..4], ["manifest torn", "manifest: 2, 1"]);

    // A manifest in the root of the mirror is read when the named one does not exist.
    let out = dir.path().join("out");
    drop(mirror_store::Store::open(&out, mirror_types::Layout::Shard, false).unwrap());
    std::fs::write(out.join("manifest.jsonl"), format!("{record}\n")).unwrap();
    let (_, notes) = run(&given(dir.path().join("none.jsonl")));
    assert_eq!(notes[2..4], ["manifest: manifest.jsonl", "manifest: 1, 1"]);
}

fn id(name: &str, version: &str) -> mirror_types::ReleaseId {
    mirror_types::ReleaseId { name: name.parse().unwrap(), version: version.parse().unwrap() }
}

/// Makes a mirror that holds three releases: one with other bytes than the index lists, one that policy holds back.
fn mirror(out: &Path) {
    use mirror_manifest::{Catalogue, Change, HeldBackRelease, HeldRelease};
    use mirror_types::{HeldBack, Location, Rule, Sha256};

    let store = mirror_store::Store::open(out, Layout::Shard, false).unwrap();
    let mut catalogue = Catalogue::open(&store.state_dir().join("catalogue.sqlite")).unwrap();
    let held = |id, sum| {
        let (sha256, locations) = (Sha256::from_bytes([sum; 32]), Location::LOOSE.into());
        Change::Held { release: HeldRelease { id, sha256, size: 1, locations }, source: 0 }
    };
    let decision = HeldBack { rule: Rule::Deny, until: None, since: None, why: String::new() };
    let young = HeldBackRelease {
        id: id("serde", "1.0.1"),
        cksum: Sha256::from_bytes([0xab; 32]),
        is_held: true,
        decision,
    };
    let changes = [
        held(id("abc", "0.1.0"), 0xcd),
        held(id("serde", "1.0.0"), 0xab),
        held(id("serde", "1.0.1"), 0xab),
        Change::HeldBack(young),
    ];
    catalogue.apply(&changes).unwrap();
}

#[test]
fn offered_releases_alone_have_sidecars_when_that_is_asked_for() {
    let (dir, options) = world();
    let out = dir.path().join("out");
    let offered = SidecarOptions { offered: true, ..options.clone() };
    let none = generate(&offered, &Notes::default(), &|| false);
    assert!(matches!(none, Err(GenerateError::Repo(mirror_repo::RepoError::NoMirror { .. }))), "{none:?}");
    mirror(&out);
    let lines = SidecarOptions { mode: jsonl(dir.path()), ..offered.clone() };
    let (outcome, _) = run(&lines);
    assert_eq!((outcome.selected, outcome.written, outcome.not_offered), (1, 1, 2));
    let text = std::fs::read_to_string(dir.path().join("s.jsonl")).unwrap();
    assert!(text.lines().count() == 1 && text.contains("serde-1.0.0.crate"), "{text}");
    let sidecar =
        |(name, version)| out.join(format!("{}.json", Layout::Shard.path(&id(name, version)))).exists();
    let of = [("abc", "0.1.0"), ("serde", "1.0.0"), ("serde", "1.0.1")];
    for written in [1, 0] {
        let (outcome, _) = run(&offered);
        assert_eq!((outcome.written, outcome.existing, outcome.not_offered), (written, 1 - written, 2));
        assert_eq!(of.map(sidecar), [false, true, false]);
    }
    // Without it nothing has changed, and such a run does not take the others for done.
    let (outcome, _) = run(&options);
    assert_eq!((outcome.written, outcome.existing, outcome.not_offered), (2, 1, 0));
    assert_eq!(of.map(sidecar), [true; 3]);
}

/// Records a licence of bytes of which every byte of the checksum is `sum`.
fn state_licence(
    out: &Path,
    (name, version): (&str, &str),
    sum: u8,
    licence: mirror_manifest::StatedLicence,
) {
    use mirror_manifest::{Catalogue, Change, LicenceRow};

    let mut catalogue = Catalogue::open(&out.join(".mirror/catalogue.sqlite")).unwrap();
    let sha256 = mirror_types::Sha256::from_bytes([sum; 32]);
    catalogue.apply(&[Change::Licence(LicenceRow { id: id(name, version), sha256, licence })]).unwrap();
}

#[test]
fn licences_are_those_that_the_catalogue_has_of_the_bytes_in_the_index() {
    use mirror_manifest::StatedLicence::{Missing, Text};

    let (dir, options) = world();
    let out = dir.path().join("out");
    mirror(&out);
    state_licence(&out, ("serde", "1.0.0"), 0xab, Text("MIT OR Apache-2.0".to_owned()));
    state_licence(&out, ("serde", "1.0.1"), 0xab, Missing);
    state_licence(&out, ("abc", "0.1.0"), 0xcd, Text("GPL-3.0-only".to_owned()));
    let lines = |with_licence| {
        let options = SidecarOptions { mode: jsonl(dir.path()), with_licence, ..options.clone() };
        let (outcome, notes) = run(&options);
        assert_eq!(outcome.written, 3);
        assert_eq!(notes.contains(&"LicencesRead(2)".to_owned()), with_licence, "{notes:?}");
        std::fs::read_to_string(dir.path().join("s.jsonl")).unwrap()
    };
    let plain = lines(false);
    assert!(!plain.contains("license"), "{plain}");
    // The licence of other bytes does not count.
    let expected: Vec<String> = plain
        .lines()
        .map(|line| match line.contains("serde-1.0.0.crate") {
            true => format!("{},\"license\":\"MIT OR Apache-2.0\"}}\n", line.strip_suffix('}').unwrap()),
            false => format!("{line}\n"),
        })
        .collect();
    assert_eq!(lines(true), expected.concat());

    let sidecar = |version: &str| {
        let path = out.join(format!("{}.json", Layout::Shard.path(&id("serde", version))));
        std::fs::read_to_string(path).unwrap()
    };
    let files = SidecarOptions { with_licence: true, refresh: true, ..options };
    assert_eq!(run(&files).0.written, 3);
    assert!(sidecar("1.0.0").contains("\n  \"license\": \"MIT OR Apache-2.0\",\n"), "{}", sidecar("1.0.0"));
    assert!(!sidecar("1.0.1").contains("license"), "{}", sidecar("1.0.1"));
    // One that becomes known later.
    state_licence(&out, ("serde", "1.0.1"), 0xab, Text("0BSD".to_owned()));
    let outcome = run(&files).0;
    assert_eq!((outcome.refreshed, outcome.existing), (1, 2));
    assert!(sidecar("1.0.1").contains("\"0BSD\""));
}

/// A git index, where a run looks only at what changed.
#[test]
fn a_new_licence_makes_a_run_look_at_everything() {
    let (dir, options) = world();
    let out = dir.path().join("out");
    mirror(&out);
    let index = dir.path().join("index");
    for arguments in [&["init", "--quiet"][..], &["add", "--all"], &["commit", "--quiet", "--message", "m"]] {
        let mut git = std::process::Command::new("git");
        git.current_dir(&index).args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(arguments);
        assert!(git.status().unwrap().success());
    }
    let files = SidecarOptions { with_licence: true, refresh: true, ..options };
    assert_eq!(run(&files).0.written, 3);
    assert_eq!(run(&files).0.news, Some(0));
    state_licence(&out, ("serde", "1.0.0"), 0xab, mirror_manifest::StatedLicence::Text("MIT".to_owned()));
    let outcome = run(&files).0;
    assert_eq!((outcome.news, outcome.refreshed), (None, 1));
    assert_eq!(run(&files).0.news, Some(0));
}
