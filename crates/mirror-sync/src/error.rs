use std::path::PathBuf;

use mirror_types::{Advice, Cause, FaultKind, Unexpected};

/// Why a run could not continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The options or the files that they name do not make sense; the text says why.
    #[error("{0}")]
    Usage(String),
    /// Yanked releases are wanted, and are to be removed; give up one of the two.
    #[error("yanked releases are wanted, and are to be removed; only one of the two can be")]
    WantedAndPruned,
    /// A lockfile cannot be used; the error says what to do.
    #[error(transparent)]
    Lock(#[from] mirror_index::LockError),
    /// The lockfiles name other registries only; give the address of the one to mirror.
    #[error(
        "the lockfiles name no package of the registry that is mirrored, only of others: {named}; name theirs"
    )]
    OtherRegistries {
        /// The registries, and how many packages are of each.
        named: String,
    },
    /// The registry cannot list its crates, and the selection names none; name them, or use an index that lists them.
    #[error("a sparse registry cannot list its crates, and the selection does not name them one by one")]
    CratesUnnamed,
    /// A line of the checksums cannot be read; mend it.
    #[error("line {line} of the checksums {} is none of `url` and `sha256`", path.display())]
    Checksums {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why it cannot be read.
        source: Cause,
    },
    /// A dry run clones no index, and there is none; clone it first.
    #[error("there is no index at {}, and a dry run clones none", dir.display())]
    NoIndexToTry {
        /// The path of the index.
        dir: PathBuf,
    },
    /// A dry run clones no advisory database, and there is none; clone it first.
    #[error("there is no advisory database at {}, and a dry run clones none", dir.display())]
    NoAdvisoriesToTry {
        /// The path of the database.
        dir: PathBuf,
    },
    /// A file that was named could not be read; the source says why.
    #[error("could not read {what} {}", path.display())]
    Read {
        /// The kind of file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The address of the downloads, or what the registry says of it, makes no sense; name another.
    #[error(transparent)]
    Config(#[from] mirror_index::sparse::ConfigError),
    /// The policy could not be used; the error says why.
    #[error(transparent)]
    Policy(#[from] mirror_policy::PolicyError),
    /// The advisory database could not be read; the error says why.
    #[error(transparent)]
    Advisories(#[from] mirror_policy::AdvisoriesError),
    /// There is no advisory database, and none could be cloned; the error says why. Without one, a run would offer what
    /// advisories call malicious.
    #[error(transparent)]
    NoAdvisories(mirror_git::UpdateError),
    /// The git clone of the advisory database could not be read; the error says why.
    #[error("could not read the advisory database")]
    AdvisoryClone(#[from] mirror_git::CommitError),
    /// The index could not be read; the error says what to do.
    #[error(transparent)]
    Index(#[from] mirror_git::IndexError),
    /// The index or the advisory database could not be cloned or updated; the error says what to do.
    #[error(transparent)]
    Update(#[from] mirror_git::UpdateError),
    /// The fetcher could not be set up; mend what the error names.
    #[error(transparent)]
    FetchSetup(#[from] mirror_fetch::FetchSetupError),
    /// The registry does not say where its crates are; check its address and the network.
    #[error(
        "could not read the registry's configuration {url}; check the registry's address and the network"
    )]
    RegistryConfig {
        /// Its address, without secrets.
        url: String,
        /// Why.
        source: Cause,
    },
    /// The registry's configuration was never fetched, and the run is offline; run once without that.
    #[error(
        "could not read the registry's configuration {url}: it was never fetched, and an offline run sends no requests"
    )]
    NeverFetched {
        /// Its address, without secrets.
        url: String,
    },
    /// The registry no longer answers; check the network, then run again.
    #[error("the registry no longer answers; check the network, then run the same command again")]
    Silent {
        /// The failure of the last request.
        source: Cause,
    },
    /// Writing a large body to disk failed while it arrived; make room or mend the disk.
    #[error("{0}")]
    Spool(String),
    /// Storage failed; the error says what to do.
    #[error(transparent)]
    Store(#[from] mirror_store::StoreError),
    /// The mirror could not be opened; the error says what to do.
    #[error(transparent)]
    Repo(#[from] mirror_repo::RepoError),
    /// The snapshot of the run could not be signed, and was not written; everything else is done. The error says what to
    /// do, and the next run signs.
    #[error("could not sign the snapshot")]
    Sign(#[from] mirror_snapshot::SigningError),
    /// The signatures of a snapshot are refused; the error says why.
    #[error("the signatures of the snapshot are refused")]
    Signature(#[from] mirror_snapshot::SignatureError),
    /// A snapshot may not follow the one before; the error says why.
    #[error(transparent)]
    Refused(#[from] mirror_snapshot::Refusal),
    /// Manifest or catalogue failed; the error says what to do.
    #[error(transparent)]
    Manifest(#[from] mirror_manifest::ManifestError),
    /// A run ended without an answer for every record; report it, and have everything that is held hashed again.
    #[error("internal error: {selected} records were selected, {answered} came to an end; please report it")]
    Unaccounted {
        /// Records that were selected.
        selected: u64,
        /// Records that have an answer.
        answered: u64,
    },
    /// A fault of this program; report it.
    #[error("internal error: {0}; please report it")]
    Internal(String),
    /// A fault of this program that a library or the system reported; report it.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
}

impl From<mirror_bundle::BundleError> for SyncError {
    fn from(error: mirror_bundle::BundleError) -> Self {
        Self::Store(error.into())
    }
}

impl SyncError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Usage(_)
            | Self::WantedAndPruned
            | Self::Lock(_)
            | Self::OtherRegistries { .. }
            | Self::CratesUnnamed
            | Self::Checksums { .. }
            | Self::NoIndexToTry { .. }
            | Self::NoAdvisoriesToTry { .. }
            | Self::AdvisoryClone(_)
            | Self::Read { .. }
            | Self::Config(_) => FaultKind::Usage,
            Self::Policy(error) => error.kind(),
            Self::Advisories(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::FetchSetup(error) => error.kind(),
            Self::Update(error) | Self::NoAdvisories(error) => error.kind(),
            Self::RegistryConfig { .. } | Self::NeverFetched { .. } | Self::Silent { .. } => {
                FaultKind::Origin
            }
            Self::Spool(_) => FaultKind::Storage,
            Self::Store(error) => error.kind(),
            Self::Repo(error) => error.kind(),
            Self::Manifest(error) => error.kind(),
            Self::Sign(error) => error.kind(),
            Self::Signature(error) => error.kind(),
            Self::Refused(error) => error.kind(),
            Self::Unaccounted { .. } | Self::Internal(_) | Self::Unexpected(_) => FaultKind::Internal,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Index(error) => error.advice(),
            Self::Update(error) => error.advice(),
            Self::NoAdvisories(_) => Some(Advice::NameTheAdvisories),
            Self::Store(error) => error.advice(),
            Self::Repo(error) => error.advice(),
            Self::Manifest(error) => error.advice(),
            Self::Sign(error) => error.advice(),
            Self::Signature(error) => error.advice(),
            Self::WantedAndPruned => Some(Advice::IncludeOrPruneYanked),
            Self::OtherRegistries { .. } => Some(Advice::NameTheRegistry),
            Self::CratesUnnamed => Some(Advice::NameCrates),
            Self::NoIndexToTry { .. } => Some(Advice::CloneTheIndex),
            Self::NoAdvisoriesToTry { .. } => Some(Advice::CloneTheAdvisories),
            Self::NeverFetched { .. } => Some(Advice::RunOnline),
            Self::Unaccounted { .. } => Some(Advice::VerifyExisting),
            Self::Usage(_)
            | Self::Lock(_)
            | Self::Checksums { .. }
            | Self::Read { .. }
            | Self::Policy(_)
            | Self::Advisories(_)
            | Self::AdvisoryClone(_)
            | Self::Config(_)
            | Self::FetchSetup(_)
            | Self::RegistryConfig { .. }
            | Self::Silent { .. }
            | Self::Refused(_)
            | Self::Spool(_)
            | Self::Internal(_)
            | Self::Unexpected(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_a_value_through_every_layer() {
        let busy = || mirror_manifest::ManifestError::Busy { path: "m".into() };
        let table = [
            (SyncError::WantedAndPruned, Some(Advice::IncludeOrPruneYanked)),
            (SyncError::CratesUnnamed, Some(Advice::NameCrates)),
            (SyncError::NeverFetched { url: "u".to_owned() }, Some(Advice::RunOnline)),
            (
                SyncError::Repo(mirror_repo::RepoError::OtherBundles { dir: "b".into() }),
                Some(Advice::FindOrForgetBundles),
            ),
            (SyncError::Unaccounted { selected: 2, answered: 1 }, Some(Advice::VerifyExisting)),
            (SyncError::Manifest(busy()), Some(Advice::NameTheManifest)),
            (SyncError::Repo(mirror_repo::RepoError::Manifest(busy())), Some(Advice::NameTheManifest)),
            (SyncError::Internal("x".to_owned()), None),
        ];
        for (error, advice) in table {
            assert_eq!(error.advice(), advice, "{error:?}");
        }
    }
}
