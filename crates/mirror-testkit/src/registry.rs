use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use bytes::Bytes;
use mirror_types::{CrateName, ReleaseId, Sha256, VersionText, index_path};
use sha2::Digest as _;

/// One release of a test registry.
#[derive(Debug, Clone)]
pub struct TestRelease {
    /// Name and version.
    pub id: ReleaseId,
    /// The bytes of its `.crate`.
    pub body: Bytes,
    /// Their checksum.
    pub cksum: Sha256,
    /// True if it was yanked.
    pub yanked: bool,
    /// The time of publication, RFC 3339; not every line has one.
    pub pubtime: Option<String>,
    /// Its dependencies: name, requirement, kind.
    pub deps: Vec<(String, String, String)>,
    /// Further dependencies, as they are in the index.
    pub more_deps: Vec<serde_json::Value>,
    /// Its features.
    pub features: BTreeMap<String, Vec<String>>,
}

impl TestRelease {
    /// Returns its line in the index, without the newline.
    #[must_use]
    pub fn line(&self) -> String {
        let deps: Vec<_> = self
            .deps
            .iter()
            .map(|(name, req, kind)| {
                serde_json::json!({
                    "name": name, "req": req, "features": [], "optional": false,
                    "default_features": true, "target": null, "kind": kind,
                })
            })
            .chain(self.more_deps.iter().cloned())
            .collect();
        let (name, version) = (&self.id.name, &self.id.version);
        let pubtime = self.pubtime.as_ref().map(|at| format!(r#","pubtime":"{at}""#)).unwrap_or_default();
        format!(
            r#"{{"name":"{name}","vers":"{version}","deps":{},"cksum":"{}","features":{},"yanked":{}{pubtime},"x-unknown":{{"n":1.50}}}}"#,
            serde_json::Value::from(deps),
            self.cksum,
            serde_json::json!(self.features),
            self.yanked
        )
    }

    /// Returns the path of its `.crate` below the download base, `+` escaped.
    #[must_use]
    pub fn url_path(&self) -> String {
        let file = self.id.file_name().replace('+', "%2B");
        format!("/crates/{}/{file}", self.id.name)
    }
}

/// A registry that exists for one test. The same seed makes the same registry.
#[derive(Debug, Clone, Default)]
pub struct TestRegistry {
    /// Releases by crate name, in index order.
    pub crates: BTreeMap<String, Vec<TestRelease>>,
}

/// Returns the checksum of bytes.
pub(crate) fn checksum(body: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(body).into())
}

impl TestRegistry {
    /// Generates a registry of `releases` releases with bodies of up to `2 * mean_bytes`.
    #[must_use]
    pub fn generate(seed: u64, releases: usize, mean_bytes: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut registry = Self::default();
        let mut taken = HashSet::new();
        let mut made = 0;
        while made < releases {
            let name = name(&mut random);
            let Ok(checked) = CrateName::new(&name) else { continue };
            if !taken.insert(checked.canonical()) {
                continue;
            }
            let count = random.usize(1..=8).min(releases - made);
            for version in versions(&mut random, count) {
                let size = random.usize(1..=2 * mean_bytes);
                let body: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(size).collect();
                registry.add(&name, &version, &body);
            }
            made += count;
        }
        registry
    }

    /// Adds a release, and returns it for changes.
    ///
    /// # Panics
    /// When name or version are not valid.
    pub fn add(&mut self, name: &str, version: &str, body: &[u8]) -> &mut TestRelease {
        let id = ReleaseId {
            name: CrateName::new(name).expect("a valid name"),
            version: VersionText::new(version).expect("a valid version"),
        };
        let release = TestRelease {
            id,
            body: Bytes::copy_from_slice(body),
            cksum: checksum(body),
            yanked: false,
            pubtime: None,
            deps: Vec::new(),
            more_deps: Vec::new(),
            // A feature with the name of a field, for code that reads lines by hand.
            features: BTreeMap::from([("yanked".to_owned(), Vec::new())]),
        };
        let releases = self.crates.entry(name.to_owned()).or_default();
        releases.push(release);
        releases.last_mut().expect("just added")
    }

    /// Replaces the bytes of a release, as if it had been published again.
    ///
    /// # Panics
    /// When there is no such release.
    pub fn republish(&mut self, name: &str, version: &str, body: &[u8]) {
        let release = self
            .crates
            .get_mut(name)
            .and_then(|releases| releases.iter_mut().find(|release| release.id.version.as_str() == version))
            .expect("a release of this registry");
        release.body = Bytes::copy_from_slice(body);
        release.cksum = checksum(body);
    }

    /// Yields all releases, by crate.
    pub fn releases(&self) -> impl Iterator<Item = &TestRelease> {
        self.crates.values().flatten()
    }

    /// Returns the number of releases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.releases().count()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.crates.is_empty()
    }

    /// Returns the index files: path and bytes.
    #[must_use]
    pub fn index_files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for releases in self.crates.values() {
            let Some(first) = releases.first() else { continue };
            let mut text = String::new();
            for release in releases {
                let _ = writeln!(text, "{}", release.line());
            }
            files.insert(index_path(&first.id.name), text.into_bytes());
        }
        files
    }

    /// Writes a lockfile that names every release, from the registry at `source`.
    #[must_use]
    pub fn lockfile(&self, source: &str) -> String {
        let mut text = "version = 4\n".to_owned();
        for release in self.releases() {
            let (name, version) = (&release.id.name, &release.id.version);
            let _ = write!(
                text,
                "\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{source}\"\nchecksum = \"{}\"\n",
                release.cksum
            );
        }
        text
    }

    /// Lists the download URLs below `base`, one a line.
    #[must_use]
    pub fn url_list(&self, base: &str) -> String {
        self.releases().fold(String::new(), |mut text, release| {
            let _ = writeln!(text, "{base}{}", release.url_path());
            text
        })
    }

    /// Lists the checksums as JSONL of `{url, sha256}`.
    #[must_use]
    pub fn checksums(&self, base: &str) -> String {
        self.releases().fold(String::new(), |mut text, release| {
            let url = format!("{base}{}", release.url_path()).replace("%2B", "+");
            let _ = writeln!(text, "{}", serde_json::json!({"url": url, "sha256": release.cksum.to_hex()}));
            text
        })
    }
}

/// Generates a realistic name: short or long, with case, digits, `-` and `_`.
fn name(random: &mut fastrand::Rng) -> String {
    let len = match random.u8(..) {
        0..=7 => random.usize(1..=3),
        8..=250 => random.usize(4..=18),
        _ => random.usize(19..=64),
    };
    let mut name = String::with_capacity(len);
    for at in 0..len {
        let c = match random.u8(..) {
            0..=5 => random.uppercase(),
            6..=11 => random.digit(10),
            12..=27 if at > 0 => '-',
            28..=43 if at > 0 => '_',
            _ => random.lowercase(),
        };
        name.push(c);
    }
    name
}

/// Generates distinct versions: some with a pre-release, some with build metadata.
fn versions(random: &mut fastrand::Rng, count: usize) -> Vec<String> {
    (0..count)
        .map(|n| match random.u8(..) {
            0..=11 => format!("0.{n}.0-alpha.{n}"),
            12..=23 => format!("0.{n}.0+build.{n}"),
            _ => format!("0.{n}.{}", random.u8(..)),
        })
        .collect()
}
