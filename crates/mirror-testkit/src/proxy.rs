//! Proxies of three kinds.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::worker::{Worker, accept_each};

/// The protocol of a [`TestProxy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP/1.1: tunnels, and requests that it forwards.
    Http,
    /// The same over TLS.
    Https,
    /// SOCKS 5 (RFC 1928), with a user name and a password (RFC 1929) when it has a login.
    Socks5,
}

/// A proxy that finds every host at one address. Stopped when dropped.
pub struct TestProxy {
    state: Arc<State>,
    addr: SocketAddr,
    dir: tempfile::TempDir,
    _worker: Worker,
}

struct State {
    kind: ProxyKind,
    to: SocketAddr,
    /// `user:password`; nobody else is let in.
    login: Option<String>,
    asked: Mutex<Vec<String>>,
}

impl TestProxy {
    /// Leads every client to `to`.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    #[must_use]
    pub fn start(kind: ProxyKind, to: SocketAddr) -> Self {
        Self::start_with(kind, to, None)
    }

    /// Leads the clients to `to` that show this `user:password`.
    ///
    /// # Panics
    /// When no port is free: this is test code.
    #[must_use]
    pub fn with_login(kind: ProxyKind, to: SocketAddr, login: &str) -> Self {
        Self::start_with(kind, to, Some(login.to_owned()))
    }

    fn start_with(kind: ProxyKind, to: SocketAddr, login: Option<String>) -> Self {
        let dir = tempfile::tempdir().expect("a directory for certificates");
        let tls = (kind == ProxyKind::Https).then(|| crate::tls::acceptor(dir.path(), &[b"http/1.1"]).0);
        let listener = StdListener::bind("127.0.0.1:0").expect("a port to listen at");
        listener.set_nonblocking(true).expect("non-blocking");
        let addr = listener.local_addr().expect("address");
        let state = Arc::new(State { kind, to, login, asked: Mutex::default() });
        let shared = Arc::clone(&state);
        let worker = Worker::start(async move |stop| accept(listener, tls, shared, stop).await);
        Self { state, addr, dir, _worker: worker }
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the path of the PEM file of the authority that signed its certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Returns what it was asked for so far: `host:port` for a tunnel and by SOCKS, else the whole address.
    ///
    /// # Panics
    /// When one of its own tasks panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().expect("lock").clone()
    }
}

async fn accept(listener: StdListener, tls: Option<TlsAcceptor>, state: Arc<State>, stop: CancellationToken) {
    accept_each(listener, &stop, |tcp| {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        async move {
            match tls {
                Some(tls) => {
                    if let Ok(tls) = tls.accept(tcp).await {
                        http1(tls, state).await;
                    }
                }
                None if state.kind == ProxyKind::Socks5 => drop(socks5(tcp, &state).await),
                None => http1(tcp, state).await,
            }
        }
    })
    .await;
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let builder = hyper::server::conn::http1::Builder::new();
    drop(builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await);
}

type Answer = Response<Either<Incoming, Empty<Bytes>>>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, Infallible> {
    state.asked.lock().expect("lock").push(request.uri().to_string());
    let status = |status| {
        let mut response = Response::new(Either::Right(Empty::new()));
        *response.status_mut() = status;
        response
    };
    let shown = request.headers().get(header::PROXY_AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    if let Some(login) = &state.login
        && shown.as_deref() != Some(format!("Basic {}", STANDARD.encode(login)).as_bytes())
    {
        return Ok(status(StatusCode::PROXY_AUTHENTICATION_REQUIRED));
    }
    if request.method() == Method::CONNECT {
        let Ok(mut far) = TcpStream::connect(state.to).await else {
            return Ok(status(StatusCode::BAD_GATEWAY));
        };
        tokio::spawn(async move {
            if let Ok(near) = hyper::upgrade::on(request).await {
                let _ = copy_bidirectional(&mut TokioIo::new(near), &mut far).await;
            }
        });
        return Ok(status(StatusCode::OK));
    }
    Ok(forward(request, state.to).await.unwrap_or_else(|| status(StatusCode::BAD_GATEWAY)))
}

/// Sends a request on as its origin expects it.
async fn forward(mut request: Request<Incoming>, to: SocketAddr) -> Option<Answer> {
    let path = request.uri().path_and_query()?.clone();
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().remove(header::PROXY_AUTHORIZATION);
    let far = TcpStream::connect(to).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(far)).await.ok()?;
    tokio::spawn(connection);
    Some(sender.send_request(request).await.ok()?.map(Either::Left))
}

/// Serves one client of SOCKS 5.
async fn socks5(mut near: TcpStream, state: &State) -> std::io::Result<()> {
    const NO_LOGIN: u8 = 0;
    const LOGIN: u8 = 2;
    let [_version, methods] = [near.read_u8().await?, near.read_u8().await?];
    let methods = bytes(&mut near, methods).await?;
    let wanted = if state.login.is_some() { LOGIN } else { NO_LOGIN };
    if !methods.contains(&wanted) {
        return near.write_all(&[5, 0xff]).await;
    }
    near.write_all(&[5, wanted]).await?;
    if let Some(login) = &state.login {
        near.read_u8().await?;
        let mut shown = text(&mut near).await?;
        shown.push(b':');
        shown.extend(text(&mut near).await?);
        let refused = shown != login.as_bytes();
        near.write_all(&[1, refused.into()]).await?;
        if refused {
            return Ok(());
        }
    }
    let [_version, _connect, _reserved, form] = *bytes(&mut near, 4).await?.first_chunk().expect("four");
    let host = match form {
        1 => Ipv4Addr::from_bits(near.read_u32().await?).to_string(),
        4 => IpAddr::V6(Ipv6Addr::from_bits(near.read_u128().await?)).to_string(),
        _ => String::from_utf8_lossy(&text(&mut near).await?).into_owned(),
    };
    let port = near.read_u16().await?;
    state.asked.lock().expect("lock").push(format!("{host}:{port}"));
    let far = TcpStream::connect(state.to).await;
    let refused = if far.is_ok() { 0 } else { 5 };
    near.write_all(&[5, refused, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut near, &mut far?).await?;
    Ok(())
}

async fn bytes(near: &mut TcpStream, count: u8) -> std::io::Result<Vec<u8>> {
    let mut read = vec![0; count.into()];
    near.read_exact(&mut read).await?;
    Ok(read)
}

/// Reads a text with its length before it.
async fn text(near: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let count = near.read_u8().await?;
    bytes(near, count).await
}
