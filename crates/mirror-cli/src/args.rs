use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Command, Parser};
use mirror_types::{ExitStatus, redacted};

use crate::help;
use crate::layers::{self, Layered, Setting};
use crate::variables;

/// The settings of this process that are not the default.
static EFFECTIVE: OnceLock<Vec<Setting>> = OnceLock::new();

/// Parses the flags that this process was started with, the variables of its environment and the file of `--config`:
/// a flag counts over a variable, and that over the file. Every program also answers `--generate man` and `--generate
/// SHELL`, with its man page or its completion on standard output; a subcommand may stand before it.
///
/// # Errors
/// When it is to end at once: help or something generated was asked for and is printed, or what is wrong is.
pub fn flags<F: Parser>() -> Result<F, ExitCode> {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(end) = crate::generate::answer::<F>(&args) {
        return Err(end);
    }
    let program = command::<F>();
    let args = dashed(args).collect();
    let layered = layers::layered(&program, args, &|name| std::env::var_os(name)).map_err(|why| {
        crate::say(&format!("error: {}", hidden(&why)));
        ExitCode::from(ExitStatus::Usage.code())
    })?;
    let parsed = program.clone().try_get_matches_from(layered.args.clone()).and_then(|mut matches| {
        let settings = layers::settings(&program, &layered, &matches);
        let flags =
            F::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut program.clone()))?;
        let _ = EFFECTIVE.set(settings);
        Ok(flags)
    });
    let flags = parsed.map_err(|error| refuse(&program, error, &layered))?;
    variables::misspelt(std::env::vars_os()).iter().for_each(|warning| crate::say(warning));
    Ok(flags)
}

/// Returns the settings that [`flags`] found and that are not the default, in the order of the help.
#[must_use]
pub fn effective() -> &'static [Setting] {
    EFFECTIVE.get().map_or(&[], Vec::as_slice)
}

/// Prints help, or what is wrong with the arguments.
fn refuse(program: &Command, error: clap::Error, layered: &Layered) -> ExitCode {
    if error.kind() == ErrorKind::DisplayHelp {
        let is_asked = |arg: &&OsString| matches!(arg.to_str(), Some("-h" | "--help"));
        let names = std::iter::once(program.get_name().into()).chain(layered.path.iter().map(OsString::from));
        let asked = names.chain(layered.args.iter().filter(is_asked).take(1).cloned());
        let is_short = !std::env::args_os().any(|arg| arg == "--help");
        let shown = help::shown(program.clone(), is_short).try_get_matches_from(asked);
        let _ = shown.err().unwrap_or(error).print();
        return ExitCode::from(ExitStatus::Complete.code());
    }
    let error = help::without_absurd_tips(error);
    let text = error.to_string();
    let shown = without_values(&text, &layered.args);
    if shown != text && error.use_stderr() {
        // It quotes a secret of the line, a variable or the file; nothing else of it is lost but its colours.
        crate::say(shown.trim_end());
    } else {
        let _ = error.print();
    }
    for (name, origin) in &layered.origins {
        if text.contains(&format!("--{name} ")) || text.contains(&format!("--{name}'")) {
            crate::say(&format!("note: --{name} comes from {origin}"));
        }
    }
    ExitCode::from(if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Complete }.code())
}

/// Returns a message about arguments without the secrets of the addresses in them.
fn without_values(text: &str, args: &[OsString]) -> String {
    let mut text = text.to_owned();
    for arg in args.iter().filter_map(|arg| arg.to_str()) {
        // A password may have characters at which a message is split.
        let value = arg.split_once('=').filter(|_| arg.starts_with('-')).map_or(arg, |(_, value)| value);
        let shown = redacted(value);
        if shown != value {
            text = text.replace(value, &shown);
        }
    }
    hidden(&text)
}

/// Returns a text of several words and lines without the secrets of the addresses in it.
fn hidden(text: &str) -> String {
    text.split_inclusive([' ', '\n', '\'']).map(redacted).collect()
}

/// Parses a command line, the name of the program first; `-flag` is taken as `--flag`. Of a flag that takes one
/// value the last one counts, so that a script can append to a line that it was given; repeatable flags add up.
///
/// # Errors
/// When it is not one of this program, or asks for help.
pub fn parse<F: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<F, clap::Error> {
    let mut command = command::<F>();
    let mut matches = command.try_get_matches_from_mut(dashed(args))?;
    F::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Returns the command line of a program as [`parse`] reads it.
pub(crate) fn command<F: Parser>() -> Command {
    help::with_common(F::command().args_override_self(true))
}

/// Puts two dashes before every flag.
fn dashed(args: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.into_iter().enumerate().map(|(at, arg)| if at == 0 { arg } else { double_dash(arg) })
}

/// Adds a dash to the source system's flags, which have one.
fn double_dash(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text)
            if text.len() > 2
                && text.starts_with('-')
                && text.as_bytes()[1].is_ascii_lowercase()
                && text.as_bytes()[2] != b'=' =>
        {
            OsString::from(format!("-{text}"))
        }
        _ => arg,
    }
}

/// Parses a time with its unit; `0` needs none.
///
/// # Errors
/// When it is not one; says how to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 250ms, 5s or 1m30s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_as_good_as_two() {
        for (typed, meant) in [
            ("-out", "--out"),
            ("-out=-x", "--out=-x"),
            ("--out", "--out"),
            ("-h", "-h"),
            ("-n=1", "-n=1"),
            ("-1ms", "-1ms"),
            ("-", "-"),
            ("--", "--"),
            ("out", "out"),
        ] {
            assert_eq!(double_dash(typed.into()), meant, "{typed}");
        }
    }

    #[test]
    fn addresses_that_are_quoted_show_no_secret() {
        let text = "error: 'http://a:pw@h/x' is wrong\n  http://b:pw@h/\n";
        assert_eq!(hidden(text), "error: 'http://h/x' is wrong\n  http://h/\n");
    }

    #[test]
    fn a_secret_that_a_message_splits_is_not_shown() {
        let text = "error: invalid value 'http://a:p w'd@h/x' for '--concurrency <N>'";
        let args = ["p", "--concurrency=http://a:p w'd@h/x"].map(OsString::from);
        assert_eq!(without_values(text, &args), "error: invalid value 'http://h/x' for '--concurrency <N>'");
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "5", "s", "-1s"] {
            assert!(duration(bad).is_err_and(|why| why.contains("write 250ms")), "{bad}");
        }
    }
}
