use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

#[cfg(feature = "progress")]
use indicatif::MultiProgress;
use tracing::subscriber::set_global_default;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::lines::Lines;

/// The format of log lines.
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
    /// Ordinary events.
    Info,
    /// Events that need attention.
    Warn,
    /// Failures.
    Error,
}

/// The destination and the format of the log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogOptions {
    /// The format of the lines.
    pub format: LogFormat,
    /// Least important level.
    pub level: LogLevel,
    /// A file instead of standard error.
    pub path: Option<PathBuf>,
}

/// Logs ordinary events as text to standard error.
impl Default for LogOptions {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info, path: None }
    }
}

/// An error while setting up logging.
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
    /// The thread that writes the log could not be started.
    #[error("could not start the thread that writes the log")]
    Thread(#[source] io::Error),
}

/// The terminal, shared by log lines and the progress bar.
#[derive(Debug, Clone, Default)]
pub struct ProgressHandle(#[cfg(feature = "progress")] pub(crate) MultiProgress);

impl ProgressHandle {
    /// Makes a terminal without a bar.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `write` while the bar is hidden, so that its text appears above.
    fn above_the_bar(&self, write: impl FnOnce()) {
        #[cfg(feature = "progress")]
        self.0.suspend(write);
        #[cfg(not(feature = "progress"))]
        write();
    }
}

/// Receives the records of `tracing`, each in one call.
#[derive(Clone)]
struct Records(Lines);

impl io::Write for Records {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.push(clean(record));
        Ok(record.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Records {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A guard of the log of the process. Dropping it waits until all queued lines are written, unless the log is stuck.
#[derive(Debug)]
#[must_use = "without it, the last lines may be lost"]
pub struct Logging(());

impl Drop for Logging {
    fn drop(&mut self) {
        flush_log();
    }
}

static LOG: OnceLock<Lines> = OnceLock::new();

/// Waits until all queued lines are written, so that later output follows them; at most a second when nothing reads
/// the log. Does nothing when logging is not set up.
pub fn flush_log() {
    if let Some(lines) = LOG.get() {
        lines.flush();
    }
}

/// Formats a record about lost lines like all other records.
fn lost(lines: u64, format: LogFormat) -> String {
    let record = Arc::new(Mutex::new(Vec::new()));
    let writer = Mutex::new(Kept(record.clone()));
    let builder = records(LevelFilter::WARN).with_writer(writer);
    let say = || tracing::warn!(lines, "log lines were lost, because nothing read the log for a second");
    match format {
        LogFormat::Text => tracing::subscriber::with_default(builder.finish(), say),
        LogFormat::Json => tracing::subscriber::with_default(builder.json().finish(), say),
    }
    clean(&record.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Collects what is written.
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a record one line that cannot control a terminal: escapes control characters, whoever sent them, as JSON
/// does.
fn clean(record: &[u8]) -> String {
    let text = String::from_utf8_lossy(record);
    let (body, end) = text.strip_suffix('\n').map_or((&*text, ""), |body| (body, "\n"));
    let mut out = String::with_capacity(text.len());
    for c in body.chars() {
        match c {
            '\t' => out.push(' '),
            // Besides control characters: line separators, and marks that change the direction of text.
            c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push_str(end);
    out
}

/// Breaks lines for people where standard error is a terminal.
fn for_terminal(text: &str, format: LogFormat) -> Cow<'_, str> {
    match format {
        #[cfg(feature = "progress")]
        LogFormat::Text => crate::wrap::fitted(text, crate::wrap::Stream::Error),
        _ => Cow::Borrowed(text),
    }
}

/// Sets the look of all log records.
fn records(level: LevelFilter) -> SubscriberBuilder<DefaultFields, Format, LevelFilter> {
    // The library prints its internal errors with a macro that panics when standard error cannot be written.
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
}

/// Returns whether a record is logged: of debug records, only those of this system. Those of libraries are dumps of
/// frames and handshakes.
fn is_own(about: &Metadata<'_>) -> bool {
    const OWN: [&str; 6] = [
        "mirror_",
        "download_crates",
        "generate_sidecars",
        "extract_bundles",
        "serve_mirror",
        "archive_hasher",
    ];
    *about.level() <= Level::INFO || OWN.iter().any(|own| about.target().starts_with(own))
}

/// Sets up logging for the process; a second call changes nothing. The log never stops a run: lines that cannot be
/// written are lost, and a log that nothing reads delays its callers by a second in all.
///
/// # Errors
/// Fails when the log file cannot be opened, or the thread that writes the log cannot be started.
pub fn init_logging(options: &LogOptions, terminal: &ProgressHandle) -> Result<Logging, TelemetryError> {
    let level = match options.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let format = options.format;
    let report_lost = move |lines| lost(lines, format);
    let lines = match &options.path {
        Some(path) => {
            #[expect(clippy::disallowed_methods, reason = "a log file, not a mirror file")]
            let file = std::fs::File::options().append(true).create(true).open(path);
            let mut file = file.map_err(|source| TelemetryError::File { path: path.clone(), source })?;
            Lines::start(move |text| drop(file.write_all(text.as_bytes())), report_lost)
        }
        None => {
            let terminal = terminal.clone();
            let write = move |text: &str| {
                let text = for_terminal(text, format);
                terminal.above_the_bar(|| drop(io::stderr().write_all(text.as_bytes())));
            };
            Lines::start(write, report_lost)
        }
    };
    let lines = lines.map_err(TelemetryError::Thread)?;
    let builder = records(level).with_writer(Records(LOG.get_or_init(|| lines).clone()));
    let of_own = || filter_fn(is_own);
    // A logger that is set already stays.
    let _ = match format {
        LogFormat::Text => set_global_default(builder.finish().with(of_own())),
        LogFormat::Json => set_global_default(builder.json().finish().with(of_own())),
    };
    Ok(Logging(()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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

    const HOSTILE: &str =
        "x\x1b[31mred\x1b[0m\r\n2026-01-01T00:00:00Z INFO forged\u{9b}1m\u{2028}\u{202e}\"}";

    /// Logs hostile text in every part of a record.
    fn logged(make: impl FnOnce(Records) -> tracing::Dispatch) -> String {
        let (written, read) = mpsc::channel::<String>();
        let lines = Lines::start(move |text| drop(written.send(text.to_owned())), |_| String::new());
        let lines = lines.expect("a thread");
        tracing::dispatcher::with_default(&make(Records(lines.clone())), || {
            let span = tracing::info_span!("span", of_span = HOSTILE);
            let _inside = span.enter();
            tracing::warn!("message {HOSTILE}");
            tracing::warn!(as_str = HOSTILE, shown = %HOSTILE, debugged = ?HOSTILE, "fields");
            let error: &(dyn std::error::Error + 'static) = &io::Error::other(HOSTILE);
            tracing::error!(error, "an error");
        });
        lines.flush();
        let text: String = read.try_iter().collect();
        assert_eq!(text.matches('\n').count(), 3, "a line for each record:\n{text}");
        assert!(text.ends_with('\n'));
        let harmless = |c: char| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
        assert!(text.chars().all(harmless), "{text:?}");
        text
    }

    #[test]
    fn lost_lines_are_reported_in_the_format_of_the_log() {
        let text = lost(12, LogFormat::Text);
        assert!(text.contains("WARN") && text.contains("lines=12") && text.ends_with('\n'), "{text}");
        let json: serde_json::Value = serde_json::from_str(&lost(12, LogFormat::Json)).expect("JSON");
        assert_eq!((&json["level"], &json["fields"]["lines"]), (&"WARN".into(), &12.into()));
    }

    #[test]
    fn hostile_text_is_escaped_in_text_records() {
        let text = logged(|writer| records(LevelFilter::DEBUG).with_writer(writer).finish().into());
        assert_eq!(text.matches("forged").count(), 8, "nothing is lost: {text}");
    }

    #[test]
    fn hostile_text_survives_in_json_records() {
        let text = logged(|writer| records(LevelFilter::DEBUG).json().with_writer(writer).finish().into());
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(records[0]["fields"]["message"], format!("message {HOSTILE}"));
        assert_eq!(records[1]["fields"]["as_str"], HOSTILE);
        assert_eq!(records[1]["fields"]["shown"], HOSTILE);
        assert_eq!(records[1]["span"]["of_span"], HOSTILE);
        assert_eq!(records[2]["fields"]["error"], HOSTILE);
    }
}
