//! The command line, as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mirror_cli::{LogFormat, LogLevel};

/// Hashes a directory with many algorithms in one read, writes an inventory, signs it and packs it
/// into a tar or a ZIP; `archive-hasher verify` checks all of that on the receiving side.
///
/// Writes `{prefix}.yaml` (the inventory), `{prefix}.yaml.asc` (a detached OpenPGP signature of it)
/// and `{prefix}.tar`; with --zip also `{prefix}.zip`. Without --gpgkey an Ed25519 key is made once and kept as
/// `{prefix}.secret.asc` and `{prefix}.public.asc`; later runs use it again. No file gets its final
/// name before it is complete. See docs/archive-hasher.md for the formats and for checking with stock
/// tools.
///
/// Exit codes: 0 all is well; 1 internal error; 2 usage; 4 integrity: something differs from the
/// inventory, or changed while it was read; 6 reading or writing failed; 7 another run writes the
/// same outputs; 130, 143 stopped by a signal.
#[derive(Debug, Parser)]
#[command(name = "archive-hasher", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) create: Create,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Checks an inventory, its signature, and a directory or a tar against it; writes nothing.
    ///
    /// Lists what changed, is missing or was added, one line each on standard output.
    Verify(Verify),
    /// Signs one file as it is, and writes the signature beside it: FILE.asc, which gpg --verify checks.
    Sign(Sign),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Directory to archive; required. Symbolic links are recorded, not followed; special files are
    /// refused.
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub(crate) dir: Option<PathBuf>,

    /// Directory for the outputs, outside --dir; created if it does not exist. Default: beside --dir.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out_dir: Option<PathBuf>,
    /// Name of the outputs, without their extensions. Default: the name of the directory.
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub(crate) out_prefix: Option<String>,
    /// Do not pack the directory into {prefix}.tar.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) no_tar: bool,
    /// Pack the directory into {prefix}.zip, beside the tar or with --no-tar instead of it.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) zip: bool,

    /// Armored private key to sign with. A passphrase comes from --passphrase-file or from the
    /// environment variable ARCHIVE_HASHER_PASSPHRASE, never from the command line.
    #[arg(long, value_name = "FILE", help_heading = "Signature")]
    pub(crate) gpgkey: Option<PathBuf>,
    /// File whose first line is the passphrase of the private key, or of the new key.
    #[arg(long, value_name = "FILE", help_heading = "Signature")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Do not sign; an outdated {prefix}.yaml.asc is removed.
    #[arg(long, help_heading = "Signature", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) no_sign: bool,

    /// Digests of the whole directory, separated by commas: kangaroo12, blake3, sha3_256, blake2b,
    /// sha512, whirlpool, ripemd160, xxh3, sha256, xxhash64, murmur3, `all` or `none`. SHA-256 and
    /// BLAKE3 of each file are always computed.
    #[arg(long, value_name = "LIST", default_value = "all", help_heading = "Hashing")]
    pub(crate) hashes: String,
    /// Threads that hash; 0 means one for each core. The outputs do not depend on it.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Hashing")]
    pub(crate) hash_workers: usize,

    #[command(flatten)]
    pub(crate) reports: Reports,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The inventory, {prefix}.yaml; {prefix}.yaml.asc beside it is checked too.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) inventory: PathBuf,
    /// Compare with this directory. Without it and without --tar only the inventory and its signature
    /// are checked.
    #[arg(long, value_name = "DIR", conflicts_with = "tar", help_heading = "Input")]
    pub(crate) dir: Option<PathBuf>,
    /// Compare with this tar, every byte of it.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) tar: Option<PathBuf>,
    /// Public key of the sender, armored or binary. Default: {prefix}.public.asc beside the inventory,
    /// which proves only that both belong together.
    #[arg(long, value_name = "FILE", help_heading = "Signature")]
    pub(crate) public_key: Option<PathBuf>,
    /// Do not check the signature.
    #[arg(long, conflicts_with = "public_key", help_heading = "Signature", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) skip_signature: bool,
    /// Digests of the whole directory to recompute besides those of each file: names from the
    /// inventory separated by commas, `all` or `none`.
    #[arg(long, value_name = "LIST", default_value = "blake3", help_heading = "Hashing")]
    pub(crate) hashes: String,
    /// Threads that hash; 0 means one for each core.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Hashing")]
    pub(crate) hash_workers: usize,

    #[command(flatten)]
    pub(crate) reports: Reports,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The file to sign.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Armored private key to sign with. A passphrase comes from --passphrase-file or from the
    /// environment variable ARCHIVE_HASHER_PASSPHRASE, never from the command line.
    #[arg(long, value_name = "FILE", help_heading = "Signature")]
    pub(crate) gpgkey: PathBuf,
    /// File whose first line is the passphrase of the private key.
    #[arg(long, value_name = "FILE", help_heading = "Signature")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Reports {
    /// Show progress: a bar on a terminal, log lines elsewhere.
    #[arg(long, help_heading = "Reports", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) progress: bool,
    /// Time between log lines of progress.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration, help_heading = "Reports")]
    pub(crate) progress_interval: Duration,
    /// Log every entry, as --log-level debug does; an explicit --log-level takes precedence.
    #[arg(long, help_heading = "Reports", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) verbose: bool,
    /// Format of log lines, which go to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Reports")]
    pub(crate) log_format: LogFormat,
    /// Least important level that is logged. Default: info.
    #[arg(long, value_enum, help_heading = "Reports")]
    pub(crate) log_level: Option<LogLevel>,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 250ms, 3s or 1m30s"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        mirror_cli::parse(
            std::iter::once("archive-hasher").chain(line.split_whitespace()).map(OsString::from),
        )
    }

    #[test]
    fn a_flag_given_twice_counts_as_its_last() {
        let checked = mirror_cli::check_repeats::<Flags>(&["--dir=d", "--gpgkey=k f"]).unwrap();
        assert!(checked > 10, "{checked} flags");
    }

    #[test]
    fn every_flag_has_a_variable_that_is_known() {
        let known = mirror_cli::check_variables::<Flags>().unwrap();
        assert!(known > 5, "{known} names");
    }

    #[test]
    fn hints_name_existing_flags() {
        let named = mirror_cli::check_hints::<Flags>(mirror_cli::Program::ArchiveHasher).unwrap();
        assert!(named > 1, "{named} flags");
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }

    /// Checks the lines that the source documents print, with other paths.
    #[test]
    fn the_lines_of_the_source_documents_are_accepted() {
        for line in [
            "-dir The-Crates",
            "-dir my-project -verbose",
            "-dir my-project -progress-interval 10s -out-dir Artifacts -out-prefix my-project-2025-08-23",
            "-dir /data/crates-mirror -out-dir /data/crates-artifacts -progress-interval 10s -hash-workers 8",
            "-dir my-project -gpgkey private-key.asc",
            "-dir my-project -progress=false -log-format json -log-level warn",
        ] {
            let parsed = flags(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(parsed.create.dir.is_some());
        }
    }

    #[test]
    fn defaults_are_those_of_the_source_system() {
        let create = flags("--dir d").unwrap().create;
        assert!(
            create.reports.progress
                && !create.reports.verbose
                && !create.no_sign
                && !create.no_tar
                && !create.zip
        );
        assert_eq!(create.reports.progress_interval, Duration::from_secs(3));
        assert_eq!((&*create.hashes, create.hash_workers), ("all", 0));
    }

    #[test]
    fn verify_takes_only_its_flags() {
        let parsed = flags("verify -inventory i.yaml -tar t.tar -public-key k.asc").unwrap();
        let Some(Command::Verify(verify)) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!(verify.inventory, PathBuf::from("i.yaml"));
        for line in [
            "verify",
            "verify --inventory i --dir d --tar t",
            "verify --inventory i --skip-signature --public-key k",
            "--dir d verify --inventory i",
            "--dir d --passphrase secret",
            "sign file",
            "sign --gpgkey k",
        ] {
            assert!(flags(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_setting_of_the_sample_file_is_read() {
        let sample = include_str!("../../../docs/mirror.toml");
        let counted = mirror_cli::check_sample::<Flags>(sample).unwrap();
        assert!(counted >= 1, "{counted}");
    }
}
