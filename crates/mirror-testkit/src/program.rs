use std::io::Write as _;
use std::process::{Command, Stdio};

/// Lines of standard error that a failed test shows.
const LINES_SHOWN: usize = 30;

/// The result of running a program.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// The standard output.
    pub stdout: String,
    /// The standard error, with the log.
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the program ended with this code.
    ///
    /// # Panics
    /// When it ended with another code.
    #[track_caller]
    #[expect(
        clippy::must_use_candidate,
        clippy::return_self_not_must_use,
        reason = "most tests want no more"
    )]
    pub fn expect(self, code: i32) -> Self {
        let lines: Vec<_> = self.stderr.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{tail}", self.stdout);
        self
    }

    /// Returns a figure of the summary: the number after this name in the first line that has one.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let mut rests = self.stdout.lines().filter_map(|line| line.strip_prefix(name));
        let found = rests.find_map(|rest| rest.strip_prefix(' ')?.split_whitespace().next()?.parse().ok());
        found.unwrap_or_else(|| panic!("no {name} in\n{}", self.stdout))
    }

    /// Returns a value of the summary: the one in the last line with this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn value(&self, name: &str) -> &str {
        let mut lines = self.stdout.lines().rev();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name} in\n{}", self.stdout)).trim()
    }
}

/// Runs a program to its end, with no input. Blocks.
///
/// # Panics
/// When it cannot be started; the message has its name.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output();
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        output.unwrap_or_else(|error| panic!("{name}: {error}; .ci/run installs what the tests need"));
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Returns whether a stock tool answers this command line. Without the tool, a test reports that and passes, unless all
/// tools are required (`MIRROR_REQUIRE_TOOLS`).
///
/// # Panics
/// When the tool is missing and all are required.
#[expect(clippy::must_use_candidate, reason = "it speaks for itself")]
#[expect(clippy::print_stderr, reason = "says what is skipped")]
pub fn has(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let works = command.status().is_ok_and(|status| status.success());
    if !works {
        let line = format!("{program} {} does not work here", arguments.join(" "));
        assert!(
            std::env::var_os("MIRROR_REQUIRE_TOOLS").is_none(),
            "{line}, and MIRROR_REQUIRE_TOOLS is set"
        );
        eprintln!("skipped: {line}");
    }
    works
}

/// Checks a text of metrics with promtool, which also objects to names and types that Prometheus advises against. Without
/// promtool it does what [`has`] does. Blocks.
///
/// # Panics
/// When promtool objects.
#[track_caller]
pub fn check_metrics(text: &str) {
    if !has("promtool", &["--version"]) {
        return;
    }
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool");
    // It reads all of it before it answers.
    child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("writing to promtool");
    let ended = child.wait_with_output().expect("promtool");
    let objections = [ended.stdout, ended.stderr].concat();
    assert!(
        ended.status.success() && objections.is_empty(),
        "{}\n{text}",
        String::from_utf8_lossy(&objections)
    );
}

/// Runs a program to its end, and returns the most memory that it had, in bytes; 0 where the system does not show it. A
/// program that does not end within `most` is killed, with code -1. Blocks.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn run_measured(command: &mut Command, most: std::time::Duration) -> (Ended, u64) {
    let began = std::time::Instant::now();
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let out = std::thread::spawn(move || text(stdout.as_mut()));
    let err = std::thread::spawn(move || text(stderr.as_mut()));
    let mut peak_bytes = 0;
    let status = loop {
        peak_bytes = peak_of(child.id()).max(peak_bytes);
        if let Some(status) = child.try_wait().expect("the child") {
            break Some(status);
        }
        if began.elapsed() > most {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let (stdout, stderr) = (out.join().expect("stdout"), err.join().expect("stderr"));
    let code = status.and_then(|status| status.code()).unwrap_or(-1);
    (Ended { code, stdout, stderr }, peak_bytes)
}

fn text(stream: Option<&mut impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the most memory that a running process has had, in bytes; 0 where the system does not show it.
#[must_use]
pub fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() << 10
}
