//! Packs of the real git, taken apart here and put together again by git.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use mirror_testkit::{git, git_says};

use super::*;

const MOST: usize = 10_000;

/// Runs git with a file as its input and another as its output.
fn piped(dir: &Path, args: &[&str], input: &Path, output: &Path) {
    let (input, output) = (File::open(input).expect("input"), disk_file(output));
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).stdin(input).stdout(output).stderr(Stdio::null());
    assert!(command.status().expect("git runs").success(), "git {args:?}");
}

fn disk_file(path: &Path) -> File {
    super::super::disk::create_anew(path).expect("made")
}

fn write(path: &Path, data: &[u8]) {
    use std::io::Write as _;
    disk_file(path).write_all(data).expect("written");
}

fn text(rng: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.alphanumeric() as u8).collect()
}

/// Changes a text so that git stores it as a difference, whatever its size becomes.
fn change(rng: &mut fastrand::Rng, text: &mut Vec<u8>, pool: &[u8]) {
    match rng.u8(..4) {
        0 => text.truncate(text.len() / 2),
        1 => text.extend_from_slice(&pool[..rng.usize(..pool.len())]),
        2 => drop(text.splice(..text.len().min(50), *b"begins otherwise")),
        _ => text.extend_from_slice(b"one more line\n"),
    }
}

struct World {
    dir: tempfile::TempDir,
    rng: fastrand::Rng,
}

/// The contents found in a pack.
#[derive(Debug, Default)]
struct Seen {
    /// Large objects, and deltas that involve them.
    whole: usize,
    deltas: usize,
    /// Small deltas to objects that became loose ones.
    children: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self { dir: tempfile::tempdir().expect("dir"), rng: fastrand::Rng::with_seed(seed) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a history in which files grow and shrink.
    fn source(&mut self) -> PathBuf {
        let source = self.path("source");
        git(self.dir.path(), &["init", "--quiet", "source"]);
        let pool = text(&mut self.rng, 4 * MOST);
        let mut large = pool[..2 * MOST].to_vec();
        for step in 0..10 {
            change(&mut self.rng, &mut large, &pool);
            write(&source.join("large"), &large);
            write(&source.join("nlarge"), &large[large.len() / 3..]);
            write(&source.join(format!("small-{step}")), &text(&mut self.rng, 60));
            git(&source, &["add", "."]);
            git(&source, &["commit", "--quiet", "-m", "step"]);
        }
        source
    }

    /// Packs `revisions` in the given form, and returns the pack's path.
    fn pack(&self, source: &Path, revisions: &str, form: &[&str]) -> PathBuf {
        let (asked, pack) = (self.path("revisions"), self.path("pack"));
        write(&asked, revisions.as_bytes());
        let args = [&["pack-objects", "--stdout", "--revs", "-q", "--no-reuse-delta"], form].concat();
        piped(source, &args, &asked, &pack);
        pack
    }

    /// Takes the pack apart next to the objects of `target`, and has git complete it there.
    fn sifted(&self, target: &Path, pack: &Path, seen: &mut Seen) {
        let repo = gix::open(target).expect("opens");
        let (meter, interrupt) = (Meter::default(), AtomicBool::new(false));
        let scratch = self.path("scratch");
        super::super::disk::make_dir(&scratch).expect("made");
        let work =
            Work { repo: &repo, dir: &scratch, max_bytes: MOST as u64, meter: &meter, interrupt: &interrupt };
        let mut aside = Aside::new();
        let before = survey::survey(&work, pack, &mut aside).expect("surveyed");
        seen.whole += aside.len();
        let is_large = |entry: &&survey::Entry| entry.delta.is_some() && entry.is_large(MOST as u64);
        seen.deltas += before.iter().filter(is_large).count();
        let sifted = sift(&work, pack).expect("sifted");
        assert_eq!((sifted.objects + sifted.aside) as usize, before.len());
        let after = survey::survey(&work, &sifted.rest, &mut Aside::new()).expect("a pack");
        assert!(after.iter().all(|entry| !entry.is_large(MOST as u64)));
        let named = |entries: &[survey::Entry]| entries.iter().filter(|e| e.header.as_type_id() == 7).count();
        seen.children += named(&after).saturating_sub(named(&before));
        piped(target, &["index-pack", "--stdin", "--fix-thin"], &sifted.rest, &self.path("out"));
    }
}

/// Asserts that `target` has everything that `tip` reaches, undamaged.
fn assert_whole(target: &Path, source: &Path, tip: &str) {
    git(target, &["fsck", "--full", "--no-dangling", "--no-progress", tip]);
    let objects = |dir: &Path| git_says(dir, &["rev-list", "--objects", "--no-object-names", tip]);
    assert_eq!(objects(target), objects(source));
}

#[test]
fn nothing_is_lost_of_any_pack_that_git_makes() {
    let mut seen = Seen::default();
    for seed in 0..5 {
        let mut world = World::new(seed);
        let source = world.source();
        let (tip, old) =
            (git_says(&source, &["rev-parse", "HEAD"]), git_says(&source, &["rev-parse", "HEAD~4"]));
        let depth = format!("--depth={}", 1 + seed * 3);
        for (at, form) in [&["--delta-base-offset", "--window=30"][..], &["--window=5"]].iter().enumerate() {
            // Everything at once, into an empty repository.
            let target = world.path(&format!("whole-{at}"));
            gix::init_bare(&target).expect("made");
            let form = [form, &[depth.as_str()][..]].concat();
            let pack = world.pack(&source, &format!("{tip}\n"), &form);
            world.sifted(&target, &pack, &mut seen);
            assert_whole(&target, &source, &tip);
            // The later commits, as differences to what is there: received by git, or by this code.
            for apart in [false, true] {
                let target = world.path(&format!("thin-{at}-{apart}"));
                gix::init_bare(&target).expect("made");
                let pack = world.pack(&source, &format!("{old}\n"), &["--depth=0"]);
                match apart {
                    true => world.sifted(&target, &pack, &mut Seen::default()),
                    false => piped(&target, &["index-pack", "--stdin"], &pack, &world.path("out")),
                }
                let pack =
                    world.pack(&source, &format!("{tip}\n^{old}\n"), &[&["--thin"], &form[..]].concat());
                world.sifted(&target, &pack, &mut seen);
                assert_whole(&target, &source, &tip);
            }
        }
    }
    assert!(seen.whole > 5 && seen.deltas > 100 && seen.children > 0, "{seen:?}");
}

#[test]
fn damage_is_reported() {
    let mut world = World::new(1);
    let source = world.source();
    let tip = git_says(&source, &["rev-parse", "HEAD"]);
    let pack = world.pack(&source, &format!("{tip}\n"), &["--delta-base-offset"]);
    let whole = std::fs::read(&pack).expect("read");
    let target = world.path("target");
    let repo = gix::init_bare(&target).expect("made");
    let (meter, interrupt) = (Meter::default(), AtomicBool::new(false));
    let work = Work {
        repo: &repo,
        dir: world.dir.path(),
        max_bytes: MOST as u64,
        meter: &meter,
        interrupt: &interrupt,
    };
    for _ in 0..60 {
        let mut bad = whole.clone();
        let at = world.rng.usize(..bad.len());
        match world.rng.bool() {
            true => bad.truncate(at),
            false => bad[at] ^= 1 << world.rng.u8(..8),
        }
        write(&pack, &bad);
        assert!(sift(&work, &pack).is_err(), "at {at}");
    }
}
