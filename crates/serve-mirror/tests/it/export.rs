//! The mirror as files: behind nginx, and as Cargo's local registry.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mirror_sync::{Layout, Prune, Storage};

use crate::client::{ask, get};
use crate::world::{BIN, CargoHome, World, add, project, registry};

const DEPS: [(&str, &str); 4] = [("with-dash", "0.1"), ("Mixed_Case", "2"), ("abc", "0.3.0"), ("a", "1")];

/// Runs an export; returns its summary.
#[track_caller]
pub(crate) fn export(world: &World, dir: &str, args: &[&str], code: i32) -> String {
    let output = Command::new(BIN)
        .args(["export", dir, "--mirror", "out"])
        .args(args)
        .current_dir(world.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[track_caller]
fn figures(summary: &str, expected: &[(&str, u64)]) {
    for (name, figure) in expected {
        let line =
            summary.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{summary}"));
        assert_eq!(line.trim(), figure.to_string(), "{name} in\n{summary}");
    }
}

/// Returns every file below a directory, without the export's own state.
pub(crate) fn files(root: &Path) -> BTreeSet<String> {
    let (mut found, mut dirs) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".mirror") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn expected(world: &World, release: impl Fn(&mirror_testkit::TestRelease) -> String) -> BTreeSet<String> {
    let index = world.registry.index_files().into_keys().map(|path| format!("index/{path}"));
    index.chain(world.registry.releases().map(release)).collect()
}

/// Adds the packed forms of index files that are worth one.
fn packed(world: &World, all: &mut BTreeSet<String>) {
    let before = all.len();
    let index = world.registry.index_files();
    all.extend(
        index.iter().filter(|(_, text)| text.len() >= 860).map(|(path, _)| format!("index/{path}.gz")),
    );
    assert!(all.len() > before, "one of them is long");
}

/// Asserts that every packed form has the same bytes as its index file.
fn packed_forms_are_alike(web: &Path) {
    let mut seen = 0;
    for path in files(web).iter().filter(|path| path.ends_with(".gz")) {
        let packed = std::fs::File::open(web.join(path)).unwrap();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut text).unwrap();
        assert_eq!(text, std::fs::read(web.join(path.trim_end_matches(".gz"))).unwrap(), "{path}");
        seen += 1;
    }
    assert!(seen > 0, "one index file is long");
}

#[test]
fn the_settings_of_an_export_may_be_named_before_and_behind_it() {
    let world = World::new(registry());
    world.sync();
    let settings = "[serve-mirror.export]\nmirror = 'out'\npublic-url = 'https://crates.example.org'\n";
    std::fs::write(world.path("mirror.toml"), settings).unwrap();
    for (dir, words) in [
        ("before", ["--config", "mirror.toml", "export", "before"]),
        ("behind", ["export", "behind", "--config", "mirror.toml"]),
    ] {
        let output = Command::new(BIN).args(words).current_dir(world.dir.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(files(&world.path(dir)).contains("index/config.json"), "{words:?}");
    }
}

#[test]
fn a_local_registry_is_built_from_without_any_server() {
    for storage in [Storage::Loose, Storage::Bundle] {
        let world = World::with(registry(), Layout::Shard, storage);
        world.sync();
        let summary = export(&world, "local", &["--format", "local-registry"], 0);
        figures(&summary, &[("crates", 6), ("releases", 8), ("there already", 0), ("removed", 0)]);
        let linked = if storage == Storage::Loose { 8 } else { 0 };
        figures(&summary, &[("linked", linked), ("written", 8 - linked)]);
        assert_eq!(files(&world.path("local")), expected(&world, |release| release.id.file_name()));
        for release in world.registry.releases() {
            let bytes = std::fs::read(world.path("local").join(release.id.file_name())).unwrap();
            assert_eq!(bytes, release.body);
        }
        let dir = world.path("local");
        assert!(summary.contains("\nlocal-registry = \"/"), "{summary}");
        let project = project(&world.path("project"), &DEPS);
        let home =
            CargoHome::new(&world.path("home"), &format!("[source.mirror]\nlocal-registry = {dir:?}\n"));
        home.run(&project, &["generate-lockfile", "--offline"], true);
        home.run(&project, &["build", "--locked", "--offline"], true);
    }
}

#[test]
fn an_export_follows_the_mirror_and_does_nothing_twice() {
    let mut world = World::new(registry());
    world.sync();
    let args = ["--public-url", "http://crates.example.org/"];
    figures(&export(&world, "web", &args, 0), &[("linked", 8), ("written", 0), ("there already", 0)]);
    let path = |release: &mirror_testkit::TestRelease| release.url_path()[1..].replace("%2B", "+");
    let mut all = expected(&world, path);
    all.insert("index/config.json".to_owned());
    packed(&world, &mut all);
    assert_eq!(files(&world.path("web")), all);
    packed_forms_are_alike(&world.path("web"));
    let config = std::fs::read_to_string(world.path("web/index/config.json")).unwrap();
    assert!(!config.contains("\"api\""), "nobody answers a search: {config}");
    assert!(
        config.contains("\"http://crates.example.org/crates/{crate}/{crate}-{version}.crate\""),
        "{config}"
    );
    figures(&export(&world, "web", &args, 0), &[("linked", 0), ("written", 0), ("there already", 8)]);

    // One release is new, one is yanked, one has other bytes; a crate and a version are gone.
    add(&mut world.registry, "a", "1.1.0", &[]);
    world.registry.crates.get_mut("ab").unwrap()[0].yanked = true;
    world.registry.republish("abc", "0.3.0+build.7", b"other bytes");
    world.registry.crates.remove("Mixed_Case");
    world.registry.crates.get_mut("with-dash").unwrap().remove(2);
    world.sync_with(|options| {
        options.prune = Some(Prune::Deleted);
        options.allow_mass_prune = true;
    });
    let changed = export(&world, "web", &["--public-url", "http://crates.example.org", "--copy"], 0);
    figures(
        &changed,
        &[("linked", 0), ("written", 2), ("there already", 5), ("removed", 2), ("releases", 7)],
    );
    let mut all = expected(&world, path);
    all.insert("index/config.json".to_owned());
    packed(&world, &mut all);
    all.insert("index/changelog".to_owned());
    assert_eq!(files(&world.path("web")), all);
    packed_forms_are_alike(&world.path("web"));
    let logged = || std::fs::read_to_string(world.path("web/index/changelog")).unwrap();
    let log = logged();
    let named: BTreeSet<&str> = log.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(named, BTreeSet::from(["a", "ab", "abc", "mixed_case", "with-dash"]), "{log}");
    let file = std::fs::read(world.path("web/index/1/a")).unwrap();
    let sha256: String =
        <sha2::Sha256 as sha2::Digest>::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(log.contains(&format!(" a {sha256}\n")) && log.contains(" mixed_case -\n"), "{log}");
    for (path, text) in world.registry.index_files() {
        assert_eq!(std::fs::read(world.path("web/index").join(path)).unwrap(), text);
    }
    let replaced = std::fs::read(world.path("web/crates/abc/abc-0.3.0+build.7.crate")).unwrap();
    assert_eq!(replaced, b"other bytes");

    // A file was removed by hand.
    std::fs::remove_file(world.path("web/crates/a/a-1.0.0.crate")).unwrap();
    figures(&export(&world, "web", &args, 0), &[("linked", 1), ("there already", 6)]);
    assert_eq!(logged(), log, "no index file has changed");
    export(&world, "out", &args, 2);
    let nothing = export(&world, "web", &["--mirror", "nowhere"], 2);
    assert_eq!(nothing, "");
}

/// The sample configuration of the documents, on a free port, with this root.
struct Nginx {
    child: Child,
    base: String,
}

impl Nginx {
    /// Starts nginx; `None` where it is missing and not required.
    fn start(world: &World, port: u16) -> Option<Self> {
        let dir = world.path("nginx");
        std::fs::create_dir_all(&dir).unwrap();
        let sample = include_str!("../../../../docs/nginx.conf");
        assert!(sample.contains("listen 80;") && sample.contains("root /srv/crates;"));
        let server = sample
            .replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
            .replace("/srv/crates", world.path("web").to_str().unwrap());
        let temp = |name: &str| format!("{name}_temp_path {};\n", dir.join(name).display());
        let temps: String =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().map(|name| temp(name)).collect();
        // Its workers must be able to read the files of the user who runs this test.
        #[cfg(unix)]
        let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&dir).unwrap()) == 0;
        #[cfg(not(unix))]
        let is_root = false;
        let user = if is_root { "user root;\n" } else { "" };
        let config = format!(
            "{user}daemon off;\npid {}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temps}{server}}}\n",
            dir.display()
        );
        std::fs::write(dir.join("nginx.conf"), config).unwrap();
        let program = ["/usr/sbin/nginx", "nginx"].into_iter().find(|program| {
            Command::new(program)
                .arg("-v")
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        });
        let Some(program) = program else {
            assert!(
                std::env::var_os("MIRROR_REQUIRE_TOOLS").is_none(),
                "there is no nginx, and MIRROR_REQUIRE_TOOLS is set"
            );
            return None;
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .arg("-p")
            .arg(&dir)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { child, base: format!("http://127.0.0.1:{port}") };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(nginx);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("nginx does not listen");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Stopped by a signal rather than killed, so that its workers end with it.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_serves_the_static_form_with_the_sample_configuration() {
    let world = World::with(registry(), Layout::Cargo, Storage::Both);
    world.sync();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    export(&world, "web", &["--public-url", &format!("http://127.0.0.1:{port}")], 0);
    let Some(nginx) = Nginx::start(&world, port) else { return };
    for (path, text) in world.registry.index_files() {
        let got = get(&nginx.base, &format!("/index/{path}"));
        assert_eq!((got.status, got.body.as_ref()), (200, text.as_slice()), "{path}");
        let again = ask(
            &nginx.base,
            None,
            "GET",
            &format!("/index/{path}"),
            &[("if-none-match", got.header("etag"))],
        );
        assert_eq!(again.status, 304);
    }
    for release in world.registry.releases() {
        assert_eq!(get(&nginx.base, &release.url_path()).body, release.body, "{}", release.id);
    }
    for path in ["/.mirror/mirror.json", "/index/.mirror", "/index/", "/crates/", "/../out.jsonl"] {
        assert!(get(&nginx.base, path).status >= 400, "{path}");
    }
    assert_eq!(ask(&nginx.base, None, "POST", "/index/1/a", &[]).status, 405);
    let project = project(&world.path("project"), &DEPS);
    let home = CargoHome::sparse(&world.path("home"), &nginx.base);
    home.run(&project, &["generate-lockfile"], true);
    home.run(&project, &["build", "--locked"], true);
}

#[test]
fn the_doctor_tries_it_all() {
    let world = World::new(registry());
    world.sync();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let doctor = |mirror: &str, cargo: &str| {
        let mut command = Command::new(BIN);
        command.args(["doctor", "--mirror", mirror, "--cargo", cargo]).current_dir(world.dir.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, table) = doctor("out", &cargo);
    assert_eq!(code, Some(0), "{table}");
    for row in
        ["fetch", "build", "search", "info", "add", "short names", "capital letters", "a missing crate"]
    {
        let line =
            table.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row}\n{table}"));
        assert!(line.contains("works"), "{table}");
    }
    assert_eq!(doctor("out", "no-such-cargo").0, Some(3));
    assert_eq!(doctor("nowhere", &cargo).0, Some(2));
    // A held file that is no crate.
    let path = world.path("out/y/an/yanked-1.0.0.crate");
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::write(&path, vec![0; usize::try_from(len).unwrap()]).unwrap();
    let (code, table) = doctor("out", &cargo);
    assert_eq!(code, Some(3), "{table}");
    assert!(table.contains("FAILS"), "{table}");
}

/// Covers links in an export: their targets stay as they are.
#[test]
#[cfg(unix)]
fn links_in_an_export_are_not_followed() {
    let world = World::new(registry());
    world.sync();
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for rel in [".mirror", ".mirror/lock", ".mirror/stage", "index", "crates"] {
        let _ = std::fs::remove_dir_all(world.path("web"));
        let link = world.path("web").join(rel);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        let target = if rel.ends_with("lock") { world.path("victim") } else { elsewhere.clone() };
        std::fs::write(world.path("victim"), "precious").unwrap();
        std::os::unix::fs::symlink(target, link).unwrap();
        export(&world, "web", &["--public-url", "http://h"], 4);
        assert_eq!(std::fs::read(world.path("victim")).unwrap(), b"precious", "{rel}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "{rel}");
    }
    // A release that is a link in the mirror must not be exported as one.
    let release = world.registry.releases().next().unwrap();
    let file = world.path("out").join(Layout::Shard.path(&release.id));
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(world.path("victim"), &file).unwrap();
    let _ = std::fs::remove_dir_all(world.path("web"));
    let mut command = Command::new(BIN);
    command.args(["export", "web", "--mirror", "out", "--public-url", "http://h"]);
    command.current_dir(world.dir.path()).output().unwrap();
    for path in files(&world.path("web")) {
        let meta = std::fs::symlink_metadata(world.path("web").join(&path)).unwrap();
        assert!(!meta.is_symlink(), "{path}");
    }
}
