//! Updates of an index with files that are too large to be processed in memory.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;

use mirror_git::{
    History, IndexSource, UpdateEvent, UpdateObserver, UpdateOptions, UpdateStatus, Updated, update_index,
};
use mirror_testkit::{GitDaemon, git, git_says};
use mirror_types::chain;

use crate::fixture::{Upstream, assert_at, options};

/// Largest object that these updates process in memory.
const MOST: usize = 40_000;
const LARGE: &str = "la/rg/large";
/// git stores the large file as a difference to this one: their names end alike.
const PART: &str = "ar/ge/arge";

#[derive(Default)]
struct Notices(RefCell<Vec<String>>);

impl UpdateObserver for Notices {
    fn stopped(&self) -> bool {
        false
    }
    fn status(&self, _: &UpdateStatus) {}
    fn event(&self, event: UpdateEvent) {
        if let UpdateEvent::Notice(text) = event {
            self.0.borrow_mut().push(text);
        }
    }
}

struct Scene {
    upstream: Upstream,
    daemon: GitDaemon,
}

impl Scene {
    fn new() -> Self {
        let upstream = Upstream::new(20);
        let daemon = GitDaemon::start(upstream.dir.path());
        Self { upstream, daemon }
    }

    /// Commits these files upstream.
    fn commit(&self, files: &[(&str, &[u8])]) -> String {
        let remote = self.upstream.remote();
        for (path, data) in files {
            let path = remote.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, data).unwrap();
        }
        git(&remote, &["add", "."]);
        git(&remote, &["commit", "--quiet", "-m", "files"]);
        self.upstream.tip()
    }

    fn options(&self, history: History) -> UpdateOptions {
        let mut options = options(&self.daemon.url("remote/.git"));
        options.max_object_bytes = MOST;
        options.history = history;
        options
    }

    /// Brings `name` to `tip`, and checks that it has everything of upstream.
    #[track_caller]
    fn follow(&self, name: &str, history: History, tip: &str) -> (Updated, Vec<String>) {
        let (dir, notices) = (self.upstream.path(name), Notices::default());
        let updated = update_index(&dir, &self.options(history), &notices).unwrap();
        assert_at(&dir, tip);
        let source = IndexSource::open_with(&dir, MOST).unwrap();
        let mut files = 0;
        source
            .scan(&mut |_| {
                files += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(source.tree_id().is_some() && files > 0);
        (updated, notices.0.into_inner())
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| rng.alphanumeric() as u8).collect()
}

#[track_caller]
fn assert_holds(dir: &Path, path: &str, data: &[u8]) {
    let expected = git_says(dir, &["cat-file", "blob", &format!("HEAD:{path}")]);
    assert!(expected.as_bytes() == data.trim_ascii_end(), "{path} has other bytes");
}

fn loose(dir: &Path) -> usize {
    git_says(dir, &["count-objects"]).split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_large_file_is_cloned_and_changes() {
    for (name, history) in [("shallow", History::Shallow), ("full", History::Full)] {
        let scene = Scene::new();
        let dir = scene.upstream.path(name);
        let mut large = bytes(1, 5 * MOST);
        let tip = scene.commit(&[(LARGE, &large)]);
        let (cloned, notices) = scene.follow(name, history, &tip);
        assert_holds(&dir, LARGE, &large);
        assert_eq!(loose(&dir), 1, "the large one is a file of its own");
        assert!(notices.iter().any(|text| text.starts_with("1 of the objects")), "{notices:?}");
        let objects = git_says(&dir, &["rev-list", "--objects", "HEAD"]).lines().count() as u64;
        assert_eq!(cloned.received_objects, objects);
        assert!(
            cloned.received_bytes < 3 * 5 * MOST as u64,
            "each byte counts once: {}",
            cloned.received_bytes
        );
        // Another file is new.
        let tip = scene.commit(&[("sm/al/small", b"small\n")]);
        let (_, notices) = scene.follow(name, history, &tip);
        assert!(notices.is_empty(), "{notices:?}");
        // It changes, which arrives as a difference to what is here where the history allows it.
        large.extend_from_slice(b"another line\n");
        let tip = scene.commit(&[(LARGE, &large)]);
        scene.follow(name, history, &tip);
        assert_holds(&dir, LARGE, &large);
        // It becomes small, in parts; these are differences to what is here.
        let part = &large[..MOST - 1000];
        let tip = scene.commit(&[(LARGE, &part[100..]), (PART, part)]);
        scene.follow(name, history, &tip);
        assert_holds(&dir, LARGE, &part[100..]);
        assert_holds(&dir, PART, part);
        // It becomes large again.
        let again = [part, part, b"\n"].concat();
        let tip = scene.commit(&[(LARGE, &again), (PART, &part[7..])]);
        scene.follow(name, history, &tip);
        assert_holds(&dir, LARGE, &again);
    }
}

#[test]
fn all_of_a_history_with_large_files_is_cloned_at_once() {
    let scene = Scene::new();
    let remote = scene.upstream.remote();
    let mut text = bytes(2, MOST / 2);
    let mut tip = String::new();
    // From small to large and back, which git stores as long chains of differences.
    for step in 0..12_u64 {
        text = match step {
            0..6 => [&text[..], &bytes(step, MOST / 4)].concat(),
            _ => text[..text.len() - MOST / 4].to_vec(),
        };
        tip = scene.commit(&[(LARGE, &text), (PART, &text[..text.len() / 3])]);
    }
    for (at, form) in [&["--window=50", "--depth=50"][..], &["--window=2", "--depth=3"]].iter().enumerate() {
        git(&remote, &[&["repack", "-adf", "--quiet"], *form].concat());
        let name = format!("clone-{at}");
        scene.follow(&name, History::Full, &tip);
        let dir = scene.upstream.path(&name);
        for back in 0..12 {
            let all = |dir: &Path| git_says(dir, &["rev-parse", &format!("HEAD~{back}:{LARGE}")]);
            assert_eq!(all(&dir), all(&remote));
        }
        assert_holds(&dir, LARGE, &text);
    }
}

#[test]
fn a_large_file_that_does_not_compress_is_cloned() {
    let scene = Scene::new();
    let mut rng = fastrand::Rng::with_seed(3);
    let noise: Vec<u8> = (0..3 << 20).map(|_| rng.u8(..)).collect();
    let tip = scene.commit(&[(LARGE, &noise), ("sm/al/small", b"small\n")]);
    scene.follow("clone", History::Shallow, &tip);
    let source = IndexSource::open_with(&scene.upstream.path("clone"), MOST).unwrap();
    assert_eq!(source.file("sm/al/small").unwrap().unwrap().data, b"small\n");
    assert!(source.file(LARGE).unwrap().unwrap().data.len() < 100);
}

#[test]
fn what_is_no_file_must_not_be_large() {
    let scene = Scene::new();
    let remote = scene.upstream.remote();
    for at in 0..1200 {
        std::fs::write(remote.join(format!("a-file-of-a-directory-that-is-too-large-{at}")), "x").unwrap();
    }
    scene.commit(&[]);
    let dir = scene.upstream.path("clone");
    let failed = update_index(&dir, &scene.options(History::Shallow), &Notices::default()).unwrap_err();
    let text = chain(&failed);
    assert!(text.contains("a directory or commit of") && text.contains("40000"), "{text}");
    assert!(!dir.exists());
}

#[test]
fn a_checkout_gets_large_files_as_well() {
    let scene = Scene::new();
    let url = format!("file://{}", scene.upstream.remote().display());
    git(scene.upstream.dir.path(), &["clone", "--quiet", &url, "checkout"]);
    let dir = scene.upstream.path("checkout");
    let mut large = bytes(4, 4 * MOST);
    for step in 0..3 {
        let tip = scene.commit(&[(LARGE, &large), (PART, &large[step..MOST / 2])]);
        scene.follow("checkout", History::Full, &tip);
        assert!(std::fs::read(dir.join(LARGE)).unwrap() == large);
        assert_eq!(git_says(&dir, &["status", "--porcelain"]), "");
        large.extend_from_slice(b"another line\n");
    }
    // Local changes to the large file are kept.
    std::fs::write(dir.join(LARGE), &large[1..]).unwrap();
    scene.commit(&[(LARGE, &large)]);
    let refused = update_index(&dir, &scene.options(History::Full), &Notices::default()).unwrap_err();
    assert!(refused.to_string().contains(LARGE), "{refused}");
    git(&dir, &["checkout", "--", "."]);
    let tip = scene.commit(&[("sm/al/small", b"small\n")]);
    scene.follow("checkout", History::Full, &tip);
}

#[test]
fn large_files_stay_as_they_are_where_packs_become_one() {
    for history in [History::Shallow, History::Full] {
        let scene = Scene::new();
        let dir = scene.upstream.path("clone");
        let mut options = scene.options(history);
        options.packs_most = 1;
        let mut large = bytes(5, 4 * MOST);
        let mut replaced = 0;
        for step in 0..4_u8 {
            if step < 3 {
                large.push(step);
                scene.commit(&[(LARGE, &large)]);
            }
            let tip = scene.commit(&[("sm/al/small", &[step])]);
            let notices = Notices::default();
            replaced += update_index(&dir, &options, &notices).unwrap().packs_replaced;
            assert_at(&dir, &tip);
            let notices = notices.0.into_inner();
            assert!(notices.iter().all(|text| !text.contains("stay as they are")), "{notices:?}");
        }
        assert!(replaced > 0);
        // Objects that nothing reaches go together with the packs that are not needed.
        update_index(&dir, &options, &Notices::default()).unwrap();
        let files = if history == History::Shallow { 1 } else { 3 };
        assert_eq!(loose(&dir), files, "{history:?}");
        let tip = scene.upstream.tip();
        assert_at(&dir, &tip);
        let held = git_says(&dir, &["cat-file", "-s", &format!("HEAD:{LARGE}")]);
        assert_eq!(held, large.len().to_string());
    }
}

#[test]
fn a_pack_of_very_many_objects_is_looked_through_before_it_is_indexed() {
    let scene = Scene::new();
    let remote = scene.upstream.remote();
    std::fs::create_dir_all(remote.join("ma/ny")).unwrap();
    // The information about so many objects is larger than the largest object.
    for at in 0..MOST / 100 {
        std::fs::write(remote.join(format!("ma/ny/many{at}")), at.to_string()).unwrap();
    }
    let tip = scene.commit(&[]);
    let (cloned, notices) = scene.follow("small", History::Shallow, &tip);
    assert!(cloned.received_objects > 400 && notices.is_empty(), "{notices:?}");
    assert_eq!(loose(&scene.upstream.path("small")), 0);
    let asked = scene.daemon.connections();
    let tip = scene.commit(&[(LARGE, &bytes(6, 3 * MOST))]);
    let (_, notices) = scene.follow("large", History::Full, &tip);
    assert_eq!((loose(&scene.upstream.path("large")), notices.len()), (1, 1));
    assert_eq!(scene.daemon.connections(), asked + 1, "once is enough");
}
