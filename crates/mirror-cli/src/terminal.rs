use std::fmt::{Display, Write as _};

use mirror_telemetry::{Stream, fitted};

/// Prints text to standard output, behind what was logged; a closed pipe is no fault of the run.
pub fn print(text: &str) {
    use std::io::Write as _;
    mirror_telemetry::flush_log();
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a summary to standard output as [`print()`] does; on a terminal, its lines are broken at spaces to fit.
pub fn print_summary(text: &str) {
    print(&fitted(text, Stream::Output));
}

/// Prints a line to standard error, behind what was logged, if that can be written; the exit code tells the same. On
/// a terminal, it is broken at spaces to fit.
pub fn say(text: &str) {
    use std::io::Write as _;
    mirror_telemetry::flush_log();
    let text = format!("{text}\n");
    let _ = std::io::stderr().write_all(fitted(&text, Stream::Error).as_bytes());
}

/// Appends a line of a summary: a name, and in the next column its value.
pub fn row(text: &mut String, name: &str, value: impl Display) {
    let _ = writeln!(text, "{name:<19}{value}");
}
