//! The output of an extraction: a mirror, or a listing.

use mirror_bundle::{BundleFiles, BundleReader};
use mirror_store::Store;
use mirror_types::Layout;

use crate::error::{ExtractError, Stop, is_of_bundle};
use crate::options::{ExtractOptions, ExtractTask};

/// Takes text for a person or a pipe, whole lines.
pub(crate) type Show<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Finds the layout of the members by the first one that can be read.
fn layout_of(bundles: &[BundleFiles], options: &ExtractOptions) -> Result<Layout, ExtractError> {
    for one in bundles {
        let mut layout = None;
        let reader = BundleReader::open(&one.path, options.limits)?;
        let read = reader.stream(&mut |member| {
            layout = Some(member.layout());
            Err(Stop::Cancelled)
        });
        match (layout, read) {
            (Some(layout), _) => return Ok(layout),
            (None, Err(Stop::Store(error))) if !is_of_bundle(error.kind()) => return Err(error.into()),
            (None, _) => {}
        }
    }
    Ok(Layout::default())
}

pub(crate) fn store_of(
    bundles: &[BundleFiles],
    options: &ExtractOptions,
) -> Result<Option<Store>, ExtractError> {
    match &options.task {
        ExtractTask::Extract { out, .. } => {
            let layout = layout_of(bundles, options)?;
            Ok(Some(Store::open(out, layout, true)?))
        }
        ExtractTask::Verify | ExtractTask::List => Ok(None),
    }
}

/// Formats one line of a listing.
pub(crate) fn listing(
    bundle: &BundleFiles,
    size: u64,
    sha256: Option<&mirror_types::Sha256>,
    path: &str,
) -> String {
    let sum = sha256.map_or_else(|| "-".to_owned(), ToString::to_string);
    format!("{}\t{size}\t{sum}\t{}\n", bundle.name, mirror_types::Printable(path))
}
