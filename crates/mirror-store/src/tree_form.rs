use mirror_types::{CrateName, Layout, ReleaseId, VersionText, index_prefix};

/// The file name of a release in the layout of a tool that keeps the paths of the registry's API.
const DOWNLOAD: &str = "download";

/// The layouts of the releases of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TreeForm {
    /// In a layout that a mirror may have.
    Layout(Layout),
    /// `{crate}-{version}.crate`, all in one directory.
    Flat,
    /// `{crate}/{crate}-{version}.crate`.
    ByCrate,
    /// `{lowerprefix}/{crate}/{crate}-{version}.crate`.
    LowerPrefix,
    /// `{crate}/{version}/{crate}-{version}.crate`, or with Cargo's prefix before it.
    ByVersion,
    /// `{crate}/{version}/download`, or with Cargo's prefix before it.
    Download,
}

impl TreeForm {
    /// Returns the pattern of its paths.
    #[must_use]
    pub const fn pattern(self) -> &'static str {
        match self {
            Self::Layout(Layout::Shard) => "s/er/serde-1.0.0.crate",
            Self::Layout(Layout::Cargo) => "{prefix}/{crate}/{crate}-{version}.crate",
            Self::Flat => "{crate}-{version}.crate",
            Self::ByCrate => "{crate}/{crate}-{version}.crate",
            Self::LowerPrefix => "{lowerprefix}/{crate}/{crate}-{version}.crate",
            Self::ByVersion => "{crate}/{version}/{crate}-{version}.crate",
            Self::Download => "{crate}/{version}/download",
        }
    }

    /// Returns the release whose file has this path, with `/` between its parts, and the form. If the path fits several
    /// forms, `own` is preferred.
    #[must_use]
    pub fn of_path(path: &str, own: Layout) -> Option<(ReleaseId, Self)> {
        let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
        if file == DOWNLOAD {
            let (above, version) = dir.rsplit_once('/')?;
            let name = above.rsplit('/').next()?;
            let id = ReleaseId { name: CrateName::new(name).ok()?, version: VersionText::new(version).ok()? };
            return is_of_crate(above, &id.name).then_some((id, Self::Download));
        }
        let id = ReleaseId::of_file(file)?;
        let name = id.name.as_str();
        let lower = format!("{}/{name}", index_prefix(&name.to_ascii_lowercase()));
        let form = if own.dir(&id.name) == dir {
            Self::Layout(own)
        } else if let Some(layout) =
            [Layout::Shard, Layout::Cargo].into_iter().find(|of| of.dir(&id.name) == dir)
        {
            Self::Layout(layout)
        } else if dir.is_empty() {
            Self::Flat
        } else if dir == name {
            Self::ByCrate
        } else if dir == lower {
            Self::LowerPrefix
        } else if dir
            .strip_suffix(id.version.as_str())
            .is_some_and(|above| above.strip_suffix('/').is_some_and(|above| is_of_crate(above, &id.name)))
        {
            Self::ByVersion
        } else {
            return None;
        };
        Some((id, form))
    }
}

/// Returns whether a directory is that of a crate, with or without Cargo's prefix before it.
fn is_of_crate(dir: &str, name: &CrateName) -> bool {
    dir == name.as_str() || dir == Layout::Cargo.dir(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_known_by_its_paths() {
        let of = |path: &str, own| TreeForm::of_path(path, own).map(|(id, form)| (id.to_string(), form));
        for (path, id, form) in [
            ("s/er/serde-1.0.0.crate", "serde 1.0.0", TreeForm::Layout(Layout::Shard)),
            ("se/rd/serde/serde-1.0.0.crate", "serde 1.0.0", TreeForm::Layout(Layout::Cargo)),
            ("serde-1.0.0.crate", "serde 1.0.0", TreeForm::Flat),
            ("serde/serde-1.0.0.crate", "serde 1.0.0", TreeForm::ByCrate),
            ("in/fl/Inflector/Inflector-0.1.0.crate", "Inflector 0.1.0", TreeForm::LowerPrefix),
            ("serde/1.0.0+x/serde-1.0.0+x.crate", "serde 1.0.0+x", TreeForm::ByVersion),
            ("se/rd/serde/1.0.0/serde-1.0.0.crate", "serde 1.0.0", TreeForm::ByVersion),
            ("serde/1.0.0/download", "serde 1.0.0", TreeForm::Download),
            ("se/rd/serde/1.0.0/download", "serde 1.0.0", TreeForm::Download),
        ] {
            assert_eq!(of(path, Layout::Shard), Some((id.to_owned(), form)), "{path}");
        }
        for path in [
            "x/serde-1.0.0.crate",
            "old/s/er/serde-1.0.0.crate",
            "serde/1.0.1/serde-1.0.0.crate",
            "serde/x1.0.0/serde-1.0.0.crate",
            "download",
            "serde/download",
            "x/serde/1.0.0/download",
            "serde/1/download",
            "s/er/serde-1.0.0.crate.json",
        ] {
            assert_eq!(of(path, Layout::Shard), None, "{path}");
        }
        // The shortest names have the same path in several forms.
        assert_eq!(
            of("ab/ab-1.0.0.crate", Layout::Shard).map(|found| found.1),
            Some(TreeForm::Layout(Layout::Shard))
        );
    }
}
