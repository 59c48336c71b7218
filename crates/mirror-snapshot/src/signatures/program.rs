//! Running the programs that sign and check: their words become the cause of an error.

use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};

use mirror_types::Cause;

/// Runs a program with these bytes as its input, and returns what it printed. Blocks.
pub(super) fn run(command: &mut Command, input: &[u8]) -> Result<Output, Cause> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Cause::worded("the program is not installed", error),
        _ => Cause::new(error),
    })?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // A program that ends before it has read everything is judged by its exit code.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output()
    })
    .map_err(Cause::new)
}

/// Returns the cause of a failure: the last words of a program, or its exit code when it had none.
pub(super) fn words(output: &Output) -> Cause {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("[GNUPG:]"));
    let lines: Vec<&str> = lines.collect();
    match lines.len() {
        0 => Cause::new(format!("it ended with {}", output.status)),
        count => Cause::new(lines[count.saturating_sub(3)..].join("\n")),
    }
}
