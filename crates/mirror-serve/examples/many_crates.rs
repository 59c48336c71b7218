//! Checks that memory does not grow with the registry: requests all of a server's 250,000 crates, and prints its peak
//! in MiB. For `cargo xtask bench serve`; Linux only.
#![expect(clippy::disallowed_methods, reason = "it writes a mirror of its own")]
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use mirror_manifest::{Catalogue, Change, HeldRelease, IndexCacheWriter, LinePacker, TextDigest};
use mirror_serve::{ServeOptions, Server};
use mirror_types::{CrateName, MemberLocation, ReleaseId, Sha256, index_path};
use tokio_util::sync::CancellationToken;

const CRATES: usize = 250_000;
const RELEASES: usize = 10;

fn name(n: usize) -> CrateName {
    format!("crate-{n:06}").parse().expect("name")
}

fn text(n: usize, sum: Sha256) -> String {
    let mut text = String::new();
    for release in 0..RELEASES {
        let _ = writeln!(
            text,
            r#"{{"name":"{}","vers":"1.{release}.0","deps":[{{"name":"serde","req":"^1.0.{n}","features":["derive"],"optional":false,"default_features":true,"target":null,"kind":"normal"}}],"cksum":"{sum}","features":{{"default":["std"],"std":[]}},"yanked":false}}"#,
            name(n)
        );
    }
    text
}

/// Makes a mirror whose releases are all in one frame of one bundle: listing them needs no more.
fn mirror(root: &Path) {
    let state = root.join("out/.mirror");
    std::fs::create_dir_all(&state).expect("directory");
    std::fs::write(state.join("mirror.json"), r#"{"format_version":1,"layout":"shard"}"#).expect("record");
    std::fs::create_dir(root.join("bundles")).expect("directory");
    std::fs::write(root.join("bundles/bundle-0000.tar.zst"), [0; 64]).expect("bundle");
    let mut catalogue = Catalogue::open(&state.join("catalogue.sqlite")).expect("catalogue");
    let (mut writer, _) = IndexCacheWriter::open(&state, &mut catalogue, false).expect("cache");
    let mut packer = LinePacker::new().expect("packer");
    let sum = Sha256::from_bytes([7; 32]);
    for begin in (0..CRATES).step_by(5_000) {
        let mut changes = Vec::new();
        let mut packed = Vec::new();
        for n in begin..begin + 5_000 {
            let text = text(n, sum);
            let digest = TextDigest::of(text.as_bytes());
            packed.push(packer.pack(&index_path(&name(n)), digest, text.as_bytes()).expect("pack"));
            changes.extend((0..RELEASES).map(|release| {
                let version = format!("1.{release}.0").parse().expect("version");
                let id = ReleaseId { name: name(n), version };
                let locations = MemberLocation::tar(0, 0, 64).into();
                let release = HeldRelease { id, sha256: sum, size: 20_000, locations };
                Change::Held { release, source: 0 }
            }));
        }
        changes.push(Change::IndexCache(writer.append(&packed).expect("append")));
        catalogue.apply(&changes).expect("apply");
    }
}

/// Returns a figure of this process, MiB.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("field");
    line.trim_matches([':', ' ', '\t'])
        .split_whitespace()
        .next()
        .expect("number")
        .parse::<u64>()
        .expect("KiB")
        / 1024
}

fn main() {
    let dir = tempfile::tempdir().expect("directory");
    mirror(dir.path());
    // The memory for making the mirror does not count.
    std::fs::write("/proc/self/clear_refs", "5").expect("clear the peak");
    let before = memory("VmRSS");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .expect("runtime");
    let stop = CancellationToken::new();
    let mut options = ServeOptions::new(dir.path().join("out"));
    options.listen = "127.0.0.1:0".to_owned();
    let server = runtime.block_on(Server::open(&options)).expect("server");
    let addr = server.local_addr();
    let serving = runtime.spawn(server.run(stop.clone()));
    std::thread::scope(|scope| {
        for part in 0..8 {
            scope.spawn(move || {
                let stream = TcpStream::connect(addr).expect("connect");
                let (mut send, mut receive) = (stream.try_clone().expect("clone"), BufReader::new(stream));
                for n in (part..CRATES).step_by(8) {
                    let path = index_path(&name(n));
                    let ask = format!("GET /index/{path} HTTP/1.1\r\nHost: h\r\n\r\n");
                    send.write_all(ask.as_bytes()).expect("ask");
                    let (mut len, mut line) = (0, String::new());
                    loop {
                        line.clear();
                        receive.read_line(&mut line).expect("answer");
                        if let Some(text) = line.strip_prefix("content-length: ") {
                            len = text.trim().parse().expect("length");
                        }
                        if line == "\r\n" {
                            break;
                        }
                    }
                    let mut body = vec![0; len];
                    receive.read_exact(&mut body).expect("body");
                    assert_eq!(body, text(n, Sha256::from_bytes([7; 32])).as_bytes());
                }
            });
        }
    });
    let mut page = TcpStream::connect(addr).expect("connect");
    page.write_all(b"GET /api/v1/crates?q=crate-1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .expect("ask");
    let mut found = String::new();
    page.read_to_string(&mut found).expect("answer");
    assert!(found.contains("\"total\":100000"), "{found}");
    stop.cancel();
    runtime.block_on(serving).expect("server");
    println!("{} {before}", memory("VmHWM"));
}
