//! Mirrors some crates within another tool, which shows the progress in its own way.
//!
//! `cargo run -p mirror-sync --example embed_sync -- INDEX OUT CRATE...`: INDEX is a local index, OUT becomes the
//! mirror, CRATE is a name or a glob. A second run fetches what is new.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mirror_sync::{
    CancellationToken, DownloadOptions, ExitStatus, FetchObserver, NameSet, Outcome, SyncError, SyncEvent,
    SyncObserver, Upstream, download,
};

/// The time between two updates of the progress.
const EVERY: Duration = Duration::from_millis(200);

/// The figures for the user. Events come from several threads, and are only counted.
#[derive(Debug, Default)]
struct Progress {
    selected: AtomicU64,
    held: AtomicU64,
    failed: AtomicU64,
    received_bytes: AtomicU64,
}

impl FetchObserver for Progress {
    fn bytes(&self, n: u64) {
        self.received_bytes.fetch_add(n, Ordering::Relaxed);
    }
}

impl SyncObserver for Progress {
    fn event(&self, event: SyncEvent<'_>) {
        let (counter, more) = match event {
            SyncEvent::Selected(releases) => (&self.selected, releases),
            SyncEvent::Existing(releases) => (&self.held, releases),
            SyncEvent::Downloaded { .. } | SyncEvent::Verified => (&self.held, 1),
            SyncEvent::Failed { .. } => (&self.failed, 1),
            _ => return,
        };
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

impl Progress {
    fn line(&self) -> String {
        let [held, selected, failed, bytes] =
            [&self.held, &self.selected, &self.failed, &self.received_bytes]
                .map(|n| n.load(Ordering::Relaxed));
        format!("{held} of {selected} releases, {failed} failed, {} KiB received", bytes >> 10)
    }
}

/// Runs to the end; passes a line to `show` now and then, and once at the end.
pub(crate) async fn sync(
    options: DownloadOptions,
    cancel: CancellationToken,
    show: &mut dyn FnMut(String),
) -> Result<Outcome, SyncError> {
    let progress = Arc::new(Progress::default());
    let mut run = std::pin::pin!(download(options, Arc::clone(&progress) as _, cancel));
    let mut ticks = tokio::time::interval(EVERY);
    let outcome = loop {
        tokio::select! {
            outcome = &mut run => break outcome,
            _ = ticks.tick() => show(progress.line()),
        }
    };
    show(progress.line());
    outcome
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [index, out, crates @ ..] = &arguments[..] else {
        return Err("usage: embed_sync INDEX OUT CRATE...".into());
    };
    let mut options = DownloadOptions::new(Upstream::Local(index.into()), out.into());
    options.include = NameSet::parse(crates)?;
    // Cancelling the token ends the run in good order.
    let mut show = |line| write!(io::stderr(), "\r{line}").unwrap_or_default();
    let outcome = sync(options, CancellationToken::new(), &mut show).await?;
    for failed in &outcome.first_failures {
        writeln!(io::stderr(), "\n{}: {}", failed.what, failed.why)?;
    }
    if outcome.exit_status() == ExitStatus::Complete {
        Ok(())
    } else {
        Err("some releases are missing".into())
    }
}
