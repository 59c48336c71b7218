//! `cargo xtask ci`: runs the steps of the gate.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::{api, browser, captures, cargo, cases, docs, features, tidy};

/// The steps to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only these steps, in the order of the gate. Without any: all of them.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    Fmt,
    Clippy,
    Doc,
    Api,
    Deny,
    Tidy,
    Package,
    Unused,
    Features,
    Test,
    Cases,
    Captures,
    Docs,
    Browser,
}

/// Packages what may be published, without compiling the packages: `cargo xtask proof packages` does that. Offline,
/// because the steps before have fetched what is needed; `--allow-dirty`, because the gate runs before a commit, too.
pub(crate) const PACKAGE: &[&str] = &[
    "package",
    "--workspace",
    "--exclude",
    "mirror-testkit",
    "--exclude",
    "xtask",
    "--no-verify",
    "--locked",
    "--offline",
    "--allow-dirty",
];

/// The work of a step.
enum Work {
    Cargo { arguments: &'static [&'static str], environment: &'static [(&'static str, &'static str)] },
    Api,
    Tidy,
    Features,
    Cases,
    Captures,
    Docs,
    Browser,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Api => "api",
            Self::Deny => "deny",
            Self::Tidy => "tidy",
            Self::Package => "package",
            Self::Unused => "unused",
            Self::Features => "features",
            Self::Test => "test",
            Self::Cases => "cases",
            Self::Captures => "captures",
            Self::Docs => "docs",
            Self::Browser => "browser",
        }
    }

    fn work(self) -> Work {
        let plain = |arguments| Work::Cargo { arguments, environment: &[] };
        match self {
            Self::Fmt => plain(&["fmt", "--all", "--check"]),
            Self::Clippy => {
                plain(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
            }
            Self::Doc => Work::Cargo {
                arguments: &["doc", "--workspace", "--no-deps", "--locked"],
                environment: &[("RUSTDOCFLAGS", "-D warnings")],
            },
            Self::Api => Work::Api,
            // `advisories` is left out: it needs a database from the internet, and a new advisory
            // would fail a commit that changed nothing.
            Self::Deny => plain(&["deny", "check", "bans", "licenses", "sources"]),
            Self::Tidy => Work::Tidy,
            Self::Package => plain(PACKAGE),
            Self::Unused => plain(&["machete"]),
            Self::Features => Work::Features,
            Self::Test => plain(&["test", "--workspace", "--locked"]),
            Self::Cases => Work::Cases,
            Self::Captures => Work::Captures,
            Self::Docs => Work::Docs,
            Self::Browser => Work::Browser,
        }
    }

    /// Returns the step as a person would type it.
    fn line(self) -> String {
        match self.work() {
            Work::Cargo { arguments, environment } => {
                let mut line = String::new();
                for (key, value) in environment {
                    line.push_str(&format!("{key}=\"{value}\" "));
                }
                line + "cargo " + &arguments.join(" ")
            }
            Work::Api => "cargo xtask api".to_owned(),
            Work::Tidy => "cargo xtask tidy".to_owned(),
            Work::Features => "cargo xtask ci features".to_owned(),
            Work::Cases => "cargo xtask cases".to_owned(),
            Work::Captures => "cargo xtask captures".to_owned(),
            Work::Docs => "cargo xtask docs".to_owned(),
            Work::Browser => "cargo xtask browser".to_owned(),
        }
    }

    fn run(self, root: &Path) -> anyhow::Result<()> {
        match self.work() {
            Work::Cargo { arguments, environment } => {
                let mut command = cargo();
                command.args(arguments).envs(environment.iter().copied()).current_dir(root);
                let status = command.status().context("cargo could not be started")?;
                if !status.success() {
                    bail!("cargo ended with {status}; its report is above");
                }
                Ok(())
            }
            Work::Api => api::run(root, &api::Options::default()),
            Work::Tidy => tidy::run(root),
            Work::Features => features::run(root),
            Work::Cases => cases::run(root, &cases::Options::default()),
            Work::Captures => captures::run(root, &captures::Options::default()),
            Work::Docs => docs::run(root, &docs::Options::default()),
            Work::Browser => browser::run(root, &browser::Options::default()),
        }
    }
}

/// Returns the chosen steps in the order of the gate, cheap ones first; all of them when none is chosen.
fn plan(chosen: &[Step]) -> Vec<Step> {
    let all = Step::value_variants().iter().copied();
    all.filter(|step| chosen.is_empty() || chosen.contains(step)).collect()
}

/// Runs the steps and stops at the first that fails.
pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let steps = plan(&options.steps);
    for step in &steps {
        println!("\n== {}", step.line());
        let step_started = Instant::now();
        step.run(root).with_context(|| {
            format!("the gate stopped at the step `{}`; to run it alone: {}", step.name(), step.line())
        })?;
        println!("== {}: {:.1} s", step.name(), step_started.elapsed().as_secs_f64());
    }
    println!("\n== the gate passes: {} steps in {:.1} s", steps.len(), started.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_choice_means_every_step_once() {
        use Step::{
            Api, Browser, Captures, Cases, Clippy, Deny, Doc, Docs, Features, Fmt, Package, Test, Tidy,
            Unused,
        };
        let all = [
            Fmt, Clippy, Doc, Api, Deny, Tidy, Package, Unused, Features, Test, Cases, Captures, Docs,
            Browser,
        ];
        assert_eq!(plan(&[]), all);
    }

    #[test]
    fn a_choice_keeps_the_order_of_the_gate() {
        assert_eq!(plan(&[Step::Tidy, Step::Fmt, Step::Tidy]), [Step::Fmt, Step::Tidy]);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for step in Step::value_variants() {
            assert_eq!(Step::from_str(step.name(), false), Ok(*step));
        }
    }

    #[test]
    fn lines_are_commands_to_type() {
        assert_eq!(Step::Test.line(), "cargo test --workspace --locked");
        assert_eq!(Step::Doc.line(), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --workspace --no-deps --locked");
    }
}
