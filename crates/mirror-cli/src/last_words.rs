use std::fmt::Write as _;
use std::process::ExitCode;

use mirror_types::Advice;

use crate::hints::{Program, hint};
use crate::terminal::say;

/// Says why `program` ends, the whole chain of reasons, and on a line of its own which flag helps; returns `code`.
#[must_use]
pub fn complain(
    program: Program,
    error: &anyhow::Error,
    advice: Option<Advice>,
    code: impl Into<u8>,
) -> ExitCode {
    say(&last_words(program, error, advice));
    ExitCode::from(code.into())
}

fn last_words(program: Program, error: &anyhow::Error, advice: Option<Advice>) -> String {
    let chain = format!("{error:#}").replace(|c: char| c.is_control() && c != '\n', "?");
    let mut text = format!("{}: {chain}", program.name());
    if let Some(hint) = advice.and_then(|advice| hint(advice, program)) {
        let _ = write!(text, "\nhint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stands_on_a_line_of_its_own() {
        let error = || anyhow::anyhow!("no\x1b way").context("could not go");
        let words = |advice| last_words(Program::ServeMirror, &error(), advice);
        assert_eq!(words(None), "serve-mirror: could not go: no? way");
        let with = words(Some(Advice::NameTheBundles));
        assert_eq!(with, "serve-mirror: could not go: no? way\nhint: --bundles-dir says where they are");
        assert_eq!(words(Some(Advice::IncludeOrPruneYanked)), words(None));
    }
}
