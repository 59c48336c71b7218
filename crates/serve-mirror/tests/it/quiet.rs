//! Checks that logging does not matter: answers, signals and exit codes are the same when no process reads the log.
#![cfg(unix)]

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::get;
use crate::world::{BIN, MOST, World, registry};

/// A server whose log no process reads; its address is chosen beforehand.
struct Quiet {
    child: Child,
    base: String,
}

impl Quiet {
    /// Starts one; tries again when another program took the port meanwhile.
    fn start(world: &World, stderr: impl Fn() -> Stdio) -> Self {
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let mut command = Command::new(BIN);
            command.arg("--mirror").arg(world.path("out")).args(["--grace", "1s", "--listen"]);
            command.arg(free.to_string()).stdin(Stdio::null()).stderr(stderr()).stdout(Stdio::null());
            let mut server =
                Self { child: command.process_group(0).spawn().unwrap(), base: format!("http://{free}") };
            if server.is_up(free) {
                return server;
            }
        }
        panic!("the server does not start");
    }

    fn is_up(&mut self, at: std::net::SocketAddr) -> bool {
        let began = Instant::now();
        while began.elapsed() < MOST {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if std::net::TcpStream::connect(at).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn answers(&self) {
        assert_eq!(get(&self.base, "/index/2/ab").status, 200);
        assert_eq!(get(&self.base, "/index/no/su/nosuch").status, 404);
        assert_eq!(get(&self.base, "/crates/ab/ab-1.2.0.crate").status, 200);
    }

    fn ends(mut self, signal: &str, code: i32) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < MOST, "it still runs after SIG{signal}");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(code), "after SIG{signal}");
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a pipe whose reader is gone.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_server_whose_log_cannot_be_written_answers_and_stops_on_request() {
    let world = World::new(registry());
    world.sync();
    for signal in ["-TERM", "-INT"] {
        let server = Quiet::start(&world, closed_pipe);
        server.answers();
        server.ends(signal, 0);
    }
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap().into();
    let server = Quiet::start(&world, full);
    server.answers();
    server.ends("-TERM", 0);
}
