//! Sidecars of a part of a registry's own index, each computed by Python as well: the short form of
//! `cargo xtask proof real-index`.

use std::path::PathBuf;

use mirror_testkit::{check_sidecars, count_index, git, has};

use crate::world::{BASE, World};

#[test]
fn python_computes_every_sidecar_of_a_real_index_alike() {
    if !has("python3", &["--version"]) {
        return;
    }
    let world = World::new(1, 0);
    let part = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/real-index/index");
    let facts = count_index(&part).unwrap();
    let copied = std::process::Command::new("cp").arg("-R").arg(&part).arg(world.path("checkout")).status();
    assert!(copied.unwrap().success());
    git(&world.path("checkout"), &["init", "--quiet", "--initial-branch=master"]);
    git(&world.path("checkout"), &["add", "--all"]);
    git(&world.path("checkout"), &["commit", "--quiet", "--message", "index"]);
    git(world.dir.path(), &["clone", "--quiet", "--bare", "checkout", "bare.git"]);
    let plain = part.to_str().unwrap();
    for (index, yanked) in [("checkout", true), ("bare.git", true), ("bare.git", false), (plain, false)] {
        let expected = if yanked { facts.releases } else { facts.releases - facts.yanked };
        let flag = format!("--include-yanked={yanked}");
        let common = ["--index-dir", index, flag.as_str()];
        let compared = |found: &str| {
            let index = if index == plain { part.clone() } else { world.path(index) };
            check_sidecars(&index, BASE, yanked, &world.path(found))
                .unwrap_or_else(|faults| panic!("{faults}"))
        };
        world.run(&[&common[..], &["--output-mode", "jsonl", "--jsonl-out", "s.jsonl"]].concat()).expect(0);
        assert_eq!(compared("s.jsonl"), expected, "{index}");
        let _ = std::fs::remove_dir_all(world.path("out"));
        world.run(&common).expect(0);
        assert_eq!(compared("out"), expected, "{index}");
    }
    // The check itself finds a wrong sidecar.
    let text = std::fs::read_to_string(world.path("s.jsonl")).unwrap();
    std::fs::write(world.path("s.jsonl"), text.replacen("\"yanked\":false", "\"yanked\":true", 1)).unwrap();
    let faults = check_sidecars(&part, BASE, false, &world.path("s.jsonl")).unwrap_err();
    assert!(faults.contains("line 1 is not that of"), "{faults}");
}
