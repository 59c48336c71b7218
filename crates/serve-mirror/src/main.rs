//! `serve-mirror`: flags in, a server until it is stopped, an exit code out.

use std::process::ExitCode;

use mirror_serve::{ServeError, ServeFault, Server};
use mirror_telemetry::{LogOptions, ProgressHandle};
use tokio_util::sync::CancellationToken;

mod flags;

use flags::{Flags, Serve};

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let flags: Flags = match mirror_cli::flags() {
        Ok(flags) => flags,
        Err(end) => return end,
    };
    serve(&flags.serve)
}

fn serve(flags: &Serve) -> ExitCode {
    let options = match flags.options() {
        Ok(options) => options,
        Err(error) => return complain(&error, USAGE),
    };
    if let Err(error) = log(&flags.reports.options()) {
        return complain(&error, USAGE);
    }
    let stop = CancellationToken::new();
    let token = stop.clone();
    if let Err(error) = mirror_cli::watch("stopping: what is under way may end", move || token.cancel()) {
        return complain(&error.into(), 1);
    }
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().max_blocking_threads(64).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return complain(&error.into(), 1),
        };
    let served: Result<(), ServeError> = runtime.block_on(async {
        let server = Server::open(&options).await?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let addr = server.local_addr();
        tracing::info!(mirror = %options.mirror.display(), "serving at {scheme}://{addr}/");
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

fn log(options: &LogOptions) -> anyhow::Result<()> {
    Ok(mirror_telemetry::init_logging(options, &ProgressHandle::new())?)
}

fn code_of(error: &ServeError) -> u8 {
    match (error, error.kind()) {
        (ServeError::Internal(_), _) => 1,
        (_, ServeFault::Usage) => USAGE,
        (_, ServeFault::Integrity) => 4,
        (_, ServeFault::Storage) => 6,
    }
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    mirror_cli::complain("serve-mirror", error, code)
}
