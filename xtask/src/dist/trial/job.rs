//! The work of one day with the programs of an archive: mirror a registry, check it, bundle it, extract it, describe it,
//! serve it, sign it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use mirror_testkit::{Origin, OriginOptions, Protocol, Scale, Synthetic, has};

use super::Trial;
use crate::serving::Serving;

const RELEASES: usize = 200;
const SCALE: Scale = Scale { seed: 7, releases: RELEASES, crates: 20, mean_bytes: 5_000 };

pub(super) fn run(trial: &Trial, sums: &Path) -> anyhow::Result<()> {
    let registry = Arc::new(Synthetic::new(SCALE));
    registry.write_tree(&trial.work().join("index"));
    let how = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
    let origin = Origin::start(how, registry.site("unused"));
    let expected = releases(&registry);

    let job = Job { trial, base: format!("{}/crates", origin.base()) };
    job.mirrors()?;
    ensure!(crates(&trial.work().join("mirror"))? == expected, "the mirror has other bytes than the origin");
    job.bundles()?;
    ensure!(
        crates(&trial.work().join("loose"))? == expected,
        "extraction gave other bytes than the origin has"
    );
    job.describes()?;
    job.serves(&registry)?;
    job.signs(sums)
}

/// Returns the file names of all releases of the registry, with their bytes.
fn releases(registry: &Synthetic) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for at in registry.numbers() {
        for release in registry.releases_of(at) {
            let name = format!("{}-{}.crate", registry.name(at), release.version);
            all.insert(name, registry.body(&release));
        }
    }
    all
}

/// Returns the file names of the releases below a directory, with their bytes.
fn crates(dir: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let doing = || format!("could not list {}", dir.display());
        for entry in std::fs::read_dir(&dir).with_context(doing)? {
            let path = entry.with_context(doing)?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "crate") {
                let bytes =
                    std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
                found.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes);
            }
        }
    }
    Ok(found)
}

struct Job<'a> {
    trial: &'a Trial,
    /// The base of the addresses of releases.
    base: String,
}

impl Job<'_> {
    fn download(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let common =
            ["--index-dir", "index", "--include-yanked", "--listen", "", "--crates-base-url", &self.base];
        self.trial.printed("download-crates", &[&common, arguments].concat())
    }

    fn mirrors(&self) -> anyhow::Result<()> {
        shows(&self.download(&["--out", "mirror"])?, "downloaded", RELEASES)?;
        let again = self.download(&["--out", "mirror", "--verify-existing", "--offline"])?;
        shows(&again, "verified existing", RELEASES)?;
        shows(&again, "downloaded", 0)
    }

    fn bundles(&self) -> anyhow::Result<()> {
        shows(&self.download(&["--out", "bundled", "--bundle"])?, "bundled", RELEASES)?;
        let extracted =
            self.trial.printed("extract-bundles", &["--bundles-dir", "bundled/bundles", "--out", "loose"])?;
        shows(&extracted, "extracted", RELEASES)
    }

    fn describes(&self) -> anyhow::Result<()> {
        let arguments = [
            "--index-dir",
            "index",
            "--include-yanked",
            "--output-mode",
            "jsonl",
            "--jsonl-out",
            "all.jsonl",
        ];
        self.trial.printed("generate-sidecars", &arguments)?;
        let text = std::fs::read_to_string(self.trial.work().join("all.jsonl"))
            .context("generate-sidecars wrote no all.jsonl")?;
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line)
                .with_context(|| format!("generate-sidecars wrote a line that is not JSON: {line}"))?;
        }
        let lines = text.lines().count();
        ensure!(lines == RELEASES, "generate-sidecars wrote {lines} lines for {RELEASES} releases");
        Ok(())
    }

    /// Serves the mirror and asks for an index file and, where `config.json` says that it is, for a release.
    fn serves(&self, registry: &Synthetic) -> anyhow::Result<()> {
        let mut command = self.trial.command("serve-mirror");
        command.args(["--listen", "127.0.0.1:0", "--mirror", "mirror"]);
        let server = Serving::spawn(command)?;
        let (path, bytes) = registry.file(0).context("the registry has no crate")?;
        let lines = got(&server.base, &format!("/{path}"))?;
        let asked = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        let served = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        ensure!(served == asked, "serve-mirror serves {served} lines of {path} instead of {asked}");
        let config: serde_json::Value = serde_json::from_slice(&got(&server.base, "/config.json")?)
            .context("the config.json that serve-mirror serves is not JSON")?;
        let dl = config["dl"].as_str().context("the config.json that serve-mirror serves has no dl")?;
        let release = registry.releases_of(0).pop().context("the first crate has no release")?;
        let address = dl.replace("{crate}", registry.name(0).as_str()).replace("{version}", &release.version);
        let path = address.strip_prefix(&server.base).with_context(|| format!("dl is {dl}"))?;
        ensure!(
            got(&server.base, path)? == registry.body(&release),
            "{address} has other bytes than the origin"
        );
        Ok(())
    }

    /// Makes a signed inventory of the mirror with a key that nobody keeps, and signs the sums with it.
    fn signs(&self, sums: &Path) -> anyhow::Result<()> {
        let hasher = |arguments: &[&str]| self.trial.printed("archive-hasher", arguments);
        hasher(&["--dir", "mirror", "--out-dir", "inventory"])?;
        hasher(&["verify", "--inventory", "inventory/mirror.yaml", "--tar", "inventory/mirror.tar"])?;
        hasher(&["verify", "--inventory", "inventory/mirror.yaml", "--dir", "mirror"])?;
        let work = self.trial.work();
        std::fs::copy(sums, work.join("SHA256SUMS")).context("could not copy the sums")?;
        hasher(&["sign", "SHA256SUMS", "--gpgkey", "inventory/mirror.secret.asc"])?;
        // The gpg of Git for Windows takes other paths.
        if cfg!(windows) || !has("gpg", &["--version"]) {
            return Ok(());
        }
        let home = work.join("gnupg");
        std::fs::create_dir(&home).context("could not make a home for gpg")?;
        let gpg = |arguments: &[&str]| {
            let mut command = Command::new("gpg");
            command.args(["--batch", "--quiet", "--no-autostart", "--trust-model", "always", "--homedir"]);
            crate::dist::printed(command.arg(&home).args(arguments).current_dir(&work))
        };
        gpg(&["--import", "inventory/mirror.public.asc"])?;
        gpg(&["--verify", "SHA256SUMS.asc", "SHA256SUMS"])?;
        Ok(())
    }
}

/// Checks a figure of a summary: the number after this name, at the beginning of a line.
fn shows(summary: &str, name: &str, expected: usize) -> anyhow::Result<()> {
    let rest = summary.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let figure = rest.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    ensure!(figure == Some(expected), "the summary does not show {expected} as {name}:\n{summary}");
    Ok(())
}

/// Returns the body of an answer with status 200.
fn got(base: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let doing = || format!("could not get {base}{path}");
    let address = base.strip_prefix("http://").with_context(doing)?;
    let mut stream = TcpStream::connect(address).with_context(doing)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").with_context(doing)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(doing)?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").with_context(doing)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.lines().next().unwrap_or_default().to_owned();
    ensure!(status.split(' ').nth(1) == Some("200"), "{base}{path} was answered with {status}");
    Ok(answer.split_off(end + 4))
}
