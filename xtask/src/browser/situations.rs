//! The situations in which the console is looked at.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mirror_testkit::{Ask, Fault, Origin, OriginOptions, Protocol, Scale, Synthetic};
use serde_json::{Value, json};

use super::Bench;

type Situation = fn(&Bench) -> anyhow::Result<()>;

/// The situations, by name.
pub(super) const ALL: &[(&str, Situation)] = &[
    ("running", running),
    ("wrong-bytes", wrong_bytes),
    ("origin-down", origin_down),
    ("disk-full", disk_full),
    ("damage", damage),
    ("pre-flight", pre_flight),
    ("between-runs", between_runs),
];

const RUN_VIEWS: [&str; 6] = ["overview", "failures", "storage", "runs", "verification", "preflight"];
/// The time for which a console stays; a test ends it earlier.
const LINGER: &str = "10m";

/// A registry on this machine.
struct Registry {
    origin: Origin,
    /// The index, as a plain directory.
    index: tempfile::TempDir,
}

impl Registry {
    fn start(releases: usize, mean_bytes: usize, delay_ms: u64) -> anyhow::Result<Self> {
        let scale = Scale { seed: 7, releases, crates: releases.div_ceil(8), mean_bytes };
        let registry = Arc::new(Synthetic::new(scale));
        let options = OriginOptions {
            protocol: Protocol::Http1,
            delay: Duration::from_millis(delay_ms),
            ..OriginOptions::default()
        };
        let origin = Origin::start(options, Arc::new(|_| None));
        let base = origin.base();
        origin.replace_site(registry.site(&format!("{base}/crates/{{crate}}/{{crate}}-{{version}}.crate")));
        let index = tempfile::tempdir().context("a directory for the index")?;
        registry.write_tree(index.path());
        Ok(Self { origin, index })
    }

    fn index(&self) -> String {
        self.index.path().display().to_string()
    }

    fn downloads(&self) -> String {
        format!("{}/crates", self.origin.base())
    }
}

fn is_release(ask: &Ask) -> bool {
    ask.path.starts_with("/crates/")
}

/// A program that shows a page. It is ended when this is dropped.
struct Shown {
    child: Child,
    url: String,
}

impl Drop for Shown {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program and waits until it says where its page is.
fn start(bench: &Bench, program: &str, arguments: &[&str]) -> anyhow::Result<Shown> {
    let mut child = Command::new(bench.programs.join(program))
        .args(arguments)
        .current_dir(bench.dir.path())
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let log = child.stderr.take().context("the log of the program")?;
    let mut shown = Shown { child, url: String::new() };
    let mut lines = BufReader::new(log).lines();
    let mut seen = String::new();
    while shown.url.is_empty() {
        let Some(line) = lines.next() else { bail!("{program} ended before it showed a page:\n{seen}") };
        let line = line.context("reading the log")?;
        // The addresses of the origin have paths.
        let address = line.split_whitespace().find(|word| word.starts_with("http://127.0.0.1:"));
        let address = address.map(|word| word.trim_end_matches([',', ';', '.']).trim_end_matches('/'));
        if let Some(url) = address.filter(|url| {
            url.matches('/').count() == 2 && line.contains("console") || line.contains("serving")
        }) {
            shown.url = format!("{url}/");
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    // Nothing may wait for a log that nobody reads.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(shown)
}

fn download(bench: &Bench, registry: &Registry, out: &Path, more: &[&str]) -> anyhow::Result<Shown> {
    let index = registry.index();
    let out = out.display().to_string();
    let base = registry.downloads();
    let mut arguments = vec!["--index-dir", &index, "--out", &out, "--listen", "127.0.0.1:0"];
    if !more.contains(&"--crates-base-url") {
        arguments.extend(["--crates-base-url", &base]);
    }
    arguments.extend(more);
    start(bench, "download-crates", &arguments)
}

/// Runs the downloader to its end.
fn download_all(bench: &Bench, registry: &Registry, out: &Path, more: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(bench.programs.join("download-crates"));
    command.args(["--index-dir", &registry.index(), "--crates-base-url", &registry.downloads()]);
    command.args(["--listen", "", "--log-level", "error", "--out"]).arg(out).args(more);
    let output = command.current_dir(bench.dir.path()).output().context("starting download-crates")?;
    if !output.status.success() {
        bail!("download-crates ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn look(bench: &Bench, shown: &Shown, mut task: Value) -> anyhow::Result<()> {
    task["url"] = shown.url.clone().into();
    bench.look(task, || Ok(()))
}

/// A run of some minutes with a few gaps, and busy answers now and then. Then a short one, to whose end the page stays open.
fn running(bench: &Bench) -> anyhow::Result<()> {
    let registry = Registry::start(60_000, 20_000, 60)?;
    registry.origin.script(|ask| match ask.total {
        n if is_release(ask) && ask.nth == 0 && n % 23 == 0 => Fault::Status(503),
        _ if is_release(ask) && ask.path.contains("7-0.1") => Fault::Status(404),
        _ => Fault::None,
    });
    let out = bench.dir.path().join("crates-io");
    let shown =
        download(bench, &registry, &out, &["--retry-base", "50ms", "--bundle", "--concurrency", "64"])?;
    let task = json!({
        "name": "running", "level": "(calm|warn)", "headline": "Downloading|failed|disk is filling", "views": RUN_VIEWS, "charts": true, "live": true,
        "texts": {"overview": "This run", "storage": "Bundles", "runs": "running"},
    });
    look(bench, &shown, task)?;
    drop(shown);
    finished(bench)
}

/// A run that ends while its page is open: the page must have its summary.
fn finished(bench: &Bench) -> anyhow::Result<()> {
    let registry = Registry::start(4_000, 2_000, 0)?;
    let out = bench.dir.path().join("finished");
    let held = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_held = Arc::clone(&held);
    // The last releases come once the page is open.
    registry.origin.script(move |ask| {
        while is_held.load(std::sync::atomic::Ordering::Acquire) && is_release(ask) && ask.total > 3_000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        Fault::None
    });
    let mut shown = download(bench, &registry, &out, &[])?;
    let task = json!({
        "name": "finished", "level": ".*", "headline": ".*", "views": ["overview"], "url": shown.url,
        "last_words": r"Finished[^]*How it ended[^]*downloaded\s+\d+[^]*exit code 0",
    });
    bench.look(task, || {
        held.store(false, std::sync::atomic::Ordering::Release);
        Ok(())
    })?;
    let status = shown.child.wait().context("waiting for the run")?;
    if !status.success() {
        bail!("the run ended with {status}");
    }
    Ok(())
}

fn wrong_bytes(bench: &Bench) -> anyhow::Result<()> {
    let registry = Registry::start(2_000, 5_000, 2)?;
    registry.origin.script(|ask| if is_release(ask) { Fault::WrongBytes } else { Fault::None });
    let out = bench.dir.path().join("wrong-bytes");
    let shown = download(bench, &registry, &out, &["--retry-base", "10ms", "--linger", LINGER])?;
    let task = json!({
        "name": "wrong-bytes", "level": "act", "headline": "Every download fails|Nothing could be fetched|Could not go on",
        "views": ["overview", "failures"], "texts": {"failures": "Other bytes than the index promises[^]*proxy"},
    });
    look(bench, &shown, task)
}

fn origin_down(bench: &Bench) -> anyhow::Result<()> {
    let registry = Registry::start(500, 5_000, 0)?;
    // A port that nothing listens at.
    let addr = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .context("a port")?;
    let base = format!("http://{addr}/crates");
    let out = bench.dir.path().join("origin-down");
    let more = ["--crates-base-url", &base, "--retries", "1", "--retry-base", "10ms", "--linger", LINGER];
    let shown = download(bench, &registry, &out, &more)?;
    let task = json!({
        "name": "origin-down", "level": "act", "headline": "Every download fails|Nothing could be fetched|Could not go on",
        "views": ["overview", "failures"], "texts": {"failures": "No connection"},
    });
    look(bench, &shown, task)
}

/// A file system of its own, in memory. Unmounted when this is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=192m", "tmpfs"]).arg(&at).output();
        Ok(mounted.is_ok_and(|output| output.status.success()).then_some(Self(at)))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn disk_full(bench: &Bench) -> anyhow::Result<()> {
    let Some(small) = Small::mount(bench.dir.path().join("small"))? else {
        println!("disk-full: skipped, no file system can be mounted here");
        return Ok(());
    };
    let registry = Registry::start(20_000, 20_000, 100)?;
    let shown =
        download(bench, &registry, &small.0.join("mirror"), &["--concurrency", "16", "--linger", LINGER])?;
    let task = json!({
        "name": "disk-full", "level": "act", "headline": "The disk is nearly full|Could not go on", "views": ["overview", "storage"],
        "texts": {"storage": "Disk free"},
    });
    look(bench, &shown, task)
}

/// Finds the files of releases below a directory.
fn releases_below(dir: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry.context("listing")?.path();
        if path.is_dir() && !path.ends_with(".mirror") {
            releases_below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "crate") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

fn damage(bench: &Bench) -> anyhow::Result<()> {
    let registry = Registry::start(1_500, 3_000, 0)?;
    let out = bench.dir.path().join("damage");
    download_all(bench, &registry, &out, &[])?;
    let mut files = Vec::new();
    releases_below(&out, &mut files)?;
    for path in files.iter().step_by(files.len() / 4) {
        let mut bytes = std::fs::read(path).context("reading a release")?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).context("damaging a release")?;
    }
    let gone = files[0].file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    registry
        .origin
        .script(move |ask| if ask.path.ends_with(&gone) { Fault::Status(404) } else { Fault::None });
    let shown = download(bench, &registry, &out, &["--verify-existing", "--linger", LINGER])?;
    let task = json!({
        "name": "damage", "level": "act", "headline": "Damage that could not be repaired", "views": ["verification", "overview", "runs"],
        "texts": {"verification": "could not be fetched again[^]*repaired|repaired[^]*could not be fetched again", "runs": "damage left"},
    });
    look(bench, &shown, task)
}

fn pre_flight(bench: &Bench) -> anyhow::Result<()> {
    let registry = Registry::start(1_000, 30_000, 0)?;
    let out = bench.dir.path().join("pre-flight");
    let shown = download(bench, &registry, &out, &["--dry-run", "--linger", LINGER])?;
    let task = json!({
        "name": "pre-flight", "level": "good", "headline": "Pre-flight done", "views": ["preflight", "overview"],
        "texts": {"preflight": "enough[^]*Free space"},
    });
    look(bench, &shown, task)
}

fn between_runs(bench: &Bench) -> anyhow::Result<()> {
    let registry = Registry::start(3_000, 4_000, 0)?;
    let out = bench.dir.path().join("between");
    registry.origin.script(|ask| {
        if is_release(ask) && ask.path.contains("3-0.1") { Fault::Status(404) } else { Fault::None }
    });
    let mut files = Vec::new();
    // Some releases are missing: that is no fault of this test.
    let first = download_all(bench, &registry, &out, &[]);
    releases_below(&out, &mut files)?;
    if files.is_empty() {
        first?;
    }
    let name = files[files.len() / 2]
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let crate_name =
        name.split("-0.").next().and_then(|name| name.split("-1.").next()).unwrap_or_default().to_owned();
    std::fs::write(out.join("policy.toml"), format!("format = 1\ndeny = [\"{crate_name}@<0.3\"]\n"))
        .context("the policy")?;
    let policy = out.join("policy.toml").display().to_string();
    let _ = download_all(bench, &registry, &out, &["--policy", &policy]);
    let out = out.display().to_string();
    let shown = start(bench, "serve-mirror", &["--mirror", &out, "--listen", "127.0.0.1:0"])?;
    let task = json!({
        "name": "between-runs", "level": "(good|warn)", "headline": ".", "crate": crate_name,
        "views": ["mirror", "browse", "runs", "storage", "failures", "setup"], "crate_text": "held back",
        "texts": {"mirror": "Last run", "runs": "some missing|complete", "setup": "replace-with", "failures": "Refused by the origin|Nothing failed"},
    });
    look(bench, &shown, task)
}
