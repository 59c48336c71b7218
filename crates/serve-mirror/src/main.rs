//! `serve-mirror`: flags in, a server until it is stopped, an exit code out.

use std::process::ExitCode;

use mirror_serve::{ExportOutcome, Mirror, ServeError, ServeFault, Server};
use mirror_telemetry::{LogOptions, ProgressHandle};
use tokio_util::sync::CancellationToken;

mod doctor;
mod flags;
mod summary;

use flags::{Command, Doctor, Export, Flags, Serve};

const USAGE: u8 = 2;
const UNWELL: u8 = 3;
const INTEGRITY: u8 = 4;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let flags: Flags = match mirror_cli::flags() {
        Ok(flags) => flags,
        Err(end) => return end,
    };
    match &flags.command {
        None => serve(&flags.serve),
        Some(Command::Export(flags)) => export(flags),
        Some(Command::Doctor(flags)) => examine(flags),
    }
}

fn export(flags: &Export) -> ExitCode {
    let options = match flags.options() {
        Ok(options) => options,
        Err(error) => return complain(&error, USAGE),
    };
    let _log = match log(&flags.reports.options()) {
        Ok(log) => log,
        Err(error) => return complain(&error, USAGE),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    let signal = match mirror_cli::watch("stopping: what is written so far stays", move || token.cancel()) {
        Ok(signal) => signal,
        Err(error) => return complain(&error.into(), 1),
    };
    match mirror_serve::export(&options, &|| stop.is_cancelled()) {
        Ok(outcome) => {
            mirror_cli::print(&summary::exported(&outcome, &options));
            ExitCode::from(signal.exit_code(exported(&outcome)))
        }
        Err(error) => {
            let code = code_of(&error);
            complain(&error.into(), code)
        }
    }
}

/// The exit code of an export.
fn exported(outcome: &ExportOutcome) -> u8 {
    if outcome.interrupted {
        INTERRUPTED
    } else if !outcome.missing.is_empty() {
        INTEGRITY
    } else if !outcome.left_out.is_empty() {
        UNWELL
    } else {
        0
    }
}

fn examine(flags: &Doctor) -> ExitCode {
    let _log = match log(&flags.reports.options()) {
        Ok(log) => log,
        Err(error) => return complain(&error, USAGE),
    };
    match doctor::examine(flags) {
        Ok(findings) => {
            mirror_cli::print(&summary::found(&findings));
            ExitCode::from(if findings.iter().any(doctor::Finding::is_bad) { UNWELL } else { 0 })
        }
        Err(error) => {
            let code = error.downcast_ref::<ServeError>().map_or(1, code_of);
            complain(&error, code)
        }
    }
}

fn serve(flags: &Serve) -> ExitCode {
    let options = match flags.options() {
        Ok(options) => options,
        Err(error) => return complain(&error, USAGE),
    };
    let _log = match log(&flags.reports.options()) {
        Ok(log) => log,
        Err(error) => return complain(&error, USAGE),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    if let Err(error) = mirror_cli::watch("stopping: what is under way may end", move || token.cancel()) {
        return complain(&error.into(), 1);
    }
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().max_blocking_threads(32).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return complain(&error.into(), 1),
        };
    let served: Result<(), ServeError> = runtime.block_on(async {
        let server = Server::open(&options).await?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let addr = server.local_addr();
        tracing::info!(mirror = %options.mirror.display(), "serving at {scheme}://{addr}/");
        let look = options.clone();
        tokio::task::spawn_blocking(move || name_unlisted(&look));
        // On a task: a worker that has the connections need not be woken for them.
        tokio::spawn(server.run(stop)).await.map_err(|error| ServeError::Internal(error.to_string()))
    });
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = code_of(&error);
            complain(&error.into(), code)
        }
    }
}

/// Names crates that are held and that Cargo cannot find.
fn name_unlisted(options: &mirror_serve::ServeOptions) {
    let found = Mirror::open(&options.mirror, options.bundles_dir.as_deref())
        .and_then(|mirror| mirror.unlisted_crates());
    match found {
        Ok((0, _)) => {}
        Ok((count, first)) => {
            let named: Vec<String> = first.iter().map(ToString::to_string).collect();
            tracing::warn!(
                "{count} crates are held of which the mirror has no line of the index, so that Cargo cannot find them: \
                 {}; a run of download-crates with the index brings them",
                named.join(", ")
            );
        }
        Err(error) => tracing::warn!("could not look for crates without index lines: {error}"),
    }
}

fn log(options: &LogOptions) -> anyhow::Result<mirror_telemetry::Logging> {
    Ok(mirror_telemetry::init_logging(options, &ProgressHandle::new())?)
}

fn code_of(error: &ServeError) -> u8 {
    match (error, error.kind()) {
        (ServeError::Internal(_), _) => 1,
        (_, ServeFault::Usage) => USAGE,
        (_, ServeFault::Integrity) => 4,
        (_, ServeFault::Locked) => 7,
        (_, ServeFault::Storage) => 6,
    }
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    mirror_cli::complain("serve-mirror", error, code)
}
