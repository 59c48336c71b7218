//! Addresses of registries.

use mirror_types::{Address, Printable, redacted};
use url::Url;

use super::ConfigError;

/// Returns the address of a registry, given with or without `sparse+`, with a slash at the end.
///
/// # Errors
/// When it is no http or https address.
pub fn root(address: &Address) -> Result<Url, ConfigError> {
    let text = address.reveal();
    let text = text.strip_prefix("sparse+").unwrap_or(text);
    let with_slash = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    Url::parse(&with_slash)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| ConfigError::Root { address: Printable(address.to_string()).to_string() })
}

/// Returns the directory for the cache of a registry, below `.mirror`. Credentials are no part of its name.
#[must_use]
pub fn cache_dir_of(root: &Url) -> String {
    let safe: String = redacted(root.as_str())
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    format!("sparse/{}", safe.trim_matches('-').replace("..", "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_one_place_and_takes_no_secret_there() {
        for text in ["https://u:secret@h.example/index", "sparse+https://u:secret@h.example/index/"] {
            let root = root(&text.into()).expect(text);
            assert_eq!(root.as_str(), "https://u:secret@h.example/index/");
            let dir = cache_dir_of(&root);
            assert!(
                dir.starts_with("sparse/https") && !dir.contains("secret") && !dir.contains(".."),
                "{dir}"
            );
        }
        for text in ["", "h", "ftp://h/", "file:///index", "sparse+git://h/"] {
            let error = root(&text.into()).expect_err(text).to_string();
            assert!(error.contains("not an http or https URL"), "{error}");
        }
    }
}
