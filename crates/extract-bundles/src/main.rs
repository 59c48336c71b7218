//! `extract-bundles`: flags in, one run of the extraction, an exit code out.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use mirror_pipeline::{ExitCode as Code, ExtractOutcome, ExtractTask, PipelineError};
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
    // Only signals need a runtime; the work has threads of its own.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run(settings));
            runtime.shutdown_background();
            code
        }
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
    let is_list = matches!(settings.options.task, ExtractTask::List);
    let progress = (!is_list).then(|| {
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
    let options = settings.options.clone();
    let worked = tokio::task::spawn_blocking(move || {
        let mut out = std::io::BufWriter::new(std::io::stdout());
        let mut closed = false;
        let result = mirror_pipeline::extract(&options, &stats, &cancel, &mut |line| {
            closed = closed || out.write_all(line.as_bytes()).is_err();
        });
        let _ = out.flush();
        result
    });
    let result = worked.await.unwrap_or_else(|error| Err(PipelineError::Internal(error.to_string())));
    if let Some(progress) = progress {
        progress.finish();
    }
    finish(result, &settings, signal.received())
}

fn finish(
    result: Result<ExtractOutcome, PipelineError>,
    settings: &Settings,
    signal: Option<u8>,
) -> ExitCode {
    match result {
        Ok(outcome) => {
            let text = summary::of(&outcome, &settings.options);
            match settings.options.task {
                // The listing is for pipes: what is said beside it goes elsewhere.
                ExtractTask::List if outcome.exit_code() == Code::Complete => {}
                ExtractTask::List => say(&text),
                _ => summary::print(&text),
            }
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

fn complain(error: &anyhow::Error, code: Code) -> ExitCode {
    let chain = format!("{error:#}");
    say(&format!("extract-bundles: {}", chain.replace(|c: char| c.is_control() && c != '\n', "?")));
    ExitCode::from(code as u8)
}

#[expect(clippy::print_stderr, reason = "the one place where the program speaks of its own end")]
fn say(text: &str) {
    eprintln!("{text}");
}
