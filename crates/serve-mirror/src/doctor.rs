//! Tries the real Cargo on the mirror.
#![expect(
    clippy::disallowed_methods,
    reason = "projects and Cargo's home are temporary, no part of a mirror"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use mirror_serve::{
    ADVISORIES_STALE_AFTER, HeldBackTotals, Mirror, Samples, ServeError, ServeOptions, Server,
    SnapshotRemains, SnapshotState, WithoutPubtime, advisories_age, next_due,
};
use tokio_util::sync::CancellationToken;

use crate::flags::Doctor;

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Works,
    Fails,
    /// The mirror serves, and a person should know this.
    Warns,
    /// There was nothing to check it with.
    NotTried,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) detail: String,
}

impl Finding {
    fn new(what: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { what, verdict, detail: detail.into() }
    }

    pub(crate) fn is_bad(&self) -> bool {
        self.verdict == Verdict::Fails
    }
}

/// Serves the mirror to this machine alone, and runs the checks.
pub(crate) fn examine(flags: &Doctor) -> Result<Vec<Finding>> {
    let mut options = ServeOptions::new(flags.source.mirror.clone());
    options.bundles_dir = flags.source.bundles_dir.clone();
    options.snapshot = flags.source.snapshot;
    options.listen = "127.0.0.1:0".to_owned();
    let mirror = flags.source.open()?;
    let samples = Samples::of(&mirror)?;
    let mut first =
        vec![index_lines(&mirror)?, held_back(&mirror)?, publication_times(&mirror)?, snapshot(&mirror)?];
    first.extend(advisories(&mirror)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = runtime.block_on(Server::open(&options))?;
    let base = format!("http://{}", server.local_addr());
    let stop = CancellationToken::new();
    let serving = runtime.spawn(server.run(stop.clone()));
    let dir = tempfile::tempdir().context("making a temporary directory")?;
    let patient = Patient::new(flags.cargo.clone(), dir.path(), &base)?;
    let findings = patient.examine(&samples).map(|tried| {
        let proved = tried.iter().any(|finding| finding.verdict == Verdict::Works && PROOFS.contains(&finding.what));
        let nothing = (!proved).then(|| {
            let why = "cargo got no release out of this mirror, so nothing is proved; it takes one that is listed and \
                       needs no other crate";
            Finding::new("proof", Verdict::Fails, why)
        });
        first.into_iter().chain(tried).chain(nothing).collect()
    });
    stop.cancel();
    let _ = runtime.block_on(serving);
    findings
}

/// The checks that prove that the mirror serves releases.
const PROOFS: [&str; 5] = ["fetch", "build", "short names", "capital letters", "versions with +"];

/// Checks whether Cargo can find the held releases.
fn index_lines(mirror: &Mirror) -> Result<Finding> {
    const WHAT: &str = "index lines";
    let (count, first) = mirror.unlisted().map_err(ServeError::from)?;
    if count == 0 {
        return Ok(Finding::new(WHAT, Verdict::Works, "every release that is held has one"));
    }
    let mut detail = format!(
        "{count} releases are held of which the mirror has no line of the index, so that Cargo cannot find them; a run of \
         download-crates with the index brings them"
    );
    for id in &first {
        detail.push_str(&format!("\n{id}"));
    }
    if count > first.len() as u64 {
        detail.push_str("\nand more");
    }
    Ok(Finding::new(WHAT, Verdict::Fails, detail))
}

/// Counts what policy holds back.
fn held_back(mirror: &Mirror) -> Result<Finding> {
    const WHAT: &str = "policy";
    let Some(mut detail) = HeldBackTotals::of(mirror)?.sentence() else {
        return Ok(Finding::new(WHAT, Verdict::Works, "it holds nothing back"));
    };
    if let Some(next) = next_due(mirror)? {
        detail.push_str(&format!("\nnext: {next}"));
    }
    Ok(Finding::new(WHAT, Verdict::Works, detail))
}

/// Looks at the date of the snapshot that is served, or the newest.
fn snapshot(mirror: &Mirror) -> Result<Finding> {
    const WHAT: &str = "snapshot";
    let state = match SnapshotState::of(mirror) {
        Ok(Some(state)) => state,
        Ok(None) => {
            let what = "there is none; the next run that goes through takes one";
            return Ok(Finding::new(WHAT, Verdict::Works, what));
        }
        Err(error) => return Ok(Finding::new(WHAT, Verdict::Fails, error.to_string())),
    };
    let now = std::time::SystemTime::now();
    let verdict = if state.is_expired(now) { Verdict::Warns } else { Verdict::Works };
    let mut detail = state.sentence(now);
    if state.is_chosen
        && let Some(remains) = SnapshotRemains::of(mirror)?.sentence()
    {
        detail.push_str(&format!("\n{remains}"));
    }
    Ok(Finding::new(WHAT, verdict, detail))
}

/// Checks whether Cargo's own rule of age can judge what is offered.
fn publication_times(mirror: &Mirror) -> Result<Finding> {
    const WHAT: &str = "publication times";
    let WithoutPubtime { crates, releases } = WithoutPubtime::of(mirror)?;
    if releases == 0 {
        return Ok(Finding::new(WHAT, Verdict::Works, "every index line that is offered has one"));
    }
    let detail = format!(
        "{releases} offered releases of {crates} crates have no pubtime in their index line; Cargo's \
         registry.global-min-publish-age lets these pass, however young they are"
    );
    Ok(Finding::new(WHAT, Verdict::Warns, detail))
}

/// Looks how old the advisories are by which the last run decided; nothing where they are of no git clone.
fn advisories(mirror: &Mirror) -> Result<Option<Finding>> {
    let Some(age) = advisories_age(mirror, SystemTime::now())? else { return Ok(None) };
    let days = age.as_secs() / 86_400;
    let is_stale = age > ADVISORIES_STALE_AFTER;
    let mut detail = format!(
        "the newest commit of the database by which the last run decided is {days} day{} old",
        if days == 1 { "" } else { "s" }
    );
    if is_stale {
        detail.push_str("; a run of download-crates with --update-advisories brings it up to date");
    }
    Ok(Some(Finding::new("advisories", if is_stale { Verdict::Warns } else { Verdict::Works }, detail)))
}

/// Cargo with a home of its own.
struct Patient {
    cargo: PathBuf,
    dir: PathBuf,
}

impl Patient {
    fn new(cargo: PathBuf, dir: &Path, base: &str) -> Result<Self> {
        let home = dir.join("home");
        std::fs::create_dir(&home).context("making a home for Cargo")?;
        let index = format!("sparse+{base}/index/");
        let config = format!(
            "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"{index}\"\n\
             [registries.mirror]\nindex = \"{index}\"\n[net]\nretry = 0\n"
        );
        std::fs::write(home.join("config.toml"), config).context("writing Cargo's configuration")?;
        Ok(Self { cargo, dir: dir.to_owned() })
    }

    fn examine(&self, samples: &Samples) -> Result<Vec<Finding>> {
        let version = match self.run(&self.dir, &["--version"]) {
            Ok(version) => version,
            Err(why) => return Ok(vec![Finding::new("cargo", Verdict::Fails, why)]),
        };
        let mut findings = vec![Finding::new("cargo", Verdict::Works, version)];
        self.fetch_and_build(samples, &mut findings)?;
        self.ask_about(samples, &mut findings)?;
        let kinds: [(&'static str, Vec<&mirror_serve::ReleaseId>); 3] = [
            ("short names", samples.short.iter().collect()),
            ("capital letters", samples.mixed_case.iter().collect()),
            ("versions with +", samples.build_metadata.iter().collect()),
        ];
        for (what, ids) in kinds {
            findings.push(self.fetch(what, &ids)?);
        }
        findings.push(self.miss()?);
        Ok(findings)
    }

    fn fetch_and_build(&self, samples: &Samples, findings: &mut Vec<Finding>) -> Result<()> {
        findings.push(self.fetch("fetch", &samples.plain.iter().collect::<Vec<_>>())?);
        let mut failed = String::new();
        for id in &samples.plain {
            let project = self.project("build", &[id])?;
            match self
                .run(&project, &["build"])
                .and_then(|_| self.run(&project, &["build", "--locked", "--offline"]))
            {
                Ok(_) => {
                    findings.push(Finding::new("build", Verdict::Works, id.to_string()));
                    return Ok(());
                }
                Err(why) => failed = why,
            }
        }
        findings.push(match failed.is_empty() {
            true => Finding::new("build", Verdict::NotTried, "nothing is held that needs no other crate"),
            false => Finding::new("build", Verdict::Fails, failed),
        });
        Ok(())
    }

    /// Checks search, info and add.
    fn ask_about(&self, samples: &Samples, findings: &mut Vec<Finding>) -> Result<()> {
        let Some(id) = samples.plain.first() else { return Ok(()) };
        let name = id.name.as_str();
        let project = self.project("ask", &[])?;
        for (what, args) in [
            ("search", ["search", "--registry", "mirror", name]),
            ("info", ["info", "--registry", "mirror", name]),
            ("add", ["add", "--quiet", "--no-default-features", name]),
        ] {
            let said = self.run(&project, &args).and_then(|said| match what {
                "search" if !said.contains(&format!("{name} = ")) => {
                    Err(format!("it does not find {name}:\n{said}"))
                }
                _ => Ok(said),
            });
            findings.push(match said {
                Ok(_) => Finding::new(what, Verdict::Works, name),
                Err(why) => Finding::new(what, Verdict::Fails, why),
            });
        }
        Ok(())
    }

    fn fetch(&self, what: &'static str, ids: &[&mirror_serve::ReleaseId]) -> Result<Finding> {
        if ids.is_empty() {
            return Ok(Finding::new(what, Verdict::NotTried, "none is held that needs no other crate"));
        }
        let project = self.project("fetch", ids)?;
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        Ok(match self.run(&project, &["fetch"]) {
            Ok(_) => Finding::new(what, Verdict::Works, names.join(", ")),
            Err(why) => Finding::new(what, Verdict::Fails, format!("{}\n{why}", names.join(", "))),
        })
    }

    /// Checks that Cargo reports a crate that does not exist as missing, in those words.
    fn miss(&self) -> Result<Finding> {
        const WHAT: &str = "a missing crate";
        const NAME: &str = "no-such-crate-in-any-registry";
        let project = self.project_of("miss", &format!("{NAME} = \"1\"\n"))?;
        Ok(match self.run(&project, &["fetch"]) {
            Err(why) if why.contains("no matching package") => {
                Finding::new(WHAT, Verdict::Works, "cargo says that there is none")
            }
            Err(why) => Finding::new(WHAT, Verdict::Fails, why),
            Ok(_) => Finding::new(WHAT, Verdict::Fails, format!("cargo finds {NAME}")),
        })
    }

    fn project(&self, name: &str, ids: &[&mirror_serve::ReleaseId]) -> Result<PathBuf> {
        let mut deps = String::new();
        for (at, id) in ids.iter().enumerate() {
            let version = id.version.as_str().split('+').next().unwrap_or_default();
            deps.push_str(&format!(
                "d{at} = {{ package = \"{}\", version = \"={version}\", default-features = false }}\n",
                id.name
            ));
        }
        self.project_of(name, &deps)
    }

    fn project_of(&self, name: &str, deps: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).context("removing a project")?;
        }
        std::fs::create_dir_all(dir.join("src")).context("making a project")?;
        let manifest = format!(
            "[package]\nname = \"project\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n{deps}"
        );
        std::fs::write(dir.join("Cargo.toml"), manifest).context("writing a project")?;
        std::fs::write(dir.join("src/main.rs"), "fn main() {}\n").context("writing a project")?;
        Ok(dir)
    }

    /// Runs Cargo, and returns its output, or why it failed.
    fn run(&self, project: &Path, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.cargo);
        for (name, _) in std::env::vars_os() {
            // Removes variables that would lead it elsewhere.
            let upper = name.to_string_lossy().to_ascii_uppercase();
            if upper.starts_with("CARGO") || upper.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        let output = command
            .args(args)
            .current_dir(project)
            .env("CARGO_HOME", self.dir.join("home"))
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{} cannot be run: {error}", self.cargo.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}
