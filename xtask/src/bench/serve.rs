//! Measures requests per second of `serve-mirror`, beside nginx with the same bytes, over TLS + HTTP/2.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use mirror_testkit::{Origin, OriginOptions};

use super::download::{Files, clear, fresh, ours};
use super::measure::{Series, words};
use super::nginx::Nginx;
use super::report::Report;
use super::sitting::Bench;
use crate::serving::Serving;

/// Requests in one run.
const REQUESTS: usize = 200_000;

/// Measures index files, and releases from the loose tree and from bundles.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let files = Files::make(bench.work, "serve", bench.releases, 20_000);
    let tls = Origin::start(OriginOptions::default(), Arc::new(|_| None));
    let server = bench.server.display().to_string();
    let versions = [Some(bench.program.clone()), bench.before("download-crates")];
    let mut mirrors = Vec::new();
    {
        let nginx = Nginx::start(bench.work, &files.www, tls.tls_dir())?;
        for (program, bundled) in
            versions.iter().flatten().flat_map(|program| [(program, false), (program, true)])
        {
            let dir = fresh(bench.work).display().to_string();
            let more = ["--bundle", "--bundles-out", &dir, "--bundle-mode", "only"];
            let more = if bundled { &more[..] } else { &[] };
            let (arguments, out) = ours(bench, &files, &nginx.base(), tls.ca(), more);
            Series::new("").run(bench.work, &program.display().to_string(), &arguments)?;
            mirrors.push(out);
        }
    }
    let [loose, bundled, earlier @ ..] = &mirrors[..] else { bail!("two mirrors") };
    let web = bench.work.join("web");
    let export = ["export", &web.display().to_string(), "--mirror", &loose.display().to_string()];
    let url = ["--public-url", "http://localhost"];
    Series::new("").run(bench.work, &server, &words(&[&export[..], &url[..]].concat()))?;

    let nginx = Nginx::start(bench.work, &web, tls.tls_dir())?;
    let of_loose = Serving::start(&bench.server, loose, Some(tls.tls_dir()))?;
    let of_bundles = Serving::start(&bench.server, bundled, Some(tls.tls_dir()))?;
    let older: Vec<Serving> = match bench.before("serve-mirror") {
        Some(older) => {
            earlier.iter().map(|mirror| Serving::start(&older, mirror, Some(tls.tls_dir()))).collect()
        }
        None => Ok(Vec::new()),
    }?;
    let index: Vec<String> =
        files.registry.index_files().into_keys().map(|path| format!("/index/{path}")).collect();
    let crates: Vec<String> = files.registry.releases().map(mirror_testkit::TestRelease::url_path).collect();
    let mut runs = vec![
        ("nginx, index files", nginx.base(), &index),
        ("serve-mirror, index files", of_loose.base.clone(), &index),
        ("nginx, releases", nginx.base(), &crates),
        ("serve-mirror, releases, loose", of_loose.base.clone(), &crates),
        ("serve-mirror, releases, bundled", of_bundles.base.clone(), &crates),
    ];
    if let [loose, bundled] = &older[..] {
        runs.extend([
            ("serve-mirror of the version before, index files", loose.base.clone(), &index),
            ("serve-mirror of the version before, releases, loose", loose.base.clone(), &crates),
            ("serve-mirror of the version before, releases, bundled", bundled.base.clone(), &crates),
        ]);
    }
    let mut runs: Vec<_> =
        runs.into_iter().map(|(name, base, paths)| (Series::new(name), base, paths)).collect();
    let n = REQUESTS.to_string();
    for round in 0..bench.rounds {
        println!("serve, round {} of {}", round + 1, bench.rounds);
        for (series, base, paths) in &mut runs {
            let urls = bench.work.join("urls");
            let text = paths.iter().fold(String::new(), |text, path| text + base + path + "\n");
            std::fs::write(&urls, text).context("writing the URLs")?;
            let urls = urls.display().to_string();
            series.run(
                bench.work,
                "h2load",
                &words(&["-n", &n, "-c", "4", "-m", "32", "-t", "1", "-i", &urls]),
            )?;
            let log = std::fs::read_to_string(bench.work.join("log")).context("reading what h2load says")?;
            ensure!(log.contains(&format!("status codes: {n} 2xx")), "{} failed: {log}", series.name);
        }
    }
    let peak = of_loose.peak_mib()?.max(of_bundles.peak_mib()?);
    let series: Vec<&Series> = runs.iter().map(|(series, ..)| series).collect();
    let [nginx_index, own_index, nginx_crates, by_loose, by_bundles, earlier @ ..] = &series[..] else {
        bail!("five runs")
    };
    report.serving(
        "Serve: requests answered",
        &format!(
            "{} index files and {} releases of 20 kB on average, h2load with 4 connections x 32 on the same cores",
            index.len(),
            crates.len()
        ),
        REQUESTS,
        &[
            (nginx_index, nginx_index),
            (own_index, nginx_index),
            (nginx_crates, nginx_crates),
            (by_loose, nginx_crates),
            (by_bundles, nginx_crates),
        ],
    );
    let names = ["Serve index files", "Serve releases", "Serve bundled"];
    for (name, (own, before)) in
        names.into_iter().zip([own_index, by_loose, by_bundles].into_iter().zip(earlier))
    {
        let ratio = own.speed_over(before);
        report.figure(&format!("{name}, speed over the version before"), ratio, "1 or more");
    }
    report.target("Serve index files over nginx", own_index.speed_over(nginx_index), "at least 0.5", |x| {
        x >= 0.5
    });
    report
        .target("Serve releases over nginx", by_loose.speed_over(nginx_crates), "at least 0.5", |x| x >= 0.5);
    report.target("Serve bundled over loose", by_bundles.speed_over(by_loose), "at least 0.7", |x| x >= 0.7);
    report.target("Serve peak MiB", peak, "at most 128", |x| x <= 128.0);
    let many =
        Command::new(&bench.many_crates).env("TMPDIR", bench.work).output().context("serving many crates")?;
    let printed = String::from_utf8_lossy(&many.stdout).into_owned();
    let peak = printed.split_whitespace().next().and_then(|text| text.parse().ok());
    let peak =
        peak.with_context(|| format!("250,000 crates: {printed}{}", String::from_utf8_lossy(&many.stderr)))?;
    report.target("Serve peak MiB, 250,000 crates all asked for", peak, "at most 128", |x| x <= 128.0);
    drop((of_loose, of_bundles, nginx));
    std::fs::remove_dir_all(&web).context("removing the export")?;
    std::fs::remove_dir_all(bench.work.join("serve")).context("removing the files of serve")?;
    clear(bench.work)
}
