//! `generate-sidecars`: flags in, one run of the pipeline, an exit code out.

use std::io::IsTerminal;
use std::process::ExitCode;

use mirror_pipeline::{ExitCode as Code, PipelineError, SidecarOutcome};
use mirror_telemetry::{LogOptions, Progress, ProgressHandle, ProgressOptions, RunStats};
use tokio_util::sync::CancellationToken;

mod flags;
mod resolve;
mod signals;
mod summary;

use resolve::Settings;

fn main() -> ExitCode {
    let flags = match flags::parse(std::env::args_os()) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Code::Usage as u8 } else { 0 });
        }
    };
    let settings = match resolve::resolve(&flags) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, Code::Usage),
    };
    // For signals alone; the work is done by plain threads.
    match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(error) => complain(&error.into(), Code::Internal),
    }
}

async fn run(settings: Settings) -> ExitCode {
    let handle = ProgressHandle::new();
    let log = LogOptions {
        format: settings.log_format,
        level: settings.log_level,
        path: settings.log_path.clone(),
    };
    if let Err(error) = mirror_telemetry::init_logging(&log, &handle) {
        return complain(&error.into(), Code::Usage);
    }
    let stats = RunStats::new(env!("CARGO_PKG_VERSION"));
    let cancel = CancellationToken::new();
    let signal = signals::watch(cancel.clone());
    let progress = Progress::start(
        stats.clone(),
        ProgressOptions {
            interval: settings.progress_interval,
            every: settings.progress_every,
            bar: std::io::stderr().is_terminal() && settings.bar,
        },
        &handle,
    );
    let options = settings.options.clone();
    let work = tokio::task::spawn_blocking(move || mirror_pipeline::sidecars(&options, &stats, &cancel));
    let result = work.await;
    progress.finish();
    match result {
        Ok(result) => finish(result, &settings, signal.received()),
        Err(error) => complain(&error.into(), Code::Internal),
    }
}

fn finish(
    result: Result<SidecarOutcome, PipelineError>,
    settings: &Settings,
    signal: Option<u8>,
) -> ExitCode {
    match result {
        Ok(outcome) => {
            summary::print(&summary::of(&outcome, &settings.options));
            match (outcome.exit_code(), signal) {
                (Code::Interrupted, Some(number)) => ExitCode::from(128 + number),
                (code, _) => ExitCode::from(code as u8),
            }
        }
        Err(error) => {
            let code = error.exit_code();
            complain(&error.into(), code)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where the program speaks of its own end")]
fn complain(error: &anyhow::Error, code: Code) -> ExitCode {
    let chain = format!("{error:#}");
    eprintln!("generate-sidecars: {}", chain.replace(|c: char| c.is_control() && c != '\n', "?"));
    ExitCode::from(code as u8)
}
