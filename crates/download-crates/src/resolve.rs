//! Resolves flags to settings; reads only the files that they name, and writes nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mirror_sync::{
    Advisories, ClosureLimits, ClosureOptions, CrateName, DownloadOptions, FetchOptions, IndexUpdate, Layout,
    LoadedPolicy, LockSources, MAX_TEXT_BYTES, NameSet, PolicyFile, Prune, RebuildOptions, Storage,
    SyncError, Upstream, VersionText, human_bytes, read_text, upstream,
};
use mirror_telemetry::{LogOptions, ProgressOptions};

use crate::advisories;
use crate::flags::{BundleMode, Flags, PruneWhat, SummaryForm};

/// The resolved settings of a run.
pub(crate) struct Settings {
    pub(crate) options: DownloadOptions,
    pub(crate) listen: Option<String>,
    pub(crate) listen_asked: bool,
    /// Names under which the listener answers, beside its addresses.
    pub(crate) names: Vec<String>,
    /// The time for which the listener stays after the end.
    pub(crate) linger: Duration,
    pub(crate) log: LogOptions,
    pub(crate) progress: ProgressOptions,
    pub(crate) summary: SummaryForm,
    pub(crate) colours_output: bool,
    /// The effective settings, for a dry run.
    pub(crate) effective: String,
}

pub(crate) fn resolve(flags: &Flags) -> Result<Settings> {
    if flags.concurrency == 0 {
        bail!("--concurrency must be at least 1");
    }
    let upstream = source(flags)?;
    let update = update(flags, &upstream)?;
    if flags.bundle_mode == BundleMode::Add && !flags.bundle {
        bail!("--bundle-mode add says how --bundle keeps what is downloaded; give that too");
    }
    let layout = layout(flags)?;
    let include = names(flags)?;
    let closure = closure(flags, &upstream, &include)?;
    if flags.with_lockfiles && (include.is_empty() || matches!(upstream, Upstream::List(_))) {
        bail!(
            "--with-lockfiles reads the lockfiles of crates that --crates or --crates-file name; give one of them"
        );
    }
    let mut options = DownloadOptions::new(upstream, flags.out.clone());
    options.update = update;
    options.index_only = flags.index_only;
    options.cargo_locks = flags.cargo_lock.clone();
    options.lock_sources = lock_sources(flags);
    options.include = include;
    options.exclude = NameSet::parse(&flags.exclude).context("--exclude")?;
    options.latest = flags.latest;
    options.include_prerelease = flags.include_prerelease;
    options.include_yanked = flags.include_yanked;
    options.shard = flags.shard.parse().context("--shard")?;
    options.as_of = flags.as_of;
    if let Some(PolicyFile { policy, database, .. }) = policy_file(flags)? {
        options.policy = Some(Arc::new(LoadedPolicy::new(policy, Advisories::default())));
        options.advisory_db = database;
    }
    options.advisory_update = advisories::update(flags, options.advisory_db.as_deref())?;
    options.closure = closure;
    options.with_lockfiles = flags.with_lockfiles;
    options.limit = flags.limit;
    options.checksums = flags.checksums.clone();
    options.crates_base_url = flags.crates_base_url.clone().map(Into::into);
    options.offline = flags.offline;
    options.layout = layout;
    options.layout_asked = flags.layout.is_some();
    options.manifest = flags.manifest.clone();
    options.storage = match (flags.bundle, flags.bundle_mode) {
        (false, _) => Storage::Loose,
        (true, BundleMode::Only) => Storage::Bundle,
        (true, BundleMode::Add) => Storage::Both,
    };
    options.bundles_out = flags.bundles_out.clone();
    options.bundle_bytes = bundle_bytes(flags.bundle_size_gb);
    options.bundle_seal = flags.bundle_seal;
    options.verify_existing = flags.verify_existing;
    options.audit_all = flags.audit_all;
    options.prune = flags.prune.map(|what| match what {
        PruneWhat::Deleted => Prune::Deleted,
        PruneWhat::Yanked => Prune::Yanked,
    });
    options.allow_mass_prune = flags.allow_mass_prune;
    options.accept_mass_removal = flags.accept_mass_removal;
    options.acknowledge_gaps = flags.acknowledge_gaps.as_deref().map(mirror_sync::read_gaps).transpose()?;
    options.dry_run = flags.dry_run;
    options.snapshots = if flags.dry_run { None } else { crate::snapshots::options(flags)? };
    options.fetch = fetch(flags);
    let effective = effective(&options);
    Ok(Settings {
        options,
        listen: match flags.listen.as_deref() {
            None => Some("127.0.0.1:9090".to_owned()),
            Some("") => None,
            Some(addr) => Some(addr.to_owned()),
        },
        listen_asked: flags.listen.is_some(),
        names: flags.allow_host.clone(),
        linger: flags.linger,
        log: flags.reports.log(),
        progress: flags.reports.progress(),
        summary: flags.summary,
        colours_output: flags.reports.colours_output(),
        effective,
    })
}

/// Reads the policy file that the flags name, or that of the mirror, without its advisories.
fn policy_file(flags: &Flags) -> Result<Option<PolicyFile>, SyncError> {
    mirror_sync::read_policy(&flags.out, flags.policy.as_deref(), flags.advisory_db.as_deref())
}

/// Reads the policy that the flags name, or that of the mirror, and its advisories.
pub(crate) fn policy(flags: &Flags) -> Result<Option<LoadedPolicy>, SyncError> {
    mirror_sync::load_policy(&flags.out, flags.policy.as_deref(), flags.advisory_db.as_deref())
}

/// Parses the release, or the crate, of --explain.
pub(crate) fn release(text: &str) -> Result<(CrateName, Option<VersionText>)> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let name = name.parse().context("--explain takes NAME or NAME@VERSION")?;
    Ok((name, version.map(str::parse).transpose().context("--explain takes NAME or NAME@VERSION")?))
}

pub(crate) fn layout(flags: &Flags) -> Result<Layout> {
    match &flags.layout {
        Some(text) => text.parse().context("--layout"),
        None => Ok(Layout::default()),
    }
}

/// Resolves the flags that --rebuild-catalogue uses.
pub(crate) fn rebuild(flags: &Flags) -> Result<RebuildOptions> {
    let mut options = RebuildOptions::new(flags.out.clone());
    options.layout = layout(flags)?;
    options.layout_asked = flags.layout.is_some();
    options.manifest = flags.manifest.clone();
    options.bundles_out = flags.bundles_out.clone();
    options.policy = policy(flags)?.map(Arc::new);
    Ok(options)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0 and far below 2^64")]
fn bundle_bytes(gigabytes: f64) -> u64 {
    ((gigabytes * f64::from(1 << 30)) as u64).max(1)
}

fn source(flags: &Flags) -> Result<Upstream> {
    let sparse = flags.index_url.as_deref().and_then(|url| url.strip_prefix("sparse+"));
    match (&flags.list, &flags.index_dir, sparse, &flags.index_url) {
        (Some(list), None, _, None) => Ok(Upstream::List(list.clone())),
        (None, Some(dir), None, _) => Ok(Upstream::Local(dir.clone())),
        (None, None, Some(url), _) => Ok(Upstream::Sparse(url.into())),
        (None, None, None, Some(_)) => {
            bail!(
                "--index-url needs the form sparse+URL, or --update-index with --index-dir DIR to clone a git index into"
            )
        }
        (None, None, None, None)
            if !flags.cargo_lock.is_empty() || !flags.crates.is_empty() || flags.crates_file.is_some() =>
        {
            Ok(Upstream::Sparse(upstream::sparse_index_url().into()))
        }
        (None, None, None, None) => bail!(
            "nothing to mirror: give --cargo-lock FILE or --crates NAMES for a part of the registry, --index-dir DIR \
             for a git index, or --list FILE for URLs (--help shows all)"
        ),
        _ => bail!("--list, --index-dir and --index-url sparse+URL exclude each other"),
    }
}

/// Resolves --update-index, --index-full and --skip-index-update.
fn update(flags: &Flags, upstream: &Upstream) -> Result<Option<IndexUpdate>> {
    if flags.skip_index_update {
        return Ok(None);
    }
    if flags.update_index && flags.offline {
        bail!("--offline sends no requests, and --update-index fetches the index; leave one of them out");
    }
    if !(flags.update_index || flags.index_only) {
        if flags.index_full {
            bail!("--index-full says how --update-index clones; give that too");
        }
        return Ok(None);
    }
    match upstream {
        Upstream::Local(_) => {}
        Upstream::Sparse(_) => bail!(
            "--update-index is for git indexes; a sparse registry is asked for news in every run. Leave it away, or \
             give --index-dir DIR"
        ),
        Upstream::List(_) => bail!("--update-index needs --index-dir DIR; a list of URLs has no index"),
    }
    let mut update = IndexUpdate::default();
    update.url = flags.index_url.clone().map(Into::into);
    update.full = flags.index_full;
    if !flags.idle_timeout.is_zero() {
        update.idle_timeout = flags.idle_timeout;
    }
    Ok(Some(update))
}

fn lock_sources(flags: &Flags) -> LockSources {
    let own = flags.index_url.as_ref().map_or_else(Vec::new, |url| {
        vec![url.clone(), format!("registry+{}", url.strip_prefix("sparse+").unwrap_or(url))]
    });
    let mut sources = LockSources::new(own);
    sources.replaced = upstream::lock_sources();
    sources
}

/// Resolves the extent of --closure.
fn closure(flags: &Flags, upstream: &Upstream, include: &NameSet) -> Result<Option<ClosureOptions>> {
    if !flags.closure {
        if !flags.target.is_empty() || flags.no_optional || flags.dev {
            bail!("--target, --no-optional and --dev say how far --closure goes; give that too");
        }
        return Ok(None);
    }
    let limits = match upstream {
        Upstream::Local(_) => ClosureLimits::none(),
        Upstream::Sparse(_) => ClosureLimits::default(),
        Upstream::List(_) => bail!("--closure needs an index; a list of URLs says nothing of dependencies"),
    };
    if include.is_empty() && flags.cargo_lock.is_empty() {
        bail!(
            "--closure begins with the crates that --crates, --crates-file or --cargo-lock name; give one of them"
        );
    }
    let mut options = ClosureOptions::default();
    options.targets = flags.target.clone();
    options.no_optional = flags.no_optional;
    options.dev = flags.dev;
    options.limits = limits;
    Ok(Some(options))
}

fn names(flags: &Flags) -> Result<NameSet> {
    let mut names = flags.crates.clone();
    if let Some(path) = &flags.crates_file {
        let text = read_text("the list of crates", path, MAX_TEXT_BYTES).context("--crates-file")?;
        names.extend(
            text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned),
        );
    }
    NameSet::parse_with_versions(&names).context("--crates")
}

fn fetch(flags: &Flags) -> FetchOptions {
    let given = |time: Duration, or: Duration| if time.is_zero() { or } else { time };
    let mut options = FetchOptions::default();
    options.concurrency = flags.concurrency;
    options.retries = flags.retries;
    options.retry_base = flags.retry_base;
    options.retry_max = flags.retry_max;
    options.total_timeout = Duration::from_secs(flags.timeout.max(1));
    options.idle_timeout = given(flags.idle_timeout, options.idle_timeout);
    options.connect_timeout = given(flags.tls_timeout, options.connect_timeout);
    options.user_agent = flags.user_agent.clone().unwrap_or_else(|| user_agent(flags.contact.as_deref()));
    options.cacert = flags.cacert.clone();
    options.max_requests_per_sec = flags.max_requests_per_sec;
    options.max_bytes_per_sec = flags.max_bytes_per_sec;
    options.max_conns_per_host = flags.max_conns_per_host;
    options.offline = flags.offline;
    options
}

fn user_agent(contact: Option<&str>) -> String {
    let base = concat!("mirror-rust-crates/", env!("CARGO_PKG_VERSION"), " (", env!("CARGO_PKG_REPOSITORY"));
    match contact {
        Some(contact) => format!("{base}; contact: {contact})"),
        None => format!("{base})"),
    }
}

/// Describes the source of the records in a few words.
pub(crate) fn source_of(options: &DownloadOptions) -> String {
    match &options.upstream {
        Upstream::Local(dir) => format!("index at {}", dir.display()),
        Upstream::Sparse(url) => format!("sparse registry {url}"),
        Upstream::List(path) => format!("URLs of {}", path.display()),
    }
}

fn effective(options: &DownloadOptions) -> String {
    use std::fmt::Write as _;
    let mut text = "dry run: nothing is written\n".to_owned();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<19}{value}");
    };
    line("source", source_of(options));
    line("output", format!("{} ({} layout)", options.out.display(), options.layout.as_str()));
    if options.storage != Storage::Loose {
        let dir = options.bundles_out.as_ref().map_or_else(
            || "where the bundles of this mirror are, else bundles in it".to_owned(),
            |dir| dir.display().to_string(),
        );
        let kept = if options.storage == Storage::Both { ", and loose files" } else { "" };
        line("bundles", format!("{dir}, of {} each{kept}", human_bytes(options.bundle_bytes)));
    }
    let manifest = options.manifest.as_ref().map_or_else(
        || "the one of this mirror, else manifest.jsonl in it".to_owned(),
        |path| path.display().to_string(),
    );
    line("manifest", manifest);
    if let Some(policy) = &options.policy {
        line("policy", policy.policy().digest().to_hex()[..16].to_owned());
    }
    line("concurrency", options.fetch.concurrency.to_string());
    if !mirror_cli::effective().is_empty() {
        text.push_str("\nsettings that are not the default, and where they come from\n");
        for setting in mirror_cli::effective() {
            let _ = writeln!(text, "  {:<24} {:<28} {}", setting.name, setting.value, setting.origin);
        }
        text.push('\n');
    }
    text
}
