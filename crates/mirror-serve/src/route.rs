//! Routes requests by path. No part of a path is ever joined to a directory. Pure.

use mirror_types::{CrateName, ReleaseId, VersionText, index_path};
use percent_encoding::percent_decode_str;

use crate::console::View;

/// Longest path that is routed, bytes.
const MAX_PATH_BYTES: usize = 1_024;

/// The route of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The console, for a browser.
    Page,
    /// The answers that it shows.
    View(View),
    /// How Cargo uses the registry, for a browser without scripts.
    Setup,
    /// The registry's `config.json`.
    Config,
    /// An index file, by its path in the index.
    Index(String),
    /// The bytes of a release.
    Crate(ReleaseId),
    /// Search.
    Search,
    Metrics,
    Health,
    /// No route.
    Nothing,
}

impl Route {
    pub(crate) fn of(path: &str) -> Self {
        Self::known(path).unwrap_or(Self::Nothing)
    }

    fn known(path: &str) -> Option<Self> {
        if path.len() > MAX_PATH_BYTES {
            return None;
        }
        match path {
            "/" => return Some(Self::Page),
            "/setup" => return Some(Self::Setup),
            "/config.json" | "/index/config.json" => return Some(Self::Config),
            "/api/v1/crates" => return Some(Self::Search),
            "/metrics" => return Some(Self::Metrics),
            "/healthz" => return Some(Self::Health),
            _ => {}
        }
        if let Some(view) = View::of(path) {
            return Some(Self::View(view));
        }
        let path = path.strip_prefix('/')?;
        let parts: Vec<&str> = path.split('/').collect();
        match *parts.as_slice() {
            ["crates", name, file] => of_file(name, file),
            // Cargo's own form, when `dl` has no markers.
            ["crates", name, version, "download"] | ["api", "v1", "crates", name, version, "download"] => {
                release(name, version)
            }
            ["index", ref rest @ ..] => index(rest),
            ref rest => index(rest),
        }
    }
}

fn text(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn release(name: &str, version: &str) -> Option<Route> {
    let name = CrateName::new(&text(name)?).ok()?;
    let version = VersionText::new(&text(version)?).ok()?;
    Some(Route::Crate(ReleaseId { name, version }))
}

fn of_file(name: &str, file: &str) -> Option<Route> {
    let name = CrateName::new(&text(name)?).ok()?;
    let file = text(file)?;
    let version = file.strip_prefix(name.as_str())?.strip_prefix('-')?.strip_suffix(".crate")?;
    let version = VersionText::new(version).ok()?;
    Some(Route::Crate(ReleaseId { name, version }))
}

/// Routes the path of an index file: only the path that belongs to its name. Nothing in it needs escaping.
fn index(parts: &[&str]) -> Option<Route> {
    let path = index_path(&CrateName::new(parts.last()?).ok()?);
    (parts.join("/") == path).then_some(Route::Index(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str, version: &str) -> Route {
        let (name, version) = (name.parse().expect("name"), version.parse().expect("version"));
        Route::Crate(ReleaseId { name, version })
    }

    #[test]
    fn what_cargo_asks_for() {
        for (path, route) in [
            ("/", Route::Page),
            ("/setup", Route::Setup),
            ("/api/status", Route::View(View::Status)),
            ("/api/events", Route::View(View::Events)),
            ("/api/crate", Route::View(View::Crate)),
            ("/config.json", Route::Config),
            ("/index/config.json", Route::Config),
            ("/se/rd/serde", Route::Index("se/rd/serde".to_owned())),
            ("/index/se/rd/serde", Route::Index("se/rd/serde".to_owned())),
            ("/1/a", Route::Index("1/a".to_owned())),
            ("/2/ab", Route::Index("2/ab".to_owned())),
            ("/index/3/a/abc", Route::Index("3/a/abc".to_owned())),
            ("/index/in/de/index", Route::Index("in/de/index".to_owned())),
            ("/cr/at/crates", Route::Index("cr/at/crates".to_owned())),
            ("/crates/serde/serde-1.0.0.crate", release("serde", "1.0.0")),
            ("/crates/Inflector/Inflector-0.11.4.crate", release("Inflector", "0.11.4")),
            ("/crates/a/a-1.0.0+b.1.crate", release("a", "1.0.0+b.1")),
            ("/crates/a/a-1.0.0%2Bb.1.crate", release("a", "1.0.0+b.1")),
            ("/crates/a-1/a-1-2.0.0.crate", release("a-1", "2.0.0")),
            ("/crates/serde/1.0.0/download", release("serde", "1.0.0")),
            ("/api/v1/crates/serde/1.0.0/download", release("serde", "1.0.0")),
            ("/api/v1/crates", Route::Search),
            ("/metrics", Route::Metrics),
            ("/healthz", Route::Health),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn improper_paths_have_no_route() {
        let long = format!("/crates/a/a-1.0.0-{}.crate", "x".repeat(MAX_PATH_BYTES));
        for path in [
            "",
            "//",
            "/..",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "/..%5c..%5cwindows",
            "/.mirror/catalogue.sqlite",
            "/index/../.mirror/lock",
            "/index/%2emirror/lock",
            "/index/se/rd/../rd/serde",
            "/index/se%2frd/serde",
            "/index/se/rd/serde/",
            "/index//se/rd/serde",
            "/se/rd/SERDE",
            "/s/er/serde-1.0.0.crate",
            "/se/rd/tokio",
            "/3/se/serde",
            "/se/rd/serde%00",
            "/se/rd/serde\\",
            "/crates/serde/../../etc/passwd",
            "/crates/serde/..%2f..%2fetc%2fpasswd",
            "/crates/..%2fserde/serde-1.0.0.crate",
            "/crates/serde/tokio-1.0.0.crate",
            "/crates/serde/serde-1.0.0.crate/",
            "/crates/serde/serde-..crate",
            "/crates/serde/serde-1.0.0/../1.crate",
            "/crates/serde/serde-1.0.0%00.crate",
            "/crates/serde/serde-1.0.0%0d%0a.crate",
            "/crates/serde/serde-1.0.0%ff.crate",
            "/crates/serde/serde-1.0.0%c0%ae.crate",
            "/crates/serde/%2e%2e/download",
            "/crates/serde/serde-1.0.0%252Bx.crate",
            "/config.json/",
            "/CONFIG.JSON",
            long.as_str(),
        ] {
            assert_eq!(Route::of(path), Route::Nothing, "{path}");
        }
    }
}
