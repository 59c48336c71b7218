use std::sync::Arc;
use std::time::Instant;

use mirror_git::UpdateError;
use mirror_index::sparse::DlTemplate;
use mirror_index::{LockSet, NameSet, Selection, Shard};
use mirror_repo::Mirror;
use mirror_types::FailedRecord;
use tokio_util::sync::CancellationToken;

use crate::advisories::with_advisories;
use crate::dry_run::dry_run;
use crate::error::SyncError;
use crate::given::{MAX_TEXT_BYTES, read_text};
use crate::list::read_checksums;
use crate::observe::SyncObserver;
use crate::options::{DownloadOptions, Prune, Upstream};
use crate::outcome::Outcome;
use crate::packaged;
use crate::run::opened::lock;
use crate::run::perform;
use crate::source::{Downloads, Input, Run};
use crate::threads::{join, spawn};

/// Mirrors what `options` select. Streams: memory does not grow with the registry. Stops cleanly
/// when `cancel` fires; what was committed stays.
///
/// # Errors
/// When the run could not begin or could not continue. Records that fail are no error; they are in
/// the [`Outcome`].
pub async fn download(
    options: DownloadOptions,
    observer: Arc<dyn SyncObserver>,
    cancel: CancellationToken,
) -> Result<Outcome, SyncError> {
    let began = Instant::now();
    // The whole run uses one moment as its clock.
    let options = DownloadOptions { now: Some(options.moment()), ..options };
    if options.index_only {
        let mut outcome = match update_only(options, &observer, &cancel).await {
            Err(SyncError::Update(UpdateError::Stopped)) => {
                Outcome { interrupted: true, ..Outcome::default() }
            }
            done => done?,
        };
        outcome.elapsed = began.elapsed();
        return Ok(outcome);
    }
    // While it updates its index or its advisories, the run must be the only one: it takes the lock first.
    let updates = options.update.is_some() || options.advisory_update.is_some();
    let store = if updates && !options.dry_run { Some(lock(&options)?) } else { None };
    let stopped = || Ok(Outcome { interrupted: true, elapsed: began.elapsed(), ..Outcome::default() });
    let (options, advisories) = match with_advisories(options, &observer, &cancel).await {
        Err(SyncError::Update(UpdateError::Stopped)) => return stopped(),
        read => read?,
    };
    let again = options.with_lockfiles.then(|| (options.clone(), Arc::clone(&observer), cancel.clone()));
    let run = match prepare(options, None, observer, cancel).await {
        // The stop counts as that of a run that had begun: it is no error.
        Err(SyncError::Update(UpdateError::Stopped)) => return stopped(),
        prepared => prepared?,
    };
    let mut outcome = if run.options.dry_run { dry_run(run).await? } else { perform(run, store).await? };
    if let Some((options, observer, cancel)) = again.filter(|(options, ..)| !options.dry_run) {
        with_lockfiles(&mut outcome, options, observer, cancel).await?;
    }
    outcome.advisories = advisories;
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

/// Brings only the index up to date, and the advisory database as far as `options` ask for that.
async fn update_only(
    options: DownloadOptions,
    observer: &Arc<dyn SyncObserver>,
    cancel: &CancellationToken,
) -> Result<Outcome, SyncError> {
    crate::update::update(&options, observer, cancel).await?;
    let mut outcome = Outcome::default();
    if options.advisory_update.is_some() {
        outcome.advisories = with_advisories(options, observer, cancel).await?.1;
    }
    Ok(outcome)
}

/// Mirrors the releases named by the lockfiles inside the selected binary crates: a second pass, once these are held.
async fn with_lockfiles(
    outcome: &mut Outcome,
    options: DownloadOptions,
    observer: Arc<dyn SyncObserver>,
    cancel: CancellationToken,
) -> Result<(), SyncError> {
    let roots = std::mem::take(&mut outcome.roots);
    if outcome.interrupted || outcome.given_up || roots.is_empty() {
        return Ok(());
    }
    let (given, stop) = (options.clone(), cancel.clone());
    let read = move || {
        let mirror = Mirror::open_with(&given.out, given.bundles_out.as_deref(), &given.stores)?;
        packaged::read(&mirror, &roots, &given.lock_sources, &stop)
    };
    let found = join(spawn("lockfiles", read)?).await??;
    outcome.lockfiles_read = found.read;
    outcome.lockfiles_unusable = found
        .unusable
        .into_iter()
        .map(|(id, why)| FailedRecord { what: format!("Cargo.lock of {id}"), why })
        .collect();
    if found.set.is_empty() || cancel.is_cancelled() {
        return Ok(());
    }
    // The second pass selects exactly what the lockfiles name, whatever narrowed the first.
    let options = DownloadOptions {
        update: None,
        cargo_locks: Vec::new(),
        include: NameSet::default(),
        latest: 0,
        shard: Shard::default(),
        as_of: None,
        closure: None,
        with_lockfiles: false,
        limit: 0,
        verify_existing: false,
        audit_all: false,
        prune: None,
        acknowledge_gaps: None,
        ..options
    };
    let more = perform(prepare(options, Some(found.set), observer, cancel).await?, None).await?;
    outcome.absorb(more);
    Ok(())
}

/// Returns whether a lockfile or a list of addresses says which versions are mirrored.
fn says_versions(options: &DownloadOptions) -> bool {
    !options.cargo_locks.is_empty() || matches!(options.upstream, Upstream::List(_))
}

/// Reads what the options name, and updates the index. `packaged` is what lockfiles inside of releases name.
async fn prepare(
    options: DownloadOptions,
    packaged: Option<LockSet>,
    observer: Arc<dyn SyncObserver>,
    cancel: CancellationToken,
) -> Result<Run, SyncError> {
    if options.include_yanked && options.prune == Some(Prune::Yanked) {
        return Err(SyncError::WantedAndPruned);
    }
    if options.include.has_versions() && says_versions(&options) {
        return Err(SyncError::Usage(
            "some crates are named with a version, and a lockfile or a list says which versions are mirrored; name the \
             crates without versions, or mirror them in a run of their own"
                .to_owned(),
        ));
    }
    let mut locks = Vec::new();
    for path in &options.cargo_locks {
        let text = read_text("the lockfile", path, MAX_TEXT_BYTES)?;
        locks.push((path.display().to_string(), text));
    }
    let locked =
        if locks.is_empty() { packaged } else { Some(LockSet::parse(&locks, &options.lock_sources)?) };
    let foreign = locked.as_ref().map(|set| set.foreign().clone()).unwrap_or_default();
    if locked.as_ref().is_some_and(LockSet::is_empty) && !foreign.is_empty() {
        let named: Vec<_> = foreign.iter().map(|(source, n)| format!("{source} ({n})")).collect();
        return Err(SyncError::OtherRegistries { named: named.join(", ") });
    }
    let mut selection = Selection::default();
    selection.include = options.include.clone();
    selection.exclude = options.exclude.clone();
    selection.locked = locked;
    selection.latest = options.latest;
    selection.include_prerelease = options.include_prerelease;
    selection.include_yanked = options.include_yanked;
    selection.shard = options.shard;
    selection.as_of = options.as_of;
    let checksums = options.checksums.as_deref().map(read_checksums).transpose()?;
    let named =
        options.crates_base_url.as_ref().map(|base| DlTemplate::from_base(base.reveal())).transpose()?;
    crate::update::update(&options, &observer, &cancel).await?;
    let input = Input::open(&options, &selection, &*observer)?;
    let base = Downloads::of(named, &input)?;
    Ok(Run { options, observer, cancel, selection, input, base, checksums, foreign })
}
