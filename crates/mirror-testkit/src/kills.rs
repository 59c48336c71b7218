//! Kills the downloader at random moments and has a separate program check what is left.
//!
//! `kills/check.py` makes the checks; it shares no code with the programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mirror_types::Layout;

use crate::{Origin, OriginOptions, Protocol, TestRegistry};

const CHECK: &str = include_str!("kills/check.py");
/// Releases of the registry.
const RELEASES: usize = 400;
const MEAN_BYTES: usize = 1_500;
/// Some 170 KB: several bundles, which are sealed while runs continue.
const BUNDLE_SIZE_GB: &str = "0.00016";

/// The shortest time limit for a kill.
const MIN_KILL_AFTER: Duration = Duration::from_millis(30);

/// The longest wait for a removal.
const MAX_REMOVAL_WAIT: Duration = Duration::from_secs(30);

/// The kind of run that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillKind {
    /// Runs that write loose files.
    Loose,
    /// Runs that write bundles.
    Bundled,
    /// Runs that write loose files, bundles, or both, in turn, into one mirror.
    Mixed,
    /// Runs that remove what upstream deleted.
    Prune,
    /// The first run over a mirror that an earlier version made.
    Takeover,
}

impl KillKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Loose, Self::Bundled, Self::Mixed, Self::Prune, Self::Takeover];

    /// Returns its name on a command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loose => "loose",
            Self::Bundled => "bundled",
            Self::Mixed => "mixed",
            Self::Prune => "prune",
            Self::Takeover => "takeover",
        }
    }
}

/// The settings of the kills.
#[derive(Debug, Clone)]
pub struct KillOptions {
    /// The downloader.
    pub program: PathBuf,
    /// The previous version of the downloader; used only by [`KillKind::Takeover`].
    pub before: Option<PathBuf>,
    /// Kills that must meet a run at work.
    pub kills: u32,
    /// The seed of the random moments.
    pub seed: u64,
}

/// The results of the kills.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KillReport {
    /// Kills that met a run at work. The remains of each were checked.
    pub kills: u32,
    /// Runs that were not killed. The result of each was checked more closely.
    pub whole: u32,
}

/// Kills until enough kills met a run at work. Checks the remains of each kill, and the result of the complete run
/// after it.
///
/// # Errors
/// The first fault that was found, and the folder that shows it, which is kept.
///
/// # Panics
/// When the programs or Python cannot be started: this is test code.
pub fn kill(kind: KillKind, options: &KillOptions) -> Result<KillReport, String> {
    let mut world = World::new(kind, options);
    let told = match kind {
        KillKind::Takeover => world.take_over(),
        _ => world.kill_all(),
    };
    told.map_err(|fault| {
        let kept = std::mem::replace(&mut world.dir, tempfile::tempdir().expect("a folder")).keep();
        format!("{}: {fault} (see {})", kind.as_str(), kept.display())
    })
}

struct World<'a> {
    kind: KillKind,
    options: &'a KillOptions,
    random: fastrand::Rng,
    registry: TestRegistry,
    /// Every checksum that a release ever had, by its path.
    allowed: BTreeMap<String, Vec<String>>,
    origin: Origin,
    dir: tempfile::TempDir,
    /// Crates that upstream does not have at the moment.
    deleted: Vec<(String, Vec<crate::TestRelease>)>,
    report: KillReport,
}

impl<'a> World<'a> {
    fn new(kind: KillKind, options: &'a KillOptions) -> Self {
        let registry = TestRegistry::generate(options.seed, RELEASES, MEAN_BYTES);
        let how = OriginOptions {
            protocol: Protocol::Http1,
            delay: Duration::from_millis(1),
            ..OriginOptions::default()
        };
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("check.py"), CHECK).expect("the check");
        let mut world = Self {
            kind,
            options,
            random: fastrand::Rng::with_seed(options.seed),
            registry,
            allowed: BTreeMap::new(),
            origin: Origin::start(how, Arc::new(|_| None)),
            dir,
            deleted: Vec::new(),
            report: KillReport::default(),
        };
        world.publish();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Serves the registry as it is, writes its index, and updates the input of the check.
    fn publish(&mut self) {
        self.origin.replace_site(self.registry.site("http://unused/"));
        let index = self.path("index");
        let _ = std::fs::remove_dir_all(&index);
        self.registry.write_index(&index);
        let mut expected = BTreeMap::new();
        for release in self.registry.releases().filter(|release| !release.yanked) {
            let (path, sum) = (Layout::Shard.path(&release.id), release.cksum.to_hex());
            let known = self.allowed.entry(path.clone()).or_default();
            if !known.contains(&sum) {
                known.push(sum.clone());
            }
            expected.insert(path, sum);
        }
        let facts = serde_json::json!({"allowed": self.allowed, "expected": expected});
        std::fs::write(self.path("facts.json"), facts.to_string()).expect("the facts");
    }

    /// Returns flags for the next run.
    fn flags(&mut self) -> Vec<&'static str> {
        const LOOSE: &[&str] = &[];
        const ONLY: &[&str] = &["--bundle", "--bundle-mode", "only", "--bundle-size-gb", BUNDLE_SIZE_GB];
        const BOTH: &[&str] = &["--bundle", "--bundle-mode", "add", "--bundle-size-gb", BUNDLE_SIZE_GB];
        const SEAL: &[&str] = &["--bundle", "--bundle-seal", "--bundle-size-gb", BUNDLE_SIZE_GB];
        let choice = match self.kind {
            KillKind::Loose => &[LOOSE][..],
            KillKind::Bundled => &[ONLY, ONLY, SEAL],
            KillKind::Mixed | KillKind::Takeover => &[LOOSE, ONLY, BOTH, SEAL],
            KillKind::Prune => &[LOOSE],
        };
        let mut flags = choice[self.random.usize(..choice.len())].to_vec();
        if self.kind == KillKind::Prune {
            flags.extend(["--prune", "--allow-mass-prune"]);
        }
        flags
    }

    fn command(&self, program: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .args(["--out", "m", "--manifest", "m.jsonl", "--bundles-out", "b", "--listen", ""])
            .args(["--index-dir", "index", "--concurrency", "16", "--retry-base", "5ms"])
            .arg("--crates-base-url")
            .arg(format!("{}/crates", self.origin.base()))
            .args(flags);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(self.path("stderr")).expect("a log"));
        command
    }

    /// Runs the check.
    fn check(&self, mode: &str) -> Result<(), String> {
        let output = Command::new("python3")
            .current_dir(self.dir.path())
            .args(["check.py", mode, "facts.json", "m", "m.jsonl", "b"])
            .stdin(Stdio::null())
            .output()
            .expect("python3");
        if output.status.success() {
            return Ok(());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Err(format!("{mode}: {}{}", text(&output.stdout), text(&output.stderr)))
    }

    /// Runs to the end and checks the result; returns the time that the run took.
    fn whole(&mut self, flags: &[&str]) -> Result<Duration, String> {
        let began = Instant::now();
        let status = self.command(&self.options.program, flags).status().expect("the program");
        if !status.success() {
            let log = std::fs::read_to_string(self.path("stderr")).unwrap_or_default();
            return Err(format!("a run after a kill ended with {status}: {log}"));
        }
        self.check(final_mode(flags))?;
        self.report.whole += 1;
        Ok(began.elapsed())
    }

    /// Starts a run and kills it at a random moment before `most`, or in the middle of its removals; returns whether
    /// the kill met it at work.
    fn one(&mut self, flags: &[&str], most: Duration) -> Result<bool, String> {
        let victim = self.doomed();
        let moment = self.random.u64(0..u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1));
        let mut child = self.command(&self.options.program, flags).spawn().expect("the program");
        match victim {
            // The removals take only a few milliseconds of the run: the kill waits until one file disappears.
            Some(victim) => {
                let began = Instant::now();
                while victim.exists()
                    && matches!(child.try_wait(), Ok(None))
                    && began.elapsed() < MAX_REMOVAL_WAIT
                {
                    std::thread::yield_now();
                }
            }
            None => std::thread::sleep(Duration::from_micros(moment)),
        }
        let killed = child.kill();
        let status = child.wait().expect("its end");
        killed.map_err(|error| format!("the kill failed: {error}"))?;
        if status.code().is_none() {
            self.check(if self.kind == KillKind::Prune { "pruning" } else { "after" })?;
            self.report.kills += 1;
            return Ok(true);
        }
        if status.success() {
            self.check(final_mode(flags))?;
            self.report.whole += 1;
            return Ok(false);
        }
        let log = std::fs::read_to_string(self.path("stderr")).unwrap_or_default();
        Err(format!("a run after a kill ended with {status}: {log}"))
    }

    /// Returns the file of a release that the next run is to remove: usually one, if there is any.
    fn doomed(&mut self) -> Option<PathBuf> {
        if self.kind != KillKind::Prune || self.random.u8(..) < 50 {
            return None;
        }
        let deleted = self.deleted.iter().flat_map(|(_, releases)| releases);
        let files = deleted.map(|release| self.path("m").join(Layout::Shard.path(&release.id)));
        let there: Vec<PathBuf> = files.filter(|file| file.exists()).collect();
        (!there.is_empty()).then(|| there[self.random.usize(..there.len())].clone())
    }

    fn remove_mirror(&self) {
        for name in ["m", "b"] {
            let _ = std::fs::remove_dir_all(self.path(name));
        }
        let _ = std::fs::remove_file(self.path("m.jsonl"));
    }

    /// Has upstream delete some crates and reinstate others.
    fn change_upstream(&mut self) {
        for _ in 0..self.deleted.len() / 2 {
            let (name, releases) = self.deleted.swap_remove(self.random.usize(..self.deleted.len()));
            self.registry.crates.insert(name, releases);
        }
        let names: Vec<String> = self.registry.crates.keys().cloned().collect();
        for name in names {
            if self.random.u8(..) < 70
                && let Some(releases) = self.registry.crates.remove(&name)
            {
                self.deleted.push((name, releases));
            }
        }
        self.publish();
    }

    fn kill_all(&mut self) -> Result<KillReport, String> {
        if self.kind == KillKind::Prune {
            // Some releases are in bundles, which are never rewritten: they are not removed.
            let some = ["--bundle", "--bundle-mode", "only", "--limit", "60"];
            let status = self.command(&self.options.program, &some).status().expect("the program");
            if !status.success() {
                return Err(format!("the first run ended with {status}"));
            }
        }
        let flags = self.flags();
        let longest = self.whole(&flags)?;
        let mut most = longest;
        let mut met_at_work = true;
        for _ in 0..self.options.kills.saturating_mul(8) {
            if self.report.kills >= self.options.kills {
                break;
            }
            if self.kind == KillKind::Prune {
                if self.random.bool() || !met_at_work {
                    self.change_upstream();
                }
            } else if !met_at_work || self.report.kills == 0 {
                self.remove_mirror();
            }
            let flags = self.flags();
            met_at_work = self.one(&flags, most)?;
            // This way most kills meet a run at work, and some come near its end.
            most = if met_at_work {
                (most * 9 / 8).min(longest * 2)
            } else {
                (most * 3 / 4).max(MIN_KILL_AFTER)
            };
            // The next run repairs the mirror; sometimes it is killed as well.
            if met_at_work && self.random.u8(..) < 80 {
                self.whole(&flags)?;
                met_at_work = false;
            }
        }
        let flags = self.flags();
        self.whole(&flags)?;
        self.enough()
    }

    /// Kills the first run over a mirror of the previous version, again and again.
    fn take_over(&mut self) -> Result<KillReport, String> {
        let before = self.options.before.clone().ok_or("the program of the version before was not named")?;
        let mut most = Duration::from_millis(50);
        while self.report.kills < self.options.kills {
            if self.report.kills.is_multiple_of(10) {
                self.make_old(&before);
            }
            self.remove_mirror();
            for name in ["m", "b", "m.jsonl"] {
                let old = self.path("old").join(name);
                if old.exists() {
                    copy(&old, &self.path(name));
                }
            }
            let flags = self.flags();
            let met_at_work = self.one(&flags, most)?;
            let took = self.whole(&flags)?;
            most = if met_at_work { most.max(took) } else { most / 2 };
        }
        self.enough()
    }

    /// Makes a mirror with the previous version, and kills it before it is complete.
    fn make_old(&mut self, before: &Path) {
        self.remove_mirror();
        let _ = std::fs::remove_dir_all(self.path("old"));
        for _ in 0..2 {
            let flags = self.flags();
            let mut child = self.command(before, &flags).spawn().expect("the program of the version before");
            if self.random.bool() {
                std::thread::sleep(Duration::from_millis(self.random.u64(50..600)));
                let _ = child.kill();
            }
            child.wait().expect("its end");
        }
        std::fs::create_dir(self.path("old")).expect("a folder");
        for name in ["m", "b", "m.jsonl"] {
            if self.path(name).exists() {
                std::fs::rename(self.path(name), self.path("old").join(name)).expect("a move");
            }
        }
    }

    fn enough(&self) -> Result<KillReport, String> {
        if self.report.kills >= self.options.kills {
            return Ok(self.report);
        }
        Err(format!("only {} of {} kills met a run at work", self.report.kills, self.options.kills))
    }
}

fn final_mode(flags: &[&str]) -> &'static str {
    match (flags.contains(&"--bundle"), flags.contains(&"add")) {
        (false, _) => "final-loose",
        (true, false) => "final-only",
        (true, true) => "final",
    }
}

/// Copies a file or a tree with its times.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}
