//! The command line, as it was typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Writes a JSON sidecar for every release of a registry index.
///
/// A sidecar is the release's own line of the index with `crate_file`, `crate_url` and `index_path`
/// beside its fields; with --manifest also `storage`, `bundle_path` and `bundle_member`. The crates need
/// not be there.
///
/// As files they stand beside the crates, `s/er/serde-1.0.0.crate.json`, and those that are there stay as
/// they are unless --refresh is given. As one JSONL they come in the order of the index, and the file is
/// replaced when it is whole. Sidecars of releases that upstream deleted are kept.
///
/// Exit codes: 0 complete; 1 internal error; 2 usage; 3 some lines of the index or of the manifest are bad
/// (listed); 4 something that is no file stands in the way; 6 storage; 7 the output is locked by another
/// run; 130, 143 stopped by a signal.
#[derive(Debug, Parser)]
#[command(name = "generate-sidecars", version, max_term_width = 100)]
pub(crate) struct Flags {
    /// Local index: a checkout, a bare repository, or a plain directory of index files. Default: what the
    /// mirror at --out keeps of a sparse registry.
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub(crate) index_dir: Option<PathBuf>,
    /// Which sparse registry, as `sparse+URL`, when the mirror at --out keeps several. Nothing is asked of it.
    #[arg(long, value_name = "URL", help_heading = "Source", conflicts_with = "index_dir")]
    pub(crate) index_url: Option<String>,
    /// A downloader's manifest: adds where each release is held.
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub(crate) manifest: Option<PathBuf>,
    /// Base of `crate_url`: {base}/{name}/{name}-{version}.crate. Default: the registry's own.
    #[arg(long, value_name = "URL", help_heading = "Source")]
    pub(crate) crates_base_url: Option<String>,

    /// Also yanked releases.
    #[arg(long, help_heading = "Selection", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) include_yanked: bool,
    /// First N records of the index only; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Selection")]
    pub(crate) limit: u64,

    /// Mirror root; its layout is kept.
    #[arg(long, value_name = "DIR", default_value = "out", help_heading = "Output")]
    pub(crate) out: PathBuf,
    /// A file beside each crate, or one JSONL.
    #[arg(long, value_enum, default_value_t = OutputMode::Files, help_heading = "Output")]
    pub(crate) output_mode: OutputMode,
    /// The JSONL of --output-mode jsonl.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) jsonl_out: Option<PathBuf>,
    /// Bring sidecars that are there up to date, for example after a yank.
    #[arg(long, help_heading = "Output", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) refresh: bool,
    /// Upper bound of threads; more than there are processors are of no use.
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = "Output")]
    pub(crate) concurrency: usize,

    /// Format of log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Reports")]
    pub(crate) log_format: LogFormat,
    /// Least important level that is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info, help_heading = "Reports")]
    pub(crate) log_level: LogLevel,
    /// Log to this file instead of standard error.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub(crate) log_path: Option<PathBuf>,
    /// Log progress at this interval; 0 leaves it to the program.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration, help_heading = "Reports")]
    pub(crate) progress_interval: Duration,
    /// Log progress every N records; 0 disables.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Reports")]
    pub(crate) progress_every: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputMode {
    Files,
    Jsonl,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    Error,
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 250ms, 5s or 1m30s"))
}

/// Parses the command line; `-flag` is taken as `--flag`.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Flags, clap::Error> {
    Flags::try_parse_from(
        args.into_iter().enumerate().map(|(at, arg)| if at == 0 { arg } else { double_dash(arg) }),
    )
}

/// The source system's flags have one dash.
fn double_dash(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text)
            if text.len() > 2
                && text.starts_with('-')
                && text.as_bytes()[1].is_ascii_lowercase()
                && text.as_bytes()[2] != b'=' =>
        {
            OsString::from(format!("-{text}"))
        }
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Flags {
        let args = std::iter::once("generate-sidecars").chain(line.split_whitespace()).map(OsString::from);
        parse(args).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }

    /// Every line for this program that the source documents print, paths aside.
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
        assert!(!flags("-index-dir i -refresh=false").refresh);
        assert_eq!(flags("-index-dir i").concurrency, 128);
    }
}
