//! The events of an extraction, and the trait that receives them.
#![expect(clippy::disallowed_methods, reason = "tests damage files")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::sync::Mutex;

use mirror_bundle::{
    BundleFiles, BundleOptions, BundleWriter, MemberBody, NewMember, list_bundles, read_manifest,
};
use mirror_extract::{ExtractEvent, ExtractObserver, ExtractOptions, ExtractOutcome, ExtractTask, extract};
use mirror_testkit::TestRegistry;
use mirror_types::Layout;

/// Records the events, one line for each.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl ExtractObserver for Notes {
    fn event(&self, event: ExtractEvent<'_>) {
        let note = match event {
            ExtractEvent::BundleFailed(_) => "bundle failed".to_owned(),
            ExtractEvent::Blocked(_) => "blocked".to_owned(),
            ExtractEvent::PartialEnd { bundle, .. } => format!("partial end of {bundle}"),
            ExtractEvent::Failed { path, .. } => format!("failed {path}"),
            event => format!("{event:?}"),
        };
        self.0.lock().unwrap().push(note);
    }
}

struct World {
    dir: tempfile::TempDir,
    registry: TestRegistry,
}

impl World {
    /// Bundles three releases, and seals the bundle or leaves it open.
    fn new(seal: bool) -> Self {
        let mut registry = TestRegistry::default();
        for version in ["1.0.0", "1.0.1", "1.0.2"] {
            registry.add("serde", version, format!("bytes of {version}").as_bytes());
        }
        let world = Self { dir: tempfile::tempdir().unwrap(), registry };
        let mut options = BundleOptions::default();
        options.threads = 1;
        let (mut writer, _) = BundleWriter::open(&world.path("bundles"), options).unwrap();
        for release in world.registry.releases() {
            let new = NewMember {
                id: release.id.clone(),
                path: Layout::Shard.path(&release.id),
                url: release.id.readable_url("http://h/crates"),
                sha256: release.cksum,
                body: MemberBody::Memory(Box::new(release.body.clone())),
            };
            writer.append(new).unwrap();
        }
        if seal {
            writer.seal().unwrap()
        } else {
            writer.commit().unwrap()
        };
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundle(&self) -> BundleFiles {
        list_bundles(&self.path("bundles")).unwrap().remove(0)
    }

    /// Extracts on one thread, and returns the events.
    fn run(&self, task: ExtractTask) -> (ExtractOutcome, Vec<String>) {
        let mut options = ExtractOptions::new(self.path("bundles"), task);
        options.pattern = "*".to_owned();
        options.concurrency = 1;
        let notes = Notes::default();
        let outcome = extract(&options, &notes, &Default::default(), &mut |_| {}).unwrap();
        (outcome, notes.0.into_inner().unwrap())
    }

    fn extract(&self) -> (ExtractOutcome, Vec<String>) {
        self.run(ExtractTask::Extract { out: self.path("out"), overwrite: false })
    }
}

/// Counts the notes with this text.
fn count(notes: &[String], what: &str) -> usize {
    notes.iter().filter(|note| *note == what).count()
}

#[test]
fn an_extraction_reports_what_it_selects_and_what_it_wrote() {
    let world = World::new(true);
    let (outcome, notes) = world.extract();
    assert_eq!(outcome.extracted, 3);
    assert_eq!(notes[0], "Selected(3)");
    assert_eq!(notes.last().map(String::as_str), Some("Planned"));
    let (files, bytes) = (outcome.extracted, outcome.bytes);
    assert_eq!(count(&notes, &format!("Extracted {{ files: {files}, bytes: {bytes} }}")), 1, "{notes:?}");
    assert_eq!((notes.len(), count(&notes, "Planned")), (4, 2), "{notes:?}");
}

#[test]
fn existing_and_verified_members_are_reported_one_by_one() {
    let world = World::new(true);
    world.extract();
    let (outcome, notes) = world.extract();
    assert_eq!((outcome.existing, count(&notes, "Existing")), (3, 3), "{notes:?}");
    assert!(!notes.iter().any(|note| note.starts_with("Extracted")), "{notes:?}");
    let (outcome, notes) = world.run(ExtractTask::Verify);
    assert_eq!((outcome.verified, count(&notes, "Verified")), (3, 3), "{notes:?}");
    assert_eq!(world.run(ExtractTask::List).1, ["Planned"]);
}

#[test]
fn every_failure_is_reported() {
    let world = World::new(true);
    std::fs::create_dir_all(world.path("out/s/er/serde-1.0.0.crate")).unwrap();
    std::fs::write(world.path("out/s/er/serde-1.0.1.crate"), "other bytes").unwrap();
    let (outcome, notes) = world.extract();
    assert_eq!((outcome.failed, outcome.extracted), (2, 1));
    assert_eq!(count(&notes, "blocked"), 1, "{notes:?}");
    assert_eq!(count(&notes, "failed s/er/serde-1.0.1.crate"), 1, "{notes:?}");
}

#[test]
fn a_damaged_bundle_is_reported_once() {
    let world = World::new(true);
    let bundle = world.bundle();
    let mut bytes = std::fs::read(&bundle.path).unwrap();
    bytes[20..40].fill(0);
    std::fs::write(&bundle.path, bytes).unwrap();
    let (outcome, notes) = world.run(ExtractTask::Verify);
    assert_eq!((outcome.bad_bundles, count(&notes, "bundle failed")), (1, 1), "{notes:?}");
}

#[test]
fn a_bundle_without_manifest_and_a_torn_end_are_reported() {
    let world = World::new(false);
    let bundle = world.bundle();
    let manifest = bundle.manifest.as_ref().unwrap();
    let mut last_frame = 0;
    read_manifest(manifest, &mut |line| {
        last_frame = line.frame_offset.unwrap();
        Ok(())
    })
    .unwrap();
    std::fs::remove_file(manifest).unwrap();
    // A power cut can leave this in place of unsynced bytes.
    let mut bytes = std::fs::read(&bundle.path).unwrap();
    bytes[usize::try_from(last_frame).unwrap()..].fill(0);
    std::fs::write(&bundle.path, bytes).unwrap();
    let (outcome, notes) = world.run(ExtractTask::Verify);
    assert_eq!((outcome.bad_bundles, outcome.verified), (0, 2));
    assert_eq!(count(&notes, &format!("NoManifest {{ bundle: {:?} }}", bundle.name)), 1, "{notes:?}");
    assert_eq!(count(&notes, &format!("partial end of {}", bundle.name)), 1, "{notes:?}");
}
