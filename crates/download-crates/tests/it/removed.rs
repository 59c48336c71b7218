//! Releases that upstream deleted are held and not offered; gaps that a person knows are no alarm.

use mirror_testkit::{Fault, git, git_says};

use crate::nightly::Nightly;
use crate::world::run;

const HIDDEN: &str = "SELECT crate || ' ' || version FROM withdrawn WHERE kind = 'deleted' ORDER BY 1";

/// Takes away one crate of the registry and returns its name.
fn take_one_away(nightly: &mut Nightly) -> String {
    let name = nightly.world.registry.crates.keys().next().unwrap().clone();
    nightly.world.registry.crates.remove(&name);
    nightly.publish();
    name
}

#[test]
fn what_was_deleted_stays_hidden_when_the_catalogue_is_made_again() {
    let mut nightly = Nightly::new(71);
    let name = take_one_away(&mut nightly);
    nightly.go(&[]).expect(0);
    let hidden = nightly.catalogue(HIDDEN);
    assert!(!hidden.is_empty() && hidden.iter().all(|id| id.starts_with(&format!("{name} "))), "{hidden:?}");
    // Made again by the command for it, and by the next run alone.
    run(nightly.world.command("out").args(["--rebuild-catalogue"])).expect(0);
    assert_eq!(nightly.catalogue(HIDDEN), hidden);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(nightly.world.path(&format!("out/.mirror/catalogue.sqlite{suffix}")));
    }
    nightly.go(&[]).expect(0);
    assert_eq!(nightly.catalogue(HIDDEN), hidden);
    let manifest = std::fs::read_to_string(nightly.world.path("out.jsonl")).unwrap();
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
    let mut nightly = Nightly::new(72);
    let (name, releases) = {
        let crates = &nightly.world.registry.crates;
        let (name, releases) =
            crates.iter().find(|(name, _)| name.chars().next().unwrap().is_ascii_lowercase()).unwrap();
        (name.clone(), releases.len())
    };
    let other = name.to_ascii_uppercase();
    nightly.world.registry.crates.remove(&name);
    nightly.world.registry.add(&other, "9.9.9", b"another");
    nightly.publish();
    nightly.go(&[]).expect(0);
    let hidden = nightly.catalogue(HIDDEN);
    assert_eq!(hidden.len(), releases, "{hidden:?}");
    assert!(hidden.iter().all(|id| id.starts_with(&format!("{name} "))), "{hidden:?}");
}

#[test]
fn what_comes_back_is_offered_again_and_other_sources_say_nothing() {
    let mut nightly = Nightly::new(73);
    let before = nightly.world.registry.clone();
    take_one_away(&mut nightly);
    nightly.go(&[]).expect(0);
    let hidden = nightly.catalogue(HIDDEN);
    assert!(!hidden.is_empty());
    // An old copy of the index still has it: that is not the source that took it away.
    before.write_index(&nightly.world.path("older"));
    let base = format!("{}/crates", nightly.world.origin.base());
    for _ in 0..2 {
        run(nightly.world.command("out").args(["--index-dir", "older", "--crates-base-url", &base]))
            .expect(0);
        assert_eq!(nightly.catalogue(HIDDEN), hidden);
    }
    nightly.world.registry = before;
    nightly.publish();
    nightly.go(&[]).expect(0);
    assert_eq!(nightly.catalogue(HIDDEN), [""; 0]);
}

#[test]
fn a_known_gap_is_no_alarm_until_it_heals() {
    let mut nightly = Nightly::new(74);
    nightly.world.registry.add("never-there", "1.0.0", b"late");
    nightly.publish();
    nightly.world.origin.script(|ask| {
        if ask.path.contains("never-there") && ask.path.contains(".crate") {
            Fault::Status(403)
        } else {
            Fault::None
        }
    });
    nightly.go(&[]).expect(3);
    let listed = run(nightly.world.command("out").arg("--gaps")).expect(0);
    assert!(listed.stdout.starts_with("never-there 1.0.0\tnew\tHTTP 403"), "{}", listed.stdout);
    let write = |text: &str| std::fs::write(nightly.world.path("gaps.toml"), text).unwrap();
    write("[[gap]]\nrelease = \"never-there@1.0.0\"\nsince = 2019-11-26\nwho = \"us\"\nwhi = \"403\"\n");
    let refused = nightly.go(&["--acknowledge-gaps", "gaps.toml"]).expect(2);
    assert!(refused.stderr.contains("the nearest key is"), "{}", refused.stderr);
    write("[[gap]]\nrelease = \"never-there@1.0.0\"\nsince = 2019-11-26\nwho = \"us\"\nwhy = \"403\"\n");
    nightly.go(&["--acknowledge-gaps", "gaps.toml"]).expect(0);
    let again = nightly.go(&[]).expect(0);
    assert!(again.stdout.contains("known gaps"), "{}", again.stdout);
    run(nightly.world.command("out").args(["--rebuild-catalogue"])).expect(0);
    nightly.go(&[]).expect(0);
    let listed = run(nightly.world.command("out").arg("--gaps")).expect(0);
    assert!(
        listed.stdout.contains("\tknown\tHTTP 403") && listed.stdout.contains("us: 403"),
        "{}",
        listed.stdout
    );
    nightly.world.registry.add("new-gap", "1.0.0", b"later");
    nightly.publish();
    nightly.world.origin.script(|ask| {
        let gap = ask.path.contains("never-there") || ask.path.contains("new-gap");
        if gap && ask.path.contains(".crate") { Fault::Status(403) } else { Fault::None }
    });
    nightly.go(&[]).expect(3);
    nightly.world.origin.heal();
    let healed = nightly.go(&[]).expect(0);
    assert!(
        healed.stdout.contains("gaps healed") && healed.stdout.contains("never-there 1.0.0"),
        "{}",
        healed.stdout
    );
    let listed = run(nightly.world.command("out").arg("--gaps")).expect(0);
    assert_eq!(listed.stdout, "no gaps are known\n");
}

#[test]
fn a_mass_disappearance_is_hidden_only_when_it_is_accepted() {
    let mut nightly = Nightly::new(75);
    for n in 0..1_100 {
        let body = format!("{n}");
        nightly.world.registry.add(
            &format!("many-{}", n / 11),
            &format!("{}.0.0", n % 11 + 1),
            body.as_bytes(),
        );
    }
    nightly.publish();
    nightly.go(&[]).expect(0);
    // Whole crates, and the oldest release of others.
    for n in 0..100 {
        let name = format!("many-{n}");
        if n < 3 {
            nightly.world.registry.crates.remove(&name);
        } else if n < 10 {
            nightly.world.registry.crates.get_mut(&name).unwrap().remove(0);
        }
    }
    nightly.world.registry.add("news", "1.0.0", b"news");
    nightly.publish();
    let kept = "SELECT CAST(size AS TEXT) FROM index_files WHERE path = 'ma/ny/many-5'";
    let before = nightly.index_cache(kept);
    for downloaded in [1, 0] {
        let refused = nightly.go(&[]).expect(3);
        assert!(refused.stdout.contains("40 releases disappeared upstream"), "{}", refused.stdout);
        assert!(refused.stdout.contains("--accept-mass-removal"), "{}", refused.stdout);
        assert_eq!(refused.count("downloaded"), downloaded, "other work is done");
        assert_eq!(nightly.catalogue(HIDDEN), [""; 0]);
        assert_eq!(nightly.index_cache(kept), before, "the lines that are served are those of before");
    }
    nightly.go(&["--accept-mass-removal"]).expect(0);
    assert_eq!(nightly.catalogue(HIDDEN).len(), 40);
    assert_ne!(nightly.index_cache(kept), before);
    nightly.go(&[]).expect(0);
}

#[test]
fn a_file_that_is_too_large_takes_nothing_away() {
    const HELD: &str = "SELECT name || ' ' || version FROM releases JOIN crates ON id = crate_id ORDER BY 1";
    let nightly = Nightly::new(79);
    let name = nightly.world.registry.crates.keys().next().unwrap().clone();
    let held = nightly.catalogue(HELD);
    let checkout = nightly.world.path("checkout");
    let files = git_says(&checkout, &["ls-files"]);
    let path = files.lines().find(|path| path.ends_with(&format!("/{}", name.to_lowercase()))).unwrap();
    let file = std::fs::File::options().write(true).open(checkout.join(path)).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    git(&checkout, &["-c", "core.compression=1", "commit", "--quiet", "-am", "large"]);
    // As a change, as one of all files, by its name, and where what is gone would be removed.
    let ways = [&[][..], &["--verify-existing"], &["--crates", &name], &["--prune", "--allow-mass-prune"]];
    for how in ways {
        let ended = nightly.go(how).expect(3);
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.contains(path) && told.contains("67108865 bytes"), "{how:?}: {told}");
        assert_eq!(nightly.catalogue(HIDDEN), Vec::<String>::new(), "{how:?}");
        assert_eq!(nightly.catalogue(HELD), held, "{how:?}");
    }
    nightly.publish();
    nightly.go(&["--crates", &name]).expect(0);
    nightly.go(&[]).expect(0);
}
