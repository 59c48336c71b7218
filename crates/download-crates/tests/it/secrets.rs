//! Checks that a secret in an address or in a proxy variable is used, and is nowhere afterwards: in no file, no file
//! name, no output and no log at any level, and not on the listener.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mirror_testkit::{Ended, Fault, GitHttp, OriginOptions, Protocol, TestRegistry, git, tree};

use crate::world::{World, run};

const SECRET: &str = "s3cretword";
/// The form in a header: `alice:s3cretword`.
const ENCODED: &str = "YWxpY2U6czNjcmV0d29yZA==";

/// A registry that answers only with the secret, and counts such requests.
struct Locked {
    world: World,
    let_in: Arc<AtomicU64>,
    /// The operator's own files, which may contain secrets.
    inputs: tempfile::TempDir,
}

impl Locked {
    fn new(seed: u64) -> Self {
        let options = OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() };
        let world = World::with(TestRegistry::generate(seed, 12, 300), options);
        let let_in = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&let_in);
        world.origin.script(move |ask| {
            let shown = [&ask.authorization, &ask.proxy_authorization];
            if shown.iter().any(|shown| shown.as_deref() == Some(&format!("Basic {ENCODED}"))) {
                seen.fetch_add(1, Ordering::SeqCst);
                return Fault::None;
            }
            // The addresses that the registry itself names need no secret.
            if ask.path.starts_with("/open/") { Fault::None } else { Fault::Status(401) }
        });
        Self { world, let_in, inputs: tempfile::tempdir().unwrap() }
    }

    /// Returns the address of the registry with the secret in it.
    fn base(&self) -> String {
        self.world.origin.base().replace("http://", &format!("http://alice:{SECRET}@"))
    }

    fn input(&self, name: &str, text: &str) -> PathBuf {
        let path = self.inputs.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs with every kind of log; returns how often the secret was sent where it belongs.
    fn run(&self, out: &str, prepare: impl FnOnce(&mut Command)) -> (Ended, u64) {
        let before = self.let_in.load(Ordering::SeqCst);
        let mut command = Command::new(crate::world::BIN);
        command.current_dir(self.world.dir.path()).stdin(Stdio::null());
        command.args(["--out", out, "--manifest", &format!("{out}.jsonl"), "--listen", "", "--retries", "1"]);
        command.args(["--retry-base", "5ms", "--log-level", "debug"]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        prepare(&mut command);
        let ended = run(&mut command);
        for said in [&ended.stdout, &ended.stderr] {
            clean(said.as_bytes(), out);
        }
        self.search(out);
        (ended, self.let_in.load(Ordering::SeqCst) - before)
    }

    /// Searches everything that was left behind.
    fn search(&self, what: &str) {
        for (path, bytes) in tree_with_hidden(self.world.dir.path()) {
            clean(path.as_bytes(), what);
            clean(&bytes, &format!("{what}: {path}"));
        }
    }
}

#[track_caller]
fn clean(bytes: &[u8], place: &str) {
    for secret in [SECRET, ENCODED] {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{place} has the secret: {}", String::from_utf8_lossy(bytes));
    }
}

fn tree_with_hidden(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                found.push((path.display().to_string(), Vec::new()));
                dirs.push(path);
            } else {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn by_index_list_and_base_it_is_shown_to_its_host_and_kept_nowhere() {
    let locked = Locked::new(401);
    let base = locked.base();
    let names: Vec<_> = locked.world.registry.crates.keys().cloned().collect();
    let names = names.join(",");
    let sparse = format!("sparse+{base}/index/");
    let crates = format!("{base}/crates");
    for out in ["sparse", "sparse"] {
        let (ended, shown) = locked.run(out, |command| {
            command.args(["--index-url", &sparse, "--crates", &names, "--crates-base-url", &crates]);
        });
        ended.expect(0);
        assert!(shown > 0, "{out}");
        locked.world.assert_whole(out);
    }
    let index = locked.world.index();
    let (ended, shown) = locked.run("base", |command| {
        command.arg("--index-dir").arg(&index).args(["--crates-base-url", &crates]);
    });
    ended.expect(0);
    assert!(shown >= locked.world.expected().len() as u64);
    locked.world.assert_whole("base");
    let (ended, shown) = locked.run("dry", |command| {
        command.arg("--index-dir").arg(&index).args(["--crates-base-url", &crates, "--dry-run"]);
    });
    assert!(ended.expect(0).stdout.contains("by the sizes of") && shown > 0);
    let list = locked.input("urls", &locked.world.registry.url_list(&base));
    let sums = locked.input("sums", &locked.world.registry.checksums(&base));
    for (out, with_sums) in [("list", false), ("sums", true)] {
        let (ended, shown) = locked.run(out, |command| {
            command.arg("--list").arg(&list);
            if with_sums {
                command.arg("--checksums").arg(&sums);
            }
        });
        ended.expect(0);
        assert!(shown > 0);
    }
    assert!(!tree(&locked.world.path("list")).is_empty());
}

#[test]
fn failures_and_mistakes_do_not_reveal_it() {
    let locked = Locked::new(402);
    let index = locked.world.index();
    let base = locked.base();
    let torn = format!("http://alice:{SECRET}/x@127.0.0.1:1/");
    let list = locked
        .input("urls", &format!("{base}/nothing/here\n{base}/none/none-1.0.0.crate\n{torn}a-1.0.0.crate\n"));
    let mistakes: [(&str, i32, Vec<String>); 8] = [
        ("missing", 3, vec!["--crates-base-url".into(), format!("{base}/nothing")]),
        ("scheme", 2, vec!["--crates-base-url".into(), base.replace("http:", "ftp:")]),
        ("marker", 2, vec!["--crates-base-url".into(), format!("{base}/{{what}}")]),
        ("torn", 2, vec!["--crates-base-url".into(), torn.clone()]),
        ("both", 2, vec!["--index-url".into(), format!("sparse+{base}/index/")]),
        ("typo", 2, vec![format!("--crates-base={base}")]),
        ("word", 2, vec![base.clone()]),
        ("clone", 5, vec!["--update-index".into(), "--index-url".into(), format!("{base}/none.git")]),
    ];
    for (out, code, arguments) in mistakes {
        let index = if out == "clone" { locked.world.path("none.git") } else { index.clone() };
        let (ended, _) = locked.run(out, |command| {
            command.arg("--index-dir").arg(index).args(arguments);
        });
        assert_eq!(ended.code, code, "{out}: {}", ended.stderr);
    }
    for (out, url) in [("nobody", "http://alice:s3cretword@127.0.0.1:1/index/"), ("unread", torn.as_str())] {
        let (ended, _) = locked.run(out, |command| {
            command.args(["--index-url", &format!("sparse+{url}"), "--crates", "a"]);
        });
        assert!([2, 5].contains(&ended.code), "{}", ended.stderr);
    }
    let (ended, _) = locked.run("list", |command| {
        command.arg("--list").arg(&list);
    });
    assert_eq!(ended.expect(3).count("bad index lines"), 2);
}

#[test]
fn another_host_is_not_shown_it() {
    let locked = Locked::new(403);
    let open = World::with(
        TestRegistry::generate(403, 12, 300),
        OriginOptions { protocol: Protocol::Http1, ..OriginOptions::default() },
    );
    let shown = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&shown);
    open.origin.script(move |ask| {
        seen.fetch_add(u64::from(ask.authorization.is_some()), Ordering::SeqCst);
        Fault::None
    });
    let to = open.origin.base();
    locked.world.origin.script(move |ask| Fault::Redirect(format!("{to}{}", ask.path)));
    let index = locked.world.index();
    let (ended, _) = locked.run("moved", |command| {
        command
            .arg("--index-dir")
            .arg(index)
            .args(["--crates-base-url", &format!("{}/crates", locked.base())]);
    });
    ended.expect(0);
    locked.world.assert_whole("moved");
    assert_eq!(shown.load(Ordering::SeqCst), 0);
}

#[test]
fn a_proxy_is_shown_its_own_and_nothing_keeps_it() {
    let locked = Locked::new(404);
    let index = locked.world.index();
    let (ended, shown) = locked.run("proxied", |command| {
        // No resolver knows the host: only the proxy can have been asked.
        command.arg("--index-dir").arg(index).args(["--crates-base-url", "http://registry.test/crates"]);
        command.env("http_proxy", locked.base());
    });
    ended.expect(0);
    assert!(shown > 0);
    locked.world.assert_whole("proxied");
}

/// Makes a git repository with the index of the registry, below a new directory.
fn repository(locked: &Locked) -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    let repository = site.path().join("index");
    locked.world.registry.write_index(&repository);
    git(&repository, &["init", "-q"]);
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-q", "-m", "all"]);
    site
}

#[test]
fn one_run_has_one_meaning_of_proxies() {
    let locked = Locked::new(407);
    let site = repository(&locked);
    let server = GitHttp::start(site.path(), false);
    let proxy = server.url("").replace("http://", &format!("http://alice:{SECRET}@"));
    let crates = format!("{}/crates", locked.base());
    let clone = |out: &str, proxy: &str, exempt: &str| {
        let (ended, _) = locked.run(out, |command| {
            command.args(["--index-dir", &format!("{out}.git"), "--update-index"]);
            command.args(["--index-url", "http://git.test/index", "--crates-base-url", &crates]);
            command.env("http_proxy", proxy).env("no_proxy", exempt);
        });
        ended
    };
    // No resolver knows the host: only the proxy can have been asked.
    clone("by-proxy", &proxy, "10.0.0.0/8").expect(0);
    locked.world.assert_whole("by-proxy");
    assert_eq!(clone("exempt", &proxy, "test").code, 5);
    let ended = clone("socks", &format!("socks4://alice:{SECRET}@127.0.0.1:1"), "").expect(2);
    assert!(ended.stderr.contains("http_proxy") && ended.stderr.contains("git.test"), "{}", ended.stderr);
    let asked = server.requests();
    // The same for the index and for downloads, by name, by subnet and for all hosts.
    for exempt in ["registry.test", ".test", "*"] {
        let index = locked.world.index();
        let (ended, _) = locked.run("exempt", |command| {
            command.arg("--index-dir").arg(index).args(["--crates-base-url", "http://registry.test/crates"]);
            command.env("http_proxy", &proxy).env("no_proxy", exempt);
        });
        assert_eq!(ended.code, 5, "{}", ended.stderr);
    }
    assert_eq!(server.requests(), asked, "exempt hosts are never asked of the proxy");
}

#[test]
fn an_unusable_proxy_ends_a_run_that_needs_it_at_once_and_no_other() {
    let locked = Locked::new(408);
    let index = locked.world.index();
    let run = |out: &str, base: &str| {
        let (ended, _) = locked.run(out, |command| {
            command.arg("--index-dir").arg(&index).args(["--crates-base-url", base]);
            command.env("all_proxy", format!("socks://alice:{SECRET}@127.0.0.1:1/"));
        });
        ended
    };
    run("unneeded", &format!("{}/crates", locked.base())).expect(0);
    let ended = run("needed", "http://registry.test/crates").expect(2);
    assert!(ended.stderr.contains("all_proxy") && ended.stderr.contains("registry.test"), "{}", ended.stderr);
    // A held release needs no request.
    run("unneeded", "http://registry.test/crates").expect(0);
}

#[test]
fn a_cloned_index_does_not_keep_it() {
    let locked = Locked::new(405);
    let site = repository(&locked);
    // Over plain HTTP, git's transport does not send it.
    let server = GitHttp::start(site.path(), true);
    let url = server.url("index").replace("https://", &format!("https://alice:{SECRET}@"));
    for out in ["cloned", "cloned"] {
        let (ended, _) = locked.run(out, |command| {
            command.args(["--index-dir", "clone", "--update-index", "--index-url", &url]);
            command.arg("--cacert").arg(server.ca());
            command.args(["--crates-base-url", &format!("{}/crates", locked.base())]);
        });
        ended.expect(0);
    }
    locked.world.assert_whole("cloned");
}

/// Requests a page from the listener of a run; `None` when no listener answers.
pub(crate) fn page(port: u16, path: &str) -> Option<Vec<u8>> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).ok()?;
    tcp.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    write!(tcp, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn the_listener_does_not_serve_it() {
    let locked = Locked::new(406);
    let index = locked.world.index();
    // The run lasts until it is stopped.
    locked.world.origin.script(|_| Fault::Silence);
    let mut asked = 0;
    for _ in 0..20 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(crate::world::BIN);
        command.current_dir(locked.world.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.args(["--out", "listen", "--manifest", "listen.jsonl", "--log-level", "debug"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]).arg("--index-dir").arg(&index);
        command.arg(format!("--crates-base-url={}/crates", locked.base())).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Its first line comes when it is listening.
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        for path in ["/debug/pprof/cmdline", "/", "/api/status", "/status", "/metrics", "/debug/pprof/"] {
            if let Some(answer) = page(port, path) {
                clean(&answer, path);
                asked += 1;
                if path.ends_with("cmdline") {
                    let text = String::from_utf8_lossy(&answer).into_owned();
                    assert!(text.contains("--crates-base-url=http://127.0.0.1:"), "{text}");
                }
            }
        }
        child.kill().unwrap();
        let mut rest = Vec::new();
        stderr.read_to_end(&mut rest).unwrap();
        child.wait().unwrap();
        clean(&[line.as_bytes(), &rest].concat(), "the log");
        if asked > 0 {
            break;
        }
    }
    assert!(asked >= 6, "{asked} pages");
}
