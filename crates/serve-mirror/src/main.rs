//! `serve-mirror`: flags in, a server until it is stopped, an exit code out.

use std::process::ExitCode;

use mirror_cli::Program;
use mirror_serve::{ExportOutcome, ServeError, Server, SnapshotRemains, SnapshotState};
use mirror_telemetry::{LogOptions, ProgressHandle};
use mirror_types::{ExitStatus, FaultKind, Unexpected};
use tokio_util::sync::CancellationToken;

mod doctor;
mod flags;
mod summary;

use flags::{Command, Doctor, Export, Flags, Serve, Source};

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
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let _log = match log(&flags.reports.options()) {
        Ok(log) => log,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    let signals = match mirror_cli::watch("stopping: what is written so far stays", move || token.cancel()) {
        Ok(signals) => signals,
        Err(error) => return complain(&error.into(), ExitStatus::Internal),
    };
    match mirror_serve::export(&options, &|| stop.is_cancelled()) {
        Ok(outcome) => {
            mirror_cli::print_summary(&summary::exported(&outcome, &options));
            ExitCode::from(signals.exit_code(exported(&outcome)))
        }
        Err(error) => fail(error),
    }
}

/// Returns the exit status of an export.
fn exported(outcome: &ExportOutcome) -> ExitStatus {
    if outcome.interrupted {
        ExitStatus::Interrupted
    } else if !outcome.missing.is_empty() {
        ExitStatus::Integrity
    } else if !outcome.left_out.is_empty() {
        ExitStatus::Records
    } else {
        ExitStatus::Complete
    }
}

fn examine(flags: &Doctor) -> ExitCode {
    let _log = match log(&flags.reports.options()) {
        Ok(log) => log,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    match doctor::examine(flags) {
        Ok(findings) => {
            mirror_cli::print(&summary::found(&findings));
            let is_bad = findings.iter().any(doctor::Finding::is_bad);
            ExitCode::from(if is_bad { ExitStatus::Records } else { ExitStatus::Complete }.code())
        }
        Err(error) => {
            let (kind, advice) = match error.downcast_ref::<ServeError>() {
                Some(error) => (error.kind(), error.advice()),
                None => (FaultKind::Internal, None),
            };
            mirror_cli::complain(Program::ServeMirror, &error, advice, kind.exit_status())
        }
    }
}

fn serve(flags: &Serve) -> ExitCode {
    let options = match flags.options() {
        Ok(options) => options,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let _log = match log(&flags.reports.options()) {
        Ok(log) => log,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    if let Err(error) = mirror_cli::watch("stopping: what is under way may end", move || token.cancel()) {
        return complain(&error.into(), ExitStatus::Internal);
    }
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().max_blocking_threads(32).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return complain(&error.into(), ExitStatus::Internal),
        };
    let served: Result<(), ServeError> = runtime.block_on(async {
        let server = Server::open(&options).await?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let addr = server.local_addr();
        tracing::info!(mirror = %options.mirror.display(), "serving at {scheme}://{addr}/");
        let source = flags.source.clone();
        tokio::task::spawn_blocking(move || {
            name_unlisted(&source);
            tell_remains(&source);
        });
        // In a task: the worker with the connections need not be woken for them.
        let run = tokio::spawn(server.run(stop));
        Ok(run.await.map_err(Unexpected::could_not("run the server to its end"))?)
    });
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

/// Names the held crates that Cargo cannot find.
fn name_unlisted(source: &Source) {
    match source.open().and_then(|mirror| Ok(mirror.unlisted_crates()?)) {
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

/// Says which snapshot is served, and what of it is not.
fn tell_remains(source: &Source) {
    if source.snapshot.is_none() {
        return;
    }
    let look = || {
        let mirror = source.open()?;
        let state = SnapshotState::of(&mirror)?.map(|state| state.sentence(std::time::SystemTime::now()));
        Ok::<_, ServeError>((state, SnapshotRemains::of(&mirror)?.sentence()))
    };
    match look() {
        Ok((state, remains)) => {
            if let Some(state) = state {
                tracing::info!("{state}");
            }
            if let Some(remains) = remains {
                tracing::warn!("of the snapshot that is served: {remains}");
            }
        }
        Err(error) => tracing::warn!("could not compare the snapshot with what is offered now: {error}"),
    }
}

fn log(options: &LogOptions) -> anyhow::Result<mirror_telemetry::Logging> {
    Ok(mirror_telemetry::init_logging(options, &ProgressHandle::new())?)
}

fn fail(error: ServeError) -> ExitCode {
    let (status, advice) = (error.kind().exit_status(), error.advice());
    mirror_cli::complain(Program::ServeMirror, &error.into(), advice, status)
}

fn complain(error: &anyhow::Error, status: ExitStatus) -> ExitCode {
    mirror_cli::complain(Program::ServeMirror, error, None, status)
}
