//! The way to an origin's port: straight, or through its proxy. TLS with the origin comes on top.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt as _, service_fn};

use crate::connect::Target;
use crate::failure::{FailureKind, Fault};
use crate::limit::lock;
use crate::proxy::Proxy;
use crate::redirect::is_local;

/// Longest head of a proxy's answer, bytes.
const ANSWER_LIMIT_BYTES: usize = 8192;

/// The buffer in which hyper-util collects everything that it sends to a SOCKS proxy, bytes.
const SOCKS_BUFFER_BYTES: usize = 262;

/// The addresses of a name, or why there are none.
type Looked = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// Looks a name up.
pub(crate) type Lookup = Arc<dyn Fn(String) -> Looked + Send + Sync>;

/// A connection to an origin's port, or to a proxy; with TLS when that proxy wants it.
pub(crate) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Asks the system.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) }))
}

/// The lookup, the TLS settings and the timeout that all connections share.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) lookup: Lookup,
    /// TLS with proxies.
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) timeout: Duration,
}

impl Routes {
    /// Opens a connection to the port of `target`, at which `dst` is: for plain HTTP through an HTTP proxy, to that
    /// proxy.
    pub(crate) async fn open(&self, target: &Target, dst: Uri) -> Result<Io, Fault> {
        let Some(proxy) = &target.proxy else {
            let tcp = self.tcp(&target.host, target.guarded).oneshot(dst).await?;
            return Ok(MaybeHttpsStream::Http(tcp));
        };
        if proxy.socks.is_some() {
            return self.by_socks(target, proxy, dst).await.map(MaybeHttpsStream::Http);
        }
        self.by_http(proxy, &dst).await.map_err(|fault| by_proxy(target, fault))
    }

    /// Returns the service that connects over TCP. It tries both families of addresses at once when the first does not
    /// answer soon.
    fn tcp(
        &self,
        host: &str,
        guarded: bool,
    ) -> impl Service<Uri, Response = TokioIo<TcpStream>, Error = Fault, Future: Send + 'static> + use<> {
        let found = Arc::new(Mutex::new(Vec::new()));
        let (lookup, seen) = (Arc::clone(&self.lookup), Arc::clone(&found));
        let resolver = service_fn(move |name: Name| {
            let (lookup, seen) = (Arc::clone(&lookup), Arc::clone(&seen));
            async move {
                let usable = resolve(&lookup, name.as_str(), guarded).await?;
                lock(&seen).clone_from(&usable);
                Ok::<_, Fault>(usable.into_iter())
            }
        });
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(self.timeout));
        let host = host.to_owned();
        http.map_err(move |error| tcp_fault(&error, &host, &lock(&found)))
    }

    /// Connects to an HTTP proxy, and asks it for a tunnel when TLS with the origin follows.
    async fn by_http(&self, proxy: &Proxy, dst: &Uri) -> Result<Io, Fault> {
        let tls = Arc::clone(&self.tls);
        let mut io = HttpsConnector::from((self.tcp(&proxy.host, false), tls))
            .oneshot(proxy.uri.clone())
            .await
            .map_err(|error| tls_fault(error, &proxy.host))?;
        if dst.scheme() == Some(&Scheme::HTTPS) {
            tunnel(&mut TokioIo::new(&mut io), dst, proxy).await?;
        }
        Ok(io)
    }

    /// Has a SOCKS proxy connect to the origin. With `socks5` this machine looks the name up, with `socks5h` the proxy.
    async fn by_socks(&self, target: &Target, proxy: &Proxy, dst: Uri) -> Result<TokioIo<TcpStream>, Fault> {
        let looks_up_here = proxy.socks.as_ref().is_some_and(|socks| socks.looks_up_here);
        let places = if looks_up_here && target.host.parse::<IpAddr>().is_err() {
            let found = resolve(&self.lookup, &target.host, target.guarded).await?;
            let place = |address: SocketAddr| uri(&Scheme::HTTPS, &address.ip().to_string(), target.port);
            found.into_iter().map(place).collect::<Result<_, _>>()?
        } else {
            vec![dst]
        };
        let mut fault = Fault::new(FailureKind::Dns, format_args!("{} has no address", target.host));
        for place in places {
            match self.socks_to(proxy, place).await {
                Ok(tcp) => return Ok(tcp),
                Err(failed) => fault = by_proxy(target, failed),
            }
        }
        Err(fault)
    }

    async fn socks_to(&self, proxy: &Proxy, dst: Uri) -> Result<TokioIo<TcpStream>, Fault> {
        fits_in_socks(proxy, &dst)?;
        // Connected first: the library's error does not say why its own connector failed.
        let mut tcp = Some(self.tcp(&proxy.host, false).oneshot(proxy.uri.clone()).await?);
        let connected = service_fn(move |_: Uri| {
            let tcp = tcp.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(tcp)
        });
        let mut socks = SocksV5::new(proxy.uri.clone(), connected);
        if let Some((user, password)) = proxy.socks.as_ref().and_then(|socks| socks.login.clone()) {
            socks = socks.with_auth(user, password);
        }
        let failed = |error| Fault::new(FailureKind::Connect, format_args!("{}: {error}", proxy.host));
        socks.oneshot(dst).await.map_err(failed)
    }
}

/// Checks that hyper-util can send the login and the host to a SOCKS proxy. Its own error names none of them.
fn fits_in_socks(proxy: &Proxy, dst: &Uri) -> Result<(), Fault> {
    let host = dst.host().unwrap_or_default();
    // The greeting, then the request: four bytes, the address or the name with its length, the port.
    let (name_bytes, mut fixed_bytes) = match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(_)) => (0, 3 + 4 + 4 + 2),
        Ok(IpAddr::V6(_)) => (0, 3 + 4 + 16 + 2),
        Err(_) => (host.len(), 3 + 4 + 1 + 2),
    };
    let mut login_bytes = 0;
    if let Some((user, password)) = proxy.socks.as_ref().and_then(|socks| socks.login.as_ref()) {
        // A version and two lengths.
        fixed_bytes += 3;
        login_bytes = user.len() + password.len();
    }
    let (found, limit) = (name_bytes + login_bytes, SOCKS_BUFFER_BYTES - fixed_bytes);
    if found <= limit {
        return Ok(());
    }
    Err(Fault::new(
        FailureKind::Proxy,
        format_args!(
            "{}: user name, password and host name have {found} bytes together, and the SOCKS client of this program \
             can send {limit}; choose a shorter login",
            proxy.host
        ),
    ))
}

/// Says of a fault that it is the proxy's, and who was to be reached.
fn by_proxy(target: &Target, fault: Fault) -> Fault {
    fault.about(format_args!("the proxy for {}", target.host))
}

/// Makes the address of a port; `host` has no brackets.
pub(crate) fn uri(scheme: &Scheme, host: &str, port: u16) -> Result<Uri, Fault> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let built = Uri::builder().scheme(scheme.clone()).authority(shown).path_and_query("/").build();
    built.map_err(|error| Fault::new(FailureKind::Address, format_args!("{host}: {error}")))
}

/// Looks a name up. Of a guarded one no address of this machine or its links is used.
async fn resolve(lookup: &Lookup, host: &str, guarded: bool) -> Result<Vec<SocketAddr>, Fault> {
    let mut found = lookup(host.to_owned())
        .await
        .map_err(|error| Fault::new(FailureKind::Dns, format_args!("looking up {host}: {error}")))?;
    if found.is_empty() {
        return Err(Fault::new(FailureKind::Dns, format_args!("{host} has no address")));
    }
    found.retain(|address| !(guarded && is_local(address.ip())));
    if found.is_empty() {
        return Err(local_address(host));
    }
    Ok(found)
}

/// Refuses an address of this machine or its links.
pub(crate) fn local_address(host: &str) -> Fault {
    let why = format_args!("{host} is a loopback or link-local address that the operator did not name");
    Fault::new(FailureKind::Address, why)
}

/// Names a failure to connect over TCP to one of the addresses that were found; none were when the host is an address.
fn tcp_fault(error: &(dyn Error + 'static), host: &str, found: &[SocketAddr]) -> Fault {
    let place = match found {
        [] => host.to_owned(),
        found => {
            let found: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
            format!("{host} ({})", found.join(", "))
        }
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return fault.clone();
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::TimedOut {
                return Fault::new(FailureKind::Timeout, format_args!("connecting to {place} took too long"));
            }
            let mut fault = Fault::new(FailureKind::Connect, format_args!("connecting to {place}: {io}"));
            // EMFILE and ENFILE: fewer connections are the only cure.
            fault.congested = matches!(io.raw_os_error(), Some(23 | 24));
            return fault;
        }
        cause = error.source();
    }
    Fault::new(FailureKind::Connect, format_args!("connecting to {place}: {error}"))
}

/// Names the failure of a connection with TLS: that of the layers below it, or its own.
pub(crate) fn tls_fault(error: Box<dyn Error + Send + Sync>, host: &str) -> Fault {
    match error.downcast::<Fault>() {
        Ok(fault) => *fault,
        Err(error) => Fault::new(tls_kind(&*error), format_args!("TLS with {host}: {error}")),
    }
}

/// Tells a connection that broke from a handshake that was refused.
fn tls_kind(error: &(dyn Error + Send + Sync + 'static)) -> FailureKind {
    // The connector wraps the error of the handshake in another one, whose source is not it but its own source.
    let outer = error.downcast_ref::<io::Error>();
    let inner = outer.and_then(|io| io.get_ref()).and_then(|inner| inner.downcast_ref::<io::Error>());
    match inner.or(outer).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            FailureKind::Reset
        }
        _ => FailureKind::Tls,
    }
}

/// Asks an HTTP proxy for a tunnel. The peer says nothing before our TLS hello, so nothing is over-read.
///
/// The library's own tunnel accepts 200 alone, though any 2xx opens one (RFC 9110, 9.3.6), and hides every other status
/// but 407, which an operator needs to see.
async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut S,
    dst: &Uri,
    proxy: &Proxy,
) -> Result<(), Fault> {
    let place = dst.authority().map_or("", |authority| authority.as_str());
    let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
    if let Some(value) = &proxy.authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let failed = |error: io::Error| Fault::new(FailureKind::Connect, format_args!("{}: {error}", proxy.host));
    io.write_all(&head).await.map_err(failed)?;
    io.flush().await.map_err(failed)?;
    let mut answer = Vec::with_capacity(1024);
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        if answer.len() > ANSWER_LIMIT_BYTES || io.read_buf(&mut answer).await.map_err(failed)? == 0 {
            return Err(Fault::new(FailureKind::Connect, format_args!("{} does not answer", proxy.host)));
        }
    }
    let status = answer.get(9..12).and_then(|s| std::str::from_utf8(s).ok()).unwrap_or("?");
    if answer.starts_with(b"HTTP/1.") && status.starts_with('2') {
        return Ok(());
    }
    Err(Fault::new(FailureKind::Connect, format_args!("{} refuses the tunnel: {status}", proxy.host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guarded_name_keeps_the_addresses_that_are_not_local() {
        let all: Vec<SocketAddr> =
            ["127.0.0.1:0", "192.0.2.1:0", "[fe80::1]:0", "[2001:db8::1]:0", "[::1]:0"]
                .map(|text| text.parse().unwrap())
                .to_vec();
        let found = all.clone();
        let lookup: Lookup = Arc::new(move |_| Box::pin(std::future::ready(Ok(found.clone()))));
        assert_eq!(resolve(&lookup, "a.test", false).await.unwrap(), all);
        assert_eq!(resolve(&lookup, "a.test", true).await.unwrap(), [all[1], all[3]]);
    }

    #[test]
    fn too_many_open_files_ask_for_fewer_connections() {
        for (code, congested) in [(24, true), (23, true), (111, false)] {
            let error = io::Error::from_raw_os_error(code);
            let fault = tcp_fault(&error, "a.test", &[]);
            assert_eq!((fault.kind, fault.congested), (FailureKind::Connect, congested), "{code}");
        }
    }

    #[test]
    fn a_broken_handshake_is_told_from_a_refused_one() {
        let table = [
            (io::ErrorKind::ConnectionReset, FailureKind::Reset),
            (io::ErrorKind::UnexpectedEof, FailureKind::Reset),
            (io::ErrorKind::InvalidData, FailureKind::Tls),
        ];
        for (kind, want) in table {
            // As the connector wraps it.
            let wrapped = io::Error::other(io::Error::new(kind, "it broke"));
            let fault = tls_fault(Box::new(wrapped), "a.test");
            assert_eq!(fault.kind, want);
            assert!(fault.message.contains("TLS with a.test: it broke"), "{}", fault.message);
        }
    }
}
