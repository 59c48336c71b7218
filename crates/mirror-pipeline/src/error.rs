use std::path::PathBuf;

use mirror_types::{Advice, FaultKind};

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
    Repo(mirror_repo::RepoError),
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
        source: Box<mirror_store::StoreError>,
    },
    /// A part of the pipeline ended without a word.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl From<mirror_repo::RepoError> for PipelineError {
    /// Adds to what a person can do something about what that is.
    fn from(error: mirror_repo::RepoError) -> Self {
        use mirror_repo::RepoError;
        match error {
            RepoError::Store(error) => Self::Store(error),
            RepoError::Manifest(error) => Self::Manifest(error),
            RepoError::BundlesMissing { dir, what } => Self::BundlesMissing { dir, what },
            RepoError::OtherBundles { dir } => Self::OtherBundles { dir },
            RepoError::BundleDamaged { dir, source } => Self::BundleDamaged { dir, source },
            RepoError::Internal(what) => Self::Internal(what),
            other => Self::Repo(other),
        }
    }
}

impl PipelineError {
    /// Returns what kind of fault this is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Usage(_) | Self::Read { .. } | Self::Config(_) | Self::Index(_) | Self::FetchSetup(_) => {
                FaultKind::Usage
            }
            Self::Update(error) => error.kind(),
            Self::Origin(_) => FaultKind::Origin,
            Self::Spool(_) => FaultKind::Storage,
            Self::BundlesMissing { .. } | Self::OtherBundles { .. } | Self::BundleDamaged { .. } => {
                FaultKind::Integrity
            }
            Self::Store(error) => error.kind(),
            Self::Repo(error) => error.kind(),
            Self::Manifest(error) => error.kind(),
            Self::Internal(_) => FaultKind::Internal,
        }
    }

    /// Returns what a person can do about it, beside what the error says.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Index(error) => error.advice(),
            Self::Update(error) => error.advice(),
            Self::Store(error) => error.advice(),
            Self::Repo(error) => error.advice(),
            Self::Manifest(error) => error.advice(),
            Self::BundlesMissing { .. } | Self::OtherBundles { .. } => Some(Advice::FindOrForgetBundles),
            Self::BundleDamaged { .. } => Some(Advice::ForgetTheBundle),
            Self::Usage(_)
            | Self::Read { .. }
            | Self::Config(_)
            | Self::FetchSetup(_)
            | Self::Origin(_)
            | Self::Spool(_)
            | Self::Internal(_) => None,
        }
    }
}
