//! A check that every program's own tests run on its flags.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, Parser};

use crate::args::command;

/// Values that are tried for a flag: one of them is of its type.
const VALUES: [&str; 16] = [
    "1",
    "2",
    "1s",
    "2s",
    "1/2",
    "2/2",
    "true",
    "false",
    "left",
    "right",
    "x86_64-pc-linux-gnu",
    "x86_64-apple-darwin",
    "2026-08-01",
    "2026-08-02",
    "1..2",
    "1..3",
];

/// Types every flag of a program, and of its subcommands, twice: of a flag with one value the last must count, a
/// repeatable one must hold both. `needed` is what the program wants on every line, in the forms that it may have:
/// `--flag=value`, separated by spaces. Returns how many flags were looked at. For tests.
///
/// # Errors
/// The flag that does otherwise, or that no known value fits.
pub fn check_repeats<F: Parser>(needed: &[&str]) -> Result<usize, String> {
    let command = command::<F>();
    let lines: Vec<Vec<&str>> = needed.iter().map(|line| line.split_whitespace().collect()).collect();
    check(&Checked { whole: &command, needed: &lines }, &command, &[])
}

struct Checked<'a> {
    whole: &'a Command,
    needed: &'a [Vec<&'a str>],
}

fn check(checked: &Checked<'_>, part: &Command, path: &[&str]) -> Result<usize, String> {
    let own = |arg: &&Arg| arg.get_long().is_some_and(|long| !matches!(long, "help" | "version"));
    let flags: Vec<&Arg> = part.get_arguments().filter(own).collect();
    for flag in &flags {
        twice(checked, path, flag, &flags)?;
    }
    let below = part.get_subcommands().filter(|sub| sub.get_name() != "help");
    let below = below.map(|sub| check(checked, sub, &[path, &[sub.get_name()]].concat()));
    below.sum::<Result<usize, String>>().map(|below| flags.len() + below)
}

fn twice(checked: &Checked<'_>, path: &[&str], flag: &Arg, flags: &[&Arg]) -> Result<(), String> {
    let name = format!("{} --{}", path.join(" "), flag.get_long().unwrap_or_default());
    let long = format!("--{}", flag.get_long().unwrap_or_default());
    let line = |context: &[String], forms: &[&String]| -> Result<ArgMatches, clap::Error> {
        let others = context.iter().filter(|word| word.split('=').next() != Some(long.as_str()));
        let words = path.iter().copied().chain(others.chain(forms.iter().copied()).map(String::as_str));
        checked.whole.clone().try_get_matches_from(std::iter::once("program").chain(words))
    };
    // Some flags need another one beside them.
    let beside: Vec<String> = flags.iter().flat_map(|other| forms(other)).collect();
    let needed = || std::iter::once(Vec::new()).chain(checked.needed.iter().cloned());
    let alone = needed().map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let more = alone.clone().flat_map(|words| {
        beside.iter().map(move |other| words.iter().chain([other]).cloned().collect::<Vec<_>>())
    });
    let (context, valid) = alone
        .chain(more)
        .find_map(|context| {
            let fits = |form: &String| line(&context, &[form]).is_ok();
            let valid: Vec<String> = forms(flag).into_iter().filter(fits).collect();
            (!valid.is_empty()).then_some((context, valid))
        })
        .ok_or_else(|| format!("{name}: no value that this check knows is accepted"))?;
    let (first, last) = (&valid[0], &valid[valid.len() - 1]);
    let given = |forms: &[&String]| -> Result<Vec<OsString>, String> {
        let matches = line(&context, forms)
            .map_err(|error| format!("{name} given twice is refused: {}", error.kind()))?;
        let matches = path.iter().try_fold(&matches, |at, sub| at.subcommand_matches(sub));
        let raw = matches.and_then(|matches| matches.get_raw(flag.get_id().as_str()));
        Ok(raw.into_iter().flatten().map(OsString::from).collect())
    };
    let expected = match flag.get_action() {
        ArgAction::Append => [given(&[first])?, given(&[last])?].concat(),
        _ => given(&[last])?,
    };
    let found = given(&[first, last])?;
    if found == expected { Ok(()) } else { Err(format!("{name} given twice is {found:?}, not {expected:?}")) }
}

/// Forms in which a flag may be typed, one of which is right.
fn forms(flag: &Arg) -> Vec<String> {
    let long = flag.get_long().unwrap_or_default();
    if !flag.get_action().takes_values() {
        return vec![format!("--{long}")];
    }
    let possible = flag.get_possible_values();
    let named = possible.iter().map(clap::builder::PossibleValue::get_name);
    named.chain(VALUES).map(|value| format!("--{long}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Program {
        #[arg(long)]
        _one: Option<String>,
        #[arg(long, requires = "_one")]
        _many: Vec<u32>,
        #[arg(long)]
        _set: bool,
    }

    #[test]
    fn the_check_can_fail() {
        // One of them is --config, which every program has.
        assert_eq!(check_repeats::<Program>(&[]), Ok(4));
        use clap::CommandFactory as _;
        let strict = Program::command();
        assert!(
            check(&Checked { whole: &strict, needed: &[] }, &strict, &[])
                .is_err_and(|why| why.contains("--one"))
        );
    }

    #[test]
    fn the_last_value_counts_and_lists_add_up() {
        let line = "program --one a --many 1 --one b --many 2 --set --set".split(' ').map(Into::into);
        let program: Program = crate::parse(line).unwrap();
        assert_eq!(
            (program._one.as_deref(), program._many.as_slice(), program._set),
            (Some("b"), &[1, 2][..], true)
        );
    }
}
