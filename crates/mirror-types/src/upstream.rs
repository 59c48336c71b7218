//! The product's own upstream defaults, composed from the registry's domain. They are defined only here.

/// The registry's domain.
pub const REGISTRY: &str = "crates.io";

/// Returns the address of the repository of the git index.
#[must_use]
pub fn git_index_url() -> String {
    format!("https://github.com/rust-lang/{REGISTRY}-index")
}

/// Returns the address of the repository of RustSec's advisory database, which is about the crates of the registry.
#[must_use]
pub fn advisory_database_url() -> String {
    "https://github.com/RustSec/advisory-db".to_owned()
}

/// Returns the root of the sparse index, without the `sparse+` prefix, with a final slash.
#[must_use]
pub fn sparse_index_url() -> String {
    format!("https://index.{REGISTRY}/")
}

/// Returns the base of the download URLs of a git index: `{base}/{name}/{name}-{version}.crate`.
#[must_use]
pub fn crates_base_url() -> String {
    format!("https://static.{REGISTRY}/crates")
}

/// Returns whether a download address in an index is one of this registry's own. For those, [`crates_base_url`] answers
/// more directly: without the redirect that the other address costs for each release.
#[must_use]
pub fn is_own_download_address(dl: &str) -> bool {
    let dl = dl.trim_end_matches('/');
    dl == crates_base_url() || dl == format!("https://{REGISTRY}/api/v1/crates")
}

/// Returns the `source` strings by which a `Cargo.lock` names this registry.
#[must_use]
pub fn lock_sources() -> Vec<String> {
    vec![format!("registry+{}", git_index_url()), format!("sparse+{}", sparse_index_url())]
}
