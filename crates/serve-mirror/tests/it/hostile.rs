//! Clients that do harm, on purpose or not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::get;
use crate::world::{Serving, World, registry};

/// Sends bytes, and reads until the other side closes or sends nothing more.
fn raw(server: &Serving, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    got
}

fn status(got: &[u8]) -> String {
    let line = got.split(|byte| *byte == b'\r').next().unwrap();
    String::from_utf8_lossy(line).into_owned()
}

#[test]
fn paths_that_lead_elsewhere_are_refused_in_every_encoding_and_logged_escaped() {
    let world = World::new(registry());
    world.sync();
    std::fs::write(world.path("secret"), "secret").unwrap();
    let server = world.serve(&[]);
    for path in [
        "/../secret",
        "/../../secret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/%252e%252e/secret",
        "/..%5csecret",
        "/..\\secret",
        "/..%c0%afsecret",
        "/%c0%ae%c0%ae/secret",
        "/....//secret",
        "/.mirror/catalogue.sqlite",
        "/index/.mirror/lock",
        "/index/%2e%6dirror/lock",
        "/crates/../../secret",
        "/crates/a/..%2f..%2f..%2fsecret",
        "/crates/a/a-1.0.0%00.crate",
        "/crates/a/a-1.0.0.crate%0d%0aX-Evil:%201",
        "/a/a-1.0.0.crate",
        "//secret",
        "/;/../secret",
        "/crates/a/a-1.0.0.crate?/../../secret%00",
    ] {
        let got =
            raw(&server, format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes());
        let text = String::from_utf8_lossy(&got);
        assert!(
            !text.contains("secret\n") && !text.ends_with("secret") && !text.contains("SQLite"),
            "{path}"
        );
        let allowed = path.starts_with("/crates/a/a-1.0.0.crate?");
        assert!(allowed == text.starts_with("HTTP/1.1 200"), "{path}: {text}");
        assert!(!text.contains("X-Evil"), "{path}: {text}");
    }
    for target in ["http://other/../secret", "*", "secret", "/\x1b[2J", "/\u{202e}evil"] {
        let got =
            raw(&server, format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(!status(&got).contains("200"), "{target:?}: {}", status(&got));
    }
    assert_eq!(get(&server.base, "/healthz").status, 200);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(log.contains("refused") && log.contains("%2e%2e"), "{log}");
    assert!(log.bytes().all(|byte| byte == b'\n' || byte >= b' '), "{log:?}");
}

#[test]
fn heads_and_ranges_that_are_too_much_do_no_harm() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&["--head-timeout", "1s"]);
    let large = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(!status(&raw(&server, large.as_bytes())).contains("200"));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X-A: y\r\n".repeat(5_000));
    assert!(!status(&raw(&server, many.as_bytes())).contains("200"));
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a/".repeat(40_000));
    assert!(!status(&raw(&server, long.as_bytes())).contains("200"));
    let smuggled = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n";
    assert!(!status(&raw(&server, smuggled.as_bytes())).contains("200"));
    let ranges: Vec<String> = (0..1_000).map(|n| format!("{n}-{n}")).collect();
    for range in [
        format!("bytes={}", ranges.join(",")),
        "bytes=-".to_owned(),
        "bytes=18446744073709551615-18446744073709551615".to_owned(),
        "bytes=0-18446744073709551615".to_owned(),
        "bytes=-9223372036854775808".to_owned(),
        format!("bytes={}-", "9".repeat(500)),
        "bytes=5-4".to_owned(),
    ] {
        let head = format!(
            "GET /crates/a/a-1.0.0.crate HTTP/1.1\r\nHost: h\r\nRange: {range}\r\nConnection: close\r\n\r\n"
        );
        let got = raw(&server, head.as_bytes());
        assert!(["200", "206", "416"].contains(&&status(&got)[9..12]), "{range}: {}", status(&got));
        assert!(got.len() < 4_096, "{range}");
    }
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage",
        b"\r\n\r\n",
    ] {
        assert!(!status(&raw(&server, bytes)).contains("200"));
    }
    assert_eq!(get(&server.base, "/healthz").status, 200);
}

#[test]
fn slow_clients_are_let_go() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&["--head-timeout", "1s", "--idle-timeout", "2s", "--max-connections", "20"]);
    // They fill every place, each in its own way, and never complete a request.
    let mut slow: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
    for (at, stream) in slow.iter_mut().enumerate() {
        let _ = match at % 3 {
            0 => Ok(0),
            1 => stream.write(b"GET / HTTP/1.1\r\nHo"),
            _ => stream.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        };
    }
    let began = Instant::now();
    loop {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let mut got = Vec::new();
        if asked.is_ok() && stream.read_to_end(&mut got).is_ok() && got.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nobody else comes in");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(slow);
}

/// Checks that an answer that the client does not read blocks nothing, and that its connection is closed.
#[test]
fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let mut registry = registry();
    registry.add("large", "1.0.0", &vec![7; 12 << 20]);
    let world = World::new(registry);
    world.sync();
    let server = world.serve(&["--idle-timeout", "1s"]);
    let deaf: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(server.addr()).unwrap();
            stream.write_all(b"GET /crates/large/large-1.0.0.crate HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(get(&server.base, "/crates/large/large-1.0.0.crate").body.len(), 12 << 20);
    let began = Instant::now();
    while !get(&server.base, "/metrics").text().contains("crates_serve_connections 1\n") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", get(&server.base, "/metrics").text());
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(deaf);
}

#[test]
fn a_client_without_a_request_is_cut_off_after_the_time_for_a_head() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&["--head-timeout", "1s"]);
    for said in
        ["", "PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"]
    {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut got = Vec::new();
        if let Err(error) = stream.read_to_end(&mut got) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{said:?}");
        }
    }
}

/// Checks that a request that a proxy in between could have read differently is refused, and that nothing behind it is
/// answered.
#[test]
fn requests_that_say_two_things_are_refused() {
    let world = World::new(registry());
    world.sync();
    let server = world.serve(&["--head-timeout", "1s"]);
    let behind = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    for (head, body) in [
        ("GET /index/config.json HTTP/1.1\r\nHost: h\r\nHost: h", ""),
        ("GET /index/config.json HTTP/1.1\r\nHost: h\r\nHost: other", ""),
        ("GET /index/config.json HTTP/1.1", ""),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip", ""),
        ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked", "0\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 5", "12345"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +3", "123"),
        ("GET / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ] {
        let got = raw(&server, format!("{head}\r\n\r\n{body}{behind}").as_bytes());
        let text = String::from_utf8_lossy(&got);
        assert!(text.starts_with("HTTP/1.1 400") || text.starts_with("HTTP/1.0 400"), "{head:?}: {text}");
        assert_eq!(text.matches("HTTP/1.").count(), 1, "{head:?}: {text}");
    }
}
