//! From an origin to a connection: lookup, TCP, proxy, TLS, HTTP handshake.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mirror_tls::{CertificateFileError, Trust};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{FailureKind, Fault, FetchSetupError};
use crate::fair::Fair;
use crate::options::FetchOptions;
use crate::proxy::{Proxies, Proxy};
use crate::redirect::is_local;

pub(crate) type H1 = http1::SendRequest<Empty<Bytes>>;
pub(crate) type H2 = http2::SendRequest<Empty<Bytes>>;

const HEADER_LIMIT_BYTES: u32 = 64 << 10;

/// An open connection.
pub(crate) enum Conn {
    H1(H1),
    H2(H2),
}

/// Whom to connect to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) https: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Refuse loopback and link-local addresses.
    pub(crate) guarded: bool,
    pub(crate) proxy: Option<Proxy>,
}

/// Everything connections share.
pub(crate) struct Connector {
    tls: TlsConnector,
    proxies: Proxies,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(options: &FetchOptions) -> Result<Self, FetchSetupError> {
        let mut trust = Trust::of_system();
        if let Some(path) = &options.cacert {
            trust.add_file(path).map_err(|error| match error {
                CertificateFileError::Read(source) => FetchSetupError::CaCert { path: path.clone(), source },
                _ => FetchSetupError::NoCertificate { path: path.clone() },
            })?;
        }
        let mut config = trust.client()?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            proxies: Proxies::new(&options.proxies),
            timeout: options.connect_timeout,
        })
    }

    pub(crate) fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>, Fault> {
        Ok(self.proxies.of(https, host, port)?)
    }

    /// Opens a connection within the connect timeout.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Conn, Fault> {
        match tokio::time::timeout(self.timeout, self.open(target)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Fault::new(
                FailureKind::Timeout,
                format_args!(
                    "connecting to {}:{} took longer than {:?}",
                    target.host, target.port, self.timeout
                ),
            )),
        }
    }

    async fn open(&self, target: &Target) -> Result<Conn, Fault> {
        let tcp = match &target.proxy {
            None => self.tcp(&target.host, target.port, target.guarded).await?,
            Some(proxy) => {
                let tcp = self.tcp(&proxy.host, proxy.port, false).await;
                let mut tcp =
                    tcp.map_err(|fault| fault.about(format_args!("the proxy for {}", target.host)))?;
                if target.https {
                    tunnel(&mut tcp, target, proxy).await?;
                }
                tcp
            }
        };
        if !target.https {
            return http1_over(tcp).await;
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|e| Fault::new(FailureKind::Address, format_args!("{}: {e}", target.host)))?;
        let tls = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(|e| Fault::new(tls_kind(&e), format_args!("TLS with {}: {e}", target.host)))?;
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
            http2_over(tls).await
        } else {
            http1_over(tls).await
        }
    }

    async fn tcp(&self, host: &str, port: u16, guarded: bool) -> Result<TcpStream, Fault> {
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(|e| Fault::new(FailureKind::Dns, format_args!("looking up {host}: {e}")))?;
        let all: Vec<SocketAddr> = found.collect();
        let usable: Vec<SocketAddr> =
            all.iter().copied().filter(|address| !(guarded && is_local(address.ip()))).collect();
        if usable.is_empty() {
            return Err(if all.is_empty() {
                Fault::new(FailureKind::Dns, format_args!("{host} has no address"))
            } else {
                Fault::new(
                    FailureKind::Address,
                    format_args!("{host} is a loopback or link-local address that the operator did not name"),
                )
            });
        }
        let mut last = None;
        let share = self.timeout / u32::try_from(usable.len()).unwrap_or(u32::MAX).max(1);
        for address in interleave(&usable) {
            let wait = share.max(Duration::from_secs(1)).min(self.timeout);
            match tokio::time::timeout(wait, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => {
                    if let Err(error) = tcp.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    return Ok(tcp);
                }
                Ok(Err(error)) => last = Some((address, error)),
                Err(_) => last = Some((address, io::ErrorKind::TimedOut.into())),
            }
        }
        let Some((address, error)) = last else {
            return Err(Fault::new(FailureKind::Connect, format_args!("{host} has no usable address")));
        };
        let mut fault =
            Fault::new(FailureKind::Connect, format_args!("connecting to {host} ({address}): {error}"));
        // EMFILE and ENFILE: fewer connections are the only cure.
        fault.congested = matches!(error.raw_os_error(), Some(23 | 24));
        Err(fault)
    }
}

/// Alternates the address families, the resolver's first choice first.
fn interleave(all: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = all.first().is_some_and(|a| a.ip().is_ipv6());
    let (same, other): (Vec<_>, Vec<_>) = all.iter().copied().partition(|a| a.ip().is_ipv6() == first_is_v6);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut out = Vec::with_capacity(all.len());
    loop {
        match (same.next(), other.next()) {
            (None, None) => return out,
            (a, b) => out.extend(a.into_iter().chain(b)),
        }
    }
}

fn tls_kind(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            FailureKind::Reset
        }
        _ => FailureKind::Tls,
    }
}

/// Asks an HTTP proxy for a tunnel. The peer says nothing before our TLS hello, so nothing is over-read.
async fn tunnel(tcp: &mut TcpStream, target: &Target, proxy: &Proxy) -> Result<(), Fault> {
    let host = match target.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => target.host.clone(),
    };
    let port = target.port;
    let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(value) = &proxy.authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let failed = |e: io::Error| Fault::new(FailureKind::Connect, format_args!("proxy {}: {e}", proxy.host));
    tcp.write_all(&head).await.map_err(failed)?;
    let mut answer = Vec::with_capacity(1024);
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        if answer.len() > 8192 || tcp.read_buf(&mut answer).await.map_err(failed)? == 0 {
            return Err(Fault::new(
                FailureKind::Connect,
                format_args!("proxy {} does not answer", proxy.host),
            ));
        }
    }
    let status = answer.get(9..12).and_then(|s| std::str::from_utf8(s).ok()).unwrap_or("?");
    if answer.starts_with(b"HTTP/1.") && status.starts_with('2') {
        return Ok(());
    }
    Err(Fault::new(FailureKind::Connect, format_args!("proxy {} refuses the tunnel: {status}", proxy.host)))
}

async fn http1_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) -> Result<Conn, Fault> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_LIMIT_BYTES as usize)
        .handshake(TokioIo::new(Fair::new(io)))
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

async fn http2_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: S) -> Result<Conn, Fault> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .max_header_list_size(HEADER_LIMIT_BYTES)
        .keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(15))
        .handshake(TokioIo::new(Fair::new(io)))
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
