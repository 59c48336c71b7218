//! `archive-hasher`: flags in, one run of the library, an exit code out.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use mirror_archive::{Against, ArchiveError, CreateOptions, Monitor, VerifyOptions};
use mirror_cli::Program;
use mirror_telemetry::{ProgressHandle, WorkDone, WorkProgress};
use mirror_types::ExitStatus;

mod flags;
mod observer;
mod resolve;
mod summary;

use flags::{Command, Flags, Reports, Sign};

/// The operation that the flags ask for.
enum Order {
    Create(CreateOptions),
    Verify(VerifyOptions),
}

fn main() -> ExitCode {
    let flags: Flags = match mirror_cli::flags() {
        Ok(flags) => flags,
        Err(end) => return end,
    };
    if let Some(Command::Sign(flags)) = &flags.command {
        return sign(flags);
    }
    let (order, reports) = match resolve(&flags) {
        Ok(order) => order,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let terminal = ProgressHandle::new();
    let _log = match mirror_telemetry::init_logging(&resolve::logging(&reports), &terminal) {
        Ok(log) => log,
        Err(error) => return complain(&error.into(), ExitStatus::Usage),
    };
    let monitor = Arc::new(Monitor::observed_by(observer::Log));
    let stop = Arc::clone(&monitor);
    let signals = match mirror_cli::watch("stopping", move || stop.cancel()) {
        Ok(signals) => signals,
        Err(error) => return complain(&error.into(), ExitStatus::Internal),
    };
    let progress = reports.progress.then(|| progress(&monitor, &reports, &terminal));
    let result = carry_out(&order, &monitor);
    if let Some(progress) = progress {
        progress.finish();
    }
    match result {
        Ok((text, status)) => {
            mirror_cli::print(&text);
            ExitCode::from(status.code())
        }
        Err(error) => fail(error, |status| signals.exit_code(status)),
    }
}

fn resolve(flags: &Flags) -> anyhow::Result<(Order, Reports)> {
    match &flags.command {
        Some(Command::Verify(verify)) => {
            Ok((Order::Verify(resolve::verify(verify)?), verify.reports.clone()))
        }
        None | Some(Command::Sign(_)) => {
            Ok((Order::Create(resolve::create(&flags.create)?), flags.create.reports.clone()))
        }
    }
}

/// Carries out the task; returns the summary, and the exit status.
fn carry_out(order: &Order, monitor: &Monitor) -> Result<(String, ExitStatus), ArchiveError> {
    let begun = Instant::now();
    match order {
        Order::Create(options) => {
            let created = mirror_archive::create(options, monitor)?;
            Ok((summary::created(&created, begun.elapsed()), ExitStatus::Complete))
        }
        Order::Verify(options) => {
            let verified = mirror_archive::verify(options, monitor, &mut |finding| {
                let hint =
                    finding.advice().and_then(|advice| mirror_cli::hint(advice, Program::ArchiveHasher));
                let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
                mirror_cli::print(&format!("{finding}{hint}\n"));
            })?;
            let compared = !matches!(options.against, Against::Nothing);
            let text = summary::verified(&verified, compared, begun.elapsed());
            Ok((text, if verified.is_good() { ExitStatus::Complete } else { ExitStatus::Integrity }))
        }
    }
}

/// Signs one file. That takes a moment, so it shows no progress and handles no signals.
fn sign(flags: &Sign) -> ExitCode {
    let passphrase = match resolve::passphrase(flags.passphrase_file.as_deref()) {
        Ok(passphrase) => passphrase,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    match mirror_archive::sign_file(&flags.file, &flags.gpgkey, passphrase.as_ref()) {
        Ok(signature) => {
            mirror_cli::print(&summary::signed(&signature));
            ExitCode::SUCCESS
        }
        Err(error) => fail(error, ExitStatus::code),
    }
}

fn progress(monitor: &Arc<Monitor>, reports: &Reports, terminal: &ProgressHandle) -> WorkProgress {
    let monitor = Arc::clone(monitor);
    let done = move || {
        let done = monitor.done();
        WorkDone {
            files: done.files,
            bytes: done.bytes,
            total_files: done.total_files,
            total_bytes: done.total_bytes,
        }
    };
    WorkProgress::start(done, reports.progress_interval, std::io::stderr().is_terminal(), terminal)
}

fn fail(error: ArchiveError, code: impl FnOnce(ExitStatus) -> u8) -> ExitCode {
    let (code, advice) = (code(error.kind().exit_status()), error.advice());
    mirror_cli::complain(Program::ArchiveHasher, &error.into(), advice, code)
}

fn complain(error: &anyhow::Error, status: ExitStatus) -> ExitCode {
    mirror_cli::complain(Program::ArchiveHasher, error, None, status)
}
