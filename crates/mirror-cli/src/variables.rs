//! The names of the variables that the programs read, to notice one that is misspelt.

use std::ffi::OsString;

use clap::{Command, Parser};
use mirror_types::{Printable, near};

use crate::args::command;

/// The beginning of every variable.
const PREFIX: &str = "MIRROR_";

/// The settings that variables change in any program: flags by all of their names, and what is no flag. The tests of each
/// program check that its own are here.
const KNOWN: &[&str] = &[
    "accept-mass-removal",
    "acknowledge-gaps",
    "advisory-db",
    "advisory-url",
    "after",
    "allow-host",
    "allow-mass-prune",
    "allow-unsigned",
    "allowed-signers",
    "as-of",
    "at",
    "audit-all",
    "bundle",
    "bundle-mode",
    "bundle-seal",
    "bundle-size-gb",
    "bundles-dir",
    "bundles-out",
    "cacert",
    "cache-mb",
    "cargo",
    "cargo-lock",
    "check-rows",
    "check-snapshot",
    "checksums",
    "closure",
    "color",
    "concurrency",
    "config",
    "contact",
    "copy",
    "crate",
    "crates",
    "crates-base-url",
    "crates-file",
    "dev",
    "diff-snapshots",
    "dir",
    "downloader-path",
    "dry-run",
    "exclude",
    "explain",
    "format",
    "gaps",
    "gpg-keyring",
    "gpgkey",
    "grace",
    "hash-workers",
    "hashes",
    "head-timeout",
    "identity",
    "idle-timeout",
    "include-prerelease",
    "include-yanked",
    "index-dir",
    "index-full",
    "index-only",
    "index-url",
    "inventory",
    "jsonl-out",
    "keep-snapshots",
    "latest",
    "layout",
    "limit",
    "linger",
    "list",
    "listen",
    "log-format",
    "log-level",
    "log-path",
    "manifest",
    "max-bytes-per-sec",
    "max-connections",
    "max-conns-per-host",
    "max-idle-conns",
    "max-idle-per-host",
    "max-requests-per-sec",
    "mirror",
    "no-optional",
    "no-sign",
    "no-snapshot",
    "no-tar",
    "non-interactive",
    "offered",
    "offline",
    "out",
    "out-dir",
    "out-prefix",
    "output-dir",
    "output-mode",
    "overwrite",
    "passphrase-file",
    "pattern",
    "policy",
    "progress",
    "progress-every",
    "progress-interval",
    "prune",
    "public-key",
    "public-url",
    "quiet",
    "rate-limit",
    "rebuild-catalogue",
    "refresh",
    "request-timeout",
    "resume",
    "retries",
    "retry-base",
    "retry-max",
    "revoked-keys",
    "sample-policy",
    "shard",
    "sign-gpg",
    "sign-key",
    "sign-passphrase",
    "skip-index-update",
    "skip-signature",
    "snapshot",
    "snapshots",
    "summary",
    "tar",
    "tar-out",
    "target",
    "threads",
    "threshold",
    "timeout",
    "tls-cert",
    "tls-key",
    "tls-timeout",
    "update-advisories",
    "update-index",
    "user-agent",
    "valid-for",
    "verbose",
    "verify",
    "verify-existing",
    "with-licence",
    "with-lockfiles",
    "yes",
    "zip",
];

/// Returns the variable that sets a flag.
pub(crate) fn name_of(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

/// Returns whether a program has such a flag.
pub(crate) fn is_flag(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Returns a warning for each variable that sets nothing in any program and whose name is near one that does. Others may
/// belong to something else.
pub(crate) fn misspelt(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    let mut found: Vec<String> = variables
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| {
            let name = name.into_string().ok()?;
            let flag = name.strip_prefix(PREFIX)?.replace('_', "-").to_lowercase();
            let is_known = KNOWN.contains(&flag.as_str()) && name_of(&flag) == name;
            let meant = near(&flag, KNOWN).filter(|_| !is_known)?;
            let name = Printable(name);
            Some(format!("warning: the variable {name} sets nothing; did you mean {}?", name_of(meant)))
        })
        .collect();
    found.sort();
    found
}

/// Checks that the variables of a program are known, with those of its subcommands. Returns their number. For tests.
///
/// # Errors
/// The flag that is not.
pub fn check_variables<F: Parser>() -> Result<usize, String> {
    check(&command::<F>())
}

fn check(command: &Command) -> Result<usize, String> {
    let mut checked = 0;
    for flag in command.get_arguments() {
        let names = flag.get_long().into_iter().chain(flag.get_all_aliases().into_iter().flatten());
        for name in names.filter(|name| !matches!(*name, "help" | "version")) {
            if !KNOWN.contains(&name) {
                return Err(format!("{} of --{name} is no known variable", name_of(name)));
            }
            checked += 1;
        }
    }
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    below.map(check).sum::<Result<usize, String>>().map(|below| checked + below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
        misspelt(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_one_that_was_meant() {
        let warned = warnings(&[
            ("MIRROR_OFLINE", "true"),
            ("MIRROR_CONCURENCY", "4"),
            ("mirror_concurrency", "4"),
            ("MIRROR_offline", "true"),
        ]);
        assert_eq!(
            warned,
            [
                "warning: the variable MIRROR_CONCURENCY sets nothing; did you mean MIRROR_CONCURRENCY?",
                "warning: the variable MIRROR_OFLINE sets nothing; did you mean MIRROR_OFFLINE?",
                "warning: the variable MIRROR_offline sets nothing; did you mean MIRROR_OFFLINE?",
            ]
        );
    }

    #[test]
    fn variables_of_any_program_and_of_others_are_left_alone() {
        let quiet = [
            // Of archive-hasher, download-crates and all of them.
            ("MIRROR_OUT_PREFIX", "x"),
            ("MIRROR_SIGN_PASSPHRASE", "x"),
            ("MIRROR_CONFIG", "x"),
            // Of none, and like none.
            ("MIRROR_URL", "x"),
            ("MIRROR_REQUIRE_TOOLS", "1"),
            ("MIRROR_CROWD", "512"),
            ("MIRROR_NIGHTS", "9"),
            ("MIRROR_FLAGS", "--out x"),
            ("MIRROR_", "x"),
            ("MIRROR_CONCURENCY", ""),
            ("PATH", "x"),
        ];
        assert_eq!(warnings(&quiet), [""; 0]);
        assert!(KNOWN.is_sorted());
    }

    #[test]
    fn the_check_can_fail() {
        #[derive(Parser)]
        struct Program {
            #[arg(long)]
            _unheard_of: bool,
        }
        assert!(check_variables::<Program>().is_err_and(|why| why.contains("MIRROR_UNHEARD_OF")));
    }
}
