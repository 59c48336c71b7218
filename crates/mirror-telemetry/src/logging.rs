use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use indicatif::MultiProgress;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};

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
        // Logging decides nothing: what cannot be written is lost, and the work goes on.
        self.0.suspend(|| {
            let _ = io::stderr().write_all(clean(line).as_bytes());
        });
        Ok(line.len())
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

/// A log file, or what a test writes into.
struct Clean<W>(W);

impl<W: io::Write> io::Write for Clean<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(clean(line).as_bytes());
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
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
            // Beside control characters what ends a line or turns the direction of text around.
            c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push_str(end);
    out
}

/// What all log records look like.
fn records(level: LevelFilter) -> SubscriberBuilder<DefaultFields, Format, LevelFilter> {
    // Its own complaints would go to standard error by a macro that panics when that cannot be written.
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
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
    let builder = records(level);
    let _ = match (&options.path, options.format) {
        (Some(path), format) => {
            #[expect(clippy::disallowed_methods, reason = "a log file, not a mirror file")]
            let file = std::fs::File::options()
                .append(true)
                .create(true)
                .open(path)
                .map_err(|source| TelemetryError::File { path: path.clone(), source })?;
            let builder = builder.with_writer(std::sync::Mutex::new(Clean(file)));
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
    use std::sync::{Arc, Mutex};

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

    /// Shared, because the subscriber keeps what it writes into.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("lock").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str =
        "x\x1b[31mred\x1b[0m\r\n2026-01-01T00:00:00Z INFO forged\u{9b}1m\u{2028}\u{202e}\"}";

    /// Hostile text in all the places that a record has.
    fn logged(subscriber: impl tracing::Subscriber + Send + Sync, written: &Written) -> String {
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("span", of_span = HOSTILE);
            let _inside = span.enter();
            tracing::warn!("message {HOSTILE}");
            tracing::warn!(as_str = HOSTILE, shown = %HOSTILE, debugged = ?HOSTILE, "fields");
            let error: &(dyn std::error::Error + 'static) = &io::Error::other(HOSTILE);
            tracing::error!(error, "an error");
        });
        let bytes = written.0.lock().expect("lock").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(text.matches('\n').count(), 3, "a line for each record:\n{text}");
        assert!(text.ends_with('\n'));
        let harmless = |c: char| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
        assert!(text.chars().all(harmless), "{text:?}");
        text
    }

    /// A full disk, or a reader that went away.
    struct Full;

    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_fails_nobody() {
        let mut log = Clean(Full);
        assert_eq!(io::Write::write(&mut log, b"a line\n").expect("swallowed"), 7);
        io::Write::flush(&mut log).expect("swallowed");
    }

    #[test]
    fn hostile_text_is_escaped_in_text_records() {
        let written = Written::default();
        let subscriber = records(LevelFilter::DEBUG).with_writer(Mutex::new(Clean(written.clone()))).finish();
        let text = logged(subscriber, &written);
        assert_eq!(text.matches("forged").count(), 8, "nothing is lost: {text}");
    }

    #[test]
    fn hostile_text_survives_in_json_records() {
        let written = Written::default();
        let subscriber =
            records(LevelFilter::DEBUG).json().with_writer(Mutex::new(Clean(written.clone()))).finish();
        let text = logged(subscriber, &written);
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(records[0]["fields"]["message"], format!("message {HOSTILE}"));
        assert_eq!(records[1]["fields"]["as_str"], HOSTILE);
        assert_eq!(records[1]["fields"]["shown"], HOSTILE);
        assert_eq!(records[1]["span"]["of_span"], HOSTILE);
        assert_eq!(records[2]["fields"]["error"], HOSTILE);
    }
}
