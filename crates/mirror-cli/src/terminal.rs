use std::fmt::{Display, Write as _};
use std::process::ExitCode;

/// Prints text to standard output, behind what was logged; a closed pipe is no fault of the run.
pub fn print(text: &str) {
    use std::io::Write as _;
    mirror_telemetry::flush_log();
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a line to standard error, behind what was logged, if that can be written; the exit code tells the same.
pub fn say(text: &str) {
    use std::io::Write as _;
    mirror_telemetry::flush_log();
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Tells why `program` ends, the whole chain of reasons; with `code`.
#[must_use]
pub fn complain(program: &str, error: &anyhow::Error, code: impl Into<u8>) -> ExitCode {
    let chain = format!("{error:#}");
    say(&format!("{program}: {}", chain.replace(|c: char| c.is_control() && c != '\n', "?")));
    ExitCode::from(code.into())
}

/// Appends a line of a summary: a name, and in the next column its value.
pub fn row(text: &mut String, name: &str, value: impl Display) {
    let _ = writeln!(text, "{name:<19}{value}");
}
