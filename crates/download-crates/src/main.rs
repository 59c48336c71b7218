//! `download-crates`: flags in, one run of the pipeline, an exit code out.

use std::io::IsTerminal;
use std::process::ExitCode;

use mirror_pipeline::{ExitCode as Code, Outcome, PipelineError};
use mirror_telemetry::{Listener, Progress, ProgressHandle, ProgressOptions, RunStats};
use tokio_util::sync::CancellationToken;

mod flags;
mod open_files;
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
    if flags.rebuild_catalogue {
        return rebuild(&flags);
    }
    let settings = match resolve::resolve(&flags) {
        Ok(mut settings) => {
            settings.options.fetch.conns_bound = open_files::connections().unwrap_or(0);
            settings
        }
        Err(error) => return complain(&error, Code::Usage),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(network_threads())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into(), Code::Internal),
    };
    let code = runtime.block_on(run(settings));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}

/// Makes the catalogue again.
fn rebuild(flags: &flags::Flags) -> ExitCode {
    let options = match resolve::rebuild(flags) {
        Ok(options) => options,
        Err(error) => return complain(&error, Code::Usage),
    };
    let log = resolve::log(flags);
    if let Err(error) = mirror_telemetry::init_logging(&log, &ProgressHandle::new()) {
        return complain(&error.into(), Code::Usage);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into(), Code::Internal),
    };
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        let signal = signals::watch(cancel.clone());
        let out = options.out.clone();
        let work = move || mirror_pipeline::rebuild_catalogue(&options, &cancel);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(outcome)) => {
                summary::print(&summary::of_rebuild(&outcome, &out));
                end(outcome.exit_code(), signal.received())
            }
            Ok(Err(error)) => {
                let code = error.exit_code();
                complain(&error.into(), code)
            }
            Err(error) => complain(&error.into(), Code::Internal),
        }
    })
}

/// One thread moves and hashes some 30,000 small files a second; a second one on the same few cores
/// costs more in wake-ups than it gives. Planning, writing and committing have threads of their own.
fn network_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 4 { 2 } else { 1 }
}

async fn run(settings: Settings) -> ExitCode {
    let handle = ProgressHandle::new();
    if let Err(error) = mirror_telemetry::init_logging(&settings.log, &handle) {
        return complain(&error.into(), Code::Usage);
    }
    let stats = RunStats::new(env!("CARGO_PKG_VERSION"));
    let listener = match &settings.listen {
        Some(addr) if !settings.options.dry_run => match Listener::start(addr, stats.clone()).await {
            Ok(listener) => Some(listener),
            Err(error) if settings.listen_asked => return complain(&error.into(), Code::Usage),
            Err(error) => {
                tracing::warn!("no status listener: {error}; use --listen ADDR for another one");
                None
            }
        },
        _ => None,
    };
    let cancel = CancellationToken::new();
    let signal = signals::watch(cancel.clone());
    let progress = (!settings.options.dry_run).then(|| {
        Progress::start(
            stats.clone(),
            ProgressOptions {
                interval: settings.progress_interval,
                every: settings.progress_every,
                bar: std::io::stderr().is_terminal() && settings.bar,
            },
            &handle,
        )
    });
    if settings.options.dry_run {
        summary::print(&settings.effective);
    }
    let result = mirror_pipeline::download(settings.options.clone(), stats, cancel).await;
    if let Some(progress) = progress {
        progress.finish();
    }
    if let Some(listener) = listener {
        listener.shutdown();
    }
    finish(result, &settings, signal.received())
}

fn finish(result: Result<Outcome, PipelineError>, settings: &Settings, signal: Option<u8>) -> ExitCode {
    match result {
        Ok(outcome) => {
            summary::print(&summary::of(&outcome, &settings.options));
            end(outcome.exit_code(), signal)
        }
        Err(error) => {
            let code = error.exit_code();
            complain(&error.into(), code)
        }
    }
}

/// The exit code, and after a signal the one that says which.
fn end(code: Code, signal: Option<u8>) -> ExitCode {
    match (code, signal) {
        (Code::Interrupted, Some(number)) => ExitCode::from(128 + number),
        (code, _) => ExitCode::from(code as u8),
    }
}

#[expect(clippy::print_stderr, reason = "the one place where the program speaks of its own end")]
fn complain(error: &anyhow::Error, code: Code) -> ExitCode {
    let chain = format!("{error:#}");
    eprintln!("download-crates: {}", chain.replace(|c: char| c.is_control() && c != '\n', "?"));
    ExitCode::from(code as u8)
}
