//! `download-crates`: flags in, one run, an exit code out.

use std::process::ExitCode;
use std::sync::Arc;

use mirror_cli::Program;
use mirror_sync::snapshot::{self, SigningError};
use mirror_sync::{Outcome, SyncError};
use mirror_telemetry::{Listener, Progress, ProgressHandle, RunStats};
use mirror_types::{ExitStatus, human_bytes};
use tokio_util::sync::CancellationToken;

mod advisories;
mod compat;
mod console;
mod flags;
mod memory;
mod observer;
mod open_files;
mod quiet;
mod resolve;
mod room;
mod snapshots;
mod summary;
mod summary_json;

use flags::{Flags, SummaryForm};
use observer::Reporter;
use resolve::Settings;

/// One thread allocates bodies and names and another frees them, which glibc does under a lock: an allocator without
/// that lock saves 17% of the CPU time of a run of small files.
#[cfg(all(not(windows), not(feature = "jemalloc")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As fast, and takes heap profiles.
#[cfg(all(not(windows), feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    memory::take_small_pages();
    let flags: Flags = match mirror_cli::flags() {
        Ok(flags) => flags,
        Err(end) => return end,
    };
    if flags.sample_policy {
        mirror_cli::print(mirror_sync::SAMPLE_POLICY);
        return ExitCode::SUCCESS;
    }
    if flags.rebuild_catalogue {
        return rebuild(&flags);
    }
    if flags.gaps {
        return gaps(&flags);
    }
    if let Some(release) = &flags.explain {
        return explain(&flags, release);
    }
    if flags.snapshots || flags.diff_snapshots.is_some() || flags.check_snapshot.is_some() {
        return tell_snapshots(&flags);
    }
    let settings = match resolve::resolve(&flags) {
        Ok(mut settings) => {
            settings.options.fetch.conns_bound = open_files::connections().unwrap_or(0);
            settings
        }
        Err(error) => {
            let advice = error.downcast_ref::<SigningError>().and_then(SigningError::advice);
            if flags.summary == SummaryForm::Json {
                let summary = summary_json::of_error(&error, ExitStatus::Usage, flags.dry_run, &flags.out);
                mirror_cli::print(&summary);
            }
            return mirror_cli::complain(Program::DownloadCrates, &error, advice, ExitStatus::Usage);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(network_threads())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into(), ExitStatus::Internal),
    };
    let code = runtime.block_on(run(settings));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}

/// Lists the known gaps.
fn gaps(flags: &Flags) -> ExitCode {
    let layout = match resolve::layout(flags) {
        Ok(layout) => layout,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let _log = match mirror_telemetry::init_logging(&flags.reports.log(), &ProgressHandle::new()) {
        Ok(log) => log,
        Err(error) => return complain(&error.into(), ExitStatus::Usage),
    };
    let listed = || {
        if let Some(path) = &flags.acknowledge_gaps {
            let gaps = mirror_sync::read_gaps(path)?;
            mirror_sync::acknowledge_gaps(&flags.out, layout, flags.layout.is_some(), &gaps)?;
        }
        mirror_sync::list_gaps(&flags.out, layout)
    };
    match listed() {
        Ok(listed) => {
            mirror_cli::print(&summary::of_gaps(&listed));
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

/// Lists, compares or checks snapshots.
fn tell_snapshots(flags: &Flags) -> ExitCode {
    let _log = match mirror_telemetry::init_logging(&flags.reports.log(), &ProgressHandle::new()) {
        Ok(log) => log,
        Err(error) => return complain(&error.into(), ExitStatus::Usage),
    };
    let told = if let Some(path) = &flags.check_snapshot {
        let demands = match snapshots::demands(flags) {
            Ok(demands) => demands,
            Err(error) => return complain(&error, ExitStatus::Usage),
        };
        snapshot::check_snapshot(path, &demands).map(|checked| snapshots::of_checked(&checked, path))
    } else if let Some(text) = &flags.diff_snapshots {
        let (old, new) = match snapshots::serials(text) {
            Ok(serials) => serials,
            Err(error) => return complain(&error, ExitStatus::Usage),
        };
        let mut counted = snapshots::Differences::default();
        let mut tell = |difference: &_| mirror_cli::print(&counted.add(difference));
        snapshot::diff_snapshots(&flags.out, old, new, &mut tell).map(|units| counted.sum(&units))
    } else {
        list_snapshots(&flags.out)
    };
    match told {
        Ok(text) => {
            mirror_cli::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

/// Lists snapshots; ends with the fault of the first document that cannot be used, after the others.
fn list_snapshots(out: &std::path::Path) -> Result<String, SyncError> {
    let (mut listed, mut first) = (0, None);
    let now = std::time::SystemTime::now();
    snapshot::list_snapshots(out, &mut |one| match one {
        Ok(one) => {
            listed += 1;
            mirror_cli::print(&snapshots::of_listed(&one, now));
        }
        Err(error) => {
            tracing::error!("{error}");
            first.get_or_insert(error);
        }
    })?;
    match first {
        Some(error) => Err(error.into()),
        None if listed == 0 => Ok("there are no snapshots\n".to_owned()),
        None => Ok(String::new()),
    }
}

/// Explains what policy decides about the releases that `text` names.
fn explain(flags: &Flags, text: &str) -> ExitCode {
    let (name, version) = match resolve::release(text) {
        Ok(named) => named,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let _log = match mirror_telemetry::init_logging(&flags.reports.log(), &ProgressHandle::new()) {
        Ok(log) => log,
        Err(error) => return complain(&error.into(), ExitStatus::Usage),
    };
    let explained = || {
        let policy = resolve::policy(flags)?.unwrap_or_default();
        mirror_sync::explain(&flags.out, &policy, &name, version.as_ref(), std::time::SystemTime::now())
    };
    match explained() {
        Ok(explained) if explained.is_empty() => {
            let error = anyhow::anyhow!(
                "the mirror {} neither holds {text} nor has an index line of it; check how it is spelled",
                flags.out.display()
            );
            complain(&error, ExitStatus::Usage)
        }
        Ok(explained) => {
            mirror_cli::print(&summary::of_explained(&explained));
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

/// Rebuilds the catalogue.
fn rebuild(flags: &Flags) -> ExitCode {
    let options = match resolve::rebuild(flags) {
        Ok(options) => options,
        Err(error) => return complain(&error, ExitStatus::Usage),
    };
    let _log = match mirror_telemetry::init_logging(&flags.reports.log(), &ProgressHandle::new()) {
        Ok(log) => log,
        Err(error) => return complain(&error.into(), ExitStatus::Usage),
    };
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let signals = match mirror_cli::watch("stopping: the catalogue stays as it was", move || stop.cancel()) {
        Ok(signals) => signals,
        Err(error) => return complain(&error.into(), ExitStatus::Internal),
    };
    let reporter = Reporter::new(RunStats::new(env!("CARGO_PKG_VERSION")));
    match mirror_sync::rebuild_catalogue(&options, &reporter, &cancel) {
        Ok(outcome) => {
            mirror_cli::print_summary(&summary::of_rebuild(&outcome, &options.out));
            ExitCode::from(signals.exit_code(outcome.exit_status()))
        }
        Err(error) => fail(error),
    }
}

/// Returns the number of network threads. One thread moves and hashes some 30,000 small files a second; a second one on
/// the same few cores costs more in wake-ups than it gains. Planning, writing and committing have threads of their own.
fn network_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 4 { 2 } else { 1 }
}

async fn run(settings: Settings) -> ExitCode {
    let handle = ProgressHandle::new();
    let _log = match mirror_telemetry::init_logging(&settings.log, &handle) {
        Ok(log) => log,
        Err(error) => return complain(&error.into(), ExitStatus::Usage),
    };
    for note in compat::notes(std::env::args_os()) {
        tracing::info!("{note}");
    }
    warn_of_policy(&settings);
    let lacks_room =
        room::Room::at(&settings.options.out).and_then(|room| room.refusal(&settings.options.out));
    if let Some(why) = lacks_room.filter(|_| !settings.options.dry_run && !settings.options.index_only) {
        return refuse(&anyhow::anyhow!(why), ExitStatus::Storage, &settings);
    }
    let stats = RunStats::new(env!("CARGO_PKG_VERSION"));
    console::identify(&stats, &settings);
    let options = console::options(&settings);
    let is_shown = !settings.options.dry_run || !settings.linger.is_zero();
    let listener = match &settings.listen {
        Some(addr) if is_shown => match Listener::start_with(addr, stats.clone(), options).await {
            Ok(listener) => {
                if settings.options.dry_run {
                    tracing::info!("the console is at http://{}/", listener.local_addr());
                }
                Some(listener)
            }
            Err(error) if settings.listen_asked => {
                return refuse(&error.into(), ExitStatus::Usage, &settings);
            }
            Err(error) => {
                tracing::warn!("no status listener: {error}; use --listen ADDR for another one");
                None
            }
        },
        Some(_) if settings.listen_asked => {
            tracing::info!("a dry run listens nowhere unless --linger says how long");
            None
        }
        _ => None,
    };
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let signals = match mirror_cli::watch("stopping: what is under way is committed", move || stop.cancel()) {
        Ok(signals) => signals,
        Err(error) => return refuse(&error.into(), ExitStatus::Internal, &settings),
    };
    let progress =
        (!settings.options.dry_run).then(|| Progress::start(stats.clone(), settings.progress, &handle));
    if settings.options.dry_run {
        if settings.summary == SummaryForm::Text {
            mirror_cli::print_summary(&settings.effective);
        }
    } else {
        log_start(&settings, listener.as_ref());
    }
    let reporter = Arc::new(Reporter::new(Arc::clone(&stats)));
    let result = mirror_sync::download(settings.options.clone(), reporter, cancel.clone()).await;
    if let Some(progress) = progress {
        progress.finish();
    }
    let status = match &result {
        Ok(outcome) => signals.exit_code(outcome.exit_status()),
        Err(error) => error.kind().exit_status().code(),
    };
    console::end(&stats, &result, &settings, status);
    let code = finish(result, &settings, status);
    if let Some(listener) = listener {
        console::close(listener, settings.linger, &cancel).await;
    }
    code
}

/// Logs what the run does, where, how fast at most, and where to watch it.
fn log_start(settings: &Settings, listener: Option<&Listener>) {
    let options = &settings.options;
    let (fetch, out) = (&options.fetch, options.out.display());
    let mut limits = format!("up to {} requests at a time", fetch.concurrency);
    if fetch.max_requests_per_sec > 0 {
        limits.push_str(&format!(", {} a second", fetch.max_requests_per_sec));
    }
    if fetch.max_bytes_per_sec > 0 {
        limits.push_str(&format!(", {}/s", human_bytes(fetch.max_bytes_per_sec)));
    }
    let console = listener
        .map_or_else(String::new, |listener| format!("; console at http://{}/", listener.local_addr()));
    let source = resolve::source_of(options);
    if options.index_only {
        tracing::info!("only the index is cloned or updated: {source}{console}");
    } else {
        tracing::info!("mirroring the {source} to {out}; {limits}{console}");
    }
}

/// Warns of waivers that have ended, which do not count.
fn warn_of_policy(settings: &Settings) {
    let Some(policy) = &settings.options.policy else { return };
    let now = std::time::SystemTime::now();
    for waiver in policy.policy().waivers().into_iter().filter(|waiver| waiver.ends() <= now) {
        tracing::warn!(
            "the waiver for {} by {} ended with {}, and does not count any more: {}",
            waiver.release(),
            waiver.who(),
            waiver.until(),
            waiver.why()
        );
    }
}

fn finish(result: Result<Outcome, SyncError>, settings: &Settings, status: u8) -> ExitCode {
    match result {
        Ok(outcome) => {
            match settings.summary {
                SummaryForm::Json => mirror_cli::print(&summary_json::of(&outcome, &settings.options)),
                SummaryForm::Text => {
                    let text = summary::of(&outcome, &settings.options);
                    mirror_cli::print_summary(&summary::coloured(text, settings.colours_output));
                }
            }
            ExitCode::from(status)
        }
        Err(error) => {
            let (status, advice) = (error.kind().exit_status(), error.advice());
            let error = error.into();
            summarize_error(&error, status, settings);
            mirror_cli::complain(Program::DownloadCrates, &error, advice, status)
        }
    }
}

/// Ends a run before it begins.
fn refuse(error: &anyhow::Error, status: ExitStatus, settings: &Settings) -> ExitCode {
    summarize_error(error, status, settings);
    complain(error, status)
}

/// Prints the summary of a run that ends with an error, if a program is to read it.
fn summarize_error(error: &anyhow::Error, status: ExitStatus, settings: &Settings) {
    if settings.summary == SummaryForm::Json {
        let options = &settings.options;
        mirror_cli::print(&summary_json::of_error(error, status, options.dry_run, &options.out));
    }
}

fn fail(error: SyncError) -> ExitCode {
    let (status, advice) = (error.kind().exit_status(), error.advice());
    mirror_cli::complain(Program::DownloadCrates, &error.into(), advice, status)
}

fn complain(error: &anyhow::Error, status: ExitStatus) -> ExitCode {
    mirror_cli::complain(Program::DownloadCrates, error, None, status)
}
