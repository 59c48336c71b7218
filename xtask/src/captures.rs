//! `cargo xtask captures`: what failing runs say on terminals of several widths, in pipes and as JSON.

mod screen;
mod situations;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::cases;
use screen::Screen;
use situations::{Situation, many_failures};

/// Most lines of log for any number of failing releases.
const MAX_LOG_LINES: usize = 200;

/// Failing releases, about, of the run whose lines of log are counted.
const FAILING: usize = 10_000;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Directory of the programs. Without it they are built in the profile `dev`.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Print what the runs say. Without it only the checks are printed.
    #[arg(long)]
    print: bool,
    /// Failing releases, about, of the run whose lines of log are counted.
    #[arg(long, value_name = "N", default_value_t = FAILING)]
    failing: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { programs: None, print: false, failing: FAILING }
    }
}

/// Where the output of a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Terminal {
        columns: usize,
    },
    /// A terminal, with `NO_COLOR`.
    Plain,
    Pipe,
    JsonLog,
    JsonSummary,
}

/// The width of the terminal without colours.
const PLAIN_COLUMNS: usize = 80;

const FORMS: [Form; 7] = [
    Form::Terminal { columns: 60 },
    Form::Terminal { columns: 80 },
    Form::Terminal { columns: 120 },
    Form::Plain,
    Form::Pipe,
    Form::JsonLog,
    Form::JsonSummary,
];

impl Form {
    fn name(self) -> String {
        match self {
            Self::Terminal { columns } => format!("a terminal of {columns} columns"),
            Self::Plain => "a terminal with NO_COLOR".to_owned(),
            Self::Pipe => "a pipe".to_owned(),
            Self::JsonLog => "a pipe, --log-format json".to_owned(),
            Self::JsonSummary => "a pipe, --summary json".to_owned(),
        }
    }

    fn columns(self) -> Option<usize> {
        match self {
            Self::Terminal { columns } => Some(columns),
            Self::Plain => Some(PLAIN_COLUMNS),
            _ => None,
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::JsonLog => &["--log-format", "json"],
            Self::JsonSummary => &["--summary", "json"],
            _ => &[],
        }
    }
}

/// What a run said. On a terminal, everything is in `out`.
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

/// Runs each situation in each form; fails when one of them is not said as it should be.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    if !has_script()? {
        return Ok(());
    }
    let programs = match &options.programs {
        Some(dir) => dir.canonicalize().with_context(|| format!("could not find {}", dir.display()))?,
        None => cases::built(root)?,
    };
    let program = programs.join("download-crates");
    let dir = tempfile::tempdir().context("making a temporary directory")?;
    for situation in situations::all(dir.path())? {
        let began = Instant::now();
        for form in FORMS {
            let said = capture(&program, dir.path(), &situation, form)?;
            if options.print {
                println!("\n== {}, {}, exit code {:?}", situation.name, form.name(), said.code);
                print!("{}", shown(&said, form));
            }
            check(&said, form, &situation).with_context(|| {
                format!("{} in {}:\n{}{}", situation.name, form.name(), said.out, said.err)
            })?;
        }
        println!("{:<20} ok  {:.1} s", situation.name, began.elapsed().as_secs_f64());
    }
    let situation = many_failures(options.failing, dir.path())?;
    let said = capture(&program, dir.path(), &situation, Form::Pipe)?;
    let lines = said.err.lines().count();
    println!("{} failing releases: {lines} lines of log", failed(&said));
    check(&said, Form::Pipe, &situation).with_context(|| format!("{}:\n{}", situation.name, said.err))
}

/// Returns the number of releases that a summary says are missing.
fn failed(said: &Said) -> u64 {
    let rows = said.out.lines().filter_map(|line| line.split_once(' '));
    let missing = rows.filter(|(name, _)| matches!(*name, "failed" | "unavailable"));
    missing.filter_map(|(_, value)| value.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

/// Looks for `script`, which runs a program on a terminal; false when it is missing and may be.
fn has_script() -> anyhow::Result<bool> {
    let found = Command::new("script").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(true);
    }
    if std::env::var_os("MIRROR_REQUIRE_TOOLS").is_some() {
        bail!("this step needs script (Debian: bsdutils)");
    }
    println!("skipped: this step needs script (Debian: bsdutils)");
    Ok(false)
}

/// Runs the downloader in a situation, and returns what it says.
fn capture(program: &Path, dir: &Path, situation: &Situation, form: Form) -> anyhow::Result<Said> {
    let out = situation.out.display().to_string();
    let mut words: Vec<&str> = vec!["--out", &out, "--listen", ""];
    words.extend(situation.arguments.iter().map(String::as_str));
    words.extend(form.flags());
    let mut command = match form.columns() {
        Some(columns) => on_terminal(program, &words, columns),
        None => {
            let mut command = Command::new(program);
            command.args(&words);
            command
        }
    };
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"] {
        command.env_remove(variable);
    }
    if form == Form::Plain {
        command.env("NO_COLOR", "1");
    }
    command.env("TERM", "xterm-256color").current_dir(dir);
    // An input that stays open: at its end, `script` would type the character for it.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting download-crates")?;
    let input = child.stdin.take();
    let output = child.wait_with_output().context("reading what it says")?;
    drop(input);
    if situation.out.exists() {
        std::fs::remove_dir_all(&situation.out).context("removing the mirror")?;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code() })
}

/// Makes a command that runs a program on a terminal of its own.
fn on_terminal(program: &Path, words: &[&str], columns: usize) -> Command {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    let program = quoted(&program.display().to_string());
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let line = format!("stty cols {columns} rows 40; exec {program} {}", words.join(" "));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-E", "never", "-c", &line, "/dev/null"]);
    command
}

/// Returns what a person sees in the end, after the widest bar that was there meanwhile.
fn shown(said: &Said, form: Form) -> String {
    match form.columns() {
        Some(_) => {
            let screen = Screen::of(&said.out);
            let bar = screen.widest_bar().map(|bar| format!("{bar}\n")).unwrap_or_default();
            format!("{bar}{}", screen.lines().join("\n") + "\n")
        }
        None => format!("{}{}", said.err, said.out),
    }
}

fn check(said: &Said, form: Form, situation: &Situation) -> anyhow::Result<()> {
    ensure!(said.code == Some(situation.code), "the exit code is {:?}, not {}", said.code, situation.code);
    let all = match form.columns() {
        Some(columns) => on_screen(said, form, columns)?,
        None => in_pipe(said, form, situation.code)?,
    };
    for words in situation.says {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(all.contains(&words), "it does not say: {words}");
    }
    Ok(())
}

/// Checks what a terminal shows; returns its words.
fn on_screen(said: &Said, form: Form, columns: usize) -> anyhow::Result<String> {
    let screen = Screen::of(&said.out);
    for line in screen.written() {
        // A word that is longer, such as a path, stays whole.
        let fits = line.chars().count() <= columns || !line.trim().contains(' ');
        ensure!(fits, "{} columns: {line:?}", line.chars().count());
    }
    ensure!(form != Form::Plain || !screen.has_colours(), "there are colours in spite of NO_COLOR");
    let words: Vec<&str> = screen.lines().iter().flat_map(|line| line.split_whitespace()).collect();
    Ok(words.join(" "))
}

/// Checks what comes out of pipes; returns its words.
fn in_pipe(said: &Said, form: Form, code: i32) -> anyhow::Result<String> {
    for text in [&said.out, &said.err] {
        ensure!(!text.contains('\u{1b}'), "there is an escape sequence in a pipe");
    }
    let lines = said.err.lines().count();
    ensure!(lines < MAX_LOG_LINES, "{lines} lines of log");
    if form == Form::JsonLog {
        // Behind the log, people read why the program ends, and a hint.
        let is_log = |line: &&str| !line.starts_with("download-crates: ") && !line.starts_with("hint: ");
        for line in said.err.lines().filter(is_log) {
            let record: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            ensure!(record["level"].is_string() && record["fields"].is_object(), "no record: {line}");
        }
    }
    if form == Form::JsonSummary && !said.out.is_empty() {
        let summary: Value = serde_json::from_str(&said.out).context("the summary is no JSON")?;
        ensure!(summary["exit_code"] == code, "another exit code in the summary: {summary}");
    }
    let words: Vec<&str> = said.err.split_whitespace().chain(said.out.split_whitespace()).collect();
    Ok(words.join(" "))
}
