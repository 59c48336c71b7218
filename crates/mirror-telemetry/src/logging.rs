use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use indicatif::MultiProgress;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Least important level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What needs attention.
    Warn,
    /// What failed.
    Error,
}

/// Where and how to log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Form of the lines.
    pub format: LogFormat,
    /// Least important level.
    pub level: LogLevel,
    /// A file instead of standard error.
    pub path: Option<PathBuf>,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The log file could not be opened.
    #[error("could not open the log file {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// The terminal, shared by log lines and the progress bar.
#[derive(Debug, Clone, Default)]
pub struct ProgressHandle(pub(crate) MultiProgress);

impl ProgressHandle {
    /// A terminal without a bar.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Writes whole lines to standard error, above the bar.
#[derive(Clone)]
struct AboveBar(MultiProgress);

impl io::Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(clean(line).as_bytes())).map(|()| line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for AboveBar {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A log file.
struct CleanFile(std::fs::File);

impl io::Write for CleanFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(clean(line).as_bytes()).map(|()| line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A record is one line, and nothing in it commands a terminal: control characters, whoever sent
/// them, are written as JSON writes them.
fn clean(record: &[u8]) -> String {
    let text = String::from_utf8_lossy(record);
    let (body, end) = text.strip_suffix('\n').map_or((&*text, ""), |body| (body, "\n"));
    let mut out = String::with_capacity(text.len());
    for c in body.chars() {
        match c {
            '\t' => out.push(' '),
            // Beside control characters what turns the direction of text around.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push_str(end);
    out
}

/// Sets up logging for the process; a second call changes nothing.
///
/// # Errors
/// When the log file cannot be opened.
pub fn init_logging(options: &LogOptions, terminal: &ProgressHandle) -> Result<(), TelemetryError> {
    let level = match options.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false);
    let _ = match (&options.path, options.format) {
        (Some(path), format) => {
            #[expect(clippy::disallowed_methods, reason = "a log file, not a mirror file")]
            let file = std::fs::File::options()
                .append(true)
                .create(true)
                .open(path)
                .map_err(|source| TelemetryError::File { path: path.clone(), source })?;
            let builder = builder.with_writer(std::sync::Mutex::new(CleanFile(file)));
            match format {
                LogFormat::Text => builder.try_init(),
                LogFormat::Json => builder.json().try_init(),
            }
        }
        (None, LogFormat::Text) => builder.with_writer(AboveBar(terminal.0.clone())).try_init(),
        (None, LogFormat::Json) => builder.json().with_writer(AboveBar(terminal.0.clone())).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_one_harmless_line() {
        let hostile = b"WARN \x1b[31mred\x1b[0m\r\nINFO forged \x07\xc2\x9b \xe2\x80\xae \xff end\n";
        let line = clean(hostile);
        assert_eq!(
            line,
            "WARN \\u001b[31mred\\u001b[0m\\u000d\\u000aINFO forged \\u0007\\u009b \\u202e \u{fffd} end\n"
        );
    }
}
