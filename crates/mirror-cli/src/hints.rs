//! Hints on an error, in terms of the flags of the program that met it.

use clap::{Command, Parser};
use mirror_types::Advice;

use crate::args::command;

/// The programs, whose flags differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Program {
    DownloadCrates,
    GenerateSidecars,
    ExtractBundles,
    ServeMirror,
    ArchiveHasher,
}

impl Program {
    /// Every program.
    pub(crate) const ALL: [Self; 5] = [
        Self::DownloadCrates,
        Self::GenerateSidecars,
        Self::ExtractBundles,
        Self::ServeMirror,
        Self::ArchiveHasher,
    ];

    /// Returns what it is called on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DownloadCrates => "download-crates",
            Self::GenerateSidecars => "generate-sidecars",
            Self::ExtractBundles => "extract-bundles",
            Self::ServeMirror => "serve-mirror",
            Self::ArchiveHasher => "archive-hasher",
        }
    }
}

/// Returns which flags of a program carry an advice out; `None` where none does.
#[must_use]
pub fn hint(advice: Advice, program: Program) -> Option<&'static str> {
    match program {
        Program::DownloadCrates => of_download(advice),
        Program::ArchiveHasher => of_archive(advice),
        Program::GenerateSidecars => match advice {
            Advice::NameTheIndex | Advice::NameOrCloneTheIndex => {
                Some("--index-dir names a local index; a mirror that download-crates filled has its own")
            }
            Advice::NameTheRegistry => Some("--index-url sparse+URL names one of them"),
            Advice::NameTheDownloads => Some("--crates-base-url says where crates come from"),
            Advice::AnotherRoot => Some("--out names another mirror"),
            advice => elsewhere(advice),
        },
        Program::ExtractBundles => match advice {
            Advice::AnotherRoot | Advice::AdoptReleases | Advice::KeepTheLayout => {
                Some("--out names another directory for the mirror")
            }
            Advice::PatternOfBundles => Some("--pattern takes a glob such as bundle-00*"),
            Advice::NameTheBundles => Some("--bundles-dir says where the bundles are"),
            Advice::NameTheBundlesOrPattern => Some("look at --bundles-dir and --pattern"),
            advice => elsewhere(advice),
        },
        Program::ServeMirror => match advice {
            Advice::AnotherRoot => Some("name another DIR to export to"),
            Advice::MakeTheMirror => Some("download-crates makes a mirror; --mirror says where it is"),
            Advice::NameTheBundles | Advice::FindOrForgetBundles => Some("--bundles-dir says where they are"),
            advice => elsewhere(advice),
        },
    }
}

fn of_download(advice: Advice) -> Option<&'static str> {
    Some(match advice {
        Advice::AnotherRoot => "--out names another directory for the mirror",
        Advice::KeepTheLayout => {
            "without --layout the mirror keeps its own; --out names another directory for a mirror in that layout"
        }
        Advice::AdoptReleases => {
            "choose another --out, or run with --rebuild-catalogue, which moves them to where they belong and adopts them"
        }
        Advice::FinishAdopting => "run with --rebuild-catalogue, which continues that",
        Advice::NameTheManifest => "--manifest names the manifest of the mirror at --out",
        Advice::RebuildCatalogue => {
            "run again with --rebuild-catalogue, which makes it again from the manifest, the bundles and the files"
        }
        Advice::VerifyExisting => "run again with --verify-existing",
        Advice::NameTheBundles => "--bundles-out says where they are",
        Advice::FindOrForgetBundles => {
            "--bundles-out says where they are; if they are gone for good, --rebuild-catalogue forgets what was in them, \
             and the next run fetches it again"
        }
        Advice::ForgetTheBundle => {
            "once the bundle and its manifest are moved away, --rebuild-catalogue forgets what was in it, and the next \
             run fetches it again"
        }
        Advice::AnotherBundlesDirectory => {
            "--bundles-out names another directory for the bundles of this mirror"
        }
        Advice::NameTheIndex => "--index-dir says where the index is",
        Advice::NameOrCloneTheIndex => {
            "--index-dir says where the index is; --index-only clones one there, some 200 MB for a registry of 2.5 million \
             releases, and downloads nothing else"
        }
        Advice::AnotherIndexOrNoUpdate => {
            "give --index-dir a path where nothing is, and a clone is made there; or run without --update-index"
        }
        Advice::AnotherIndex => "give --index-dir a path where nothing is, and a bare clone is made there",
        Advice::SkipIndexUpdate => "--skip-index-update uses the index as it is",
        Advice::NameTheRemote => "--index-url says where the index is fetched from",
        Advice::AnotherRemoteOrNoUpdate => {
            "check --index-url, or use the index that is there with --skip-index-update"
        }
        Advice::NameTheRegistry => "--index-url names the registry",
        Advice::NameTheDownloads => "--crates-base-url says where crates come from",
        Advice::NameCrates => {
            "name the crates with --cargo-lock, --crates (without wildcards) or --crates-file, or use a git index with \
             --index-dir"
        }
        Advice::RunOnline => "run once without --offline",
        Advice::CloneTheIndex => {
            "run once with --index-only in place of --dry-run, which clones the index, some 200 MB for a registry of 2.5 \
             million releases, and downloads nothing else; then try again"
        }
        Advice::CloneTheAdvisories => {
            "clone it with git, or run once with --index-dir and --index-only in place of --dry-run, which clones it and \
             downloads no releases; then try again"
        }
        Advice::IncludeOrPruneYanked => {
            "--include-yanked wants yanked releases, and --prune=yanked removes them; give one of the two"
        }
        Advice::NameTheAdvisories => {
            "--advisory-url says where the advisory database is fetched from, --advisory-db where it is"
        }
        Advice::ListSnapshots => "--snapshots lists those that are known",
        Advice::NameThePublicKey => "--gpg-keyring names a file with the keys that count",
        Advice::GivePassphrase => {
            "give --passphrase-file, or the environment variable MIRROR_SIGN_PASSPHRASE"
        }
        _ => return None,
    })
}

fn of_archive(advice: Advice) -> Option<&'static str> {
    Some(match advice {
        Advice::AnotherInput => "choose another --dir",
        Advice::AnotherOutputDirectory => "--out-dir names a directory outside of --dir",
        Advice::NameTheOutputs => "give --out-prefix a name for them",
        Advice::RenameTheOutputs => "choose another --out-prefix",
        Advice::NameTheInventory => "--inventory names the inventory, which ends in .yaml",
        Advice::NameTheTar => "--tar names the tar, which ends in .tar",
        Advice::CompareTheDirectory => "give --dir instead of --tar",
        Advice::NameThePublicKeyOrSkip => "give that --public-key, or --skip-signature",
        Advice::NameThePublicKey => "give --public-key for another",
        Advice::GivePassphrase => {
            "give --passphrase-file, or the environment variable ARCHIVE_HASHER_PASSPHRASE"
        }
        Advice::DoWithoutSignature => "--no-sign makes an archive without one, --skip-signature checks none",
        _ => return None,
    })
}

/// Returns what only a run of download-crates can do about a mirror that another program reads.
fn elsewhere(advice: Advice) -> Option<&'static str> {
    Some(match advice {
        Advice::AdoptReleases | Advice::FinishAdopting => {
            "a run of download-crates with --rebuild-catalogue moves them to where they belong"
        }
        Advice::RebuildCatalogue => {
            "a run of download-crates with --rebuild-catalogue makes it again from the manifest, the bundles and the files"
        }
        Advice::VerifyExisting => "a run of download-crates with --verify-existing repairs it",
        Advice::ListSnapshots => "a run of download-crates with --snapshots lists those that are known",
        Advice::NameTheManifest => {
            "a run of download-crates with --manifest names the manifest of the mirror"
        }
        _ => return None,
    })
}

/// Looks up every flag that the hints of a program name, but for hints about a run of download-crates. Returns
/// how many were looked up. For tests.
///
/// # Errors
/// The hint that names a flag which the program does not have.
pub fn check_hints<F: Parser>(program: Program) -> Result<usize, String> {
    let command = command::<F>();
    let mut flags = 0;
    for hint in Advice::ALL.iter().filter_map(|advice| hint(*advice, program)) {
        if program != Program::DownloadCrates && hint.starts_with("a run of download-crates") {
            continue;
        }
        for word in hint.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
            let Some(flag) = word.strip_prefix("--") else { continue };
            if !has(&command, flag) {
                return Err(format!("{} has no --{flag}, which a hint names: {hint}", program.name()));
            }
            flags += 1;
        }
    }
    Ok(flags)
}

fn has(command: &Command, flag: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(flag))
        || command.get_subcommands().any(|below| has(below, flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advice_can_be_carried_out_somewhere() {
        for advice in Advice::ALL {
            let told = Program::ALL.iter().filter_map(|program| hint(*advice, *program)).collect::<Vec<_>>();
            assert!(!told.is_empty(), "{advice:?}");
            assert!(told.iter().all(|hint| hint.is_ascii() && !hint.ends_with('.')), "{told:?}");
        }
    }

    #[test]
    fn a_hint_of_a_flag_that_is_not_there_is_found() {
        #[derive(Parser)]
        struct Other {
            #[arg(long)]
            _out: Option<String>,
        }
        assert!(
            check_hints::<Other>(Program::ExtractBundles)
                .is_err_and(|why| why.contains("has no --bundles-dir"))
        );
    }
}
