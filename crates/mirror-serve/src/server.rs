//! Connections in, answers out.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{App, Asker, text};
use crate::error::ServeError;
use crate::mirror::Mirror;
use crate::options::{ServeLimits, ServeOptions};
use crate::tls;
use crate::watch::Watched;

/// How often it is looked whether another catalogue was put in the place of the one that is open.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A server that listens and has not begun to answer.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: ServeLimits,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.app.mirror, self.addr)
    }
}

impl Server {
    /// Opens the mirror and listens. Inside a runtime with I/O and time; blocks for a moment.
    ///
    /// # Errors
    /// When there is no mirror, a certificate cannot be used, or the address cannot be had.
    pub async fn open(options: &ServeOptions) -> Result<Self, ServeError> {
        let mut options = options.clone();
        options.public_url = options.public_url.as_deref().map(public_url).transpose()?;
        let mirror = Mirror::open(&options.mirror, options.bundles_dir.as_deref())?;
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let listen = &options.listen;
        let full = if listen.starts_with(':') { format!("[::]{listen}") } else { listen.clone() };
        let fail = |source| ServeError::Listen { addr: listen.clone(), source };
        let listener = match TcpListener::bind(&full).await {
            // A machine without IPv6.
            Err(_) if listen.starts_with(':') => TcpListener::bind(format!("0.0.0.0{listen}")).await,
            bound => bound,
        };
        let listener = listener.map_err(fail)?;
        let addr = listener.local_addr().map_err(fail)?;
        let app = Arc::new(App::new(mirror, &options));
        Ok(Self { app, listener, addr, tls, limits: options.limits })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The mirror that is served.
    #[must_use]
    pub fn mirror(&self) -> &Mirror {
        &self.app.mirror
    }

    /// Answers until `stop` is cancelled; then what is under way has a little time to end.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let look = look_again(Arc::clone(&self.app), stop.clone());
        tokio::spawn(look);
        let places = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of files, most likely: others will close theirs.
                    tracing::warn!("no connection can be taken: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let counters = &self.app.counters;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                counters.turned_away.fetch_add(1, Relaxed);
                continue;
            };
            counters.connections.fetch_add(1, Relaxed);
            counters.open.fetch_add(1, Relaxed);
            let connection = Connection {
                app: Arc::clone(&self.app),
                tls: self.tls.clone(),
                limits: self.limits,
                stop: stop.clone(),
            };
            tasks.spawn(async move {
                let app = Arc::clone(&connection.app);
                if let Err(error) = connection.serve(stream).await {
                    tracing::debug!("a connection ended: {error}");
                }
                app.counters.open.fetch_sub(1, Relaxed);
                drop(place);
            });
        }
        drop(self.listener);
        tasks.close();
        if tokio::time::timeout(self.limits.grace_time, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "cut off what did not end in time");
        }
    }
}

/// The address of a registry as people give it, checked, without a slash at the end.
///
/// # Errors
/// When it is no plain address by http or https.
pub fn public_url(text: &str) -> Result<String, ServeError> {
    let url = text.trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}?#@".contains(&byte);
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') && host.bytes().all(plain) => {
            Ok(url.to_owned())
        }
        _ => Err(ServeError::Usage(format!(
            "{} is no address like https://crates.example.org or https://example.org/crates",
            mirror_types::Printable(text)
        ))),
    }
}

async fn look_again(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let mirror = Arc::clone(&app.mirror);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || mirror.look_again()).await {
            tracing::warn!("the catalogue was replaced by one that cannot be read: {error}");
        }
    }
}

struct Connection {
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
    limits: ServeLimits,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        match self.tls.clone() {
            None => self.speak(stream, false).await,
            Some(tls) => {
                let shaken = tokio::time::timeout(self.limits.head_time, tls.accept(stream)).await;
                let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                self.speak(stream, true).await
            }
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        tls: bool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (stream, moved) = Watched::new(stream);
        let limits = self.limits;
        let app = Arc::clone(&self.app);
        let asked = Arc::new(AtomicBool::new(false));
        let has_asked = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Incoming>| {
            has_asked.store(true, Relaxed);
            let app = Arc::clone(&app);
            async move {
                let (head, _) = request.into_parts();
                let answer = tokio::time::timeout(limits.request_time, app.answer(&head, Asker { tls }));
                Ok::<_, Infallible>(answer.await.unwrap_or_else(|_| {
                    text(StatusCode::SERVICE_UNAVAILABLE, "the mirror did not answer in time\n")
                }))
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // A clock that stands before 1970 has no date for headers.
        let has_date = SystemTime::now() >= SystemTime::UNIX_EPOCH;
        builder
            .http1()
            .auto_date_header(has_date)
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_buf_size(limits.head_bytes.max(8 << 10))
            .http2()
            .auto_date_header(has_date)
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(64 << 10);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let still = moved.still_for(limits.idle_time);
        tokio::pin!(still);
        // Of its own: the library waits for the first bytes, by which it knows the protocol, as long as it takes.
        let first_head = tokio::time::sleep(limits.head_time);
        tokio::pin!(first_head);
        let (mut stopping, mut begun) = (false, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = &mut still => {
                    self.app.counters.cut_off.fetch_add(1, Relaxed);
                    return Ok(());
                }
                () = &mut first_head, if !begun => {
                    begun = asked.load(Relaxed);
                    if !begun {
                        self.app.counters.cut_off.fetch_add(1, Relaxed);
                        return Ok(());
                    }
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        for (text, url) in [
            ("https://crates.example.org", "https://crates.example.org"),
            ("http://10.0.0.1:8080/crates/", "http://10.0.0.1:8080/crates"),
        ] {
            assert_eq!(public_url(text).expect(text), url);
        }
        for text in [
            "",
            "crates.example.org",
            "ftp://x",
            "https://",
            "https:///x",
            "http://a b",
            "http://a\"b",
            "https://u@h",
        ] {
            assert!(public_url(text).is_err(), "{text}");
        }
    }
}
