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
    /// Log to this file instead of standard error.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    log_path: Option<PathBuf>,
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
        options.level = self.log_level.into();
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
        options
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
