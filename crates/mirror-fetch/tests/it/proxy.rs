//! Requests through an HTTP proxy. Host names end in `.test`, which no resolver knows: only the proxy can have been
//! asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mirror_fetch::{FailureKind, FetchOptions, FetchRequest, ProxySettings};
use mirror_testkit::{ProxyKind, TestProxy};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::origin::{fetcher, quick, quick_with, response, sum, verified};
use crate::secure::secure;

/// The way a proxy handles `CONNECT`; it answers any other request itself, with the request as the body.
#[derive(Clone, Copy)]
enum Tunnels {
    /// Every host is at this address.
    To(SocketAddr),
    Refused,
    Silence,
    HangUp,
}

/// A proxy that records the head of every request.
struct Proxy {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(tunnels: Tunnels) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, tunnels, Arc::clone(&kept)));
            }
        });
        Self { addr, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Returns options that name this proxy, with `user` as in `name:password@`.
    fn options(&self, user: &str, mut base: FetchOptions) -> FetchOptions {
        let address = format!("http://{user}{}", self.addr);
        let proxies = ProxySettings::Variables(vec![("all_proxy".to_owned(), address)]);
        base.proxies = proxies;
        base
    }
}

async fn serve(mut tcp: TcpStream, tunnels: Tunnels, kept: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match tcp.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        kept.lock().unwrap().push(head.clone());
        let connect = head.starts_with("CONNECT ");
        let target = head.split(' ').nth(1).unwrap_or_default();
        match tunnels {
            _ if !connect => {
                if tcp.write_all(&response("200 OK", "", target.as_bytes())).await.is_err() {
                    return;
                }
            }
            Tunnels::To(addr) => {
                let mut far = TcpStream::connect(addr).await.unwrap();
                tcp.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.unwrap();
                tokio::io::copy_bidirectional(&mut tcp, &mut far).await.ok();
                return;
            }
            Tunnels::Refused => {
                tcp.write_all(&response("407 Who", "", b"")).await.ok();
                return;
            }
            Tunnels::Silence => std::future::pending().await,
            Tunnels::HangUp => return,
        }
    }
}

fn req(url: &str) -> FetchRequest {
    FetchRequest::new(Url::parse(url).unwrap())
}

fn https() -> FetchRequest {
    req("https://origin.test/file/1").with_expect(sum(b"/file/1"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_goes_through_a_tunnel_with_tls_end_to_end() {
    let origin = secure(usize::MAX, |_| Duration::ZERO).await;
    let proxy = Proxy::start(Tunnels::To(origin.addr())).await;
    let fetcher = fetcher(proxy.options("us%3Aer:p%40ss@", origin.options()));
    for _ in 0..3 {
        let got = fetcher.fetch(https()).await.unwrap();
        assert_eq!((got.status, got.retries), (200, 0));
    }
    let heads = proxy.heads();
    // One tunnel: three requests share its HTTP/2 connection, and the proxy reads none of them.
    let [head] = heads.as_slice() else { panic!("{heads:?}") };
    assert!(head.starts_with("CONNECT origin.test:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nHost: origin.test:443\r\n"), "{head}");
    // base64 of "us:er:p@ss"
    assert!(head.contains("\r\nProxy-Authorization: Basic dXM6ZXI6cEBzcw==\r\n"), "{head}");
    let seen = origin.heads.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|headers| !headers.contains_key("proxy-authorization")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_does_not_weaken_the_check_of_the_certificate() {
    let origin = secure(usize::MAX, |_| Duration::ZERO).await;
    let proxy = Proxy::start(Tunnels::To(origin.addr())).await;
    let fetcher = fetcher(proxy.options("", origin.options()));
    let failure = fetcher.fetch(req("https://another.test/file/1")).await.unwrap_err();
    assert_eq!((failure.kind, failure.retries), (FailureKind::Tls, 1), "{failure}");
    assert!(origin.heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn http_goes_to_the_proxy_in_absolute_form() {
    let proxy = Proxy::start(Tunnels::Refused).await;
    let fetcher = fetcher(proxy.options("user:word@", quick()));
    let url = "http://origin.test:8080/a/b%20c?d=e";
    for _ in 0..2 {
        let got = fetcher.fetch(req(url).with_expect(sum(url.as_bytes()))).await.unwrap();
        assert_eq!(got.retries, 0);
    }
    for head in proxy.heads() {
        let head = head.to_lowercase();
        assert!(head.starts_with(&format!("get {url} http/1.1\r\n")), "{head}");
        assert!(head.contains("\r\nhost: origin.test:8080\r\n"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic dxnlcjp3b3jk\r\n"), "{head}");
    }
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test]
async fn user_info_of_an_address_never_leaves_in_the_request_line() {
    let proxy = Proxy::start(Tunnels::Refused).await;
    let fetcher = fetcher(proxy.options("", quick()));
    fetcher.fetch(req("http://user:word@origin.test/x")).await.unwrap();
    let heads = proxy.heads();
    assert!(heads[0].starts_with("GET http://origin.test/x HTTP/1.1\r\n"), "{heads:?}");
    assert!(!heads[0].to_lowercase().contains("proxy-authorization"), "{heads:?}");
}

#[tokio::test]
async fn loopback_and_excepted_hosts_are_asked_directly() {
    let origin = crate::origin::Plain::start(|_, head| {
        assert!(head.starts_with("get /some/file "), "{head}");
        crate::origin::ok(b"direct")
    })
    .await;
    let proxy = Proxy::start(Tunnels::Refused).await;
    let fetcher = fetcher(proxy.options("", quick()));
    assert_eq!(verified(&fetcher.fetch(origin.req()).await.unwrap()).size(), 6);
    assert!(proxy.heads().is_empty());
}

#[tokio::test]
async fn a_proxy_that_gives_no_tunnel_is_a_failed_connection() {
    let table = [
        (Tunnels::Refused, FailureKind::Connect, "407"),
        (Tunnels::HangUp, FailureKind::Connect, "does not answer"),
        (Tunnels::Silence, FailureKind::Timeout, "origin.test:443"),
    ];
    for (tunnels, kind, word) in table {
        let proxy = Proxy::start(tunnels).await;
        let mut options = quick();
        if kind == FailureKind::Timeout {
            options.connect_timeout = Duration::from_millis(300);
        }
        let failure = fetcher(proxy.options("user:word@", options)).fetch(https()).await.unwrap_err();
        assert_eq!((failure.kind, failure.retries), (kind, 3), "{failure}");
        assert!(failure.message.contains(word) && !failure.message.contains("word@"), "{failure}");
        if kind == FailureKind::Connect {
            assert_eq!(proxy.heads().len(), 4);
        }
    }
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_refused_where_it_is_needed() {
    let origin = crate::origin::Plain::start(|_, _| crate::origin::ok(b"direct")).await;
    let proxies =
        ProxySettings::Variables(vec![("all_proxy".to_owned(), "socks4://u:word@p.test".to_owned())]);
    let fetcher = fetcher(quick_with(|options| options.proxies = proxies));
    assert_eq!(verified(&fetcher.fetch(origin.req()).await.unwrap()).size(), 6);
    let failure = fetcher.fetch(https()).await.unwrap_err();
    assert_eq!((failure.kind, failure.retries), (FailureKind::Proxy, 0), "{failure}");
    assert!(failure.message.contains("all_proxy") && !failure.message.contains("word"), "{failure}");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let proxies = ProxySettings::Variables(vec![("all_proxy".to_owned(), "127.0.0.1:1".to_owned())]);
    let mut options = quick();
    options.proxies = proxies;
    options.retries = 0;
    let failure = fetcher(options).fetch(https()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Connect);
    assert!(failure.message.contains("the proxy for origin.test"), "{failure}");
}

const LOGIN: &str = "us3r:s3cret";

/// Options that name this proxy, and trust it beside the origin.
fn through(proxy: &TestProxy, named: &str, mut base: FetchOptions, dir: &TempDir) -> FetchOptions {
    let proxy_ca = proxy.ca();
    let files = base.cacert.iter().chain([&proxy_ca]);
    let trusted = files.filter_map(|path| std::fs::read_to_string(path).ok());
    let cacert = dir.path().join("roots.pem");
    std::fs::write(&cacert, trusted.collect::<String>()).unwrap();
    let address = format!("{named}://{LOGIN}@{}", proxy.addr());
    let proxies = ProxySettings::Variables(vec![("all_proxy".to_owned(), address)]);
    let cacert = std::fs::metadata(&cacert).is_ok_and(|file| file.len() > 0).then_some(cacert);
    base.proxies = proxies;
    base.cacert = cacert;
    base
}

const KINDS: [(ProxyKind, &str); 3] =
    [(ProxyKind::Http, "http"), (ProxyKind::Https, "https"), (ProxyKind::Socks5, "socks5h")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_goes_through_every_kind_of_proxy_with_tls_end_to_end() {
    for (kind, named) in KINDS {
        let origin = secure(usize::MAX, |_| Duration::ZERO).await;
        let (proxy, dir) = (TestProxy::with_login(kind, origin.addr(), LOGIN), TempDir::new().unwrap());
        let fetcher = fetcher(through(&proxy, named, origin.options(), &dir));
        for _ in 0..3 {
            let got = fetcher.fetch(https()).await.unwrap();
            assert_eq!((got.status, got.retries), (200, 0), "{named}");
        }
        // The requests share an HTTP/2 connection with the origin, whatever the proxy speaks.
        assert_eq!(proxy.asked(), ["origin.test:443"], "{named}");
        let failure = fetcher.fetch(req("https://another.test/file/1")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Tls, "{named}: {failure}");
        assert!(failure.message.contains(": TLS with another.test: "), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_goes_through_every_kind_of_proxy() {
    for (kind, named) in KINDS {
        // Through SOCKS, too, an origin is asked as if it were asked directly.
        let origin = crate::origin::Plain::start(|_, head| {
            assert!(head.starts_with("get /a/b%20c?d=e http/1.1\r\n"), "{head}");
            assert!(head.contains("\r\nhost: origin.test:8080\r\n"), "{head}");
            assert!(!head.contains("proxy-authorization"), "{head}");
            crate::origin::ok(b"proxied")
        })
        .await;
        let addr = origin.base.socket_addrs(|| None).unwrap()[0];
        let (proxy, dir) = (TestProxy::with_login(kind, addr, LOGIN), TempDir::new().unwrap());
        let fetcher = fetcher(through(&proxy, named, quick(), &dir));
        let got =
            fetcher.fetch(req("http://origin.test:8080/a/b%20c?d=e").with_expect(sum(b"proxied"))).await;
        assert_eq!(verified(&got.unwrap()).size(), 7, "{named}");
        let asked = if kind == ProxyKind::Socks5 {
            "origin.test:8080"
        } else {
            "http://origin.test:8080/a/b%20c?d=e"
        };
        assert_eq!(proxy.asked(), [asked], "{named}");
    }
}

#[tokio::test]
async fn a_proxy_that_wants_another_login_is_named_with_its_answer() {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    for ((kind, named), words) in KINDS.into_iter().zip(["407", "407", "credentials not accepted"]) {
        let (proxy, dir) = (TestProxy::with_login(kind, nowhere, "another:login"), TempDir::new().unwrap());
        let mut options = through(&proxy, named, quick(), &dir);
        options.retries = 0;
        let failure = fetcher(options).fetch(https()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Connect, "{named}: {failure}");
        let told = format!("{failure} {failure:?}");
        assert!(told.contains("the proxy for origin.test: 127.0.0.1") && told.contains(words), "{told}");
        assert!(!told.contains("us3r") && !told.contains("s3cret"), "{told}");
    }
}

#[tokio::test]
async fn a_proxy_behind_which_nobody_listens_is_named_with_its_answer() {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    for ((kind, named), words) in KINDS.into_iter().zip(["502", "502", "connection refused"]) {
        let (proxy, dir) = (TestProxy::with_login(kind, nowhere, LOGIN), TempDir::new().unwrap());
        let mut options = through(&proxy, named, quick(), &dir);
        options.retries = 0;
        let failure = fetcher(options).fetch(https()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Connect, "{named}: {failure}");
        assert!(failure.message.contains(words), "{named}: {failure}");
    }
}

#[tokio::test]
async fn a_proxy_whose_certificate_is_not_trusted_gets_no_login() {
    let proxy =
        TestProxy::with_login(ProxyKind::Https, std::net::SocketAddr::from(([127, 0, 0, 1], 1)), LOGIN);
    let address = format!("https://{LOGIN}@{}", proxy.addr());
    let proxies = ProxySettings::Variables(vec![("all_proxy".to_owned(), address)]);
    let failure = fetcher(quick_with(|options| options.proxies = proxies)).fetch(https()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Tls, "{failure}");
    assert!(failure.message.contains("the proxy for origin.test: TLS with 127.0.0.1"), "{failure}");
    assert!(proxy.asked().is_empty());
}
