//! Man pages and completions, made out of the flags of a program.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Command, Parser, ValueEnum as _};
use clap_complete::Shell;
use clap_mangen::Man;
use mirror_types::ExitStatus;

use crate::args::command;
use crate::hints::Program;

/// The flag that asks for them. `--help` does not show it: packagers need it, and few others.
const FLAG: &str = "--generate";
const MANUAL: &str = "Mirror Rust Crates";
/// Seconds since 1970 that a reproducible build gives to everything with a date.
const DATE_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Answers a command line that asks for a man page or a completion; `None` for any other.
pub(crate) fn answer<F: Parser>(args: &[OsString]) -> Option<ExitCode> {
    let (path, kind) = request(args)?;
    let status = match generated(command::<F>(), &path, kind) {
        Ok(text) => {
            crate::print(&text);
            ExitStatus::Complete
        }
        Err(why) => {
            crate::say(&format!("error: {why}"));
            ExitStatus::Usage
        }
    };
    Some(ExitCode::from(status.code()))
}

/// Returns the subcommands before the flag, and the word behind it.
fn request(args: &[OsString]) -> Option<(Vec<&str>, &str)> {
    let words: Vec<&str> = args.iter().skip(1).map(|arg| arg.to_str()).collect::<Option<_>>()?;
    let at = words.iter().position(|word| *word == FLAG)?;
    let path = &words[..at];
    // Behind a flag it may be a value, which clap judges.
    if path.iter().any(|word| word.starts_with('-')) || words.len() > at + 2 {
        return None;
    }
    Some((path.to_vec(), words.get(at + 1).copied().unwrap_or_default()))
}

fn generated(mut command: Command, path: &[&str], kind: &str) -> Result<String, String> {
    command = command.disable_help_subcommand(true);
    command.build();
    let program = command.get_name().to_owned();
    match (kind, Shell::from_str(kind, false)) {
        ("man", _) => man(&command, path),
        ("commands", _) if path.is_empty() => Ok(commands(&command)),
        (_, Ok(shell)) if path.is_empty() => {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut command, &program, &mut bytes);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        ("commands", _) | (_, Ok(_)) => {
            Err(format!("{FLAG} {kind} is for the whole program: {program} {FLAG} {kind}"))
        }
        _ => {
            let shells: Vec<String> = Shell::value_variants().iter().map(Shell::to_string).collect();
            Err(format!("{FLAG} takes man, commands or a shell: {}", shells.join(", ")))
        }
    }
}

/// Lists the program and its subcommands, each of which has a page: one a line, as they are typed.
fn commands(command: &Command) -> String {
    let own = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let below = shown(command).map(commands);
    std::iter::once(format!("{own}\n")).chain(below).collect()
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

fn man(program: &Command, path: &[&str]) -> Result<String, String> {
    let mut page = program;
    for word in path {
        let below = shown(page).find(|below| below.get_name() == *word);
        page = below.ok_or_else(|| format!("{} has no subcommand {word}", program.get_name()))?;
    }
    let version = program.get_version().unwrap_or_default();
    let mut bytes = Vec::new();
    Man::new(page.clone())
        .date(date(std::env::var(DATE_VARIABLE).ok().as_deref()))
        .source(format!("{} {version}", program.get_name()))
        .manual(MANUAL)
        .render(&mut bytes)
        .map_err(|error| format!("could not make the page: {error}"))?;
    let title = page.get_display_name().unwrap_or_else(|| page.get_name());
    let parent = (title != program.get_name()).then(|| program.get_name());
    let others = Program::ALL.iter().map(|other| other.name()).filter(|other| *other != program.get_name());
    let others: Vec<String> = parent
        .into_iter()
        .chain(others)
        .map(|name| format!("\\fB{}\\fR(1)", name.replace('-', "\\-")))
        .collect();
    // A space between paragraphs, in a form that no reader of pages warns about.
    let mut text = String::from_utf8_lossy(&bytes).replace("\n.br\n\n.br\n", "\n.sp\n");
    let _ = writeln!(text, ".SH \"SEE ALSO\"\n{}", others.join(",\n"));
    Ok(text)
}

/// Returns the day of a reproducible build; a page made by hand has none.
fn date(seconds: Option<&str>) -> String {
    let time = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let time = time.and_then(|since| UNIX_EPOCH.checked_add(since));
    // RFC 3339 begins with the day.
    time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string()[..10].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something.
    #[derive(Parser)]
    #[command(name = "program", version = "1.2.3")]
    struct Flags {
        /// Directory to read.
        #[arg(long)]
        _out: Option<String>,
        #[command(subcommand)]
        _below: Option<Below>,
    }

    #[derive(clap::Subcommand)]
    enum Below {
        /// Checks it.
        Verify {
            #[arg(long)]
            _deep: bool,
        },
    }

    fn text(path: &[&str], kind: &str) -> Result<String, String> {
        generated(command::<Flags>(), path, kind)
    }

    fn asked(line: &str) -> Option<(Vec<String>, String)> {
        let args: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let (path, kind) = request(&args)?;
        Some((path.into_iter().map(str::to_owned).collect(), kind.to_owned()))
    }

    #[test]
    fn a_request_stands_behind_subcommands_only() {
        let some = |path: &[&str], kind: &str| {
            Some((path.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), kind.to_owned()))
        };
        assert_eq!(asked("program --generate man"), some(&[], "man"));
        assert_eq!(asked("program verify --generate man"), some(&["verify"], "man"));
        assert_eq!(asked("program --generate"), some(&[], ""));
        for other in ["program", "program --out --generate man", "program --generate man more"] {
            assert_eq!(asked(other), None, "{other}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        assert_eq!(text(&[], "commands").unwrap(), "program\nprogram verify\n");
        let page = text(&[], "man").unwrap();
        for part in [".TH program 1", "program \\- Does something", "\\-\\-out", "program\\-verify(1)"] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        let below = text(&["verify"], "man").unwrap();
        for part in [".TH program-verify 1", "program 1.2.3", "\\-\\-deep", "\\fBprogram\\fR(1)"] {
            assert!(below.contains(part), "{part} is not in\n{below}");
        }
    }

    #[test]
    fn every_shell_has_a_completion() {
        for shell in Shell::value_variants() {
            let script = text(&[], &shell.to_string()).unwrap();
            assert!(script.contains("out") && script.contains("verify"), "{shell}: {script}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_what_can() {
        for (path, kind, why) in [
            (&[][..], "", "takes man, commands or a shell: bash, "),
            (&[][..], "html", "takes man, commands or a shell: bash, "),
            (&["verify"][..], "bash", "program --generate bash"),
            (&["verify"][..], "commands", "program --generate commands"),
            (&["other"][..], "man", "program has no subcommand other"),
        ] {
            let told = text(path, kind).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn the_day_of_a_build_can_be_given() {
        assert_eq!(date(Some("1700000000")), "2023-11-14");
        for none in [None, Some(""), Some("yesterday"), Some("99999999999999999999")] {
            assert_eq!(date(none), "");
        }
    }
}
