//! Lines in the form of the registry: the versions of a crate resemble each other.

use std::fmt::Write as _;

use mirror_types::Sha256;

use super::index::{Synthetic, SyntheticRelease};

/// Generates a version: most are plain, some have a pre-release or build metadata.
pub(super) fn version(random: &mut fastrand::Rng, n: usize) -> String {
    let (minor, patch) = (n / 7, n % 7);
    match random.u8(..) {
        0..=7 => format!("0.{minor}.{patch}-alpha.{n}"),
        8..=11 => format!("0.{minor}.{patch}+build.{n}"),
        12..=13 => format!("0.{minor}.{patch}-rc.1+{n}"),
        _ => format!("0.{minor}.{patch}"),
    }
}

/// The common part of the lines of one crate.
pub(super) struct Template {
    name: String,
    deps: Vec<String>,
    tail: String,
    has_pubtime: bool,
}

const TARGETS: &[&str] =
    &["cfg(windows)", r#"cfg(target_os = \"linux\")"#, r#"cfg(any(unix, target_arch = \"wasm32\"))"#];

impl Template {
    pub(super) fn new(index: &Synthetic, at: usize) -> Self {
        let mut random = index.random(at, 1 << 42);
        // A few crates have many dependencies, and popular crates have more dependents.
        let most = random.usize(..=13);
        let count = random.usize(..=most);
        let deps = (0..count)
            .map(|_| {
                let end = random.usize(1..=index.scale.crates);
                let end = random.usize(1..=end);
                let popular = random.usize(..end);
                dependency(&mut random, index.names[popular].as_str())
            })
            .collect();
        let mut tail = String::from(r#""features":{"#);
        for n in 0..random.usize(..4) {
            let comma = if n > 0 { "," } else { "" };
            let feature = ["default", "std", "yanked", "full"][n];
            let _ = write!(tail, r#"{comma}"{feature}":["dep-{n}/std","alloc"]"#);
        }
        tail.push_str(r#"},"yanked":@"#);
        match random.u8(..) {
            0..=5 => tail.push_str(r#","links":"native""#),
            6..=40 => tail.push_str(r#","features2":{"serde":["dep:serde"]},"v":2"#),
            41..=100 => tail.push_str(r#","rust_version":"1.70""#),
            101..=103 => tail.push_str(r#","x-unknown":{"yanked":[true,{"cksum":"no"}],"n":1.50e3}"#),
            _ => {}
        }
        Self { name: index.names[at].to_string(), deps, tail, has_pubtime: random.bool() }
    }

    /// Appends the line of a release, with its newline.
    pub(super) fn push(
        &self,
        text: &mut Vec<u8>,
        release: &SyntheticRelease,
        cksum: Sha256,
        random: &mut fastrand::Rng,
    ) {
        let mut line = String::with_capacity(900);
        let _ = write!(line, r#"{{"name":"{}","vers":"{}","deps":["#, self.name, release.version);
        for (n, dep) in self.deps.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            // A requirement changes now and then.
            let req = release.place.1 / (5 + n);
            let (front, back) = dep.split_once('@').unwrap_or((dep, ""));
            let _ = write!(line, "{comma}{front}{req}{back}");
        }
        line.push_str(r#"],"cksum":""#);
        cksum.push_hex(&mut line);
        let (front, back) = self.tail.split_once('@').unwrap_or((&self.tail, ""));
        let _ = write!(line, r#"",{front}{}{back}"#, release.yanked);
        if self.has_pubtime {
            let (day, hour) = (random.u8(1..=28), random.u8(..24));
            let _ = write!(line, r#","pubtime":"2025-{:02}-{day:02}T{hour:02}:00:00Z""#, random.u8(1..=12));
        }
        line.push_str("}\n");
        text.extend_from_slice(line.as_bytes());
    }
}

fn dependency(random: &mut fastrand::Rng, name: &str) -> String {
    let features = ["[]", r#"["std"]"#, r#"["derive","alloc"]"#][random.usize(..3)];
    let (optional, defaults) = (random.u8(..) < 60, random.u8(..) < 180);
    let target = match random.u8(..) {
        0..=25 => format!(r#""{}""#, random.choice(TARGETS).expect("targets")),
        _ => "null".to_owned(),
    };
    let kind = ["normal", "normal", "normal", "dev", "build"][random.usize(..5)];
    let package = if random.u8(..) < 8 { r#","package":"renamed""# } else { "" };
    format!(
        r#"{{"name":"{name}","req":"^1.@","features":{features},"optional":{optional},"default_features":{defaults},"target":{target},"kind":"{kind}"{package}}}"#
    )
}
