//! A hundred origins that break TCP, TLS, HTTP/1.1 and HTTP/2: each alone, and all at once beside one that is well.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use mirror_testkit::{
    HostileOrigin, Hostility, Http1Fault, Http2Fault, OriginOptions, Protocol, TestRegistry, run_measured,
};

use crate::world::{BIN, World, tree};

/// What a downloader may have, whoever its peers are.
const MOST_MEMORY_BYTES: u64 = 256 << 20;
/// Longer than any run takes on a loaded machine, and far shorter than a wait for each release in turn.
const MOST_TIME: Duration = Duration::from_secs(150);
/// Enough for a run to be given up.
const RELEASES: usize = 24;
/// Runs at a time.
const BESIDE: usize = 4;

/// The program, quick to give up on a request.
fn command(dir: &Path, out: &str, retries: u32) -> Command {
    let mut command = Command::new(BIN);
    command.current_dir(dir).args(["--out", out, "--manifest", &format!("{out}.jsonl"), "--listen", ""]);
    command.args(["--retries", &retries.to_string(), "--retry-base", "5ms", "--retry-max", "50ms"]);
    command.args(["--idle-timeout", "700ms", "--tls-timeout", "3s"]);
    command.args(["--timeout", "3"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    command
}

/// Answers, though useless ones, leave each record to fail on its own (3); where none comes the run is given up (5),
/// and where nothing but 429 does.
fn expected(fault: Hostility) -> &'static [i32] {
    use Http1Fault as H1;
    use Http2Fault as H2;
    match fault {
        // By the speed of the machine they are too large, or not done in time.
        Hostility::Http1(H1::EndlessBody | H1::EndlessChunks) | Hostility::Http2(H2::EndlessBody) => &[3, 5],
        Hostility::Http1(
            H1::LongHeaders
            | H1::HugeLength
            | H1::EmptyBody
            | H1::NotModified
            | H1::Partial
            | H1::NoContent
            | H1::WrongBody
            | H1::TwoAnswers
            | H1::LengthAndChunks
            | H1::Switching
            | H1::Gzip
            | H1::RedirectToItself
            | H1::LongLocation
            | H1::RedirectToFile
            | H1::Escapes,
        )
        | Hostility::Http2(H2::EmptyBody | H2::NotModified) => &[3],
        _ => &[5],
    }
}

fn one(
    world: &World,
    index: &Path,
    at: usize,
    (fault, protocol): (Hostility, Protocol),
) -> Result<u64, String> {
    let origin = HostileOrigin::start(fault, protocol);
    let out = format!("out{at}");
    let mut command = command(world.dir.path(), &out, 0);
    command.arg("--index-dir").arg(index).args(["--crates-base-url", &format!("{}/crates", origin.base())]);
    if let Some(ca) = origin.ca() {
        command.arg("--cacert").arg(ca);
    }
    let (ended, peak_bytes) = run_measured(&mut command, MOST_TIME);
    let what = format!("{fault:?} over {protocol:?}");
    let held = tree(&world.path(&out));
    let said = ended.stdout.len() + ended.stderr.len();
    let evil = |text: &str| text.contains(['\u{1b}', '\u{7}', '\u{202e}']);
    let last = ended.stderr.lines().last().unwrap_or_default();
    if !expected(fault).contains(&ended.code) {
        Err(format!("{what}: exit {}, expected {:?}: {last}", ended.code, expected(fault)))
    } else if !held.is_empty() {
        Err(format!("{what}: {held:?} have final names"))
    } else if peak_bytes > MOST_MEMORY_BYTES {
        Err(format!("{what}: {} MiB of memory", peak_bytes >> 20))
    } else if said > RELEASES * 2_000 || evil(&ended.stdout) || evil(&ended.stderr) {
        Err(format!("{what}: {said} bytes were said, or terminal escapes: {last}"))
    } else if origin.connections() == 0 {
        Err(format!("{what}: nobody was asked"))
    } else {
        Ok(peak_bytes)
    }
}

#[test]
fn each_of_them_ends_the_run_soon_in_little_memory_and_gives_nothing_a_name() {
    let world = World::new(TestRegistry::generate(501, RELEASES, 300));
    let index = world.index();
    let all = Hostility::matrix();
    assert!(all.len() >= 60, "{}", all.len());
    let next = Mutex::new(all.into_iter().enumerate());
    let wrong = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let Some((at, case)) = next.lock().unwrap().next() else { return };
            if let Err(why) = one(&world, &index, at, case) {
                wrong.lock().unwrap().push(why);
            }
        }
    };
    std::thread::scope(|scope| (0..BESIDE).for_each(|_| drop(scope.spawn(worker))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn all_at_once_beside_a_good_one_leave_its_releases_whole() {
    let good = World::with(TestRegistry::generate(502, 300, 3_000), OriginOptions::default());
    let bad = TestRegistry::generate(503, 98, 300);
    let hostile: Vec<_> = Hostility::matrix().into_iter().map(|(f, p)| HostileOrigin::start(f, p)).collect();
    let mut authorities = std::fs::read(good.origin.ca()).unwrap();
    let listed = good.registry.url_list(&good.origin.base());
    let mut listed = listed.lines();
    let (mut urls, mut sums) = (String::new(), good.registry.checksums(&good.origin.base()));
    for (release, origin) in bad.releases().zip(hostile.iter().cycle()) {
        let url = format!("{}{}", origin.base(), release.url_path());
        // Three good ones behind each.
        urls.extend([&url, "\n"]);
        urls.extend(listed.by_ref().take(3).flat_map(|line| [line, "\n"]));
        sums.push_str(&format!("{}\n", serde_json::json!({"url": url, "sha256": release.cksum.to_hex()})));
    }
    urls.extend(listed.flat_map(|line| [line, "\n"]));
    for ca in hostile.iter().filter_map(HostileOrigin::ca) {
        authorities.write_all(&std::fs::read(ca).unwrap()).unwrap();
    }
    std::fs::write(good.path("ca.pem"), authorities).unwrap();
    std::fs::write(good.path("urls"), urls).unwrap();
    std::fs::write(good.path("sums"), sums).unwrap();
    let mut command = command(good.dir.path(), "out", 2);
    command.args(["--list", "urls", "--checksums", "sums", "--cacert", "ca.pem"]);
    let (ended, peak_bytes) = run_measured(&mut command, MOST_TIME);
    let ended = ended.expect(3);
    assert!(peak_bytes < MOST_MEMORY_BYTES, "{} MiB of memory", peak_bytes >> 20);
    good.assert_whole("out");
    assert_eq!(ended.count("failed") + ended.count("unavailable"), 98);
}
