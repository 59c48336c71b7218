//! Takes CPU profiles while this process is busy.
#![expect(clippy::disallowed_methods, reason = "a test's own files")]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pprof::protos::{Message as _, Profile};

use super::*;

/// Burns CPU until `stop` is set; its name must be in the profile.
#[inline(never)]
fn a_function_with_a_unique_name(stop: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for n in 0..10_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(n));
        }
    }
    sum
}

const NAME: &str = "a_function_with_a_unique_name";

/// Returns the stacks of a profile, innermost function first.
fn stacks(profile: &Profile) -> Vec<Vec<&str>> {
    let text = |at: i64| profile.string_table[usize::try_from(at).unwrap()].as_str();
    let function = |id| text(profile.function.iter().find(|function| function.id == id).unwrap().name);
    let functions = |id| {
        let location = profile.location.iter().find(|location| location.id == id).unwrap();
        location.line.iter().map(move |line| function(line.function_id))
    };
    profile
        .sample
        .iter()
        .map(|sample| sample.location_id.iter().flat_map(|&id| functions(id)).collect())
        .collect()
}

/// Takes profiles until one shows the busy thread: the machine decides how soon that gets the CPU.
async fn until_seen(listener: &Listener, path: &str, seen: impl Fn(&Got) -> bool) -> Got {
    for _ in 0..30 {
        let got = get(listener, path).await;
        assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
        if seen(&got) {
            return got;
        }
    }
    panic!("thirty profiles of a busy process do not show what it does");
}

/// Covers everything in one test, because a process has one profiler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_under_load_has_stacks_that_tools_resolve() {
    let (listener, _stats) = start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let burner = std::thread::spawn({
        let stop = stop.clone();
        move || a_function_with_a_unique_name(&stop)
    });

    let decoded = |got: &Got| Profile::decode(&*got.body).unwrap();
    let profile = until_seen(&listener, "/debug/pprof/profile?seconds=1", |got| {
        stacks(&decoded(got)).iter().any(|stack| {
            let at = stack.iter().position(|name| name.contains(NAME));
            // Without frame pointers there would be no callers.
            at.is_some_and(|at| stack.len() > at + 1)
        })
    })
    .await;
    let samples = decoded(&profile);
    assert!(samples.sample.iter().all(|sample| sample.value.len() == samples.sample_type.len()));

    let flame =
        until_seen(&listener, "/debug/pprof/flamegraph?seconds=1", |got| got.text().contains(NAME)).await;
    assert!(flame.head.contains("image/svg+xml"), "{}", flame.head);
    let svg = roxmltree::Document::parse(flame.text()).unwrap();
    let mut titles =
        svg.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "title")));
    assert!(titles.any(|title| title.text().is_some_and(|text| text.contains(NAME))));

    for wrong in ["0", "x", "301", "-1", ""] {
        let path = format!("/debug/pprof/profile?seconds={wrong}");
        assert_eq!(get(&listener, &path).await.status, 400, "{wrong}");
    }
    #[cfg(target_os = "linux")]
    every_thread_has_a_stack(&listener).await;
    one_at_a_time(&listener).await;
    stop.store(true, Ordering::Relaxed);
    burner.join().unwrap();

    if mirror_testkit::has("go", &["version"]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &profile.body).unwrap();
        let home = tempfile::tempdir().unwrap();
        let top = Command::new("go")
            .args(["tool", "pprof", "-top"])
            .arg(file.path())
            .env("HOME", home.path())
            .env("PPROF_TMPDIR", home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&top.stdout);
        assert!(said.contains(NAME), "{said}{}", String::from_utf8_lossy(&top.stderr));
    }
}

/// Waits; its name must be among the stacks.
#[inline(never)]
fn a_thread_that_waits_under_a_unique_name(stop: &std::sync::mpsc::Receiver<()>) {
    let _ = stop.recv();
    // Without a last act, the call above would have no frame of its own.
    std::hint::black_box(stop);
}

/// Checks that threads that wait have stacks, too, as text and for tools.
#[cfg(target_os = "linux")]
async fn every_thread_has_a_stack(listener: &Listener) {
    const WAITS: &str = "a_thread_that_waits_under_a_unique_name";
    let (stop, stopped) = std::sync::mpsc::channel();
    let waits = std::thread::Builder::new().name("waits".to_owned());
    let waits = waits.spawn(move || a_thread_that_waits_under_a_unique_name(&stopped)).unwrap();
    let is_there = |got: &Got| {
        let of_it = got.text().split("\n\n").find(|stack| stack.starts_with("thread waits\n"));
        of_it.is_some_and(|stack| stack.contains(WAITS))
    };
    let text = until_seen(listener, "/debug/pprof/goroutine?debug=1", is_there).await;
    let threads: usize = text.text().split(' ').next().unwrap().parse().unwrap();
    assert!(threads > 3 && text.text().matches("\nthread ").count() <= threads, "{}", text.text());
    let encoded = until_seen(listener, "/debug/pprof/goroutine", |got| {
        let profile = Profile::decode(&*got.body).unwrap();
        stacks(&profile).iter().any(|stack| stack.iter().any(|name| name.contains(WAITS)))
    })
    .await;
    let profile = Profile::decode(&*encoded.body).unwrap();
    assert!(profile.sample.iter().all(|sample| sample.value == [1]) && profile.sample_type.len() == 1);
    stop.send(()).unwrap();
    waits.join().unwrap();
}

/// Checks that a second profile is refused while one is taken, and allowed once the client of the first is gone.
async fn one_at_a_time(listener: &Listener) {
    const LONG: &[u8] = b"GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let short = || get(listener, "/debug/pprof/flamegraph?seconds=1");
    let long = loop {
        let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        stream.write_all(LONG).await.unwrap();
        // If the short one came first, the long one was refused.
        let got = short().await;
        if got.status == 409 {
            assert!(got.text().contains("another profile"), "{}", got.text());
            break stream;
        }
    };
    drop(long);
    // The server may notice late that the client is gone, but long before the 300 seconds are over.
    let left = Instant::now();
    let after = loop {
        let got = short().await;
        if got.status != 409 {
            break got;
        }
        assert!(left.elapsed() < Duration::from_secs(240), "the profile goes on without its client");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(after.status, 200, "{}", after.text());
}
