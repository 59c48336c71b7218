//! Many hostile clients at a time, and a good one among them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use mirror_sync::{Layout, Storage};
use mirror_testkit::{ClientFault, HostileClients, TestRegistry, peak_of};

use crate::client::get;
use crate::world::{Serving, World, registry};

const MAX_PEAK_BYTES: u64 = 512 << 20;

/// Makes small releases, and large ones whose bytes do not compress.
fn many() -> TestRegistry {
    let mut registry = registry();
    let mut random = 7_u32;
    let mut noise = |len: usize| {
        let bytes = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        });
        bytes.take(len).collect::<Vec<u8>>()
    };
    for (name, len) in [("some", 40 << 10), ("more", 200_000), ("large", 3 << 20), ("larger", 9 << 20)] {
        registry.add(name, "1.0.0", &noise(len));
    }
    registry
}

fn world(storage: Storage) -> World {
    let world = World::with(many(), Layout::Shard, storage);
    world.sync();
    world
}

fn paths(world: &World) -> Vec<String> {
    let releases = world.registry.releases().map(mirror_testkit::TestRelease::url_path);
    releases
        .chain(["/index/wi/th/with-dash".to_owned(), "/api/v1/crates?q=a&per_page=100".to_owned()])
        .collect()
}

/// Requests everything, each over a connection of its own.
#[track_caller]
fn all_is_whole(world: &World, server: &Serving) {
    for release in world.registry.releases() {
        let got = get(&server.base, &release.url_path());
        assert_eq!((got.status, got.body.len()), (200, release.body.len()), "{}", release.id);
        assert_eq!(got.body, release.body, "{}", release.id);
    }
    assert_eq!(
        get(&server.base, "/index/wi/th/with-dash").body,
        world.registry.index_files()["wi/th/with-dash"]
    );
}

#[track_caller]
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns whether the server has accepted a connection: a connection that waits for that belongs to no file of any
/// process.
#[cfg(target_os = "linux")]
fn is_accepted(stream: &TcpStream) -> bool {
    let here = format!(":{:04X}", stream.local_addr().unwrap().port());
    let there = format!(":{:04X}", stream.peer_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&there) && fields[2].ends_with(&here) && fields[9] != "0"
    })
}

fn open_files(server: &Serving) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).map_or(0, Iterator::count)
}

/// Fills all places of a server with hostile clients of every kind; a good client must get whole answers all the while.
/// Returns the peak of its memory, bytes.
fn bears(storage: Storage, clients: usize, rounds: usize) -> u64 {
    let world = world(storage);
    let places = clients.to_string();
    let server = world.serve(&["--max-connections", &places, "--idle-timeout", "3s", "--head-timeout", "2s"]);
    let files_before = open_files(&server);
    let hostile =
        HostileClients::start(server.addr().parse().unwrap(), &paths(&world), &ClientFault::ALL, clients);
    soon("the clients are there", || hostile.connections() >= clients as u64);
    for _ in 0..rounds {
        all_is_whole(&world, &server);
    }
    let peak = peak_of(server.child.id());
    drop(hostile);
    assert!(peak < MAX_PEAK_BYTES, "{} MiB", peak >> 20);
    soon("all places are free again", || {
        get(&server.base, "/metrics").text().contains("crates_serve_connections 1\n")
    });
    // Answers whose clients are gone keep their files open until the server notices.
    soon("the files of the crowd are closed", || open_files(&server) <= files_before + 40);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    peak
}

/// Returns how many clients a crowd has: `MIRROR_CROWD`, which may be 512 and takes minutes then, or a few.
fn crowd(few: usize) -> usize {
    std::env::var("MIRROR_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

#[test]
fn a_crowd_of_every_kind_stops_no_other_client() {
    let clients = crowd(3 * ClientFault::ALL.len());
    for storage in [Storage::Loose, Storage::Bundle] {
        let peak = bears(storage, clients, clients.div_ceil(32));
        println!("{storage:?}, {clients} clients of all kinds: peak {} MiB", peak >> 20);
    }
}

/// Each kind by itself, so that none of them hides behind another.
#[test]
fn a_crowd_of_one_kind_stops_no_other_client() {
    let clients = crowd(16);
    for storage in [Storage::Loose, Storage::Bundle] {
        let world = world(storage);
        for fault in ClientFault::ALL {
            let server = world.serve(&["--idle-timeout", "3s", "--head-timeout", "2s"]);
            let addr = server.addr().parse().unwrap();
            let hostile = HostileClients::start(addr, &paths(&world), &[fault], clients);
            soon("the clients are there", || hostile.connections() >= clients as u64);
            for _ in 0..clients.div_ceil(32) {
                all_is_whole(&world, &server);
            }
            let peak = peak_of(server.child.id());
            println!("{storage:?}, {clients} clients, {fault:?}: peak {} MiB", peak >> 20);
            assert!(peak < MAX_PEAK_BYTES, "{fault:?}: {} MiB", peak >> 20);
        }
    }
}

#[test]
fn a_client_that_moves_nothing_makes_room_for_others() {
    let world = world(Storage::Loose);
    let server = world.serve(&["--max-connections", "16", "--idle-timeout", "1h", "--head-timeout", "1h"]);
    let silent: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
    soon("all places are taken", || {
        let metrics = get(&server.base, "/metrics").text();
        metrics.contains("crates_serve_connections 16\n")
    });
    all_is_whole(&world, &server);
    let metrics = get(&server.base, "/metrics").text();
    assert!(metrics.contains("crates_serve_connections_refused_total 0\n"), "{metrics}");
    assert!(!metrics.contains("crates_serve_connections_made_room_total 0\n"), "{metrics}");
    drop(silent);
}

#[cfg(unix)]
#[test]
fn few_open_files_are_shared_out() {
    let world = world(Storage::Loose);
    let mut command = Command::new("sh");
    // 48 of them are for connections.
    command
        .args(["-c", "ulimit -n 128; exec \"$@\"", "sh", crate::world::BIN, "--mirror"])
        .arg(world.path("out"));
    let server = Serving::start(&mut command);
    let hostile = HostileClients::start(
        server.addr().parse().unwrap(),
        &paths(&world),
        &[ClientFault::Pings, ClientFault::Deaf, ClientFault::Silent, ClientFault::ClosedWindows],
        64,
    );
    soon("the clients are there", || hostile.connections() >= 64);
    for _ in 0..2 {
        all_is_whole(&world, &server);
    }
    drop(hostile);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("connections at a time are taken instead of 512").count(), 1, "{log}");
    assert!(log.matches("no connection can be taken").count() <= 1, "{log}");
}

/// Checks that a server that runs out of files reports that once, and accepts connections again when there are some.
#[test]
fn a_server_without_open_files_goes_on_when_there_are_some() {
    if !mirror_testkit::has("prlimit", &["--version"]) {
        return;
    }
    let world = world(Storage::Loose);
    let server = world.serve(&[]);
    let allow = |files: usize| {
        let pid = server.child.id().to_string();
        let limit = format!("--nofile={files}:");
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
        assert!(status.success());
    };
    all_is_whole(&world, &server);
    allow(3);
    let waiting: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(server.addr()).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            stream
        })
        .collect();
    let mut first = &waiting[0];
    assert!(first.read(&mut [0]).is_err(), "there is no file for it");
    allow(1_024);
    for mut stream in &waiting {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got.ends_with(b"ok\n"), "{}", String::from_utf8_lossy(&got));
    }
    all_is_whole(&world, &server);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("no connection can be taken").count(), 1, "{log}");
}

/// Checks that connections that send nothing do not keep a server from stopping.
#[cfg(target_os = "linux")]
#[test]
fn silent_connections_do_not_hold_up_the_end() {
    let world = World::new(registry());
    world.sync();
    let args = world.tls_args();
    for more in [vec![], args.iter().map(String::as_str).collect()] {
        let server = world.serve(&[&["--head-timeout", "1h", "--grace", "1h"][..], &more].concat());
        let silent: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
        soon("they are taken", || silent.iter().all(is_accepted));
        assert_eq!(server.stop().0, Some(0));
    }
}

/// Checks that a stream that released its bytes while it stood still finds them again, byte for byte.
#[test]
fn a_stream_goes_on_after_it_stood_still() {
    for storage in [Storage::Loose, Storage::Bundle] {
        let world = world(storage);
        let server = world.serve(&[]);
        let release = &world.registry.crates["larger"][0];
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\x10\0";
        stream.write_all(preface).unwrap();
        let path = release.url_path();
        let head =
            [b"\x82\x86\x01\x09localhost\x04", &[u8::try_from(path.len()).unwrap()][..], path.as_bytes()]
                .concat();
        let mut ask = vec![0, 0, u8::try_from(head.len()).unwrap(), 1, 5, 0, 0, 0, 1];
        ask.extend_from_slice(&head);
        stream.write_all(&ask).unwrap();
        let mut got = Vec::new();
        let mut stands = 0;
        while got.len() < release.body.len() {
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).unwrap();
            let len = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
            let mut payload = vec![0; len as usize];
            stream.read_exact(&mut payload).unwrap();
            assert!([0, 1, 4, 8].contains(&frame[3]), "{frame:?}");
            if frame[3] == 0 {
                got.extend_from_slice(&payload);
            }
            if frame[3] == 0 && got.len() % (4 << 10) == 0 {
                if stands < 2 && got.len() > stands * (1 << 20) {
                    // Long enough for the server to free what it can.
                    std::thread::sleep(Duration::from_millis(1_500));
                    stands += 1;
                }
                let more = |stream: u8, bytes: u32| {
                    [&[0, 0, 4, 8, 0, 0, 0, 0, stream][..], &bytes.to_be_bytes()].concat()
                };
                let bytes = if got.len() < 1 << 20 { 4 << 10 } else { 1 << 20 };
                stream.write_all(&[more(0, bytes), more(1, bytes)].concat()).unwrap();
            }
        }
        assert_eq!(got, release.body);
    }
}
