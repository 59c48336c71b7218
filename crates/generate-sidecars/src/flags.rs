//! The command line, as it was typed.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use mirror_cli::LogFlags;

/// Writes a JSON sidecar for every release of a registry index.
///
/// A sidecar is the release's own line of the index with `crate_file`, `crate_path`, `crate_url` and
/// `index_path` beside its fields; with --manifest also `storage`, `bundle_path` and `bundle_member`. The crates need
/// not be held.
///
/// As files, sidecars are beside the crates, `s/er/serde-1.0.0.crate.json`; existing ones stay as they are unless
/// you add --refresh, and those of releases that upstream deleted stay. As one JSONL or one tar.zst, they are in the
/// order of the index, and a run replaces the file when it is whole.
///
/// Exit codes: 0 complete; 1 internal error; 2 usage; 3 some lines of the index or of the manifest are bad
/// (listed); 4 something that is no file is in the way; 6 storage; 7 the output is locked by another
/// run; 8 with --offered, no policy has judged the new catalogue of the mirror; 130, 143 stopped by a signal.
#[derive(Debug, Parser)]
#[command(name = "generate-sidecars", version, max_term_width = 100)]
pub(crate) struct Flags {
    /// Local index: a checkout, a bare repository, or a plain directory of index files. Default: the cache of a
    /// sparse registry in the mirror at --out.
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub(crate) index_dir: Option<PathBuf>,
    /// Sparse registry to read, as `sparse+URL`, when the mirror at --out caches several. Sends no requests to it.
    #[arg(long, value_name = "URL", help_heading = "Source", conflicts_with = "index_dir")]
    pub(crate) index_url: Option<String>,
    /// A downloader's manifest: adds where each release is held.
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub(crate) manifest: Option<PathBuf>,
    /// Base of `crate_url`: {base}/{name}/{name}-{version}.crate. Default: what the index says, else the registry's
    /// own.
    #[arg(long, value_name = "URL", help_heading = "Source")]
    pub(crate) crates_base_url: Option<String>,

    /// Also yanked releases.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) include_yanked: bool,
    /// Only releases that the mirror at --out offers: held with the checksum of the index, not deleted upstream, and not
    /// held back by policy. Looks at the whole index. Existing sidecars of other releases stay.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) offered: bool,
    /// First N records of the index only; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Selection")]
    pub(crate) limit: u64,

    /// Also `license`, as a release states it in its Cargo.toml, where the catalogue of the mirror at
    /// --out has it: runs of download-crates read it while their policy has a rule on licences.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) with_licence: bool,
    /// Mirror root; its layout is kept.
    #[arg(long, value_name = "DIR", default_value = "out", help_heading = "Output")]
    pub(crate) out: PathBuf,
    /// A file beside each crate, one JSONL, or one tar.zst with the files.
    #[arg(long, value_enum, default_value_t = OutputMode::Files, help_heading = "Output")]
    pub(crate) output_mode: OutputMode,
    /// The JSONL of --output-mode jsonl.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) jsonl_out: Option<PathBuf>,
    /// The archive of --output-mode tar.zst.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) tar_out: Option<PathBuf>,
    /// Bring existing sidecars up to date, for example after a yank.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) refresh: bool,
    /// Most threads; more than there are processors bring nothing.
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = "Output")]
    pub(crate) concurrency: usize,

    #[command(flatten)]
    pub(crate) reports: LogFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputMode {
    Files,
    Jsonl,
    #[value(name = "tar.zst")]
    TarZst,
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn flags(line: &str) -> Flags {
        let args = std::iter::once("generate-sidecars").chain(line.split_whitespace()).map(OsString::from);
        mirror_cli::parse(args).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn a_flag_given_twice_counts_as_its_last() {
        let checked = mirror_cli::check_repeats::<Flags>(&["--index-dir=i --out=o"]).unwrap();
        assert!(checked > 10, "{checked} flags");
    }

    #[test]
    fn every_flag_has_a_variable_that_is_known() {
        let known = mirror_cli::check_variables::<Flags>().unwrap();
        assert!(known > 5, "{known} names");
    }

    #[test]
    fn hints_name_flags_that_are_there() {
        let named = mirror_cli::check_hints::<Flags>(mirror_cli::Program::GenerateSidecars).unwrap();
        assert!(named > 1, "{named} flags");
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }

    /// Checks every line of this program that the source documents print, with other paths.
    #[test]
    fn the_lines_of_the_source_documents_are_accepted() {
        let lines = include_str!("../../../testdata/sidecar-command-lines.txt").lines();
        for line in lines.filter(|line| !line.starts_with('#')) {
            let flags = flags(line);
            assert!(crate::resolve::resolve(&flags).is_ok(), "{line}");
        }
        let bundled = flags("-index-dir i -output-mode jsonl -jsonl-out s.jsonl -manifest m -include-yanked");
        assert_eq!(bundled.output_mode, OutputMode::Jsonl);
        assert!(bundled.include_yanked);
        let packed = flags("-index-dir i -output-mode tar.zst -tar-out s.tar.zst");
        assert_eq!(packed.output_mode, OutputMode::TarZst);
        assert!(!flags("-index-dir i -refresh=false").refresh);
        assert!(flags("--offered --out m").offered && !flags("--index-dir i").offered);
        assert_eq!(flags("-index-dir i").concurrency, 128);
    }

    #[test]
    fn every_setting_of_the_sample_file_is_read() {
        let sample = include_str!("../../../docs/mirror.toml");
        let counted = mirror_cli::check_sample::<Flags>(sample).unwrap();
        assert!(counted >= 3, "{counted}");
    }
}
