//! A hundred origins that break TCP, TLS, HTTP/1.1 and HTTP/2: each alone, and all at once beside a good one.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mirror_testkit::{
    HostileOrigin, Hostility, Http1Fault, Http2Fault, OriginOptions, Protocol, TestRegistry, run_measured,
};

use crate::world::{BIN, World, tree};

/// The most memory that a downloader may use, whatever its peers do.
const MOST_MEMORY_BYTES: u64 = 256 << 20;
/// Longer than any run takes on a loaded machine, and far shorter than a wait for each release in turn.
const MOST_TIME: Duration = Duration::from_secs(150);
/// Enough releases for a run to be given up.
const RELEASES: usize = 24;
/// Runs at the same time.
const BESIDE: usize = 4;

/// Returns the command of a run that gives up on a request soon.
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

/// Returns the permitted exit codes. With answers, though useless ones, each record fails on its own (3); without any,
/// and with nothing but 429, the run is given up (5).
fn expected(fault: Hostility) -> &'static [i32] {
    use Http1Fault as H1;
    use Http2Fault as H2;
    match fault {
        // Depending on the speed of the machine, they are too large, or too slow.
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

/// A function that makes the flags for a peer from its address.
type Flags<'a> = dyn Fn(&str) -> Vec<String> + Send + Sync + 'a;

/// A request to a hostile peer, and the permitted exit codes.
struct Case<'a> {
    fault: Hostility,
    protocol: Protocol,
    out: String,
    flags: Box<Flags<'a>>,
    expected: &'a [i32],
}

/// Runs one case; returns a description of what went wrong.
fn one(world: &World, case: &Case<'_>) -> Result<u64, String> {
    let origin = HostileOrigin::start(case.fault, case.protocol);
    let mut command = command(world.dir.path(), &case.out, 0);
    command.args((case.flags)(&origin.base()));
    if let Some(ca) = origin.ca() {
        command.arg("--cacert").arg(ca);
    }
    let (ended, peak_bytes) = run_measured(&mut command, MOST_TIME);
    let what = format!("{:?} over {:?}, {}", case.fault, case.protocol, case.out);
    let held = tree(&world.path(&case.out));
    let said = ended.stdout.len() + ended.stderr.len();
    let evil = |text: &str| text.contains(['\u{1b}', '\u{7}', '\u{202e}']);
    let last = ended.stderr.lines().last().unwrap_or_default();
    if !case.expected.contains(&ended.code) {
        Err(format!("{what}: exit {}, expected {:?}: {last}", ended.code, case.expected))
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

/// Runs all cases, a few at a time.
#[track_caller]
fn all(world: &World, cases: &[Case<'_>]) {
    assert!(cases.len() >= 60, "{}", cases.len());
    let wrong = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
            if let Err(why) = one(world, case) {
                wrong.lock().unwrap().push(why);
            }
        }
    };
    std::thread::scope(|scope| (0..BESIDE).for_each(|_| drop(scope.spawn(worker))));
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_of_them_ends_the_run_soon_in_little_memory_and_gives_nothing_a_name() {
    let world = World::new(TestRegistry::generate(501, RELEASES, 300));
    let index = world.index().display().to_string();
    let case = |(at, (fault, protocol))| {
        let index = &index;
        let flags = move |base: &str| {
            ["--index-dir", index, "--crates-base-url", &format!("{base}/crates")].map(str::to_owned).to_vec()
        };
        Case {
            fault,
            protocol,
            out: format!("origin{at}"),
            flags: Box::new(flags),
            expected: expected(fault),
        }
    };
    all(&world, &Hostility::matrix().into_iter().enumerate().map(case).collect::<Vec<_>>());
}

#[test]
fn registries_are_borne_like_origins() {
    let world = World::new(TestRegistry::generate(504, 1, 300));
    let names: Vec<_> = (0..RELEASES).map(|n| format!("crate{n}")).collect();
    let names = names.join(",");
    let case = |(at, (fault, protocol))| {
        // The configuration is hostile in one half of the cases, the index files in the other.
        let configured = at % 2 == 0;
        let names = &names;
        let flags = move |base: &str| {
            let mut flags = vec!["--index-url".to_owned(), format!("sparse+{base}/index/")];
            flags.extend(["--crates".to_owned(), names.clone()]);
            if !configured {
                flags.extend(["--crates-base-url", "http://127.0.0.1:1"].map(str::to_owned));
            }
            flags
        };
        // An invalid configuration concerns the operator; 3 is for crates that cannot be read.
        let expected: &[i32] = if configured { &[2, 5] } else { &[3, 5] };
        Case { fault, protocol, out: format!("registry{at}"), flags: Box::new(flags), expected }
    };
    all(&world, &Hostility::matrix().into_iter().enumerate().map(case).collect::<Vec<_>>());
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
        // Three good releases follow each hostile one.
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
