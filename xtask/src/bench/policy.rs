//! P4 and P10 under a policy and with snapshots: two mirrors of the same releases, one of which has a policy that holds
//! most of them back: those without a publication time, and half of the others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use mirror_testkit::{GitForm, Origin, OriginOptions, Protocol, Scale, Synthetic};

use super::index::count;
use super::measure::{Series, words};
use super::report::Report;
use super::sitting::Bench;
use crate::serving::Serving;

/// Requests in one run.
const REQUESTS: usize = 100_000;
/// Addresses that are requested in turn.
const ADDRESSES: usize = 20_000;
/// The time between the first run under the policy and the moment at which releases are old enough, for each million of
/// held releases: that run judges them all, and other runs come before that moment.
const LEAD_PER_MILLION: Duration = Duration::from_secs(60);
const LEAD: Duration = Duration::from_secs(20);

/// The mirrors, and what both are made from.
struct Mirrors<'b> {
    bench: &'b Bench<'b>,
    index: Synthetic,
    bare: PathBuf,
    plain: PathBuf,
    ruled: PathBuf,
}

/// Measures incremental runs and requests with and without a policy, in turn.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let releases = bench.held_releases;
    println!("policy: making two mirrors of {releases} small crates, in bundles");
    let index = Synthetic::new(Scale { seed: 4, releases, crates: releases.div_ceil(10), mean_bytes: 200 });
    let dir = bench.work.join("policy");
    let mirrors = Mirrors {
        bench,
        index,
        bare: dir.join("index.git"),
        plain: dir.join("plain"),
        ruled: dir.join("ruled"),
    };
    mirrors.make()?;
    let due = mirrors.write_policy()?;
    let mut rows =
        vec![("the first run under the policy judges what is held", Series::new("policy, first run"))];
    mirrors.night(&mut rows[0].1, &mirrors.ruled)?;
    let held_back = count(bench.work, "held back")?;
    let mut first = Series::new("the first snapshot");
    mirrors.night(&mut first, &mirrors.plain)?;
    let (mut plain, mut ruled) = (Series::new("nothing new, no policy"), Series::new("nothing new, policy"));
    let mut bare = Series::new("nothing new, no snapshots");
    // The run after one that wrote much may list directories.
    for out in [&mirrors.plain, &mirrors.ruled] {
        mirrors.night(&mut Series::new(""), out)?;
    }
    for round in 0..bench.rounds {
        println!("policy, round {} of {}", round + 1, bench.rounds);
        mirrors.night(&mut plain, &mirrors.plain)?;
        ensure!(count(bench.work, "existing")? == releases as u64, "not everything is held");
        ensure!(count(bench.work, "snapshot")? == 1, "nothing is new, and another snapshot was taken");
        mirrors.night_with(&mut bare, &mirrors.plain, &["--no-snapshot"])?;
        mirrors.night(&mut ruled, &mirrors.ruled)?;
        ensure!(count(bench.work, "held back")? == held_back, "another number is held back");
    }
    println!("policy: {held_back} of {releases} are held back; waiting until more are old enough");
    while SystemTime::now() <= due {
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut comes = Series::new("releases become old enough");
    mirrors.night(&mut comes, &mirrors.ruled)?;
    let old_enough = held_back.saturating_sub(count(bench.work, "held back")?);
    ensure!(old_enough > 0, "no release became old enough");
    report.target("P4 seconds, nothing new, policy", ruled.median(|cost| cost.wall_s), "at most 1", |x| {
        x <= 1.0
    });
    report.target("P4 peak MiB, nothing new, policy", ruled.peak_mib(), "at most 64", |x| x <= 64.0);
    report.figure("P4 CPU with a policy over none", ruled.cpu_over(&plain), "");
    report.figure("P4 CPU with snapshots over none", plain.cpu_over(&bare), "");
    rows.push(("the first snapshot states what is held", first));
    rows.push(("nothing new, --no-snapshot", bare));
    rows.extend([("nothing new, no policy", plain), ("nothing new, policy", ruled)]);
    rows.push(("releases become old enough, policy", comes));
    let noticed = [
        format!("held back {held_back}"),
        "snapshot 1".to_owned(),
        format!("existing {releases}"),
        format!("existing {releases}"),
        format!("held back {held_back}"),
        format!("{old_enough} more are offered"),
    ];
    let rows: Vec<_> =
        rows.iter().map(|(_, series)| series).zip(noticed.iter().map(String::as_str)).collect();
    report.incremental_runs(
        "P4: incremental runs under a policy",
        &format!(
            "{releases} releases of 200 bytes on average in bundles; the policy holds back {held_back} of them"
        ),
        &rows,
    );
    mirrors.serve(held_back - old_enough, report)?;
    std::fs::remove_dir_all(&dir).context("removing the mirrors")
}

impl Mirrors<'_> {
    /// Fills one mirror, and copies it.
    fn make(&self) -> anyhow::Result<()> {
        self.index.create_git(&self.bare, GitForm::Bare);
        let how = OriginOptions { protocol: Protocol::Http1, workers: 2, ..OriginOptions::default() };
        let origin = Origin::start(how, Arc::new(self.index.clone()).site("http://localhost/"));
        let mut line = self.line(&self.plain);
        line.extend(words(&["--crates-base-url", &format!("{}/crates", origin.base())]));
        line.extend(words(&["--bundle", "--bundle-mode", "only", "--bundle-seal", "--no-snapshot"]));
        Series::new("").run(self.bench.work, &self.bench.program.display().to_string(), &line)?;
        ensure!(
            count(self.bench.work, "downloaded")? == self.index.releases() as u64,
            "the mirror is not complete"
        );
        let copied = Command::new("cp").arg("-a").args([&self.plain, &self.ruled]).status();
        ensure!(copied.context("running cp")?.success(), "the mirror could not be copied");
        Ok(())
    }

    /// Writes a policy that holds back most releases when it is first applied, and under which some more are
    /// old enough from the moment that is returned.
    fn write_policy(&self) -> anyhow::Result<SystemTime> {
        let published = self.published_in_july()?;
        let lead = LEAD + LEAD_PER_MILLION.mul_f64(self.index.releases() as f64 / 1e6);
        let due = SystemTime::now() + lead;
        let age_s = due.duration_since(published).context("the clock is before July 2025")?.as_secs();
        let policy =
            format!("min-publish-age = \"{age_s} seconds\"\ndeny = [\"evil-crate\", \"left-pad@<2\"]\n");
        std::fs::write(self.ruled.join("policy.toml"), policy).context("writing the policy")?;
        // The age has whole seconds.
        Ok(due + Duration::from_secs(1))
    }

    /// Returns a moment in July 2025 at which a release was published.
    fn published_in_july(&self) -> anyhow::Result<SystemTime> {
        const JULY: Duration = Duration::from_secs(1_751_328_000);
        for at in self.index.numbers() {
            let Some((_, text)) = self.index.file(at) else { continue };
            let text = String::from_utf8_lossy(&text).into_owned();
            let Some((_, moment)) = text.split_once("\"pubtime\":\"2025-07-") else { continue };
            let number = |range| moment.get(range).and_then(|digits: &str| digits.parse::<u64>().ok());
            let (day, hour) = number(0..2).zip(number(3..5)).context("a publication time")?;
            return Ok(UNIX_EPOCH + JULY + Duration::from_secs((day - 1) * 86_400 + hour * 3_600));
        }
        bail!("no release was published in July 2025; make a larger index")
    }

    fn line(&self, out: &Path) -> Vec<String> {
        let (index, out) = (self.bare.display().to_string(), out.display().to_string());
        let mut line = words(&["--index-dir", &index, "--out", &out, "--listen", "", "--include-yanked"]);
        line.extend(words(&["--progress-interval", "1h"]));
        line
    }

    /// Runs the downloader as every night; there is nothing to fetch.
    fn night(&self, series: &mut Series, out: &Path) -> anyhow::Result<()> {
        self.night_with(series, out, &[])
    }

    fn night_with(&self, series: &mut Series, out: &Path, more: &[&str]) -> anyhow::Result<()> {
        let mut line = self.line(out);
        line.extend(words(more));
        line.extend(words(&["--crates-base-url", "http://127.0.0.1:1/crates"]));
        line.extend(words(&["--bundle", "--bundle-mode", "only", "--bundle-seal"]));
        series.run(self.bench.work, &self.bench.program.display().to_string(), &line)
    }

    /// Returns addresses below a server that offers everything, and those of them that another offers, too.
    fn addresses(&self, ruled: &Serving) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let (mut index, mut crates) = (Vec::new(), Vec::new());
        let step = (self.index.crates() / ADDRESSES / 4).max(1);
        for at in self.index.numbers().step_by(step) {
            let Some((path, text)) = self.index.file(at) else { continue };
            // The policy decides by the time of publication: those of before July are old enough.
            for line in String::from_utf8_lossy(&text).lines() {
                let months = ["01", "02", "03", "04", "05", "06"];
                if months.iter().any(|month| line.contains(&format!("\"pubtime\":\"2025-{month}-"))) {
                    let line: serde_json::Value = serde_json::from_str(line).context("a line")?;
                    let (name, version) = (line["name"].as_str(), line["vers"].as_str());
                    let (name, version) = name.zip(version).context("a line without a name")?;
                    crates.push(format!("/crates/{name}/{name}-{}.crate", version.replace('+', "%2B")));
                    if index.last() != Some(&format!("/index/{path}")) {
                        index.push(format!("/index/{path}"));
                    }
                }
            }
            if index.len() >= ADDRESSES {
                break;
            }
        }
        crates.truncate(ADDRESSES);
        ensure!(!crates.is_empty(), "{} offers nothing", ruled.base);
        Ok((index, crates))
    }

    /// Measures requests with and without the policy.
    fn serve(&self, held_back: u64, report: &mut Report) -> anyhow::Result<()> {
        let [plain, ruled] =
            [&self.plain, &self.ruled].map(|mirror| Serving::start(&self.bench.server, mirror, None));
        let (plain, ruled) = (plain?, ruled?);
        let mut past = Command::new(&self.bench.server);
        past.args(["--listen", "127.0.0.1:0", "--snapshot", "1", "--mirror"]).arg(&self.plain);
        let past = Serving::spawn(past)?;
        for server in [&plain, &ruled, &past] {
            server.wait_until_idle()?;
        }
        let (index, crates) = self.addresses(&ruled)?;
        let mut runs = [
            ("serve-mirror, index files, no policy", &plain, &index),
            ("serve-mirror, index files, policy", &ruled, &index),
            ("serve-mirror, releases in bundles, no policy", &plain, &crates),
            ("serve-mirror, releases in bundles, policy", &ruled, &crates),
            ("serve-mirror, index files, at a snapshot", &past, &index),
            ("serve-mirror, releases in bundles, at a snapshot", &past, &crates),
        ]
        .map(|(name, server, paths)| (Series::new(name), server, paths));
        for round in 0..self.bench.rounds {
            println!("policy, serving, round {} of {}", round + 1, self.bench.rounds);
            for (series, server, paths) in &mut runs {
                self.request(series, server, paths)?;
            }
        }
        let [index_plain, index_ruled, crates_plain, crates_ruled, index_past, crates_past] =
            runs.each_ref().map(|(series, ..)| series);
        let pairs = [("index files", index_ruled, index_plain), ("releases", crates_ruled, crates_plain)];
        let past = [("index files", index_past, index_plain), ("releases", crates_past, crates_plain)];
        report.serving_with_policy(
            "P10: requests under a policy",
            &format!(
                "{} held releases, {held_back} of them held back; {} index files and {} releases that are offered; h2load \
                 with 4 connections x 32 over HTTP/2 without TLS on the same cores",
                self.index.releases(),
                index.len(),
                crates.len()
            ),
            REQUESTS,
            &[
                pairs.map(|(_, ruled, plain)| [(plain, plain), (ruled, plain)]).concat(),
                past.map(|(_, past, plain)| (past, plain)).to_vec(),
            ]
            .concat(),
        );
        for (what, ruled, plain) in pairs {
            let name = format!("P10 {what}, speed with a policy over none");
            report.target(&name, ruled.speed_over(plain), "at least 0.95", |x| x >= 0.95);
        }
        for (what, past, plain) in past {
            let name = format!("P10 {what}, speed at a snapshot over none");
            report.target(&name, past.speed_over(plain), "at least 0.95", |x| x >= 0.95);
        }
        Ok(())
    }

    fn request(&self, series: &mut Series, server: &Serving, paths: &[String]) -> anyhow::Result<()> {
        let urls = self.bench.work.join("urls");
        let text = paths.iter().fold(String::new(), |text, path| text + &server.base + path + "\n");
        std::fs::write(&urls, text).context("writing the URLs")?;
        let (urls, n) = (urls.display().to_string(), REQUESTS.to_string());
        let line = words(&["-n", &n, "-c", "4", "-m", "32", "-t", "1", "-i", &urls]);
        series.run(self.bench.work, "h2load", &line)?;
        let log = std::fs::read_to_string(self.bench.work.join("log")).context("reading what h2load says")?;
        if !log.contains(&format!("status codes: {n} 2xx")) {
            bail!("{} failed: {log}", series.name);
        }
        Ok(())
    }
}
