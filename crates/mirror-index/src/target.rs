//! Evaluates the `cfg(...)` expressions of dependencies for a target triple.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::error::SelectionError;

/// Deepest nesting of an expression that is evaluated; a deeper one counts as unknown.
const MAX_DEPTH: usize = 32;

/// A target, given by its triple. Facts that a triple does not determine (target features, flags of the compiler) are
/// unknown, and dependencies on them are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    triple: String,
    facts: BTreeSet<(&'static str, String)>,
}

/// Keys that a triple determines completely.
const KNOWN_KEYS: [&str; 7] = [
    "target_arch",
    "target_endian",
    "target_env",
    "target_family",
    "target_os",
    "target_pointer_width",
    "target_vendor",
];

const UNIX: [&str; 14] = [
    "aix",
    "android",
    "dragonfly",
    "emscripten",
    "freebsd",
    "fuchsia",
    "haiku",
    "illumos",
    "ios",
    "linux",
    "macos",
    "netbsd",
    "openbsd",
    "solaris",
];

impl FromStr for Target {
    type Err = SelectionError;

    fn from_str(triple: &str) -> Result<Self, SelectionError> {
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        };
        let parts: Vec<&str> = triple.split('-').collect();
        if !(2..=5).contains(&parts.len()) || !parts.iter().all(|part| plain(part)) {
            return Err(SelectionError::Target { text: mirror_types::clipped(triple, 80) });
        }
        let (arch, width, endian) = machine(parts[0]);
        let os = system(&parts[1..]);
        let vendor = if parts.len() > 2 { parts[1] } else { "unknown" };
        let mut facts = BTreeSet::from([
            ("target_arch", arch.to_owned()),
            ("target_endian", endian.to_owned()),
            ("target_env", environment(parts[parts.len() - 1]).to_owned()),
            ("target_os", os.to_owned()),
            ("target_pointer_width", width.to_owned()),
            ("target_vendor", vendor.to_owned()),
        ]);
        let families =
            [("unix", UNIX.contains(&os)), ("windows", os == "windows"), ("wasm", arch.starts_with("wasm"))];
        let families = families.into_iter().filter(|(_, is)| *is);
        facts.extend(families.map(|(family, _)| ("target_family", family.to_owned())));
        Ok(Self { triple: triple.to_owned(), facts })
    }
}

/// Returns the architecture, its pointer width and its byte order.
fn machine(part: &str) -> (&str, &'static str, &'static str) {
    let arch = match part {
        "i386" | "i586" | "i686" => "x86",
        "arm64" | "arm64e" | "aarch64_be" => "aarch64",
        "powerpc64le" => "powerpc64",
        "sparcv9" => "sparc64",
        _ if part.starts_with("arm") || part.starts_with("thumb") => "arm",
        _ if part.starts_with("riscv32") => "riscv32",
        _ if part.starts_with("riscv64") => "riscv64",
        _ if part.starts_with("mips64") => "mips64",
        _ if part.starts_with("mips") => "mips",
        _ => part,
    };
    let width = if arch.contains("64") || arch == "s390x" { "64" } else { "32" };
    let big =
        matches!(part, "aarch64_be" | "armebv7r" | "powerpc" | "powerpc64" | "s390x" | "sparc" | "sparc64")
            || (part.starts_with("mips") && !part.contains("el"));
    (arch, width, if big { "big" } else { "little" })
}

/// Returns the operating system named by the parts after the architecture.
fn system<'t>(parts: &[&'t str]) -> &'t str {
    let is = |name: &str| parts.iter().any(|part| part.starts_with(name));
    match () {
        () if is("android") => "android",
        () if is("darwin") => "macos",
        () if is("wasi") => "wasi",
        () if is("linux") => "linux",
        () if is("windows") => "windows",
        () if parts.len() > 1 => parts[1],
        () => parts[0],
    }
}

fn environment(part: &str) -> &str {
    ["gnu", "musl", "msvc", "uclibc", "ohos", "newlib", "sgx", "relibc"]
        .into_iter()
        .find(|env| part.starts_with(env))
        .unwrap_or("")
}

impl Target {
    /// Returns whether a dependency for `platform`, a triple or `cfg(...)`, may apply to this target. Unknown ones may.
    #[must_use]
    pub fn may_match(&self, platform: &str) -> bool {
        let platform = platform.trim();
        match platform.strip_prefix("cfg(").and_then(|rest| rest.strip_suffix(')')) {
            Some(expression) => {
                let mut tokens = Tokens { rest: expression };
                let judged = self.judge(&mut tokens, 0);
                !(tokens.rest.trim().is_empty() && judged == Some(Verdict::False))
            }
            None => platform == self.triple,
        }
    }

    /// Evaluates one expression; `None` when it is malformed.
    fn judge(&self, tokens: &mut Tokens<'_>, depth: usize) -> Option<Verdict> {
        if depth > MAX_DEPTH {
            return None;
        }
        let word = tokens.word()?;
        if matches!(word, "all" | "any" | "not") && tokens.take('(') {
            let mut parts = Vec::new();
            while !tokens.take(')') {
                parts.push(self.judge(tokens, depth + 1)?);
                if !tokens.take(',') && !tokens.peek(')') {
                    return None;
                }
            }
            return Some(combine(word, &parts));
        }
        if tokens.take('=') {
            let value = tokens.quoted()?;
            let key = KNOWN_KEYS.into_iter().find(|key| *key == word);
            return Some(match key {
                Some(key) => self.facts.contains(&(key, value.to_owned())).into(),
                None => Verdict::Unknown,
            });
        }
        Some(match word {
            "unix" | "windows" => self.facts.contains(&("target_family", word.to_owned())).into(),
            "true" => Verdict::True,
            "false" => Verdict::False,
            _ => Verdict::Unknown,
        })
    }
}

/// The truth of an expression for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    True,
    False,
    /// The triple does not determine it.
    Unknown,
}

impl Verdict {
    fn negated(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Verdict {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

fn combine(word: &str, parts: &[Verdict]) -> Verdict {
    // The value of one part that decides the whole.
    let decided = match word {
        "not" => return parts.first().map_or(Verdict::Unknown, |part| part.negated()),
        "all" => Verdict::False,
        _ => Verdict::True,
    };
    if parts.contains(&decided) {
        decided
    } else if parts.contains(&Verdict::Unknown) {
        Verdict::Unknown
    } else {
        decided.negated()
    }
}

struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Tokens<'t> {
    fn word(&mut self) -> Option<&'t str> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn peek(&self, c: char) -> bool {
        self.rest.trim_start().starts_with(c)
    }

    fn take(&mut self, c: char) -> bool {
        let Some(rest) = self.rest.trim_start().strip_prefix(c) else { return false };
        self.rest = rest;
        true
    }

    fn quoted(&mut self) -> Option<&'t str> {
        let (value, rest) = self.rest.trim_start().strip_prefix('"')?.split_once('"')?;
        self.rest = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(triple: &str) -> Target {
        triple.parse().expect(triple)
    }

    #[test]
    fn platforms_of_dependencies_are_judged_as_far_as_a_triple_allows() {
        let linux = target("x86_64-unknown-linux-gnu");
        let windows = target("i686-pc-windows-msvc");
        let mac = target("aarch64-apple-darwin");
        for (platform, matching) in [
            ("cfg(unix)", [true, false, true]),
            ("cfg(windows)", [false, true, false]),
            ("x86_64-unknown-linux-gnu", [true, false, false]),
            ("cfg(target_os = \"macos\")", [false, false, true]),
            ("cfg(not(target_os=\"macos\"))", [true, true, false]),
            ("cfg(all(unix, not(target_vendor = \"apple\"),))", [true, false, false]),
            ("cfg(any(windows, target_arch = \"aarch64\"))", [false, true, true]),
            ("cfg(target_pointer_width = \"32\")", [false, true, false]),
            ("cfg(target_env = \"msvc\")", [false, true, false]),
            ("cfg(all())", [true, true, true]),
            ("cfg(any())", [false, false, false]),
            // The triple does not determine these.
            ("cfg(tokio_unstable)", [true, true, true]),
            ("cfg(all(windows, target_feature = \"sse2\"))", [false, true, false]),
            ("cfg(not(any(miri, windows)))", [true, false, true]),
        ] {
            let found = [&linux, &windows, &mac].map(|target| target.may_match(platform));
            assert_eq!(found, matching, "{platform}");
        }
        let deep = format!("cfg({}windows{})", "not(".repeat(500), ")".repeat(500));
        assert!(linux.may_match(&deep), "what is too deep may be");
        assert!(linux.may_match("cfg(windows) and more)"), "what is no expression may be");
    }

    #[test]
    fn triples_determine_their_facts() {
        for (triple, os, family, width) in [
            ("wasm32-unknown-unknown", "unknown", "wasm", "32"),
            ("wasm32-wasip1", "wasi", "wasm", "32"),
            ("aarch64-linux-android", "android", "unix", "64"),
            ("s390x-unknown-linux-gnu", "linux", "unix", "64"),
            ("x86_64-unknown-freebsd", "freebsd", "unix", "64"),
            ("armv7-unknown-linux-musleabihf", "linux", "unix", "32"),
        ] {
            let target = target(triple);
            for (key, value) in
                [("target_os", os), ("target_family", family), ("target_pointer_width", width)]
            {
                assert!(target.may_match(&format!("cfg({key} = \"{value}\")")), "{triple}: {key} is {value}");
                assert!(
                    !target.may_match(&format!("cfg(not({key} = \"{value}\"))")),
                    "{triple}: {key} is {value}"
                );
            }
        }
        for bad in ["", "x86_64", "a-b-c-d-e-f", "a--b", "a-\u{1b}"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC{0,60}", inner in "[a-z_(),=\" ]{0,60}") {
            let target = target("x86_64-unknown-linux-gnu");
            let _ = target.may_match(&text);
            let _ = target.may_match(&format!("cfg({inner})"));
        }
    }
}
