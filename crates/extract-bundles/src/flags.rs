//! The command line, as it was typed.

use std::path::PathBuf;

use clap::Parser;
use mirror_cli::LogFlags;

/// Extracts releases from bundles (tar.zst), all of them into a loose mirror, or one; or verifies or lists them.
///
/// Reads bundles of download-crates --bundle, sealed or partial, and those of the Go system. Compares the hash of
/// every member with the bundle's manifest before the file gets its name. Keeps existing files; one that has other
/// bytes is a fault. Refuses bundles that contain anything but plain files of releases.
///
/// Exit codes: 0 complete; 1 internal error; 2 usage; 3 what --crate names is in no bundle; 4 a bundle or a
/// file that is there is not what it should be; 6 storage; 7 the output is locked by another run; 130, 143
/// stopped by a signal.
#[derive(Debug, Parser)]
#[command(
    name = "extract-bundles",
    version,
    max_term_width = 100,
    mut_arg("progress_every", |arg| arg.help("Log progress every N members; 0 disables"))
)]
pub(crate) struct Flags {
    /// Directory of the bundles.
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub(crate) bundles_dir: PathBuf,
    /// Glob of the bundles' names; a partial bundle matches by its name without .partial.
    #[arg(long, value_name = "GLOB", default_value = "*.tar.zst", help_heading = "Source")]
    pub(crate) pattern: String,
    /// Only this crate, or this release; reads no more of the bundles than its frames.
    #[arg(long = "crate", value_name = "NAME[@VERSION]", help_heading = "Source")]
    pub(crate) krate: Option<String>,

    /// Root of the mirror to make. Not needed with --verify or --list.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["verify", "list"], help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Replace existing files.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) overwrite: bool,
    /// Compare the hash of every member with the bundle's manifest; write nothing.
    #[arg(long, conflicts_with_all = ["list", "out", "overwrite"], help_heading = "Output")]
    pub(crate) verify: bool,
    /// List what is in the bundles, a line for each member: bundle, size, SHA-256 (- when unknown) and path,
    /// separated by tabs; write nothing.
    #[arg(long, conflicts_with_all = ["out", "overwrite"], help_heading = "Output")]
    pub(crate) list: bool,
    /// Threads that read, hash and write; 0 means one for each processor.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Output")]
    pub(crate) concurrency: usize,

    #[command(flatten)]
    pub(crate) reports: LogFlags,
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        mirror_cli::parse(
            std::iter::once("extract-bundles").chain(line.split_whitespace()).map(OsString::from),
        )
    }

    #[test]
    fn a_flag_given_twice_counts_as_its_last() {
        let checked =
            mirror_cli::check_repeats::<Flags>(&["--bundles-dir=b --out=o", "--bundles-dir=b"]).unwrap();
        assert!(checked > 10, "{checked} flags");
    }

    #[test]
    fn every_flag_has_a_variable_that_is_known() {
        let known = mirror_cli::check_variables::<Flags>().unwrap();
        assert!(known > 5, "{known} names");
    }

    #[test]
    fn hints_name_flags_that_are_there() {
        let named = mirror_cli::check_hints::<Flags>(mirror_cli::Program::ExtractBundles).unwrap();
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
        let lines = include_str!("../../../testdata/extract-bundles-lines.txt").lines();
        let mut read = 0;
        for line in lines.filter(|line| !line.starts_with('#')) {
            flags(&line.replace('"', "")).unwrap_or_else(|error| panic!("{line}: {error}"));
            read += 1;
        }
        assert!(read >= 4);
        let typed = flags("-bundles-dir b -pattern x*.tar.zst -out o -overwrite").expect("flags");
        assert_eq!((typed.pattern.as_str(), typed.overwrite), ("x*.tar.zst", true));
        assert!(!flags("-bundles-dir b -out o -overwrite=false").expect("flags").overwrite);
    }

    #[test]
    fn an_output_is_needed_unless_nothing_is_written() {
        for good in ["--bundles-dir b --verify", "--bundles-dir b --list", "--bundles-dir b --out o"] {
            flags(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in [
            "--bundles-dir b",
            "--out o",
            "--bundles-dir b --verify --out o",
            "--bundles-dir b --list --verify",
        ] {
            assert!(flags(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_setting_of_the_sample_file_is_read() {
        let sample = include_str!("../../../docs/mirror.toml");
        let counted = mirror_cli::check_sample::<Flags>(sample).unwrap();
        assert!(counted >= 1, "{counted}");
    }
}
