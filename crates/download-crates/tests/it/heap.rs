//! Heap profiles of a program that was built with jemalloc.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use mirror_testkit::{Fault, OriginOptions, TestRegistry};

use crate::secrets::page;
use crate::world::World;

/// Runs the program with this configuration of its allocator, and returns what `/debug/pprof/heap` answers.
fn heap(world: &World, configuration: &str) -> Vec<u8> {
    let index = world.index();
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(crate::world::BIN);
        command.current_dir(world.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.args(["--out", "heap", "--manifest", "heap.jsonl", "--log-level", "debug"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]).arg("--index-dir").arg(&index);
        command.arg(format!("--crates-base-url={}/crates", world.origin.base()));
        command.env("_RJEM_MALLOC_CONF", configuration).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Its first line comes when it listens.
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let answer = page(port, "/debug/pprof/heap");
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(answer) = answer {
            return answer;
        }
    }
    panic!("twenty ports were taken by others");
}

#[test]
fn a_heap_profile_is_there_for_a_run_that_was_started_to_take_one() {
    let world = World::with(TestRegistry::generate(410, 12, 300), OriginOptions::default());
    // The run lasts until it is ended.
    world.origin.script(|_| Fault::Silence);

    let refused = String::from_utf8(heap(&world, "prof:false")).unwrap();
    assert!(refused.starts_with("HTTP/1.1 501 "), "{refused}");
    assert!(refused.contains("_RJEM_MALLOC_CONF=prof:true"), "{refused}");

    let answer = heap(&world, "prof:true,lg_prof_sample:10");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut profile = Vec::new();
    flate2::read::GzDecoder::new(&answer[end + 4..]).read_to_end(&mut profile).unwrap();
    for name in ["inuse_space", "bytes"] {
        assert!(profile.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
    }
    // A table of names alone has no samples.
    assert!(profile.len() > 1_000, "{} bytes", profile.len());
}
