//! Accepts connections and serves them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mirror_console::Guard;
use mirror_listen::{Connections, accept};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::client::Client;
use mirror_repo::Mirror;

use crate::error::{Chain, ServeError};
use crate::files::{self, Files};
use crate::freshness::SnapshotState;
use crate::options::{ServeLimits, ServeOptions};
use crate::seats::{Seats, Taken};
use crate::source::PIECE_BYTES;
use crate::tls;

/// The interval between two checks whether the open catalogue was replaced.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The interval between two looks whether the snapshot has expired.
const LOOK_FOR_EXPIRY_EVERY: Duration = Duration::from_mins(10);
/// The interval between two warnings of that.
const WARN_EVERY: Duration = Duration::from_hours(24);

/// Largest share of a connection in the memory for bodies.
const MAX_SHARE_BYTES: usize = 1 << 20;
/// The time after which a connection is turned away when none makes room for it; the next ones wait meanwhile.
const PLACE_WITHIN: Duration = Duration::from_secs(1);
/// The interval between two attempts to get a place meanwhile.
const LOOK_FOR_PLACE_EVERY: Duration = Duration::from_millis(20);

/// A server that listens and does not answer yet.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: ServeLimits,
    files: Files,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.app.mirror, self.addr)
    }
}

impl Server {
    /// Opens the mirror and listens. Needs a runtime with I/O and time; blocks for a moment.
    ///
    /// # Errors
    /// When there is no mirror, a certificate cannot be used, or the address is not available.
    pub async fn open(options: &ServeOptions) -> Result<Self, ServeError> {
        let mut options = options.clone();
        options.public_url = options.public_url.as_deref().map(public_url).transpose()?;
        let mirror = Mirror::open_with(&options.mirror, options.bundles_dir.as_deref(), &options.stores)?
            .at_snapshot(options.snapshot)?;
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let listen = &options.listen;
        let full = if listen.starts_with(':') { format!("[::]{listen}") } else { listen.clone() };
        let fail = |source| ServeError::Listen { addr: listen.clone(), source };
        let listener = match TcpListener::bind(&full).await {
            // The machine has no IPv6.
            Err(_) if listen.starts_with(':') => TcpListener::bind(format!("0.0.0.0{listen}")).await,
            bound => bound,
        };
        let listener = listener.map_err(fail)?;
        let addr = listener.local_addr().map_err(fail)?;
        let limits = options.limits;
        let files = Files::of(limits.open_files.unwrap_or_else(files::allowed), limits.connections);
        if files.connections < limits.connections {
            tracing::warn!(
                "{} connections at a time are taken instead of {}: the system does not let this process have more files open",
                files.connections,
                limits.connections
            );
        }
        mirror.bundles().keep_open(files.bundles);
        let app = Arc::new(App::new(mirror, &options, files, guard(addr, &options)));
        Ok(Self { app, listener, addr, tls, limits, files })
    }

    /// Returns the address at which it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the mirror that is served.
    #[must_use]
    pub fn mirror(&self) -> &Mirror {
        &self.app.mirror
    }

    /// Serves until `stop` is cancelled; then requests in progress have a little time to end.
    pub async fn run(self, stop: CancellationToken) {
        tokio::spawn(look_again(Arc::clone(&self.app), stop.clone()));
        tokio::spawn(watch_expiry(Arc::clone(&self.app), stop.clone()));
        let share_bytes =
            (self.limits.body_bytes / self.files.connections).clamp(PIECE_BYTES, MAX_SHARE_BYTES);
        let clients = Clients {
            seats: Arc::new(Seats::new(self.files.connections, share_bytes)),
            app: self.app,
            tls: self.tls,
            limits: self.limits,
            stop: stop.clone(),
        };
        let open = accept(self.listener, &clients, &stop, clients.limits.grace_time).await;
        if open > 0 {
            tracing::warn!(connections = open, "cut off connections that did not end in time");
        }
    }
}

/// Returns who may read the console: the names that the operator allows, and that of the public address.
fn guard(addr: SocketAddr, options: &ServeOptions) -> Guard {
    let mut names = options.allowed_hosts.clone();
    let public = options.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    names.extend(public.as_ref().and_then(url::Url::host_str).map(str::to_owned));
    Guard::new(addr, &names)
}

/// The clients of a server.
struct Clients {
    seats: Arc<Seats>,
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
    limits: ServeLimits,
    stop: CancellationToken,
}

impl Connections for Clients {
    type Stream = TcpStream;
    type Place = Taken;

    /// Takes a place, as soon as there is one or another connection makes room; `None` when that takes too long.
    async fn place(&self) -> Option<Taken> {
        let until = Instant::now() + PLACE_WITHIN;
        loop {
            let taken = self.seats.take();
            if taken.is_some() || self.stop.is_cancelled() || Instant::now() > until {
                if taken.is_none() {
                    self.app.counters.turned_away.increment(1);
                }
                return taken;
            }
            tokio::time::sleep(LOOK_FOR_PLACE_EVERY).await;
        }
    }

    fn make_room(&self) {
        self.seats.make_room();
    }

    fn serve(&self, stream: TcpStream, place: Taken) -> impl Future<Output = ()> + Send + use<> + 'static {
        let app = Arc::clone(&self.app);
        app.counters.connections.increment(1);
        app.counters.open.increment(1);
        let (seat, tls) = (Arc::clone(&place.seat), self.tls.clone());
        let client = Client::new(Arc::clone(&app), seat, tls.is_some(), self.limits, self.stop.clone());
        async move {
            if let Err(error) = client.serve(stream, tls).await {
                tracing::debug!("a connection ended: {error}");
            }
            app.counters.open.decrement(1);
            drop(place);
        }
    }
}

/// Checks the address of a registry in the form that people write, and returns it without a slash at the end.
///
/// # Errors
/// When it is no plain http or https address.
pub fn public_url(text: &str) -> Result<String, ServeError> {
    // It is inserted into texts and joined with paths as it is: nothing in it may need escaping, or be dropped.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}?#@".contains(&byte);
    let plain_text = text.trim_end_matches('/');
    let begins = ["https://", "http://"].iter().find_map(|scheme| plain_text.strip_prefix(scheme));
    let begins = begins.is_some_and(|rest| !rest.starts_with('/'));
    match url::Url::parse(plain_text) {
        Ok(url) if begins && url.has_host() && plain_text.bytes().all(plain) => Ok(plain_text.to_owned()),
        _ => Err(ServeError::PublicUrl { text: mirror_types::Printable(text).to_string() }),
    }
}

async fn look_again(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let mirror = Arc::clone(&app.mirror);
        match tokio::task::spawn_blocking(move || mirror.look_again()).await {
            Ok(Ok(true)) => tracing::info!("the catalogue was replaced; the new one is served"),
            Ok(Err(error)) => {
                tracing::warn!("the catalogue was replaced by one that cannot be read: {error}");
            }
            Ok(Ok(false)) | Err(_) => {}
        }
    }
}

/// Warns when the snapshot is past its date, and again every day.
async fn watch_expiry(app: Arc<App>, stop: CancellationToken) {
    let mut warned: Option<(u64, Instant)> = None;
    loop {
        let mirror = Arc::clone(&app.mirror);
        let state = tokio::task::spawn_blocking(move || SnapshotState::of(&mirror)).await;
        match state {
            Ok(Ok(Some(state))) if state.is_expired(SystemTime::now()) => {
                let is_new =
                    warned.is_none_or(|(serial, at)| serial != state.serial || at.elapsed() >= WARN_EVERY);
                if is_new {
                    tracing::warn!("{}", state.sentence(SystemTime::now()));
                    warned = Some((state.serial, Instant::now()));
                }
            }
            Ok(Err(error)) => tracing::warn!("could not read the snapshot: {}", Chain(&error)),
            Ok(Ok(_)) | Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_FOR_EXPIRY_EVERY) => {}
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
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(public_url(text).expect(text), url);
        }
        for text in [
            "",
            "crates.example.org",
            "ftp://x",
            "https://",
            "https:///x",
            "https:/x",
            "https://h:99999",
            "https://h:port",
            "http://[::1",
            "http://h?q",
            "http://h#f",
            "HTTP//h",
            "http://a b",
            "http://a\"b",
            "https://u@h",
        ] {
            assert!(public_url(text).is_err(), "{text}");
        }
    }
}
