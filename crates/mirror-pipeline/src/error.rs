use std::path::PathBuf;

use crate::outcome::ExitCode;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The flags or the files that they name do not make sense.
    #[error("{0}")]
    Usage(String),
    /// A file that was named could not be read.
    #[error("could not read {what} {}", path.display())]
    Read {
        /// What the file is.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The address of the downloads, or what the registry says of it, makes no sense.
    #[error(transparent)]
    Config(#[from] mirror_index::sparse::ConfigError),
    /// The index could not be read.
    #[error(transparent)]
    Index(#[from] mirror_index::IndexError),
    /// The index could not be cloned or updated.
    #[error(transparent)]
    Update(#[from] mirror_index::UpdateError),
    /// The fetcher could not be set up.
    #[error(transparent)]
    FetchSetup(#[from] mirror_fetch::FetchSetupError),
    /// The origin refused or never answered.
    #[error("{0}")]
    Origin(String),
    /// A large body could not be written while it arrived.
    #[error("{0}")]
    Spool(String),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] mirror_store::StoreError),
    /// The mirror could not be opened.
    #[error(transparent)]
    Repo(#[from] mirror_repo::RepoError),
    /// Manifest or catalogue failed.
    #[error(transparent)]
    Manifest(#[from] mirror_manifest::ManifestError),
    /// Bundles in which something is held are not where they were.
    #[error(
        "this mirror holds releases in bundles that are not in {}, or are shorter than they were: {what}; put them \
         back, or say with --bundles-out where they are. If they are gone for good, --rebuild-catalogue forgets what \
         was in them, and the next run fetches it again",
        dir.display()
    )]
    BundlesMissing {
        /// The directory that was looked into.
        dir: PathBuf,
        /// The bundles.
        what: String,
    },
    /// The bundles are not those in which something is held.
    #[error(
        "the bundles in {} are not those of this mirror: the first member is another one; say with --bundles-out where \
         they are. If they are gone for good, --rebuild-catalogue forgets what was in them, and the next run fetches it \
         again",
        dir.display()
    )]
    OtherBundles {
        /// The directory that was looked into.
        dir: PathBuf,
    },
    /// The bundles cannot be written to.
    #[error(
        "the bundles in {} are damaged where they are to be continued; restore the bundle that is named from a copy,          or move it and its manifest away and run --rebuild-catalogue, and the next run fetches again what was in it",
        dir.display()
    )]
    BundleDamaged {
        /// Their directory.
        dir: PathBuf,
        /// What is damaged.
        source: mirror_store::StoreError,
    },
    /// A part of the pipeline ended without a word.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl PipelineError {
    /// The exit code that this error maps to.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Read { .. } | Self::Config(_) | Self::Index(_) | Self::FetchSetup(_) => {
                ExitCode::Usage
            }
            Self::Update(error) => match error.kind() {
                mirror_index::UpdateFault::Usage => ExitCode::Usage,
                mirror_index::UpdateFault::Locked => ExitCode::Locked,
                mirror_index::UpdateFault::Origin => ExitCode::Origin,
                mirror_index::UpdateFault::Storage => ExitCode::Storage,
                mirror_index::UpdateFault::Stopped => ExitCode::Interrupted,
            },
            Self::Origin(_) => ExitCode::Origin,
            Self::Spool(_) => ExitCode::Storage,
            Self::BundlesMissing { .. } | Self::OtherBundles { .. } | Self::BundleDamaged { .. } => {
                ExitCode::Integrity
            }
            Self::Store(error) => match error.kind() {
                mirror_store::StoreFault::Locked => ExitCode::Locked,
                mirror_store::StoreFault::Usage => ExitCode::Usage,
                mirror_store::StoreFault::Integrity => ExitCode::Integrity,
                mirror_store::StoreFault::Storage => ExitCode::Storage,
            },
            Self::Repo(error) => match error.kind() {
                mirror_repo::RepoFault::Locked => ExitCode::Locked,
                mirror_repo::RepoFault::Usage => ExitCode::Usage,
                mirror_repo::RepoFault::Integrity => ExitCode::Integrity,
                mirror_repo::RepoFault::Storage => ExitCode::Storage,
            },
            Self::Manifest(error) => match error.kind() {
                mirror_manifest::ManifestFault::Locked => ExitCode::Locked,
                mirror_manifest::ManifestFault::Usage => ExitCode::Usage,
                mirror_manifest::ManifestFault::Integrity => ExitCode::Integrity,
                mirror_manifest::ManifestFault::Storage => ExitCode::Storage,
            },
            Self::Internal(_) => ExitCode::Internal,
        }
    }
}
