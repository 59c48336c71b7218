//! The help of a program: short where it can be, without noise.

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use mirror_types::near;

use crate::layers::CONFIG;

/// The programs whose short help shows only some flags, and these flags.
const SHORT: [(&str, &[&str]); 1] = [(
    "download-crates",
    &[
        "index-dir",
        "update-index",
        "offline",
        "cargo-lock",
        "crates",
        "closure",
        "latest",
        "policy",
        "out",
        "verify-existing",
        "prune",
        "dry-run",
        "bundle",
        "concurrency",
        "max-bytes-per-sec",
        "listen",
        CONFIG,
        "quiet",
    ],
)];

/// Examples at the end of the help.
const EXAMPLES: [(&str, &str); 5] = [
    (
        "download-crates",
        "Examples:\n  \
         download-crates --cargo-lock Cargo.lock --out mirror          what a project needs\n  \
         download-crates --crates serde --closure --latest 1 --out mirror\n  \
         download-crates --index-dir crates.io-index --update-index --out mirror   everything",
    ),
    (
        "generate-sidecars",
        "Examples:\n  \
         generate-sidecars --index-dir crates.io-index --out mirror\n  \
         generate-sidecars --index-dir crates.io-index --out mirror --refresh\n  \
         generate-sidecars --index-dir crates.io-index --output-mode jsonl --jsonl-out sidecars.jsonl",
    ),
    (
        "extract-bundles",
        "Examples:\n  \
         extract-bundles --bundles-dir mirror/bundles --out loose\n  \
         extract-bundles --bundles-dir mirror/bundles --crate serde@1.0.0 --out loose\n  \
         extract-bundles --bundles-dir mirror/bundles --verify",
    ),
    (
        "serve-mirror",
        "Examples:\n  \
         serve-mirror --mirror mirror\n  \
         serve-mirror export web --mirror mirror --public-url https://crates.example.org\n  \
         serve-mirror doctor --mirror mirror",
    ),
    (
        "archive-hasher",
        "Examples:\n  \
         archive-hasher --dir mirror --out-dir artifacts\n  \
         archive-hasher --dir mirror --out-dir artifacts --gpgkey key.asc\n  \
         archive-hasher verify --inventory artifacts/mirror.yaml --tar artifacts/mirror.tar",
    ),
];

/// Adds what every program has.
pub(crate) fn with_common(program: Command) -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .help("TOML file of settings, by the names of the flags; MIRROR_* variables and flags count more")
        .help_heading("Reports")
        .global(true);
    let examples = EXAMPLES.iter().find(|(name, _)| *name == program.get_name());
    let program = program.arg(config);
    match examples {
        Some((_, text)) => program.after_help(*text),
        None => program,
    }
}

/// Returns a program as its help shows it: switches without values, and in the short form only the most used flags.
pub(crate) fn shown(program: Command, is_short: bool) -> Command {
    let short = SHORT.iter().find(|(name, _)| *name == program.get_name());
    let program = plain(program);
    match short {
        Some((_, flags)) if is_short => program.mut_args(|arg| in_short(arg, flags)),
        _ => program,
    }
}

fn in_short(arg: Arg, flags: &[&str]) -> Arg {
    let hide = arg.get_long().is_some_and(|long| !flags.contains(&long) && long != "help");
    let (takes_values, gist) =
        (arg.get_action().takes_values(), arg.get_help().map(|help| gist(&help.to_string())));
    arg.hide_short_help(hide)
        .hide_possible_values(takes_values)
        .hide_default_value(takes_values)
        .help(gist.unwrap_or_default())
}

/// Returns the beginning of an explanation: as much as says what a flag is.
fn gist(help: &str) -> String {
    let ends = [". ", "; ", " ("].iter().filter_map(|end| help.find(end));
    let colon = help.find(": ").filter(|at| *at > 25);
    help[..ends.chain(colon).min().unwrap_or(help.len())].trim_end_matches('.').to_owned()
}

fn plain(command: Command) -> Command {
    command.mut_args(|arg| if is_switch(&arg) { switch(arg) } else { arg }).mut_subcommands(plain)
}

/// Returns whether a flag is a switch that may be given `true` or `false`.
fn is_switch(arg: &Arg) -> bool {
    let values = arg.get_possible_values();
    values.len() == 2
        && values.iter().all(|value| matches!(value.get_name(), "true" | "false"))
        && arg.get_num_args().is_some_and(|values| values.min_values() == 0)
}

fn switch(arg: Arg) -> Arg {
    arg.require_equals(false)
        .num_args(Resettable::Reset)
        .default_missing_value(Resettable::Reset)
        .default_value(Resettable::Reset)
        .action(ArgAction::SetTrue)
}

/// Removes a suggestion that is not near what was typed.
pub(crate) fn without_absurd_tips(mut error: clap::Error) -> clap::Error {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.trim_start_matches('-').to_owned()),
        _ => None,
    };
    if error.kind() == ErrorKind::UnknownArgument {
        let typed = text(&error, ContextKind::InvalidArg).unwrap_or_default();
        let typed = typed.split('=').next().unwrap_or_default();
        if text(&error, ContextKind::SuggestedArg).is_some_and(|meant| near(typed, &[&meant]).is_none()) {
            error.remove(ContextKind::SuggestedArg);
            // It would be that of the suggestion.
            error.remove(ContextKind::Usage);
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::command;

    #[derive(Parser)]
    #[command(name = "archive-hasher")]
    struct Flags {
        /// Sends nothing.
        #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
        _offline: bool,
        #[arg(long)]
        _max_bytes_per_sec: Option<u64>,
    }

    #[test]
    fn switches_are_shown_without_values_and_examples_are_there() {
        let help = shown(command::<Flags>(), false).render_long_help().to_string();
        assert!(help.contains("--offline\n") && !help.contains("possible values"), "{help}");
        assert!(
            help.contains("--config <FILE>") && help.contains("archive-hasher verify --inventory"),
            "{help}"
        );
    }

    #[test]
    fn the_gist_is_what_comes_first() {
        for (help, short) in [
            ("Hash again everything, and repair it.", "Hash again everything, and repair it"),
            (
                "Only these: names or globs, separated by commas; may be given",
                "Only these: names or globs, separated by commas",
            ),
            (
                "Also what builds of the selected crates need: for each",
                "Also what builds of the selected crates need",
            ),
            ("Clone it (bare), else", "Clone it"),
        ] {
            assert_eq!(gist(help), short);
        }
    }

    #[test]
    fn only_near_flags_are_suggested() {
        let tip = |typed: &str| {
            let error = command::<Flags>().try_get_matches_from(["archive-hasher", typed]).expect_err(typed);
            without_absurd_tips(error).to_string()
        };
        assert!(tip("--max-byte-per-sec").contains("--max-bytes-per-sec"));
        assert!(!tip("--yes").contains("--max-bytes-per-sec"), "{}", tip("--yes"));
    }

    #[test]
    fn every_program_has_three_examples() {
        for (program, text) in EXAMPLES {
            assert_eq!(text.matches(&format!("\n  {program}")).count(), 3, "{text}");
        }
    }
}
