//! A check that every program's own tests run on its flags.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, Parser};

use crate::args::command;

/// Values that are tried for a flag: one of them is of its type.
const VALUES: [&str; 10] = ["1", "2", "1s", "2s", "1/2", "2/2", "true", "false", "left", "right"];

/// Gives every flag of a program, and of its subcommands, twice: of a flag with one value the last must count, a
/// repeatable one must hold both. Returns how many flags were looked at. For tests.
///
/// # Errors
/// The flag that does otherwise, or that no known value fits.
pub fn check_repeats<F: Parser>() -> Result<usize, String> {
    check(&command::<F>(), &command::<F>(), &[])
}

fn check(whole: &Command, part: &Command, path: &[&str]) -> Result<usize, String> {
    let own = |arg: &&Arg| arg.get_long().is_some_and(|long| !matches!(long, "help" | "version"));
    let flags: Vec<&Arg> = part.get_arguments().filter(own).collect();
    let mut checked = 0;
    for flag in &flags {
        twice(whole, path, flag, &flags)?;
        checked += 1;
    }
    for sub in part.get_subcommands() {
        checked += check(whole, sub, &[path, &[sub.get_name()]].concat())?;
    }
    Ok(checked)
}

fn twice(whole: &Command, path: &[&str], flag: &Arg, flags: &[&Arg]) -> Result<(), String> {
    let name = format!("{} --{}", path.join(" "), flag.get_long().unwrap_or_default());
    // Some flags need another one beside them.
    let beside = flags.iter().filter(|other| other.get_id() != flag.get_id()).flat_map(|other| forms(other));
    let mut contexts = std::iter::once(None).chain(beside.map(Some));
    let (context, valid) = contexts
        .find_map(|context| {
            let fits = |form: &String| parse(whole, path, context.as_ref(), &[form]).is_ok();
            let valid: Vec<String> = forms(flag).into_iter().filter(fits).collect();
            (!valid.is_empty()).then_some((context, valid))
        })
        .ok_or_else(|| format!("{name}: no value that this check knows is accepted"))?;
    let (first, last) = (&valid[0], &valid[valid.len() - 1]);
    let given = |forms: &[&String]| -> Result<Vec<OsString>, String> {
        let matches = parse(whole, path, context.as_ref(), forms)
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
    let named = possible.iter().map(|value| value.get_name());
    named.chain(VALUES).map(|value| format!("--{long}={value}")).collect()
}

fn parse(
    whole: &Command,
    path: &[&str],
    context: Option<&String>,
    forms: &[&String],
) -> Result<ArgMatches, clap::Error> {
    let words = path.iter().copied().chain(context.map(String::as_str));
    let words = words.chain(forms.iter().map(|form| form.as_str()));
    whole.clone().try_get_matches_from(std::iter::once("program").chain(words))
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
        assert_eq!(check_repeats::<Program>(), Ok(3));
        use clap::CommandFactory as _;
        let strict = Program::command();
        assert!(check(&strict, &strict, &[]).is_err_and(|why| why.contains("--one")));
    }

    #[test]
    fn the_last_value_counts_and_lists_add_up() {
        let line = "program --one a --many 1 --one b --many 2 --set --set".split(' ').map(Into::into);
        let program: Program = crate::parse(line).unwrap();
        assert_eq!((program._one.as_deref(), program._many.as_slice(), program._set), (Some("b"), &[1, 2][..], true));
    }
}
