//! Proxies: every kind, for downloads and for the git index, and who is exempt from them.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use mirror_testkit::{Ended, GitHttp, OriginOptions, Protocol, ProxyKind, TestProxy, TestRegistry};

use crate::world::{World, run};

const LOGIN: &str = "alice:s3cretword";

/// A registry whose releases and whose index are on servers that only a proxy finds by name.
struct Hidden {
    world: World,
    git: GitHttp,
}

impl Hidden {
    fn new(seed: u64, tls: bool) -> Self {
        let protocol = if tls { Protocol::Http2 } else { Protocol::Http1 };
        let options = OriginOptions { protocol, ..OriginOptions::default() };
        let world = World::with(TestRegistry::generate(seed, 6, 200), options);
        world.registry.commit_git(&world.path("remote"));
        let git = GitHttp::start(world.dir.path(), tls);
        Self { world, git }
    }

    /// Mirrors from a local index, with the releases at `base`.
    fn download(&self, out: &str, base: &str, prepare: impl FnOnce(&mut Command)) -> Ended {
        let mut command = self.world.command(out);
        command.arg("--index-dir").arg(self.world.index()).args(["--retries", "0"]);
        command.args(["--crates-base-url", &format!("{base}/crates")]);
        self.run(command, prepare)
    }

    /// Clones the index at `base`.
    fn clone_index(&self, out: &str, base: &str, prepare: impl FnOnce(&mut Command)) -> Ended {
        let mut command = self.world.command(out);
        command.args([
            "--index-dir",
            &format!("{out}.git"),
            "--update-index",
            "--retries",
            "0",
            "--limit",
            "1",
        ]);
        command.args(["--index-url", &format!("{base}/remote/.git")]);
        // On a loopback address, which is never asked of a proxy.
        command.arg("--crates-base-url").arg(format!("{}/crates", self.world.origin.base()));
        self.run(command, prepare)
    }

    fn run(&self, mut command: Command, prepare: impl FnOnce(&mut Command)) -> Ended {
        for name in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
            command.env_remove(name);
        }
        // Given again with the roots of all servers: the last one counts.
        if self.world.path("roots.pem").exists() {
            command.arg("--cacert").arg(self.world.path("roots.pem"));
        }
        prepare(&mut command);
        let ended = run(&mut command);
        assert!(!ended.stderr.contains("s3cretword"), "{}", ended.stderr);
        ended
    }

    /// Trusts the servers, and the proxy when it has a certificate.
    fn trust(&self, proxy: &TestProxy) {
        let roots = [self.world.origin.tls_dir().join("ca.pem"), self.git.ca(), proxy.ca()];
        let texts: String = roots.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
        if !texts.is_empty() {
            fs::write(self.world.path("roots.pem"), texts).unwrap();
        }
    }
}

/// The parts of a run that use HTTP.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Releases,
    Index,
}

impl Asked {
    const ALL: [Self; 2] = [Self::Releases, Self::Index];

    fn addr(self, hidden: &Hidden) -> SocketAddr {
        if self == Self::Releases { hidden.world.origin.addr() } else { hidden.git.addr() }
    }

    /// Runs, and asks `base` for it.
    fn run(self, hidden: &Hidden, out: &str, base: &str, prepare: impl FnOnce(&mut Command)) -> Ended {
        match self {
            Self::Releases => hidden.download(out, base, prepare),
            Self::Index => hidden.clone_index(out, base, prepare),
        }
    }
}

#[test]
fn every_kind_of_proxy_leads_to_the_releases_and_to_the_index() {
    for (tls, scheme) in [(true, "https"), (false, "http")] {
        let hidden = Hidden::new(421, tls);
        let kinds = [(ProxyKind::Http, "http"), (ProxyKind::Https, "https"), (ProxyKind::Socks5, "socks5h")];
        for (kind, named) in kinds {
            for asked in Asked::ALL {
                let proxy = TestProxy::with_login(kind, asked.addr(&hidden), LOGIN);
                hidden.trust(&proxy);
                let value = format!("{named}://{LOGIN}@{}", proxy.addr());
                let out = format!("{scheme}-{named}-{asked:?}");
                let base = format!("{scheme}://registry.test");
                let ended = asked.run(&hidden, &out, &base, |command| {
                    command.env("all_proxy", value);
                });
                ended.expect(0);
                assert!(!proxy.asked().is_empty(), "{out}");
                if asked == Asked::Releases {
                    hidden.world.assert_whole(&out);
                }
            }
        }
    }
}

/// `0.0.0.0` is this machine and no loopback address: it can be reached directly and through a proxy.
#[cfg(unix)]
#[test]
fn no_proxy_means_the_same_for_the_releases_and_for_the_index() {
    let hidden = Hidden::new(422, false);
    for (row, (variable, exempt, direct)) in [
        ("no_proxy", "0.0.0.0/8", true),
        ("NO_PROXY", "10.0.0.0/8, 0.0.0.0/8", true),
        ("no_proxy", "10.0.0.0/8", false),
        ("NO_PROXY", "*", true),
        ("no_proxy", "0.0.0.0", true),
        ("no_proxy", "0.0.0.0:PORT", true),
        ("no_proxy", "0.0.0.0:1", false),
        ("no_proxy", ".test", false),
    ]
    .into_iter()
    .enumerate()
    {
        for asked in Asked::ALL {
            let proxy = TestProxy::start(ProxyKind::Http, asked.addr(&hidden));
            let port = asked.addr(&hidden).port().to_string();
            let (out, base) = (format!("{row}-{asked:?}"), format!("http://0.0.0.0:{port}"));
            let prepare = |command: &mut Command| {
                command.env("HTTP_PROXY", format!("http://{}", proxy.addr()));
                command.env(variable, exempt.replace("PORT", &port));
            };
            asked.run(&hidden, &out, &base, prepare).expect(0);
            assert_eq!(proxy.asked().is_empty(), direct, "{variable}={exempt} {asked:?}");
        }
    }
}

/// With `socks5` this machine looks names up; an address is one already.
#[cfg(unix)]
#[test]
fn socks5_is_given_addresses() {
    let hidden = Hidden::new(425, false);
    for asked in Asked::ALL {
        let proxy = TestProxy::start(ProxyKind::Socks5, asked.addr(&hidden));
        let value = format!("socks5://{}", proxy.addr());
        let place = format!("0.0.0.0:{}", asked.addr(&hidden).port());
        let ended = asked.run(&hidden, &format!("{asked:?}"), &format!("http://{place}"), |command| {
            command.env("http_proxy", value);
        });
        ended.expect(0);
        assert!(proxy.asked().contains(&place), "{asked:?}: {:?}", proxy.asked());
    }
}

/// No resolver knows the hosts: an exempt one cannot be reached.
#[test]
fn names_and_domains_are_exempt_for_the_releases_and_for_the_index() {
    let hidden = Hidden::new(423, false);
    for (row, (exempt, direct)) in
        [("registry.test", true), (".test", true), ("*.test", true), ("egistry.test", false)]
            .into_iter()
            .enumerate()
    {
        for asked in Asked::ALL {
            let proxy = TestProxy::start(ProxyKind::Http, asked.addr(&hidden));
            let prepare = |command: &mut Command| {
                command.env("http_proxy", proxy.addr().to_string());
                // The lower-case one counts.
                command.env("HTTP_PROXY", "gopher://nowhere.test").env("NO_PROXY", exempt);
            };
            let out = format!("{row}-{asked:?}");
            let ended = asked.run(&hidden, &out, "http://registry.test", prepare);
            ended.expect(if direct { 5 } else { 0 });
            assert_eq!(proxy.asked().is_empty(), direct, "{exempt} {asked:?}");
        }
    }
}

#[test]
fn a_proxy_that_refuses_the_login_is_named_and_the_login_is_not() {
    let hidden = Hidden::new(424, true);
    for (kind, named, words) in [
        (ProxyKind::Http, "http", "407"),
        (ProxyKind::Https, "https", "407"),
        (ProxyKind::Socks5, "socks5h", "credentials not accepted"),
    ] {
        let proxy = TestProxy::with_login(kind, hidden.world.origin.addr(), "bob:another");
        hidden.trust(&proxy);
        let value = format!("{named}://{LOGIN}@{}", proxy.addr());
        let ended = hidden.download(named, "https://registry.test", |command| {
            command.env("all_proxy", value);
        });
        let stderr = ended.expect(5).stderr;
        assert!(stderr.contains("the proxy for registry.test") && stderr.contains(words), "{stderr}");
    }
}
