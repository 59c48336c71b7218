use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mirror_telemetry as telemetry;

use crate::args::duration;

// No doc comment: clap would take it for the program's own help.
#[expect(missing_docs, reason = "see above")]
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// Format of log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Reports")]
    log_format: LogFormat,
    /// Least important level that is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info, help_heading = "Reports")]
    log_level: LogLevel,
    /// Log to this file instead of standard error; without a name to crate-download.log.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "crate-download.log", help_heading = "Reports")]
    log_path: Option<PathBuf>,
    /// Log warnings and errors only, and show no progress.
    #[arg(long, short = 'q', help_heading = "Reports", conflicts_with = "verbose")]
    quiet: bool,
    /// Log requests, retries and other details, as --log-level debug.
    #[arg(long, short = 'v', help_heading = "Reports")]
    verbose: bool,
    /// Colours on the terminal. `auto`: where there is one; NO_COLOR and CLICOLOR_FORCE are obeyed.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto, help_heading = "Reports")]
    color: Colour,
    /// Log progress at this interval; 0 leaves it to the program.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration, help_heading = "Reports")]
    progress_interval: Duration,
    /// Log progress every N records; 0 disables.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Reports")]
    progress_every: u64,
}

impl LogFlags {
    /// Returns where and how to log.
    #[must_use]
    pub fn log(&self) -> telemetry::LogOptions {
        let mut options = telemetry::LogOptions::default();
        options.format = self.log_format.into();
        options.level = match self.log_level {
            _ if self.verbose => telemetry::LogLevel::Debug,
            LogLevel::Debug | LogLevel::Info if self.quiet => telemetry::LogLevel::Warn,
            level => level.into(),
        };
        options.path = self.log_path.clone();
        options
    }

    /// Returns how to show progress: as a bar on a terminal, unless lines were asked for.
    #[must_use]
    pub fn progress(&self) -> telemetry::ProgressOptions {
        let interval = (!self.progress_interval.is_zero()).then_some(self.progress_interval);
        let lines = interval.is_some() || self.progress_every > 0;
        let mut options = telemetry::ProgressOptions::default();
        options.interval = interval;
        options.every = self.progress_every;
        options.bar = !lines && std::io::stderr().is_terminal();
        options.is_coloured = self.color.is_on(std::io::stderr().is_terminal());
        options.has_fields = self.log_format == LogFormat::Json;
        options.is_quiet = self.quiet;
        options
    }

    /// Returns whether only warnings and errors are wanted.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether what is printed to standard output has colours.
    #[must_use]
    pub fn colours_output(&self) -> bool {
        self.color.is_on(std::io::stdout().is_terminal())
    }
}

/// When there are colours, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "clap would show the comments as help")]
pub enum Colour {
    Auto,
    Always,
    Never,
}

impl Colour {
    /// Returns whether to write colours to a stream.
    #[must_use]
    pub fn is_on(self, is_terminal: bool) -> bool {
        self.resolved(is_terminal, &|name| std::env::var(name).ok())
    }

    /// Follows <https://no-color.org> and <https://bixense.com/clicolors>.
    fn resolved(self, is_terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> bool {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if given("NO_COLOR").is_some() => false,
            Self::Auto if given("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            Self::Auto => is_terminal && given("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// Form of log lines, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "clap would show the comments as help")]
pub enum LogFormat {
    Text,
    Json,
}

impl From<LogFormat> for telemetry::LogFormat {
    fn from(typed: LogFormat) -> Self {
        match typed {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Least important level that is logged, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "clap would show the comments as help")]
pub enum LogLevel {
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    Error,
}

impl From<LogLevel> for telemetry::LogLevel {
    fn from(typed: LogLevel) -> Self {
        match typed {
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warn,
            LogLevel::Error => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        log: LogFlags,
    }

    fn flags(line: &str) -> LogFlags {
        let args = std::iter::once("program").chain(line.split_whitespace()).map(Into::into);
        crate::parse::<Program>(args).unwrap_or_else(|error| panic!("{line}: {error}")).log
    }

    #[test]
    fn what_is_typed_is_what_is_logged() {
        let log = flags("").log();
        assert_eq!(
            (log.format, log.level, log.path),
            (telemetry::LogFormat::Text, telemetry::LogLevel::Info, None)
        );
        let log = flags("-log-format json -log-level warning -log-path l").log();
        assert_eq!((log.format, log.level), (telemetry::LogFormat::Json, telemetry::LogLevel::Warn));
        assert_eq!(log.path, Some("l".into()));
    }

    #[test]
    fn quiet_and_verbose_move_the_level() {
        use telemetry::LogLevel as L;
        for (line, level) in [
            ("-q", L::Warn),
            ("-v", L::Debug),
            ("-q --log-level error", L::Error),
            ("--quiet --log-level info", L::Warn),
        ] {
            assert_eq!(flags(line).log().level, level, "{line}");
        }
        assert!(flags("-q").progress().is_quiet);
        assert_eq!(flags("--log-path").log().path, Some("crate-download.log".into()));
        assert!(flags("--log-format json").progress().has_fields);
    }

    #[test]
    fn colours_follow_the_flag_then_the_environment_then_the_terminal() {
        use Colour::{Always, Auto, Never};
        for (colour, is_terminal, variables, is_on) in [
            (Auto, true, &[][..], true),
            (Auto, false, &[], false),
            (Auto, true, &[("NO_COLOR", "1")], false),
            (Auto, true, &[("NO_COLOR", "")], true),
            (Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (Auto, true, &[("TERM", "dumb")], false),
            (Always, false, &[("NO_COLOR", "1")], true),
            (Never, true, &[("CLICOLOR_FORCE", "1")], false),
        ] {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(
                colour.resolved(is_terminal, &variable),
                is_on,
                "{colour:?} {is_terminal} {variables:?}"
            );
        }
    }

    #[test]
    fn who_asks_for_lines_gets_no_bar() {
        let progress = flags("").progress();
        assert_eq!((progress.interval, progress.every), (None, 0));
        assert_eq!(progress.bar, std::io::stderr().is_terminal());
        let progress = flags("--progress-interval 5s").progress();
        assert_eq!((progress.interval, progress.bar), (Some(Duration::from_secs(5)), false));
        let progress = flags("--progress-every 100").progress();
        assert_eq!((progress.every, progress.bar), (100, false));
    }
}
