//! `extract-bundles`: flags in, one run of the extraction, an exit code out.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use mirror_cli::{Program, Signals};
use mirror_extract::{ExtractError, ExtractOutcome, ExtractTask};
use mirror_telemetry::{Progress, ProgressHandle, RunStats};
use mirror_types::ExitStatus;
use tokio_util::sync::CancellationToken;

mod flags;
mod observer;
mod resolve;
mod summary;

use flags::Flags;
use observer::Reporter;
use resolve::Settings;

fn main() -> ExitCode {
    let flags: Flags = match mirror_cli::flags() {
        Ok(flags) => flags,
        Err(end) => return end,
    };
    match resolve::resolve(&flags) {
        Ok(settings) => run(&settings),
        Err(error) => complain(&error, ExitStatus::Usage),
    }
}

fn run(settings: &Settings) -> ExitCode {
    let handle = ProgressHandle::new();
    let _log = match mirror_telemetry::init_logging(&settings.log, &handle) {
        Ok(log) => log,
        Err(error) => return complain(&error.into(), ExitStatus::Usage),
    };
    let stats = RunStats::new(env!("CARGO_PKG_VERSION"));
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let signals = match mirror_cli::watch("stopping: what is under way is committed", move || stop.cancel()) {
        Ok(signals) => signals,
        Err(error) => return complain(&error.into(), ExitStatus::Internal),
    };
    let is_list = matches!(settings.options.task, ExtractTask::List);
    let progress = (!is_list).then(|| Progress::start(stats.clone(), settings.progress, &handle));
    let reporter = Reporter(stats);
    // On a thread of its own, so that a panic still has its exit code.
    let work = std::thread::scope(|scope| scope.spawn(|| work(settings, &reporter, &cancel)).join());
    let panicked = |_| Err(End::Work(ExtractError::Internal("a thread panicked".to_owned())));
    let result = work.unwrap_or_else(panicked);
    if let Some(progress) = progress {
        progress.finish();
    }
    finish(result, settings, &signals)
}

fn work(settings: &Settings, reporter: &Reporter, cancel: &CancellationToken) -> Result<ExtractOutcome, End> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut lost = None;
    let result = mirror_extract::extract(&settings.options, reporter, cancel, &mut |line| {
        if lost.is_none() {
            lost = out.write_all(line.as_bytes()).err();
        }
    });
    let lost = lost.or_else(|| out.flush().err());
    // The rest of the buffer cannot be written either.
    let _ = out.into_parts();
    match lost {
        // A reader that closes the pipe has seen enough.
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(End::Listing(error)),
        _ => result.map_err(End::Work),
    }
}

/// The reason why there is no outcome.
enum End {
    Work(ExtractError),
    /// The listing, which was all that was requested, is incomplete.
    Listing(std::io::Error),
}

fn finish(result: Result<ExtractOutcome, End>, settings: &Settings, signals: &Signals) -> ExitCode {
    match result {
        Ok(outcome) => {
            let text = summary::of(&outcome, &settings.options);
            match settings.options.task {
                // The listing is for pipes: messages go elsewhere.
                ExtractTask::List if outcome.exit_status() == ExitStatus::Complete => {}
                ExtractTask::List => mirror_cli::say(&text),
                _ => mirror_cli::print_summary(&text),
            }
            ExitCode::from(signals.exit_code(outcome.exit_status()))
        }
        Err(End::Work(error)) => {
            let (status, advice) = (error.kind().exit_status(), error.advice());
            mirror_cli::complain(Program::ExtractBundles, &error.into(), advice, status)
        }
        Err(End::Listing(error)) => {
            let error = anyhow::Error::new(error).context(
                "the listing could not be written whole to standard output; make room, or pipe it elsewhere",
            );
            complain(&error, ExitStatus::Storage)
        }
    }
}

fn complain(error: &anyhow::Error, status: ExitStatus) -> ExitCode {
    mirror_cli::complain(Program::ExtractBundles, error, None, status)
}
