//! `generate-sidecars`: flags in, one run of the generator, an exit code out.

use std::process::ExitCode;

use mirror_cli::{Program, Signals};
use mirror_sidecar::generate::{GenerateError, SidecarOutcome, generate};
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
    let signals = match mirror_cli::watch("stopping: what is under way is finished", move || stop.cancel()) {
        Ok(signals) => signals,
        Err(error) => return complain(&error.into(), ExitStatus::Internal),
    };
    let progress = Progress::start(stats.clone(), settings.progress, &handle);
    let reporter = Reporter(stats);
    // On a thread of its own, so that a panic still has its exit code.
    let work = std::thread::scope(|scope| {
        scope.spawn(|| generate(&settings.options, &reporter, &|| cancel.is_cancelled())).join()
    });
    let result = work.unwrap_or_else(|_| Err(GenerateError::Internal("a thread panicked".to_owned())));
    progress.finish();
    finish(result, settings, &signals)
}

fn finish(result: Result<SidecarOutcome, GenerateError>, settings: &Settings, signals: &Signals) -> ExitCode {
    match result {
        Ok(outcome) => {
            mirror_cli::print_summary(&summary::of(&outcome, &settings.options));
            ExitCode::from(signals.exit_code(outcome.exit_status()))
        }
        Err(error) => {
            let (status, advice) = (error.kind().exit_status(), error.advice());
            mirror_cli::complain(Program::GenerateSidecars, &error.into(), advice, status)
        }
    }
}

fn complain(error: &anyhow::Error, status: ExitStatus) -> ExitCode {
    mirror_cli::complain(Program::GenerateSidecars, error, None, status)
}
