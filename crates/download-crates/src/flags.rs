//! The command line, as it was typed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Parser, ValueEnum};
use mirror_cli::{LogFlags, duration};
use mirror_sync::Target;

use crate::compat::CompatFlags;

/// Mirrors crates.io, all of it or a chosen part, into a verified tree.
///
/// Give `--cargo-lock` or `--crates` to mirror a part of the registry over HTTP, or `--index-dir`
/// for a git index or a directory of index files. Run the same command again to bring the mirror
/// up to date: only what is missing, failed before or changed upstream is fetched.
///
/// Exit codes: 0 complete; 1 internal error; 2 usage; 3 some records failed or are unavailable;
/// 4 integrity fault in what is held; 5 the origin refused or never answered; 6 storage; 7 the
/// output is locked by another run; 8 refused: a snapshot, or a mirror that no policy has judged; 130, 143 stopped by a
/// signal.
#[derive(Debug, Parser)]
#[command(name = "download-crates", version, max_term_width = 100)]
pub(crate) struct Flags {
    /// Local index: a checkout, a bare repository, or a plain directory of index files.
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub(crate) index_dir: Option<PathBuf>,
    /// A sparse registry, as `sparse+URL`, instead of --index-dir; or where --update-index fetches the git index
    /// from. Default: the registry's own, sparse when only --cargo-lock or --crates is given.
    #[arg(long, value_name = "URL", help_heading = "Source")]
    pub(crate) index_url: Option<String>,
    /// Send no requests: use what is held, name what is missing, and read the index files of a sparse registry from
    /// its cache.
    #[arg(long, help_heading = "Source", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) offline: bool,
    /// Clone --index-dir when nothing is there (bare, newest commit only), else bring it up to date, and likewise the
    /// advisory database of the policy, if there is one; then mirror.
    #[arg(long, help_heading = "Source", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) update_index: bool,
    /// Clone the whole history when --update-index makes a clone.
    #[arg(long, help_heading = "Source", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) index_full: bool,
    /// Clone or update --index-dir, and likewise the advisory database of the policy, if there is one, and do nothing
    /// else: the first step before a dry run.
    #[arg(long, help_heading = "Source", requires = "index_dir", conflicts_with_all = ["dry_run", "offline", "skip_index_update"])]
    pub(crate) index_only: bool,
    /// Use --index-dir as it is; wins over --update-index.
    #[arg(long, help_heading = "Source", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) skip_index_update: bool,
    /// Newline-delimited URLs; blank lines and # comments are ignored.
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub(crate) list: Option<PathBuf>,
    /// JSONL of {url, sha256}: checksums for --list, where each URL needs one, or a second check of the index.
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub(crate) checksums: Option<PathBuf>,
    /// Base of the download URLs: {base}/{name}/{name}-{version}.crate. Default: what the index says, else the
    /// registry's own.
    #[arg(long, value_name = "URL", help_heading = "Source")]
    pub(crate) crates_base_url: Option<String>,

    /// Only what this lockfile names; may be given many times.
    #[arg(long, value_name = "FILE", help_heading = "Selection")]
    pub(crate) cargo_lock: Vec<PathBuf>,
    /// Only these crates: names, names with a version or a requirement (serde@1.0.200, serde@^1, serde@>=1,<2), or globs,
    /// separated by commas; may be given many times.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Selection")]
    pub(crate) crates: Vec<String>,
    /// Only the crates in this file: a name or glob a line, # comments.
    #[arg(long, value_name = "FILE", help_heading = "Selection")]
    pub(crate) crates_file: Option<PathBuf>,
    /// Never these crates: names or globs.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Selection")]
    pub(crate) exclude: Vec<String>,
    /// Also what builds of the selected crates need: for each requirement, transitively, all versions that satisfy
    /// it; with --latest 1 the one that Cargo would choose. See docs/selecting.md.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) closure: bool,
    /// With --closure: only dependencies that this target has, by its triple; may be given many times. Default: those
    /// of all targets.
    #[arg(long, value_name = "TRIPLE", help_heading = "Selection")]
    pub(crate) target: Vec<Target>,
    /// With --closure: enable only the default features of the selected crates, instead of all of them.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) no_optional: bool,
    /// With --closure: also what the selected crates need for their tests, examples and benchmarks.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) dev: bool,
    /// Also what the lockfiles inside of selected binary crates name, for `cargo install --locked`.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) with_lockfiles: bool,
    /// Only the newest N non-yanked versions of each crate; 0 means all. Pre-releases count only where a crate has
    /// nothing else.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Selection")]
    pub(crate) latest: usize,
    /// With --latest: treat pre-releases like any other version.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) include_prerelease: bool,
    /// Also yanked versions.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) include_yanked: bool,
    /// First N records only; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Selection")]
    pub(crate) limit: u64,
    /// This machine's share, i of n.
    #[arg(long, value_name = "i/n", default_value = "1/1", help_heading = "Selection")]
    pub(crate) shard: String,

    /// Only what was published by this date (2026-08-01: its end, in UTC) or moment (2026-08-01T12:00:00Z): the registry
    /// as it was then, but for yanks and deletions since.
    #[arg(long, value_name = "DATE", value_parser = moment, help_heading = "Selection")]
    pub(crate) as_of: Option<SystemTime>,

    /// TOML file of the rules that decide which releases are fetched and offered. Default: policy.toml in the mirror.
    /// See docs/policy.md.
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub(crate) policy: Option<PathBuf>,
    /// Print a policy file that has every key, with comments, and exit.
    #[arg(long, help_heading = "Policy", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) sample_policy: bool,
    /// RustSec advisory database, a git clone or a plain directory: releases that it calls malicious are not fetched and
    /// not offered. Default: the one that the policy names.
    #[arg(long, value_name = "DIR", help_heading = "Policy")]
    pub(crate) advisory_db: Option<PathBuf>,
    /// Clone the advisory database when nothing is there, else bring the clone up to date, as --update-index does, too.
    #[arg(long, help_heading = "Policy", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) update_advisories: bool,
    /// Address from which the advisory database is fetched. Default: the origin of the clone, else RustSec's own repository.
    #[arg(long, value_name = "URL", help_heading = "Policy")]
    pub(crate) advisory_url: Option<String>,
    /// Explain what decides about a release of the mirror, or about all of a crate, and exit.
    #[arg(long, value_name = "NAME[@VERSION]", help_heading = "Policy", conflicts_with_all = ["dry_run", "prune", "update_index", "update_advisories", "gaps", "rebuild_catalogue"])]
    pub(crate) explain: Option<String>,

    /// SSH key that signs the snapshot of the run: a private key, or a public one whose private half an agent holds. May
    /// be given several times.
    #[arg(long, value_name = "FILE", help_heading = "Snapshots")]
    pub(crate) sign_key: Vec<PathBuf>,
    /// Key of gpg that signs it, as `gpg --local-user` takes it. May be given several times.
    #[arg(long, value_name = "KEY", help_heading = "Snapshots")]
    pub(crate) sign_gpg: Vec<String>,
    /// File whose first line is the passphrase of the keys of --sign-key. Default: MIRROR_SIGN_PASSPHRASE in the
    /// environment.
    #[arg(long, value_name = "FILE", help_heading = "Snapshots")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Time until a snapshot expires; when nothing changes, the next is taken half way to it.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = duration, help_heading = "Snapshots")]
    pub(crate) valid_for: Duration,
    /// Keep this many newest snapshots, beside those with a file `snapshot-SERIAL.json.pin`.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Snapshots")]
    pub(crate) keep_snapshots: usize,
    /// Take no snapshot.
    #[arg(long, help_heading = "Snapshots")]
    pub(crate) no_snapshot: bool,
    /// List the snapshots of the mirror, and exit.
    #[arg(long, help_heading = "Snapshots", conflicts_with_all = ["dry_run", "prune", "update_index", "gaps", "rebuild_catalogue", "explain"])]
    pub(crate) snapshots: bool,
    /// Tell by name what changed between two snapshots, or from one to now (`7..`), and exit.
    #[arg(long, value_name = "OLD..NEW", help_heading = "Snapshots", conflicts_with_all = ["dry_run", "prune", "update_index", "gaps", "rebuild_catalogue", "explain", "snapshots"])]
    pub(crate) diff_snapshots: Option<String>,
    /// Check a snapshot and the signatures beside it, and exit: with 8 when it is refused.
    #[arg(long, value_name = "FILE", help_heading = "Snapshots", conflicts_with_all = ["dry_run", "prune", "update_index", "gaps", "rebuild_catalogue", "explain", "snapshots", "diff_snapshots"])]
    pub(crate) check_snapshot: Option<PathBuf>,
    /// With --check-snapshot: the keys that count, as `ssh-keygen` takes them.
    #[arg(long, value_name = "FILE", requires = "check_snapshot", help_heading = "Snapshots")]
    pub(crate) allowed_signers: Option<PathBuf>,
    /// With --allowed-signers: only keys of this principal count.
    #[arg(long, value_name = "NAME", requires = "allowed_signers", help_heading = "Snapshots")]
    pub(crate) identity: Option<String>,
    /// With --check-snapshot: public keys that do not count any more, one a line.
    #[arg(long, value_name = "FILE", requires = "check_snapshot", help_heading = "Snapshots")]
    pub(crate) revoked_keys: Option<PathBuf>,
    /// With --check-snapshot: OpenPGP keys that count.
    #[arg(long, value_name = "FILE", requires = "check_snapshot", help_heading = "Snapshots")]
    pub(crate) gpg_keyring: Option<PathBuf>,
    /// With --check-snapshot: this many keys must have signed.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "check_snapshot",
        help_heading = "Snapshots"
    )]
    pub(crate) threshold: usize,
    /// With --check-snapshot: ask for no signature.
    #[arg(long, requires = "check_snapshot", help_heading = "Snapshots")]
    pub(crate) allow_unsigned: bool,
    /// With --check-snapshot: the snapshot that was accepted last, which this one must follow.
    #[arg(long, value_name = "FILE", requires = "check_snapshot", help_heading = "Snapshots")]
    pub(crate) after: Option<PathBuf>,
    /// With --check-snapshot: the mirror at --out must offer what the snapshot states.
    #[arg(long, requires = "check_snapshot", help_heading = "Snapshots")]
    pub(crate) check_rows: bool,
    /// With --check-snapshot: judge keys and expiry by this date, where the clock is wrong.
    #[arg(long, value_name = "DATE", requires = "check_snapshot", value_parser = moment, help_heading = "Snapshots")]
    pub(crate) at: Option<SystemTime>,

    /// Mirror root; --mirror is another name for it.
    #[arg(long, aliases = ["mirror", "output-dir"], value_name = "DIR", default_value = "out", help_heading = "Output")]
    pub(crate) out: PathBuf,
    /// Layout below the root: `shard`, or `cargo` for plain file servers. Default: that of the mirror, else shard.
    #[arg(long, value_name = "LAYOUT", help_heading = "Output")]
    pub(crate) layout: Option<String>,
    /// Audit log; appended to, never truncated. Default: the one that the mirror remembers, else manifest.jsonl in
    /// the mirror.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) manifest: Option<PathBuf>,
    /// Hash again everything that is held, and repair it.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) verify_existing: bool,
    /// Record every selected release in the manifest, also those that are held already, as `existing`. Reads the whole
    /// index, and writes some 500 bytes for each release.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) audit_all: bool,
    /// Remove releases that upstream deleted; `--prune=yanked` also yanked ones. Only after a run through
    /// the whole index, and never more than 500 or 0.1% of what is held. With --dry-run: only list them.
    #[arg(long, value_name = "WHAT", help_heading = "Output", num_args = 0..=1, require_equals = true, default_missing_value = "deleted")]
    pub(crate) prune: Option<PruneWhat>,
    /// Let --prune remove more than that.
    #[arg(long, help_heading = "Output", requires = "prune")]
    pub(crate) allow_mass_prune: bool,
    /// Stop offering what upstream deleted even when it is more than 500 releases or 0.1% of a mirror of more than
    /// 1,000; without this flag such a run continues to offer them and ends with 3.
    #[arg(long, help_heading = "Output")]
    pub(crate) accept_mass_removal: bool,
    /// Show what a run would do, and change nothing. Unless --offline, ask the origin for the sizes of up to 100
    /// releases, probably large ones first.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) dry_run: bool,
    /// Store downloads in rolling tar.zst bundles.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) bundle: bool,
    /// With --bundle: store in bundles alone, or in loose files too. `add` also bundles what is already held loose,
    /// and makes loose files of what only bundles hold, without fetching it again.
    #[arg(long, value_name = "MODE", default_value = "only", help_heading = "Output")]
    pub(crate) bundle_mode: BundleMode,
    /// Size at which a bundle is sealed and the next one begins, in GB of 2^30 bytes; fractions such as 0.5 work.
    #[arg(long, value_name = "GB", default_value_t = 8.0, value_parser = gigabytes, help_heading = "Output")]
    pub(crate) bundle_size_gb: f64,
    /// Directory of the bundles. Default: the one that the mirror remembers, else bundles in the mirror.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) bundles_out: Option<PathBuf>,
    /// With --bundle: seal the partial bundle at the end, whatever its size. Otherwise the next run continues it.
    #[arg(long, help_heading = "Output", requires = "bundle", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) bundle_seal: bool,
    /// List the releases that upstream lists but cannot deliver, with the notes of people on them, and exit.
    #[arg(long, help_heading = "Output", conflicts_with_all = ["dry_run", "prune", "update_index"], num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) gaps: bool,
    /// TOML file of acknowledged gaps (tables `gap` with release, since, who, why), which no longer change the exit
    /// code. The mirror keeps the list until you give another file. With --gaps: without a run.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) acknowledge_gaps: Option<PathBuf>,
    /// Rebuild .mirror/catalogue.sqlite from manifest, bundles and files, judge it by the policy, and exit. Needs no index
    /// and no network.
    #[arg(long, help_heading = "Output", conflicts_with_all = ["dry_run", "prune", "update_index"], num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) rebuild_catalogue: bool,

    /// Upper bound of requests in flight; adaptive below it.
    #[arg(long, alias = "threads", value_name = "N", default_value_t = 128, help_heading = "Network")]
    pub(crate) concurrency: usize,
    /// Seconds for one request in total; stalls end a request earlier.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, help_heading = "Network")]
    pub(crate) timeout: u64,
    /// Number of retries after a transient failure.
    #[arg(long, value_name = "N", default_value_t = 6, help_heading = "Network")]
    pub(crate) retries: u32,
    /// First wait before a retry; doubles, with full jitter.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration, help_heading = "Network")]
    pub(crate) retry_base: Duration,
    /// Longest wait before a retry.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, help_heading = "Network")]
    pub(crate) retry_max: Duration,
    /// Connections per host; 0 chooses by concurrency.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Network")]
    pub(crate) max_conns_per_host: usize,
    /// Longest time without progress on a request; 0 means 30s (2m for --update-index).
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration, help_heading = "Network")]
    pub(crate) idle_timeout: Duration,
    /// Longest time for connecting, TLS included; 0 means 10s.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration, help_heading = "Network")]
    pub(crate) tls_timeout: Duration,
    /// Certificates to trust in addition to the system's (PEM): roots, or a server's own self-signed one.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub(crate) cacert: Option<PathBuf>,
    /// Upper bound of bytes per second; 0 means none.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Network")]
    pub(crate) max_bytes_per_sec: u64,
    /// Upper bound of requests per second; 0 means none.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Network")]
    pub(crate) max_requests_per_sec: u32,
    /// Complete user agent, in place of the product's own.
    #[arg(long, value_name = "TEXT", help_heading = "Network")]
    pub(crate) user_agent: Option<String>,
    /// Address at which the registry's operators can reach you; becomes part of the user agent.
    #[arg(long, value_name = "TEXT", env = "MIRROR_CONTACT", help_heading = "Network")]
    pub(crate) contact: Option<String>,

    /// Address of the console, /metrics, /api/status and /debug/pprof/; empty disables, `:9090` is all
    /// interfaces. Default 127.0.0.1:9090.
    #[arg(long, value_name = "ADDR", help_heading = "Reports")]
    pub(crate) listen: Option<String>,
    /// Name under which the console may be reached, beside addresses and `localhost`; repeatable.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Reports")]
    pub(crate) allow_host: Vec<String>,
    /// Keep the console for this time after the end, so that an open page or Prometheus sees it. With --dry-run: show its
    /// result on the console.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration, help_heading = "Reports")]
    pub(crate) linger: Duration,
    /// Form of the summary on standard output; `json` is one object, for programs.
    #[arg(long, value_name = "FORM", value_enum, default_value_t = SummaryForm::Text, help_heading = "Reports")]
    pub(crate) summary: SummaryForm,
    #[command(flatten)]
    pub(crate) reports: LogFlags,
    #[command(flatten)]
    pub(crate) compat: CompatFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SummaryForm {
    /// Rows for people
    Text,
    /// One JSON object
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BundleMode {
    /// In bundles alone
    Only,
    /// In bundles and loose files
    Add,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PruneWhat {
    Deleted,
    Yanked,
}

fn gigabytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(size) if size > 0.0 && size <= 1_000_000.0 => Ok(size),
        _ => Err("write a number above 0, like 8 or 0.5".to_owned()),
    }
}

/// Parses a date, which means its end in UTC, or a moment.
fn moment(text: &str) -> Result<SystemTime, String> {
    let bad = || "write a date like 2026-08-01, or a moment like 2026-08-01T12:00:00Z".to_owned();
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == "2026-08-01".len()
    {
        let end = date.at(23, 59, 59, 999_999_999).to_zoned(jiff::tz::TimeZone::UTC);
        return end.map(|end| end.timestamp().into()).map_err(|_| bad());
    }
    text.parse::<jiff::Timestamp>().map(SystemTime::from).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn flags(line: &str) -> Flags {
        let args = std::iter::once("download-crates").chain(line.split_whitespace()).map(OsString::from);
        mirror_cli::parse(args).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn a_flag_given_twice_counts_as_its_last() {
        let checked = mirror_cli::check_repeats::<Flags>(&[
            "--bundle",
            "--prune",
            "--index-dir=1",
            "--check-snapshot=1 --allowed-signers=1",
        ])
        .unwrap();
        assert!(checked > 10, "{checked} flags");
    }

    #[test]
    fn every_flag_has_a_variable_that_is_known() {
        let known = mirror_cli::check_variables::<Flags>().unwrap();
        assert!(known > 5, "{known} names");
    }

    #[test]
    fn hints_name_flags_that_are_there() {
        let named = mirror_cli::check_hints::<Flags>(mirror_cli::Program::DownloadCrates).unwrap();
        assert!(named > 1, "{named} flags");
    }

    #[test]
    fn a_date_means_its_end() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let end = at(2 * 86_400) - Duration::from_nanos(1);
        for (text, moment) in [
            ("1970-01-02", Some(end)),
            ("1970-01-02T00:00:07Z", Some(at(86_407))),
            ("1970-01-02T01:00:07+01:00", Some(at(86_407))),
            ("yesterday", None),
            ("1970-02-30", None),
            ("1970-01-02T00:00:07", None),
        ] {
            assert_eq!(super::moment(text).ok(), moment, "{text}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }

    /// Checks every downloader line that the source documents print, with other paths.
    #[test]
    fn the_lines_of_the_source_documents_are_accepted() {
        let lines = include_str!("../../../testdata/command-lines.txt").lines();
        for line in lines.filter(|line| !line.starts_with('#')) {
            flags(line);
        }
        assert_eq!(flags("-index-dir i").index_dir, Some("i".into()));
        assert!(flags("-verify-existing").verify_existing);
        assert!(!flags("-verify-existing=false").verify_existing);
        assert_eq!(flags("--retry-max 1m30s").retry_max, Duration::from_secs(90));
    }

    #[test]
    fn every_setting_of_the_sample_file_is_read() {
        let sample = include_str!("../../../docs/mirror.toml");
        let counted = mirror_cli::check_sample::<Flags>(sample).unwrap();
        assert!(counted >= 15, "{counted}");
    }
}
