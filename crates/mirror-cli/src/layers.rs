//! The layers below the command line: variables of the environment, and below them a file of settings.
//!
//! A setting of either becomes a flag in front of those that were typed, unless that flag was typed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, Parser};
use mirror_types::{near, redacted};
use toml::{Table, Value};

use crate::args::command;
use crate::hints::Program;
use crate::variables;

/// The flag that names the file.
pub(crate) const CONFIG: &str = "config";
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The origin of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The command line.
    Flag,
    /// This variable of the environment.
    Variable(String),
    /// This file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A setting that is not the default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The flag, without dashes.
    pub name: String,
    /// Its value, without secrets; several are separated by commas.
    pub value: String,
    /// Its origin.
    pub origin: Origin,
}

/// A command line with the settings of all layers.
#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) args: Vec<OsString>,
    /// The command that is run: the program, or one of its subcommands.
    pub(crate) path: Vec<String>,
    /// The origins of flags that were not typed.
    pub(crate) origins: BTreeMap<String, Origin>,
}

/// Adds the settings of the environment and of a file to the arguments of a program.
///
/// # Errors
/// When the file cannot be read, or has a key that is no flag; says what to do.
pub(crate) fn layered(
    program: &Command,
    args: Vec<OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Layered, String> {
    let mut typed = Typed::of(program, &args);
    let args = typed.without_config(args);
    let mut layered = Layered { args, path: typed.path.clone(), origins: BTreeMap::new() };
    let mut added: Vec<OsString> = typed.config.iter().map(|file| set(CONFIG, file)).collect();
    let asks_for_text = |arg: &OsString| matches!(arg.to_str(), Some("-h" | "--help" | "-V" | "--version"));
    if layered.args.iter().any(asks_for_text) {
        layered.args.splice(typed.behind..typed.behind, added);
        return Ok(layered);
    }
    // What counts over the next layer; a setting gives way to what excludes it above.
    let mut above = typed.excluding();
    let has_room = |above: &[&Arg], flag: &Arg| {
        !typed.has(flag) && !above.iter().any(|other| exclude_each_other(typed.command, other, flag))
    };
    let mut set_by_variables = Vec::new();
    for flag in flags(typed.command).filter(|flag| has_room(&above, flag) && flag.get_env().is_none()) {
        let Some((value, variable_name)) = variable_of(flag, variable) else { continue };
        let words = of_variable(flag, &variable_name, &value)?;
        if !words.is_empty() {
            set_by_variables.push(flag);
        }
        added.extend(words);
        let name = flag.get_long().unwrap_or_default();
        layered.origins.insert(name.to_owned(), Origin::Variable(variable_name));
    }
    above.extend(set_by_variables);
    let config = typed.config.clone().or_else(|| variable("MIRROR_CONFIG").filter(|value| !value.is_empty()));
    if let Some(file) = config {
        let path = PathBuf::from(file);
        for (flag, value) in of_file(program, &typed.path, typed.command, &path)? {
            let name = flag.get_long().unwrap_or_default();
            if layered.origins.contains_key(name) || !has_room(&above, flag) {
                continue;
            }
            added.extend(tokens(flag, &value).map_err(|why| format!("{}: `{name}` {why}", path.display()))?);
            layered.origins.insert(name.to_owned(), Origin::File(path.clone()));
        }
    }
    layered.args.splice(typed.behind..typed.behind, added);
    Ok(layered)
}

/// Returns the value of the variable that sets a flag, and its name.
fn variable_of(flag: &Arg, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<(OsString, String)> {
    let name = flag.get_long().unwrap_or_default();
    let mut names = std::iter::once(name).chain(flag.get_all_aliases().into_iter().flatten());
    names.find_map(|name| {
        let variable_name = variables::name_of(name);
        Some((variable(&variable_name).filter(|value| !value.is_empty())?, variable_name))
    })
}

/// The flags and subcommands among the arguments.
struct Typed<'a> {
    command: &'a Command,
    path: Vec<String>,
    /// The place behind the program or its last subcommand.
    behind: usize,
    names: Vec<String>,
    /// Those among them that are not switched off by `=false`.
    on: Vec<String>,
    config: Option<OsString>,
    /// The places of the words that name that file.
    config_words: Vec<usize>,
}

impl<'a> Typed<'a> {
    fn of(program: &'a Command, args: &[OsString]) -> Self {
        let mut typed = Self {
            command: program,
            path: Vec::new(),
            behind: args.len().min(1),
            names: Vec::new(),
            on: Vec::new(),
            config: None,
            config_words: Vec::new(),
        };
        let mut words = args.iter().enumerate().skip(1);
        while let Some((at, arg)) = words.next() {
            let Some(word) = arg.to_str() else { continue };
            if word == "--" {
                break;
            }
            let Some(flag) = word.strip_prefix('-') else {
                if let Some(below) = typed.command.find_subcommand(word) {
                    typed.command = below;
                    typed.path.push(below.get_name().to_owned());
                    typed.behind = at + 1;
                }
                continue;
            };
            let flag = flag.trim_start_matches('-');
            let (name, value) =
                flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            typed.names.push(name.to_owned());
            if value != Some("false") {
                typed.on.push(name.to_owned());
            }
            // Subcommands have the flag that names the file, too.
            let needs_next = |arg: &Arg| is_called(arg, name) && needs_value(arg);
            let takes_next =
                value.is_none() && (name == CONFIG || typed.command.get_arguments().any(needs_next));
            let next = if takes_next { words.next() } else { None };
            if name == CONFIG
                && let Some(file) = value.map(OsString::from).or_else(|| next.map(|(_, arg)| arg.clone()))
            {
                typed.config = Some(file);
                typed.config_words.extend(std::iter::once(at).chain(next.map(|(at, _)| at)));
            }
        }
        typed
    }

    /// Takes the words that name the file out of the arguments: they mean the same before and behind a subcommand.
    fn without_config(&mut self, args: Vec<OsString>) -> Vec<OsString> {
        self.behind -= self.config_words.iter().filter(|at| **at < self.behind).count();
        let others = args.into_iter().enumerate().filter(|(at, _)| !self.config_words.contains(at));
        others.map(|(_, arg)| arg).collect()
    }

    fn has(&self, flag: &Arg) -> bool {
        self.names.iter().any(|name| is_called(flag, name))
    }

    /// Returns the flags that exclude a flag of a layer and were typed.
    fn excluding(&self) -> Vec<&'a Arg> {
        let is_on = |flag: &&Arg| self.on.iter().any(|name| is_called(flag, name));
        flags(self.command).filter(is_on).collect()
    }
}

/// Returns whether clap refuses two flags beside each other.
fn exclude_each_other(command: &Command, one: &Arg, other: &Arg) -> bool {
    let excludes = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|found| found.get_id() == other.get_id())
    };
    excludes(one, other) || excludes(other, one)
}

/// Returns the word that sets a flag.
fn set(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("--{name}="));
    word.push(value);
    word
}

fn needs_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
        && !arg.is_require_equals_set()
        && arg.get_num_args().is_none_or(|values| values.min_values() > 0)
}

fn is_called(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name)
        || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
        || (name.chars().count() == 1 && arg.get_short() == name.chars().next())
}

/// Returns the flags of a command that a layer may set.
fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let own = |arg: &&Arg| arg.get_long().is_some_and(|long| !matches!(long, "help" | "version" | CONFIG));
    command.get_arguments().filter(own)
}

/// Reads a file of settings, and returns those for the command at `path`. Keys outside of tables are for each program
/// that has such a flag.
fn of_file<'a>(
    program: &'a Command,
    path: &[String],
    command: &'a Command,
    file: &Path,
) -> Result<Vec<(&'a Arg, Value)>, String> {
    of_table(program, path, command, &read(file)?, file)
}

fn of_table<'a>(
    program: &'a Command,
    path: &[String],
    command: &'a Command,
    table: &Table,
    file: &Path,
) -> Result<Vec<(&'a Arg, Value)>, String> {
    let mut found = Vec::new();
    let mut add = |table: &Table, of: &'a Command, counts: bool, is_shared: bool| -> Result<(), String> {
        for (key, value) in table {
            if value.is_table() {
                is_a_place(program, of, key).map_err(|why| format!("{}: {why}", file.display()))?;
                continue;
            }
            let flag = match flag_of(of, key) {
                Err(_) if is_shared && variables::is_flag(&key.replace('_', "-")) => continue,
                found => found.map_err(|why| format!("{}: {why}", file.display()))?,
            };
            if counts {
                found.retain(|(other, _): &(&Arg, Value)| other.get_id() != flag.get_id());
                found.push((flag, value.clone()));
            }
        }
        Ok(())
    };
    add(table, program, path.is_empty(), true)?;
    let mut own = table.get(program.get_name()).and_then(Value::as_table);
    if let Some(own) = own {
        add(own, program, path.is_empty(), false)?;
    }
    for name in path {
        own = own.and_then(|own| own.get(name)).and_then(Value::as_table);
    }
    if let Some(own) = own.filter(|_| !path.is_empty()) {
        add(own, command, true, false)?;
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Table, String> {
    let refused = |why: &dyn fmt::Display| {
        format!("could not read the settings {}: {why}; --config names the file", file.display())
    };
    let bytes = std::fs::metadata(file).map_err(|error| refused(&error))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(refused(&format_args!("it has {bytes} bytes, and {MAX_FILE_BYTES} are allowed")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| refused(&error))?;
    text.parse().map_err(|error: toml::de::Error| refused(&place_and_fault(&text, &error)))
}

/// Returns where a file is wrong, and why. Does not quote the line as the parser does: it may have a password.
fn place_and_fault(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|one| *one != '\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}

/// Checks that a table is for a program, or for a subcommand of this one.
fn is_a_place(program: &Command, of: &Command, key: &str) -> Result<(), String> {
    let programs: Vec<&str> = Program::ALL.iter().map(|program| program.name()).collect();
    let known = of.get_subcommands().any(|below| below.get_name() == key)
        || (of.get_name() == program.get_name() && programs.contains(&key));
    if known {
        return Ok(());
    }
    Err(format!("there is no program or command `{key}`; tables are called {}", programs.join(", ")))
}

fn flag_of<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, String> {
    let name = key.replace('_', "-");
    if let Some(flag) = flags(command).find(|flag| is_called(flag, &name) && name.len() > 1) {
        return Ok(flag);
    }
    let known: Vec<&str> = flags(command).filter_map(Arg::get_long).collect();
    let meant = near(&name, &known).map_or_else(
        || "; --help lists the flags, which are the keys".to_owned(),
        |meant| format!("; did you mean `{meant}`?"),
    );
    Err(format!("`{key}` is no setting of {}{meant}", command.get_name()))
}

/// Returns the words that a setting of a file is typed as.
fn tokens(flag: &Arg, value: &Value) -> Result<Vec<OsString>, String> {
    let name = flag.get_long().unwrap_or_default();
    let word = |value: &dyn fmt::Display| OsString::from(format!("--{name}={value}"));
    Ok(match value {
        Value::Boolean(set) if !flag.get_action().takes_values() => {
            if *set {
                vec![format!("--{name}").into()]
            } else {
                Vec::new()
            }
        }
        _ if !flag.get_action().takes_values() => return Err("is true or false".to_owned()),
        Value::String(text) => vec![word(text)],
        Value::Integer(number) => vec![word(number)],
        Value::Float(number) => vec![word(number)],
        Value::Boolean(false) if is_off(flag) => Vec::new(),
        Value::Boolean(set) => vec![word(set)],
        Value::Datetime(moment) => vec![word(moment)],
        Value::Array(values) if matches!(flag.get_action(), ArgAction::Append) => {
            let words: Result<Vec<_>, _> = values.iter().map(|value| tokens(flag, value)).collect();
            words?.concat()
        }
        Value::Array(_) => return Err("takes one value, not a list".to_owned()),
        Value::Table(_) => return Err("takes a value, not a table".to_owned()),
    })
}

/// Returns whether a flag is a switch that is off unless it is set. To set it to false would count as given, and exclude
/// others.
fn is_off(flag: &Arg) -> bool {
    matches!(flag.get_default_values(), [value] if value == "false")
}

fn of_variable(flag: &Arg, variable: &str, value: &OsStr) -> Result<Vec<OsString>, String> {
    let name = flag.get_long().unwrap_or_default();
    if flag.get_action().takes_values() {
        let says_the_default = is_off(flag) && value == "false";
        return Ok(if says_the_default { Vec::new() } else { vec![set(name, value)] });
    }
    match value.to_str() {
        Some("true" | "1" | "yes") => Ok(vec![format!("--{name}").into()]),
        Some("false" | "0" | "no") => Ok(Vec::new()),
        _ => Err(format!("the variable {variable} is true or false")),
    }
}

/// Lists the settings that are not the default, with their origins.
pub(crate) fn settings(program: &Command, layered: &Layered, matches: &clap::ArgMatches) -> Vec<Setting> {
    let (mut command, mut matches) = (program, matches);
    for name in &layered.path {
        let (Some(below), Some(found)) = (command.find_subcommand(name), matches.subcommand_matches(name))
        else {
            break;
        };
        (command, matches) = (below, found);
    }
    let setting = |flag: &Arg| {
        let (name, id) = (flag.get_long()?, flag.get_id().as_str());
        let origin = match matches.value_source(id)? {
            clap::parser::ValueSource::CommandLine => {
                layered.origins.get(name).cloned().unwrap_or(Origin::Flag)
            }
            clap::parser::ValueSource::EnvVariable => {
                Origin::Variable(flag.get_env().map(|name| name.to_string_lossy().into_owned())?)
            }
            _ => return None,
        };
        let values = matches.get_raw(id)?.map(|value| redacted(&value.to_string_lossy()));
        let value = values.collect::<Vec<_>>().join(", ");
        let value = if flag.get_action().takes_values() { value } else { "true".to_owned() };
        Some(Setting { name: name.to_owned(), value, origin })
    };
    command.get_arguments().filter_map(setting).collect()
}

/// Checks that a program can read a sample file, for itself and for each of its subcommands, with every setting in it.
/// Returns the number of settings that count. For tests.
///
/// # Errors
/// The first setting that is refused, and why.
pub fn check_sample<F: Parser>(sample: &str) -> Result<usize, String> {
    let setting =
        |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let text = sample.lines().filter_map(setting).collect::<Vec<_>>().join("\n");
    let table: Table = text.parse().map_err(|error: toml::de::Error| place_and_fault(&text, &error))?;
    let program = command::<F>();
    let below = program.get_subcommands().filter(|below| below.get_name() != "help");
    let mut counted = 0;
    for command in std::iter::once(&program).chain(below) {
        let is_program = command.get_name() == program.get_name();
        let path = if is_program { Vec::new() } else { vec![command.get_name().to_owned()] };
        let found = of_table(&program, &path, command, &table, Path::new("the sample"))?;
        let mut args: Vec<OsString> = vec![program.get_name().into()];
        args.extend(path.iter().map(OsString::from));
        for (flag, value) in &found {
            args.extend(tokens(flag, value)?);
        }
        match program.clone().try_get_matches_from(args) {
            Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => return Err(error.to_string()),
            _ => counted += found.len(),
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests;
