//! From an origin to a connection: the way to its port, TLS, HTTP handshake.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mirror_tls::{CertificateFileError, Trust};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tower::{ServiceExt as _, service_fn};

use crate::failure::{FailureKind, Fault, FetchSetupError};
use crate::fair::Fair;
use crate::options::FetchOptions;
use crate::proxy::{Proxies, Proxy};
use crate::route::{Lookup, Routes, system_lookup, tls_fault, uri};

pub(crate) type H1 = http1::SendRequest<Empty<Bytes>>;
pub(crate) type H2 = http2::SendRequest<Empty<Bytes>>;

const HEADER_LIMIT_BYTES: u32 = 64 << 10;

/// An open connection.
pub(crate) enum Conn {
    H1(H1),
    H2(H2),
}

/// Whom to connect to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) https: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Refuse loopback and link-local addresses.
    pub(crate) guarded: bool,
    pub(crate) proxy: Option<Proxy>,
}

impl Target {
    /// Returns the proxy that is itself sent the requests: an HTTP proxy for an origin without TLS.
    pub(crate) fn asked_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| !self.https && proxy.socks.is_none())
    }
}

/// Everything connections share.
pub(crate) struct Connector {
    /// TLS with origins.
    tls: Arc<ClientConfig>,
    routes: Routes,
    proxies: Proxies,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(options: &FetchOptions) -> Result<Self, FetchSetupError> {
        Self::with_lookup(options, system_lookup())
    }

    fn with_lookup(options: &FetchOptions, lookup: Lookup) -> Result<Self, FetchSetupError> {
        let mut trust = Trust::of_system();
        if let Some(path) = &options.cacert {
            trust.add_file(path).map_err(|error| match error {
                CertificateFileError::Read(source) => FetchSetupError::CaCert { path: path.clone(), source },
                _ => FetchSetupError::NoCertificate { path: path.clone() },
            })?;
        }
        let mut tls = trust.client()?;
        // A proxy is asked over HTTP/1.1.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let proxy_tls = Arc::new(tls.clone());
        tls.alpn_protocols.insert(0, b"h2".to_vec());
        let timeout = options.connect_timeout;
        Ok(Self {
            tls: Arc::new(tls),
            routes: Routes { lookup, tls: proxy_tls, timeout },
            proxies: Proxies::new(&options.proxies),
            timeout,
        })
    }

    pub(crate) fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>, Fault> {
        Ok(self.proxies.of(https, host, port)?)
    }

    /// Opens a connection within the connect timeout.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Conn, Fault> {
        match tokio::time::timeout(self.timeout, self.open(target)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let Target { host, port, proxy, .. } = target;
                let by = proxy
                    .as_ref()
                    .map_or_else(String::new, |proxy| format!(" through the proxy {}", proxy.place()));
                let waited = self.timeout;
                Err(Fault::new(
                    FailureKind::Timeout,
                    format_args!("connecting to {host}:{port}{by} took longer than {waited:?}"),
                ))
            }
        }
    }

    async fn open(&self, target: &Target) -> Result<Conn, Fault> {
        let name = ServerName::try_from(target.host.clone())
            .map_err(|e| Fault::new(FailureKind::Address, format_args!("{}: {e}", target.host)))?;
        let (routes, ends) = (self.routes.clone(), target.clone());
        let route = service_fn(move |dst| {
            let (routes, ends) = (routes.clone(), ends.clone());
            async move { routes.open(&ends, dst).await }
        });
        let name = Arc::new(FixedServerNameResolver::new(name));
        let scheme = if target.https { Scheme::HTTPS } else { Scheme::HTTP };
        let io = HttpsConnector::new(route, Arc::clone(&self.tls), false, name)
            .oneshot(uri(&scheme, &target.host, target.port)?)
            .await
            .map_err(|error| tls_fault(error, &target.host))?;
        if io.connected().is_negotiated_h2() { http2_over(io).await } else { http1_over(io).await }
    }
}

async fn http1_over<S: Read + Write + Unpin + Send + 'static>(io: S) -> Result<Conn, Fault> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_LIMIT_BYTES as usize)
        .handshake(fair(io))
        .await
        .map_err(|e| Fault::of_hyper(&e, "HTTP/1.1 handshake"))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            let error = Fault::of_hyper(&error, "an HTTP/1.1 connection").message;
            tracing::debug!(error, "a connection ended");
        }
    });
    Ok(Conn::H1(sender))
}

async fn http2_over<S: Read + Write + Unpin + Send + 'static>(io: S) -> Result<Conn, Fault> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .max_header_list_size(HEADER_LIMIT_BYTES)
        .keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(15))
        .handshake(fair(io))
        .await
        .map_err(|e| Fault::of_hyper(&e, "HTTP/2 handshake"))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            let error = Fault::of_hyper(&error, "an HTTP/2 connection").message;
            tracing::debug!(error, "a connection ended");
        }
    });
    Ok(Conn::H2(sender))
}

/// Has a connection let others have their turn. [`Fair`] is written for the traits of tokio.
fn fair<S: Read + Write + Unpin>(io: S) -> TokioIo<Fair<TokioIo<S>>> {
    TokioIo::new(Fair::new(TokioIo::new(io)))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use mirror_testkit::{ProxyKind, TestProxy};
    use tokio::net::TcpListener;
    #[cfg(target_os = "linux")]
    use tokio::net::{TcpSocket, TcpStream};

    use super::*;
    use crate::options::ProxySettings;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    /// Long before this a connection is there, and long after it the kernel gives up the attempt.
    const HANG: Duration = Duration::from_secs(60);

    /// Connects to `two.test`, which has these addresses, with a timeout that no test waits for.
    async fn connect(addresses: io::Result<Vec<IpAddr>>, port: u16, guarded: bool) -> Result<Conn, Fault> {
        let addresses: Arc<io::Result<Vec<SocketAddr>>> =
            Arc::new(addresses.map(|all| all.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()));
        let lookup: Lookup = Arc::new(move |host| {
            assert_eq!(host, "two.test");
            let found = match addresses.as_ref() {
                Ok(found) => Ok(found.clone()),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            Box::pin(std::future::ready(found))
        });
        let options = FetchOptions {
            connect_timeout: Duration::from_secs(3600),
            proxies: ProxySettings::Variables(Vec::new()),
            ..FetchOptions::default()
        };
        let connector = Connector::with_lookup(&options, lookup).unwrap();
        let target = Target { https: false, host: "two.test".to_owned(), port, guarded, proxy: None };
        tokio::time::timeout(HANG, connector.connect(&target)).await.expect("no attempt hangs")
    }

    /// Listens at one address, and at the same port of another one in such a way that the kernel answers nobody: its
    /// queue is full. `None` without IPv6.
    #[cfg(target_os = "linux")]
    async fn live_and_dead(live: IpAddr, dead: IpAddr) -> Option<(TcpListener, TcpListener, TcpStream)> {
        for _ in 0..100 {
            let listener = TcpListener::bind((live, 0)).await.ok()?;
            let address = SocketAddr::new(dead, listener.local_addr().unwrap().port());
            let socket = if dead.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.ok()?;
            match socket.bind(address) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(_) => return None,
            }
            let dead = socket.listen(0).unwrap();
            let filling = TcpStream::connect(address).await.unwrap();
            return Some((listener, dead, filling));
        }
        panic!("no port is free at both addresses");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_dead_address_of_one_family_does_not_hold_up_the_other() {
        for (live, dead) in [(V4, V6), (V6, V4)] {
            let Some((listener, _dead, _filling)) = live_and_dead(live, dead).await else {
                eprintln!("skipped: this machine has no IPv6");
                return;
            };
            let port = listener.local_addr().unwrap().port();
            let connected = connect(Ok(vec![dead, live]), port, false).await;
            assert!(connected.is_ok(), "{:?}", connected.err());
            // It is this one that was reached.
            listener.accept().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_failure_says_whether_the_name_the_address_or_the_port_is_at_fault() {
        let closed = TcpListener::bind((V4, 0)).await.unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let table = [
            (Ok(vec![V4]), false, FailureKind::Connect, "connecting to two.test (127.0.0.1): "),
            (Ok(vec![V4, V6]), true, FailureKind::Address, "did not name"),
            (Ok(Vec::new()), true, FailureKind::Dns, "two.test has no address"),
            (Err(io::Error::other("no such name")), false, FailureKind::Dns, "two.test: no such name"),
        ];
        for (addresses, guarded, kind, words) in table {
            let fault = connect(addresses, port, guarded).await.err().unwrap();
            assert_eq!(fault.kind, kind, "{}", fault.message);
            assert!(fault.message.contains(words), "{}", fault.message);
        }
    }

    /// With `socks5` the name is looked up here, guard included; with `socks5h` only the proxy sees it.
    #[tokio::test]
    async fn a_socks_proxy_is_asked_for_the_address_or_for_the_name() {
        let origin = TcpListener::bind((V4, 0)).await.unwrap();
        let found: Vec<SocketAddr> = vec!["192.0.2.7:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
        for (scheme, looked_up) in [("socks5", true), ("socks5h", false)] {
            let proxy = TestProxy::start(ProxyKind::Socks5, origin.local_addr().unwrap());
            let named = format!("{scheme}://{}", proxy.addr());
            let proxies = ProxySettings::Variables(vec![("all_proxy".to_owned(), named)]);
            let found = found.clone();
            let lookup: Lookup = Arc::new(move |host| {
                assert_eq!((host.as_str(), looked_up), ("two.test", true));
                Box::pin(std::future::ready(Ok(found.clone())))
            });
            let options = FetchOptions { proxies, ..FetchOptions::default() };
            let connector = Connector::with_lookup(&options, lookup).unwrap();
            let by = connector.proxy(false, "two.test", 80).unwrap();
            let host = "two.test".to_owned();
            let target = Target { https: false, host, port: 80, guarded: true, proxy: by };
            assert!(connector.connect(&target).await.is_ok());
            assert_eq!(proxy.asked(), [if looked_up { "192.0.2.7:80" } else { "two.test:80" }]);
        }
    }

    /// Checks the limit of hyper-util for all texts together: it is neither stricter nor laxer than what that can send.
    #[tokio::test]
    async fn a_login_that_the_socks_client_cannot_send_is_refused_with_its_limit() {
        let origin = TcpListener::bind((V4, 0)).await.unwrap();
        let table =
            [("two.test", 249 - "two.test".len(), 249), ("192.0.2.7", 246, 246), ("2001:db8::7", 234, 234)];
        for (host, login_bytes, limit) in table {
            for (password_bytes, fits) in [(login_bytes - 100, true), (login_bytes - 99, false)] {
                let (user, password) = ("u".repeat(100), "p".repeat(password_bytes));
                let login = format!("{user}:{password}");
                let proxy = TestProxy::with_login(ProxyKind::Socks5, origin.local_addr().unwrap(), &login);
                let named = format!("socks5h://{login}@{}", proxy.addr());
                let proxies = ProxySettings::Variables(vec![("all_proxy".to_owned(), named)]);
                let options = FetchOptions { proxies, ..FetchOptions::default() };
                let connector = Connector::new(&options).unwrap();
                let by = connector.proxy(false, host, 80).unwrap();
                let target =
                    Target { https: false, host: host.to_owned(), port: 80, guarded: false, proxy: by };
                let fault = connector.connect(&target).await.err();
                assert_eq!(fault.is_none(), fits, "{host}: {fault:?}");
                assert_eq!(proxy.asked().len(), usize::from(fits), "{host}");
                if let Some(fault) = fault {
                    assert_eq!(fault.kind, FailureKind::Proxy);
                    let words = format!("have {} bytes together", limit + 1);
                    assert!(fault.message.contains(&words), "{}", fault.message);
                    assert!(fault.message.contains(&format!("can send {limit};")), "{}", fault.message);
                    assert!(!fault.message.contains("ppp"), "{}", fault.message);
                }
            }
        }
    }
}
