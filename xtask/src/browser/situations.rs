//! The situations in which the console is looked at.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mirror_testkit::Fault;
use serde_json::{Value, json};

use super::Bench;
use crate::local::{Registry, SmallDisk, closed_port, is_one_in, is_release};

/// Sets a situation up, has it looked at, and returns what the browser says of that.
type Situation = fn(&Bench) -> anyhow::Result<String>;

/// The situations, by name.
pub(super) const ALL: &[(&str, Situation)] = &[
    ("running", running),
    ("finished", finished),
    ("end-of-run", end_of_run),
    ("wrong-bytes", wrong_bytes),
    ("origin-down", origin_down),
    ("disk-full", disk_full),
    ("damage", damage),
    ("pre-flight", pre_flight),
    ("between-runs", between_runs),
];

const RUN_VIEWS: [&str; 6] = ["overview", "failures", "storage", "runs", "verification", "preflight"];
const MIRROR_VIEWS: [&str; 6] = ["mirror", "browse", "runs", "storage", "failures", "setup"];
/// The time for which a console stays; a test ends it earlier.
const LINGER: &str = "10m";

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

fn look(bench: &Bench, shown: &Shown, task: Value) -> anyhow::Result<String> {
    look_and(bench, shown, task, || Ok(()))
}

/// Has a page looked at; `change` is called once its last page is open.
fn look_and(
    bench: &Bench,
    shown: &Shown,
    mut task: Value,
    change: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    task["url"] = shown.url.clone().into();
    task["process"] = shown.child.id().into();
    bench.look(task, change)
}

/// A run of some minutes with a few gaps, and busy answers now and then.
fn running(bench: &Bench) -> anyhow::Result<String> {
    let registry = Registry::start(60_000, 20_000, 100)?;
    registry.origin.script(|ask| match ask.total {
        n if is_release(ask) && ask.nth == 0 && n % 700 == 0 => Fault::Status(503),
        _ if is_one_in(400, ask) => Fault::Status(404),
        _ => Fault::None,
    });
    // With enough room, so that the disk is no news.
    let disk = SmallDisk::mount(bench.dir.path().join("disk"), 3_072)?;
    let out = disk.as_ref().map_or(bench.dir.path(), SmallDisk::path).join("crates-io");
    let shown =
        download(bench, &registry, &out, &["--retry-base", "50ms", "--bundle", "--concurrency", "32"])?;
    let task = json!({
        "name": "running", "level": "(calm|warn)", "headline": "Downloading|failed|disk is filling", "views": RUN_VIEWS, "charts": true, "live": true,
        "texts": {"overview": "This run", "storage": "Bundles", "runs": "running"},
    });
    look(bench, &shown, task)
}

/// A run that came to a good end and keeps its page.
fn finished(bench: &Bench) -> anyhow::Result<String> {
    let registry = Registry::start(4_000, 2_000, 0)?;
    let out = bench.dir.path().join("finished");
    let shown = download(bench, &registry, &out, &["--linger", LINGER])?;
    let task = json!({
        "name": "finished", "level": "good", "headline": "Finished", "views": RUN_VIEWS,
        "texts": {"overview": r"How it ended[^]*downloaded\s+\d+[^]*exit code 0", "failures": "Nothing failed", "runs": "complete"},
    });
    look(bench, &shown, task)
}

/// A run that ends while its page is open, and its program with it: the page must have its summary.
fn end_of_run(bench: &Bench) -> anyhow::Result<String> {
    let registry = Registry::start(4_000, 2_000, 0)?;
    let out = bench.dir.path().join("end-of-run");
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
        "name": "end-of-run", "level": ".*", "headline": ".*", "views": ["overview"],
        "then": r"Finished[^]*The program has ended[^]*How it ended[^]*downloaded\s+\d+[^]*exit code 0",
    });
    let looks = look_and(bench, &shown, task, || {
        held.store(false, std::sync::atomic::Ordering::Release);
        Ok(())
    })?;
    let status = shown.child.wait().context("waiting for the run")?;
    if !status.success() {
        bail!("the run ended with {status}");
    }
    Ok(looks)
}

fn wrong_bytes(bench: &Bench) -> anyhow::Result<String> {
    let registry = Registry::start(2_000, 5_000, 2)?;
    registry.origin.script(|ask| if is_release(ask) { Fault::WrongBytes } else { Fault::None });
    let out = bench.dir.path().join("wrong-bytes");
    let shown = download(bench, &registry, &out, &["--retry-base", "10ms", "--linger", LINGER])?;
    let task = json!({
        "name": "wrong-bytes", "level": "act", "headline": "Every download fails|Given up",
        "views": RUN_VIEWS, "texts": {"failures": "Other bytes than the index promises[^]*proxy"},
    });
    look(bench, &shown, task)
}

fn origin_down(bench: &Bench) -> anyhow::Result<String> {
    let registry = Registry::start(500, 5_000, 0)?;
    let base = format!("http://{}/crates", closed_port()?);
    let out = bench.dir.path().join("origin-down");
    let more = ["--crates-base-url", &base, "--retries", "1", "--retry-base", "10ms", "--linger", LINGER];
    let shown = download(bench, &registry, &out, &more)?;
    let task = json!({
        "name": "origin-down", "level": "act", "headline": "Every download fails|Given up",
        "views": RUN_VIEWS, "texts": {"failures": "No connection"},
    });
    look(bench, &shown, task)
}

fn disk_full(bench: &Bench) -> anyhow::Result<String> {
    let Some(small) = SmallDisk::mount(bench.dir.path().join("small"), 192)? else {
        return Ok("skipped: no file system can be mounted here".to_owned());
    };
    let registry = Registry::start(20_000, 20_000, 100)?;
    let shown = download(
        bench,
        &registry,
        &small.path().join("mirror"),
        &["--concurrency", "16", "--linger", LINGER],
    )?;
    let task = json!({
        "name": "disk-full", "level": "act", "headline": "The disk is nearly full|Could not go on", "views": RUN_VIEWS,
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

fn damage(bench: &Bench) -> anyhow::Result<String> {
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
        "name": "damage", "level": "act", "headline": "Damage that could not be repaired", "views": RUN_VIEWS,
        "texts": {"verification": "could not be fetched again[^]*repaired|repaired[^]*could not be fetched again", "runs": "damage left"},
    });
    look(bench, &shown, task)
}

fn pre_flight(bench: &Bench) -> anyhow::Result<String> {
    let registry = Registry::start(1_000, 30_000, 0)?;
    let out = bench.dir.path().join("pre-flight");
    let shown = download(bench, &registry, &out, &["--dry-run", "--linger", LINGER])?;
    let task = json!({
        "name": "pre-flight", "level": "good", "headline": "Pre-flight done", "views": RUN_VIEWS,
        "texts": {"preflight": "enough[^]*Free space"},
    });
    look(bench, &shown, task)
}

/// A server between two runs. While its page is open, another run fills the gaps.
fn between_runs(bench: &Bench) -> anyhow::Result<String> {
    let registry = Registry::start(3_000, 4_000, 0)?;
    let out = bench.dir.path().join("between");
    registry.origin.script(|ask| if is_one_in(100, ask) { Fault::Status(404) } else { Fault::None });
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
    let root = out.display().to_string();
    let shown = start(bench, "serve-mirror", &["--mirror", &root, "--listen", "127.0.0.1:0"])?;
    let task = json!({
        "name": "between-runs", "level": "warn", "headline": "Serving, with gaps", "crate": crate_name,
        "views": MIRROR_VIEWS, "crate_text": "held back",
        "texts": {"mirror": "Last run", "runs": "some missing|complete", "setup": "replace-with", "failures": "Refused by the origin|Nothing failed"},
        "then": "Everything that the last run was to hold is held", "by_events": true,
    });
    look_and(bench, &shown, task, || {
        registry.origin.script(|_| Fault::None);
        download_all(bench, &registry, &out, &["--policy", &policy])
    })
}
