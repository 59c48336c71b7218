//! Releases that upstream deleted are held and not offered; gaps that a person acknowledged are no alarm.

use mirror_testkit::{Fault, git, git_says};

use crate::incremental::Incremental;
use crate::world::run;

const HIDDEN: &str = "SELECT crate || ' ' || version FROM withdrawn WHERE kind = 'deleted' ORDER BY 1";

/// Removes one crate of the registry and returns its name.
fn take_one_away(mirror: &mut Incremental) -> String {
    let name = mirror.world.registry.crates.keys().next().unwrap().clone();
    mirror.world.registry.crates.remove(&name);
    mirror.publish();
    name
}

#[test]
fn deleted_releases_stay_hidden_when_the_catalogue_is_rebuilt() {
    let mut mirror = Incremental::new(71);
    let name = take_one_away(&mut mirror);
    mirror.go(&[]).expect(0);
    let hidden = mirror.catalogue(HIDDEN);
    assert!(!hidden.is_empty() && hidden.iter().all(|id| id.starts_with(&format!("{name} "))), "{hidden:?}");
    // Rebuilt by the command for that, and by the next run alone.
    run(mirror.world.command("out").args(["--rebuild-catalogue"])).expect(0);
    assert_eq!(mirror.catalogue(HIDDEN), hidden);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(mirror.world.path(&format!("out/.mirror/catalogue.sqlite{suffix}")));
    }
    mirror.go(&[]).expect(0);
    assert_eq!(mirror.catalogue(HIDDEN), hidden);
    let manifest = std::fs::read_to_string(mirror.world.path("out.jsonl")).unwrap();
    let removed: Vec<serde_json::Value> = manifest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &serde_json::Value| record["status"] == "removed_upstream")
        .collect();
    assert_eq!(removed.len(), hidden.len(), "written once");
    assert!(removed.iter().all(|record| record["ok"] == false && record.get("path").is_none()));
}

#[test]
fn a_name_that_came_back_in_another_case_hides_the_old_one() {
    let mut mirror = Incremental::new(72);
    let (name, releases) = {
        let crates = &mirror.world.registry.crates;
        let (name, releases) =
            crates.iter().find(|(name, _)| name.chars().next().unwrap().is_ascii_lowercase()).unwrap();
        (name.clone(), releases.len())
    };
    let other = name.to_ascii_uppercase();
    mirror.world.registry.crates.remove(&name);
    mirror.world.registry.add(&other, "9.9.9", b"another");
    mirror.publish();
    mirror.go(&[]).expect(0);
    let hidden = mirror.catalogue(HIDDEN);
    assert_eq!(hidden.len(), releases, "{hidden:?}");
    assert!(hidden.iter().all(|id| id.starts_with(&format!("{name} "))), "{hidden:?}");
}

#[test]
fn what_comes_back_is_offered_again_and_other_sources_say_nothing() {
    let mut mirror = Incremental::new(73);
    let before = mirror.world.registry.clone();
    take_one_away(&mut mirror);
    mirror.go(&[]).expect(0);
    let hidden = mirror.catalogue(HIDDEN);
    assert!(!hidden.is_empty());
    // An old copy of the index still lists it: it is not the source that deleted it.
    before.write_index(&mirror.world.path("older"));
    let base = format!("{}/crates", mirror.world.origin.base());
    for _ in 0..2 {
        run(mirror.world.command("out").args(["--index-dir", "older", "--crates-base-url", &base])).expect(0);
        assert_eq!(mirror.catalogue(HIDDEN), hidden);
    }
    mirror.world.registry = before;
    mirror.publish();
    mirror.go(&[]).expect(0);
    assert_eq!(mirror.catalogue(HIDDEN), [""; 0]);
}

#[test]
fn a_known_gap_is_no_alarm_until_it_heals() {
    let mut mirror = Incremental::new(74);
    mirror.world.registry.add("never-there", "1.0.0", b"late");
    mirror.publish();
    mirror.world.origin.script(|ask| {
        if ask.path.contains("never-there") && ask.path.contains(".crate") {
            Fault::Status(403)
        } else {
            Fault::None
        }
    });
    mirror.go(&[]).expect(3);
    let listed = run(mirror.world.command("out").arg("--gaps")).expect(0);
    assert!(listed.stdout.starts_with("never-there 1.0.0\tnew\tHTTP 403"), "{}", listed.stdout);
    let write = |text: &str| std::fs::write(mirror.world.path("gaps.toml"), text).unwrap();
    write("[[gap]]\nrelease = \"never-there@1.0.0\"\nsince = 2019-11-26\nwho = \"us\"\nwhi = \"403\"\n");
    let refused = mirror.go(&["--acknowledge-gaps", "gaps.toml"]).expect(2);
    assert!(refused.stderr.contains("the nearest key is"), "{}", refused.stderr);
    write("[[gap]]\nrelease = \"never-there@1.0.0\"\nsince = 2019-11-26\nwho = \"us\"\nwhy = \"403\"\n");
    mirror.go(&["--acknowledge-gaps", "gaps.toml"]).expect(0);
    let again = mirror.go(&[]).expect(0);
    assert!(again.stdout.contains("known gaps"), "{}", again.stdout);
    run(mirror.world.command("out").args(["--rebuild-catalogue"])).expect(0);
    mirror.go(&[]).expect(0);
    let listed = run(mirror.world.command("out").arg("--gaps")).expect(0);
    assert!(
        listed.stdout.contains("\tknown\tHTTP 403") && listed.stdout.contains("us: 403"),
        "{}",
        listed.stdout
    );
    mirror.world.registry.add("new-gap", "1.0.0", b"later");
    mirror.publish();
    mirror.world.origin.script(|ask| {
        let gap = ask.path.contains("never-there") || ask.path.contains("new-gap");
        if gap && ask.path.contains(".crate") { Fault::Status(403) } else { Fault::None }
    });
    mirror.go(&[]).expect(3);
    mirror.world.origin.heal();
    let rerun = mirror.go(&[]).expect(0);
    assert!(
        rerun.stdout.contains("gaps resolved") && rerun.stdout.contains("never-there 1.0.0"),
        "{}",
        rerun.stdout
    );
    let listed = run(mirror.world.command("out").arg("--gaps")).expect(0);
    assert_eq!(listed.stdout, "no gaps are known\n");
}

#[test]
fn a_mass_disappearance_is_hidden_only_when_it_is_accepted() {
    let mut mirror = Incremental::new(75);
    for n in 0..1_100 {
        let body = format!("{n}");
        mirror.world.registry.add(
            &format!("many-{}", n / 11),
            &format!("{}.0.0", n % 11 + 1),
            body.as_bytes(),
        );
    }
    mirror.publish();
    mirror.go(&[]).expect(0);
    // Whole crates, and the oldest release of others.
    for n in 0..100 {
        let name = format!("many-{n}");
        if n < 3 {
            mirror.world.registry.crates.remove(&name);
        } else if n < 10 {
            mirror.world.registry.crates.get_mut(&name).unwrap().remove(0);
        }
    }
    mirror.world.registry.add("news", "1.0.0", b"news");
    mirror.publish();
    let kept = "SELECT CAST(size AS TEXT) FROM index_files WHERE path = 'ma/ny/many-5'";
    let before = mirror.index_cache(kept);
    for downloaded in [1, 0] {
        let refused = mirror.go(&[]).expect(3);
        assert!(refused.stdout.contains("40 releases disappeared upstream"), "{}", refused.stdout);
        assert!(refused.stdout.contains("--accept-mass-removal"), "{}", refused.stdout);
        assert_eq!(refused.count("downloaded"), downloaded, "other work is done");
        assert_eq!(mirror.catalogue(HIDDEN), [""; 0]);
        assert_eq!(mirror.index_cache(kept), before, "the lines that are served are those of before");
    }
    mirror.go(&["--accept-mass-removal"]).expect(0);
    assert_eq!(mirror.catalogue(HIDDEN).len(), 40);
    assert_ne!(mirror.index_cache(kept), before);
    mirror.go(&[]).expect(0);
}

#[test]
fn a_file_that_is_too_large_takes_nothing_away() {
    const HELD: &str = "SELECT name || ' ' || version FROM releases JOIN crates ON id = crate_id ORDER BY 1";
    let mirror = Incremental::new(79);
    let name = mirror.world.registry.crates.keys().next().unwrap().clone();
    let held = mirror.catalogue(HELD);
    let checkout = mirror.world.path("checkout");
    let files = git_says(&checkout, &["ls-files"]);
    let path = files.lines().find(|path| path.ends_with(&format!("/{}", name.to_lowercase()))).unwrap();
    let file = std::fs::File::options().write(true).open(checkout.join(path)).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    git(&checkout, &["-c", "core.compression=1", "commit", "--quiet", "-am", "large"]);
    // As a change, in a run over all files, by its name, and where it would be pruned.
    let ways = [&[][..], &["--verify-existing"], &["--crates", &name], &["--prune", "--allow-mass-prune"]];
    for how in ways {
        let ended = mirror.go(how).expect(3);
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.contains(path) && told.contains("67108865 bytes"), "{how:?}: {told}");
        assert_eq!(mirror.catalogue(HIDDEN), Vec::<String>::new(), "{how:?}");
        assert_eq!(mirror.catalogue(HELD), held, "{how:?}");
    }
    mirror.publish();
    mirror.go(&["--crates", &name]).expect(0);
    mirror.go(&[]).expect(0);
}
