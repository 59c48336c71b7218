/// The facts of a sidecar beside the fields of its line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The name of the `.crate`: `serde-1.0.0.crate`.
    pub crate_file: &'a str,
    /// The `.crate` below the mirror root: `s/er/serde-1.0.0.crate`.
    pub crate_path: &'a str,
    /// The address that it is downloaded from, `+` readable.
    pub crate_url: &'a str,
    /// The file of the index that the line is in: `se/rd/serde`.
    pub index_path: &'a str,
    /// `filesystem`, `bundle`, `filesystem+bundle` or `object`, when a manifest says so.
    pub storage: Option<&'a str>,
    /// The bundle that holds it.
    pub bundle_path: Option<&'a str>,
    /// Its name in the bundle.
    pub bundle_member: Option<&'a str>,
    /// The licence as in its `Cargo.toml`, usually an SPDX expression, when that was asked for and is known.
    pub license: Option<&'a str>,
}

/// The key of the licence. It is not among [`KEYS`], so that a line with a field of that name stays as it is where no
/// licence is asked for.
pub(crate) const LICENSE: &str = "license";

/// The keys of all other facts.
pub(crate) const KEYS: [&str; 7] =
    ["crate_file", "crate_path", "crate_url", "index_path", "storage", "bundle_path", "bundle_member"];

impl<'a> Facts<'a> {
    /// Yields the facts that are known, with their keys.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
        let values = [
            Some(self.crate_file),
            Some(self.crate_path),
            Some(self.crate_url),
            Some(self.index_path),
            self.storage,
            self.bundle_path,
            self.bundle_member,
        ];
        let all = KEYS.into_iter().zip(values).chain([(LICENSE, self.license)]);
        all.filter_map(|(key, value)| Some((key, value?)))
    }

    /// Appends `,"key":"value"` for each.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        for (key, value) in self.known() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            push_string(value, out);
        }
    }
}

/// Appends a text as JSON.
fn push_string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend(serde_json::Value::from(text).to_string().bytes());
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}
