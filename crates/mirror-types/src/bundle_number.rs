use std::fmt;

/// The number of a bundle, after which its files are named. Displayed as the beginning of all of their names:
/// `bundle-0007`, with four digits or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleNumber(u32);

impl BundleNumber {
    /// The suffix of a bundle.
    pub const SUFFIX: &'static str = ".tar.zst";
    /// The suffix after the final name of a file of a partial bundle.
    pub const PARTIAL: &'static str = ".partial";

    /// Wraps a number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the name of the bundle once it is sealed: `bundle-0007.tar.zst`.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{self}{}", Self::SUFFIX)
    }

    /// Splits the name of one of a bundle's files into the number and the rest.
    #[must_use]
    pub fn split(name: &str) -> Option<(Self, &str)> {
        const MIN_DIGITS: usize = 4;
        let rest = name.strip_prefix("bundle-")?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits < MIN_DIGITS {
            return None;
        }
        Some((Self(rest[..digits].parse().ok()?), &rest[digits..]))
    }

    /// Returns the number of the bundle at a path of any system, sealed or not.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit(['/', '\\']).next()?;
        let (number, rest) = Self::split(name.strip_suffix(Self::PARTIAL).unwrap_or(name))?;
        (rest == Self::SUFFIX).then_some(number)
    }
}

impl fmt::Display for BundleNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bundle-{:04}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for number in [0, 7, 9_999, 10_000, u32::MAX] {
            let number = BundleNumber::new(number);
            let name = number.file_name();
            for path in
                [name.clone(), format!("{name}.partial"), format!("./b/{name}"), format!("D:\\b\\{name}")]
            {
                assert_eq!(BundleNumber::of_path(&path), Some(number), "{path}");
            }
        }
        assert_eq!(BundleNumber::new(12).file_name(), "bundle-0012.tar.zst");
    }

    #[test]
    fn other_names_have_no_number() {
        for path in [
            "",
            "bundle-",
            "bundle-12.tar.zst",
            "bundle-+0012.tar.zst",
            "bundle-99999999999.tar.zst",
            "bundle-0012.tar",
            "bundle-0012.tar.zst.partial.partial",
            "bundle-0012-a-to-b.manifest.jsonl",
            "bundle-0012.tar.zst/other",
            "my-bundle-0012.tar.zst",
        ] {
            assert_eq!(BundleNumber::of_path(path), None, "{path}");
        }
    }

    #[test]
    fn what_stands_behind_a_number_is_kept() {
        let split = |name| BundleNumber::split(name).map(|(number, rest)| (number.get(), rest));
        assert_eq!(split("bundle-0012.tar.zst"), Some((12, ".tar.zst")));
        assert_eq!(split("bundle-12345-a-to-b"), Some((12345, "-a-to-b")));
        assert_eq!(split("bundle-0012é"), Some((12, "é")));
        assert_eq!(split("bundle-012.tar.zst"), None);
    }
}
