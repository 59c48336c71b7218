use std::process::{Command, Stdio};

/// Lines of standard error that a failed test shows.
const LINES_SHOWN: usize = 30;

/// How a run of a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// What it said.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the program ended with this code.
    ///
    /// # Panics
    /// When it ended with another one.
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

    /// A figure of the summary: the number behind this name in the first line that has one there.
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

    /// A value of the summary: what stands in the last line with this name.
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
/// When it cannot be started, by name.
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

/// Whether a stock tool answers to this line; without it a test says so and passes, unless all tools are
/// required (`MIRROR_REQUIRE_TOOLS`).
///
/// # Panics
/// When it does not and they are.
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
