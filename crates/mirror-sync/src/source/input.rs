use mirror_git::IndexSource;
use mirror_index::Selection;
use mirror_types::{CrateName, ReleaseId};
use url::Url;

use crate::error::SyncError;
use crate::list::read_list;
use crate::names::sparse_names;
use crate::observe::{SyncEvent, SyncObserver};
use crate::options::{DownloadOptions, Upstream};

/// The input, opened before anything is written: a wrong path or address ends the run here.
pub(crate) enum Input {
    Local(IndexSource),
    Sparse { url: mirror_types::Address, names: Vec<CrateName> },
    List { entries: Vec<(ReleaseId, Url)>, faults: Vec<String> },
}

impl Input {
    pub(crate) fn open(
        options: &DownloadOptions,
        selection: &Selection,
        observer: &dyn SyncObserver,
    ) -> Result<Self, SyncError> {
        match &options.upstream {
            Upstream::Local(dir) => {
                let source = IndexSource::open_index(dir)?;
                observer.event(SyncEvent::IndexOpened { dir, what: &source.describe() });
                Ok(Self::Local(source))
            }
            Upstream::Sparse(url) => {
                mirror_index::sparse::root(url)?;
                Ok(Self::Sparse { url: url.clone(), names: sparse_names(selection)? })
            }
            Upstream::List(path) => {
                let mut faults = Vec::new();
                let entries = read_list(path, &mut |fault| faults.push(fault))?;
                Ok(Self::List { entries, faults })
            }
        }
    }
}
