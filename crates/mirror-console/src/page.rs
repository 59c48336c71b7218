//! The page: one document with its style and its script, and the policy that lets it do nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mirror_checksum::Hasher;

const STYLE: &str = include_str!("page/console.css");
/// The script, in the order in which its parts need each other.
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("page/words.js"),
    include_str!("page/chart.js"),
    include_str!("page/run.js"),
    include_str!("page/mirror.js"),
    include_str!("page/console.js"),
    "})();\n",
);

static PAGE: LazyLock<String> =
    LazyLock::new(|| include_str!("page/console.html").replace("{style}", STYLE).replace("{script}", SCRIPT));
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Hasher::of(text.as_bytes()).as_bytes());
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

/// Returns the page. It has no data: it asks the server that it comes from, below `/api/`.
#[must_use]
pub fn page() -> &'static str {
    &PAGE
}

/// Returns the policy with which the page is to be delivered: its own script and style, and requests to its own server.
#[must_use]
pub fn content_security_policy() -> &'static str {
    &POLICY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(page().contains(STYLE) && page().contains(SCRIPT));
        for outside in [
            "http://",
            "https://",
            "innerHTML",
            "src=",
            "{style}",
            "{script}",
            "url(",
            "style=\"",
            " onclick=",
        ] {
            assert!(!page().replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
        assert_eq!(page().matches("</script>").count(), 1, "the script ends where it should");
        assert!(page().len() < 120_000, "{} bytes", page().len());
    }

    #[test]
    fn the_policy_names_what_the_page_has() {
        let policy = content_security_policy();
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert!(!policy.contains("unsafe") && policy.is_ascii(), "{policy}");
    }
}
