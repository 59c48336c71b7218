//! Opens git repositories by their path.

use std::path::Path;

/// Returns the options for opening a repository by its path and its own configuration. They ignore variables of the
/// environment that lead git elsewhere (`GIT_WORK_TREE`, `GIT_INDEX_FILE`, `GIT_OBJECT_DIRECTORY`, `GIT_NAMESPACE`, …):
/// those are for a repository that git finds by itself, and would make gix read or write parts of this one in another
/// place.
pub(crate) fn options() -> gix::open::Options {
    let mut permissions = gix::open::Permissions::all();
    permissions.env.git_prefix = gix::sec::Permission::Deny;
    permissions.env.objects = gix::sec::Permission::Deny;
    permissions.config.env = false;
    gix::open::Options::default().permissions(permissions)
}

/// Returns [`options`] with the [`bound`]. For repositories without a work tree: the file list of one is bounded as well.
pub(crate) fn options_within(max_bytes: usize) -> gix::open::Options {
    options().config_overrides([bound(max_bytes)])
}

/// Returns the setting with which objects made from others of at most `max_bytes` can be read. What takes more memory
/// is an error of exhausted resources.
pub(crate) fn bound(max_bytes: usize) -> String {
    // An object made from another takes the memory of both, and of the delta.
    format!("gitoxide.objects.allocLimit={}", max_bytes.saturating_mul(5) / 2)
}

/// Returns why the repository at `dir` cannot be read, in words that lead to the cause; `None` when no reason is known.
/// Reads its configuration; blocks.
pub(crate) fn unreadable_form(dir: &Path) -> Option<&'static str> {
    let git_dir = if dir.join(".git").is_dir() { dir.join(".git") } else { dir.to_owned() };
    let config =
        gix::config::File::from_path_no_includes(git_dir.join("config"), gix::config::Source::Local).ok()?;
    let is = |key: &str, value: &str| {
        config.string(key).is_some_and(|found| found.to_string().eq_ignore_ascii_case(value))
    };
    if is("extensions.refStorage", "reftable") {
        return Some(
            "it keeps its references as a reftable, which only git reads yet; clone it with --ref-format=files",
        );
    }
    if is("extensions.objectFormat", "sha256") {
        return Some("its objects have SHA-256 names, and only SHA-1 names are read yet");
    }
    let promised = config
        .sections_by_name("remote")
        .into_iter()
        .flatten()
        .any(|remote| remote.value("promisor").is_some_and(|value| value != "false"));
    if promised || config.string("extensions.partialClone").is_some() {
        return Some(
            "it is a partial clone, which lacks objects that are to be read; clone it without --filter",
        );
    }
    None
}
