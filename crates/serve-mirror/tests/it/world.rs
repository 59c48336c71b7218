//! A registry of crates that Cargo can build, a mirror of it, and the server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mirror_sync::{DownloadOptions, Layout, Outcome, Storage, Upstream};
use mirror_testkit::{Origin, OriginOptions, TestRegistry};

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_serve-mirror");

/// A limit beyond the time that a server takes to start, to notice a change or to end, on a loaded machine.
pub(crate) const MOST: Duration = Duration::from_secs(60);

/// Makes the `.crate` of a library with dependencies.
pub(crate) fn package(name: &str, version: &str, deps: &[(&str, &str)]) -> Vec<u8> {
    let mut manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n[dependencies]\n"
    );
    let mut code = format!("pub fn name() -> &'static str {{ \"{name} {version}\" }}\n");
    for (dep, requirement) in deps {
        manifest.push_str(&format!("{dep} = \"{requirement}\"\n"));
        code.push_str(&format!("pub use ::{};\n", dep.replace('-', "_")));
    }
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text) in [("Cargo.toml", manifest), ("src/lib.rs", code)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, format!("{name}-{version}/{path}"), text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Adds a package to a registry.
pub(crate) fn add(registry: &mut TestRegistry, name: &str, version: &str, deps: &[(&str, &str)]) {
    let release = registry.add(name, version, &package(name, version, deps));
    release.deps = deps
        .iter()
        .map(|(dep, requirement)| ((*dep).to_owned(), (*requirement).to_owned(), "normal".to_owned()))
        .collect();
}

/// Makes a registry with realistic names and versions.
pub(crate) fn registry() -> TestRegistry {
    let mut registry = TestRegistry::default();
    add(&mut registry, "a", "1.0.0", &[]);
    add(&mut registry, "ab", "1.2.0", &[("a", "1")]);
    add(&mut registry, "abc", "0.3.0+build.7", &[]);
    add(&mut registry, "Mixed_Case", "2.0.0", &[]);
    add(&mut registry, "with-dash", "0.1.0", &[("ab", "1"), ("abc", "0.3")]);
    add(&mut registry, "with-dash", "0.1.1", &[("ab", "1"), ("abc", "0.3"), ("Mixed_Case", "2")]);
    add(&mut registry, "with-dash", "0.2.0", &[("a", "1")]);
    add(&mut registry, "yanked", "1.0.0", &[]);
    registry.crates.get_mut("with-dash").unwrap()[2].yanked = true;
    registry
}

pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) origin: Origin,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) storage: Storage,
}

impl World {
    pub(crate) fn new(registry: TestRegistry) -> Self {
        Self::with(registry, Layout::Shard, Storage::Loose)
    }

    pub(crate) fn with(registry: TestRegistry, layout: Layout, storage: Storage) -> Self {
        let origin = Origin::start(OriginOptions::default(), Arc::new(|_| None));
        Self { registry, origin, dir: tempfile::tempdir().unwrap(), layout, storage }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Mirrors what the registry has now, with the options that `change` sets.
    pub(crate) fn sync_with(&self, change: impl FnOnce(&mut DownloadOptions)) -> Outcome {
        self.origin.replace_site(self.registry.site(""));
        let index = self.path("index");
        if index.exists() {
            std::fs::remove_dir_all(&index).unwrap();
        }
        self.registry.write_index(&index);
        let mut options = DownloadOptions::new(Upstream::Local(index), self.path("out"));
        options.include_yanked = true;
        options.crates_base_url = Some(format!("{}/crates", self.origin.base()).into());
        options.layout = self.layout;
        options.layout_asked = true;
        options.manifest = Some(self.path("out.jsonl"));
        options.storage = self.storage;
        options.bundles_out = Some(self.path("bundles"));
        options.fetch.cacert = Some(self.origin.ca().to_owned());
        change(&mut options);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(mirror_sync::download(options, Arc::new(()), Default::default())).unwrap()
    }

    pub(crate) fn sync(&self) -> Outcome {
        let outcome = self.sync_with(|_| {});
        assert_eq!(outcome.failed, 0);
        outcome
    }

    /// Serves the mirror until the end of the test.
    pub(crate) fn serve(&self, more: &[&str]) -> Serving {
        Serving::start(Command::new(BIN).arg("--mirror").arg(self.path("out")).args(more))
    }

    pub(crate) fn tls_args(&self) -> Vec<String> {
        let pem = |name: &str| self.origin.tls_dir().join(name).to_str().unwrap().to_owned();
        vec!["--tls-cert".to_owned(), pem("cert.pem"), "--tls-key".to_owned(), pem("key.pem")]
    }
}

/// A running server.
pub(crate) struct Serving {
    pub(crate) child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Serving {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        let base = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the server ended:\n{text}");
            text.push_str(&line);
            if let Some((_, rest)) = line.split_once("serving at ") {
                break rest.split_whitespace().next().unwrap().trim_end_matches('/').to_owned();
            }
        };
        let log = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        Self { child, base, log: Some(log) }
    }

    pub(crate) fn addr(&self) -> &str {
        self.base.rsplit_once("//").unwrap().1
    }

    /// Stops it as an operator would; returns its exit code and its log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let code = self.child.wait().unwrap().code();
        (code, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo with a home of its own, which knows the mirror and no other registry.
pub(crate) struct CargoHome {
    dir: PathBuf,
    cargo: String,
}

impl CargoHome {
    pub(crate) fn new(dir: &Path, source: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let mut config = std::fs::File::create(dir.join("config.toml")).unwrap();
        write!(config, "[source.crates-io]\nreplace-with = \"mirror\"\n{source}\n[net]\nretry = 0\n")
            .unwrap();
        // The toolchain must not be chosen by the new home.
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        Self { dir: dir.to_owned(), cargo }
    }

    /// Makes a home whose crates come from the server at `base`.
    pub(crate) fn sparse(dir: &Path, base: &str) -> Self {
        let index = format!("sparse+{base}/index/");
        Self::new(
            dir,
            &format!("[source.mirror]\nregistry = \"{index}\"\n[registries.mirror]\nindex = \"{index}\"\n"),
        )
    }

    pub(crate) fn command(&self, project: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        for (name, _) in std::env::vars() {
            let proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if (name.starts_with("CARGO") && name != "CARGO") || proxy {
                command.env_remove(name);
            }
        }
        command
            .current_dir(project)
            .env("CARGO_HOME", &self.dir)
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null());
        command
    }

    /// Runs Cargo; returns its output.
    #[track_caller]
    pub(crate) fn run(&self, project: &Path, args: &[&str], good: bool) -> String {
        let output = self.command(project).args(args).output().unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), good, "cargo {args:?} in {}:\n{text}", project.display());
        text
    }
}

/// Makes a project that depends on crates of the registry.
pub(crate) fn project(dir: &Path, deps: &[(&str, &str)]) -> PathBuf {
    std::fs::create_dir_all(dir.join("src")).unwrap();
    let mut manifest =
        "[package]\nname = \"project\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n".to_owned();
    for (name, requirement) in deps {
        manifest.push_str(&format!("{name} = \"{requirement}\"\n"));
    }
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(dir.join("src/main.rs"), "fn main() {}\n").unwrap();
    dir.to_owned()
}
