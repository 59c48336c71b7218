//! Answers Cargo's search, over the names of held crates.

use mirror_index_line::records;
use mirror_repo::{Listing, Mirror};
use mirror_types::CrateName;
use semver::Version;
use serde_json::{Value, json};

use crate::error::ServeError;

/// A parsed query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    text: String,
    per_page: u64,
    page: u64,
}

impl Query {
    /// Parses a query in the form of Cargo and the registry's web API; ignores unknown parameters.
    pub(crate) fn of(query: &str) -> Self {
        let mut found = Self { text: String::new(), per_page: 10, page: 1 };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "q" => found.text = value.trim().chars().take(64).collect(),
                "per_page" => found.per_page = value.parse().unwrap_or(10).clamp(1, 100),
                "page" => found.page = value.parse().unwrap_or(1).clamp(1, 1_000),
                _ => {}
            }
        }
        found
    }
}

/// Searches for crates. Blocks; looks at every name.
pub(crate) fn search(mirror: &Mirror, query: &Query) -> Result<Value, ServeError> {
    let skip = (query.page - 1) * query.per_page;
    let (total, names) =
        mirror.ask(|catalogue| Ok(catalogue.search(&query.text, skip, query.per_page)?))?;
    let mut crates = Vec::new();
    for name in names {
        let Ok(checked) = name.parse::<CrateName>() else { continue };
        let Some(listing) = mirror.listing(&checked)? else { continue };
        let Some(newest) = newest(&listing, &name) else { continue };
        crates.push(json!({
            "id": name, "name": name, "max_version": newest, "newest_version": newest,
            "description": null, "exact_match": name == query.text,
        }));
    }
    Ok(json!({"crates": crates, "meta": {"total": total}}))
}

/// Returns the newest version of a crate: one that is neither a pre-release nor yanked, if there is one.
pub(crate) fn newest(listing: &Listing, name: &str) -> Option<String> {
    let versions =
        records(&listing.text).map(|(record, _)| record).filter(|record| record.id.name.as_str() == name);
    let newest = versions.filter_map(|record| {
        let text = record.id.version.as_str();
        let version = Version::parse(text).ok()?;
        Some(((!record.yanked, version.pre.is_empty()), version, text.to_owned()))
    });
    newest.max().map(|(.., text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_as_cargo_writes_them() {
        let query = |text: &str, per_page, page| Query { text: text.to_owned(), per_page, page };
        assert_eq!(Query::of("q=serde&per_page=10"), query("serde", 10, 1));
        assert_eq!(Query::of("per_page=5000&q=a%20b+c&page=3&sort="), query("a b c", 100, 3));
        assert_eq!(Query::of("per_page=-1&page=0"), query("", 10, 1));
        assert_eq!(Query::of(&format!("q={}", "x".repeat(500))), query(&"x".repeat(64), 10, 1));
    }

    #[test]
    fn the_newest_is_by_number_and_not_yanked() {
        let line = |version: &str, yanked: bool| {
            let sum = "ab".repeat(32);
            format!("{{\"name\":\"a\",\"vers\":\"{version}\",\"cksum\":\"{sum}\",\"yanked\":{yanked}}}\n")
        };
        let listing = |lines: &[String]| Listing { text: lines.concat().into(), hash: String::new() };
        let all = [
            line("1.9.0", false),
            line("1.10.0", false),
            line("2.0.0-rc.1", false),
            line("1.11.0", true),
            line("1.2.3", false),
        ];
        assert_eq!(newest(&listing(&all), "a").as_deref(), Some("1.10.0"));
        assert_eq!(newest(&listing(&all[2..4]), "a").as_deref(), Some("2.0.0-rc.1"));
        assert_eq!(newest(&listing(&all[3..4]), "a").as_deref(), Some("1.11.0"));
        assert_eq!(newest(&listing(&all), "b"), None);
    }
}
