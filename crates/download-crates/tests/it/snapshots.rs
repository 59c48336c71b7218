//! Snapshots of what a mirror offers: taken by runs, signed, listed, compared, checked and refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use mirror_testkit::{Ended, Fault, Gpg, SSH_IDENTITY, Ssh, SshAgent, TestRegistry};
use serde_json::Value;

use crate::world::{World, hex, run};

/// Makes a registry: `a 1.0.0` and `1.1.0`, `b 1.0.0`.
fn world() -> World {
    let mut registry = TestRegistry::default();
    for (name, version) in [("a", "1.0.0"), ("a", "1.1.0"), ("b", "1.0.0")] {
        registry.add(name, version, format!("{name} {version}").as_bytes());
    }
    World::new(registry)
}

impl World {
    /// Adds a release to the registry, and mirrors it.
    fn grow(&mut self, out: &str, version: &str) {
        self.registry.add("grown", version, format!("grown {version} for {out}").as_bytes());
        self.publish();
        run(&mut self.mirroring(out)).expect(0);
    }

    fn document(&self, out: &str, serial: u64) -> PathBuf {
        self.path(out).join(format!("snapshots/snapshot-{serial}.json"))
    }

    fn snapshot(&self, out: &str, serial: u64) -> Value {
        serde_json::from_slice(&std::fs::read(self.document(out, serial)).unwrap()).unwrap()
    }

    /// Returns the names of the files in the directory of snapshots.
    fn files(&self, out: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(out).join("snapshots"))
            .map(|dir| dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    fn check(&self, document: &Path, more: &[&str]) -> Ended {
        run(self.command("out").arg("--check-snapshot").arg(document).args(more))
    }

    /// Runs SQL on the catalogue of a mirror.
    fn sql(&self, out: &str, statements: &str) {
        let path = self.path(out).join(".mirror/catalogue.sqlite");
        rusqlite::Connection::open(path).unwrap().execute_batch(statements).unwrap();
    }
}

/// Copies a mirror, with its manifest.
fn copy(world: &World, from: &str, to: &str) {
    for suffix in ["", ".jsonl"] {
        let (from, to) = (world.path(&format!("{from}{suffix}")), world.path(&format!("{to}{suffix}")));
        run(Command::new("cp").arg("-a").args([from, to])).expect(0);
    }
}

#[test]
fn a_run_takes_a_snapshot_when_something_changed() {
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    let first = world.snapshot("out", 1);
    let counts = serde_json::json!({"crates": 2, "releases": 3, "bytes": 21});
    assert_eq!((&first["serial"], &first["previous"], &first["counts"]), (&1.into(), &Value::Null, &counts));
    assert_eq!(first["gaps"], serde_json::json!([]));

    // Nothing new: no new one.
    let again = run(&mut world.mirroring("out")).expect(0);
    assert!(!again.stderr.contains("took a snapshot"), "{}", again.stderr);
    assert_eq!(world.files("out"), ["snapshot-1.json"]);

    world.grow("out", "1.0.0");
    let second = world.snapshot("out", 2);
    let digest = hex(&std::fs::read(world.document("out", 1)).unwrap());
    assert_eq!(second["previous"], Value::from(digest));
    assert_eq!(second["counts"]["releases"], 4);
    let differing: Vec<usize> =
        (0..256).filter(|unit| first["units"][unit] != second["units"][unit]).collect();
    let unit = u8::from_str_radix(&hex(b"grown")[..2], 16).unwrap();
    assert_eq!(differing, [usize::from(unit)]);

    // A run that is told to take none takes none, and the next one takes it.
    world.registry.add("b", "1.1.0", b"b 1.1.0");
    world.publish();
    run(world.mirroring("out").arg("--no-snapshot")).expect(0);
    assert_eq!(world.files("out"), ["snapshot-1.json", "snapshot-2.json"]);
    run(&mut world.mirroring("out")).expect(0);
    assert_eq!(world.snapshot("out", 3)["counts"]["releases"], 5);
}

/// Everything but the id, the serial, the times and what came before is the same, however a mirror came to its state.
#[test]
fn equal_states_have_equal_snapshots() {
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    world.grow("out", "1.0.0");
    run(&mut world.mirroring("other")).expect(0);
    let bundled = ["--bundle", "--bundles-out", "bundles"];
    run(world.mirroring("bundled").args(bundled)).expect(0);
    let rest = |out: &str, serial| {
        let mut document = world.snapshot(out, serial);
        for field in ["mirror", "serial", "created", "expires", "previous"] {
            assert!(document.as_object_mut().unwrap().remove(field).is_some());
        }
        serde_json::to_string_pretty(&document).unwrap()
    };
    assert_eq!(rest("out", 2), rest("other", 1));
    assert_eq!(rest("out", 2), rest("bundled", 1));
}

/// Every kind of source gives one: here a list of addresses, and a sparse registry.
#[test]
fn mirrors_of_every_kind_have_snapshots() {
    let world = world();
    let base = world.origin.base();
    std::fs::write(world.path("urls"), world.registry.url_list(&base)).unwrap();
    std::fs::write(world.path("sums"), world.registry.checksums(&base)).unwrap();
    run(world.command("listed").args(["--list", "urls", "--checksums", "sums"])).expect(0);
    let index = format!("sparse+{}/index/", world.origin.base());
    run(world.command("sparse").args(["--index-url", &index, "--crates", "a", "--crates", "b"])).expect(0);
    run(&mut world.mirroring("out")).expect(0);
    for out in ["listed", "sparse"] {
        assert!(world.snapshot(out, 1)["units"] == world.snapshot("out", 1)["units"], "{out} has other rows");
    }
}

#[test]
fn what_could_not_be_fetched_is_named_and_an_unfinished_run_takes_none() {
    let mut world = world();
    let missing = world.registry.crates["b"][0].url_path();
    world
        .origin
        .script(move |ask| if ask.path.ends_with(&missing) { Fault::Status(404) } else { Fault::None });
    run(&mut world.mirroring("out")).expect(3);
    let document = world.snapshot("out", 1);
    let gap = &document["gaps"][0];
    assert_eq!(
        (&gap["name"], &gap["version"], &gap["kind"]),
        (&"b".into(), &"1.0.0".into(), &"failed".into())
    );
    assert_eq!(document["counts"]["releases"], 2);

    // Other bytes of a held release could not be fetched.
    world.origin.heal();
    run(&mut world.mirroring("out")).expect(0);
    world.registry.republish("a", "1.0.0", b"other bytes");
    world.publish();
    world.origin.script(
        |ask| {
            if ask.path.ends_with("a-1.0.0.crate") { Fault::Status(404) } else { Fault::None }
        },
    );
    run(&mut world.mirroring("out")).expect(3);
    let document = world.snapshot("out", 3);
    assert_eq!((&document["gaps"][0]["name"], &document["counts"]["releases"]), (&"a".into(), &2.into()));
    world.origin.heal();

    // A run of a part goes through that part only, and still states everything that is offered.
    run(world.mirroring("part").args(["--crates", "a"])).expect(0);
    assert_eq!(world.snapshot("part", 1)["counts"]["releases"], 2);
    run(world.mirroring("none").args(["--dry-run"])).expect(0);
    assert!(world.files("none").is_empty());
}

#[test]
fn ssh_keys_sign_and_stock_tools_and_the_program_verify() {
    let Some(ssh) = Ssh::new() else { return };
    let world = world();
    let (plain, locked) = (ssh.generate("plain", "ed25519", ""), ssh.generate("locked", "ecdsa", "secret"));
    let agent = SshAgent::start(&ssh);
    let held = ssh.generate("held", "rsa 2048", "");
    agent.add(&held).expect(0);
    std::fs::remove_file(&held).unwrap();
    let public = ssh.path("held.pub");
    let key = |path: &Path| format!("--sign-key={}", path.display());

    // A passphrase is missing or wrong: the run ends before it fetches anything.
    let refused = run(world.mirroring("out").arg(key(&locked))).expect(2);
    assert!(refused.stderr.contains("--passphrase-file"), "{}", refused.stderr);
    run(world.mirroring("out").arg(key(&locked)).env("MIRROR_SIGN_PASSPHRASE", "wrong")).expect(2);
    assert!(!world.path("out/.mirror/catalogue.sqlite").exists());

    let mut command = world.mirroring("out");
    command.args([key(&plain), key(&locked), key(&public)]);
    command.env("MIRROR_SIGN_PASSPHRASE", "secret").env("SSH_AUTH_SOCK", &agent.socket);
    let signed = run(&mut command).expect(0);
    assert!(signed.stderr.contains("and signed it"), "{}", signed.stderr);
    let names = ["", ".sig", ".sig.2", ".sig.3"].map(|suffix| format!("snapshot-1.json{suffix}"));
    assert_eq!(world.files("out"), names);
    let (document, allowed) = (world.document("out", 1), ssh.allowed("", &["plain", "locked", "held"]));
    let bytes = std::fs::read(&document).unwrap();
    for name in &names[1..] {
        let signature = std::fs::read(document.with_file_name(name)).unwrap();
        assert!(ssh.verify(&allowed, &[], &signature, &bytes), "{name}");
    }

    let allowed = ssh.put("allowed", &allowed).display().to_string();
    let checked = world.check(&document, &["--allowed-signers", &allowed, "--threshold", "3"]).expect(0);
    assert!(checked.stdout.contains("is snapshot 1 of mirror"), "{}", checked.stdout);
    assert_eq!(checked.stdout.matches("signed by").count(), 3, "{}", checked.stdout);
    world.check(&document, &["--allowed-signers", &allowed, "--identity", SSH_IDENTITY]).expect(0);
    // Nobody says whose signature counts.
    world.check(&document, &[]).expect(2);
    let unsigned = world.check(&document, &["--allow-unsigned"]).expect(0);
    assert!(unsigned.stdout.contains("not checked"), "{}", unsigned.stdout);

    let refusals: [(&[&str], &str); 3] = [
        (&["--threshold", "4"], "3 of 4"),
        (&["--identity", "somebody@example.org"], "identity"),
        (&["--revoked-keys", public.to_str().unwrap(), "--threshold", "3"], "revoked"),
    ];
    for (more, why) in refusals {
        let refused = world.check(&document, &[&["--allowed-signers", &allowed], more].concat()).expect(8);
        assert!(refused.stderr.contains(why), "{why} is not in {}", refused.stderr);
    }
    // A snapshot with fewer signatures than the run has keys gets all of them.
    run(world.mirroring("few").arg(key(&plain))).expect(0);
    assert_eq!(world.files("few"), names[..2]);
    let mut command = world.mirroring("few");
    run(command.args([key(&plain), key(&locked)]).env("MIRROR_SIGN_PASSPHRASE", "secret")).expect(0);
    assert_eq!(world.files("few"), names[..3]);

    let ended = ssh.allowed("valid-before=\"20200101Z\"", &["plain", "locked", "held"]);
    let ended = ssh.put("ended", ended).display().to_string();
    let refused = world.check(&document, &["--allowed-signers", &ended]).expect(8);
    assert!(refused.stderr.contains("valid"), "{}", refused.stderr);
}

#[test]
fn gpg_signs_and_the_newest_snapshot_gets_a_signature_that_it_lacks() {
    let Some(gpg) = Gpg::new() else { return };
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    assert_eq!(world.files("out"), ["snapshot-1.json"]);
    let key = gpg.generate("a", "never");
    let sign = |world: &World| {
        run(world.mirroring("out").args(["--sign-gpg", &key]).env("GNUPGHOME", gpg.home())).expect(0)
    };
    sign(&world);
    assert_eq!(world.files("out"), ["snapshot-1.json", "snapshot-1.json.asc"]);
    let keyring = gpg.keyring(&[], &[&key]).display().to_string();
    let document = world.document("out", 1);
    world.check(&document, &["--gpg-keyring", &keyring]).expect(0);
    let asc = document.with_file_name("snapshot-1.json.asc");
    gpg.run(&["--verify", asc.to_str().unwrap(), document.to_str().unwrap()]).expect(0);
    let none = world.check(&document, &["--gpg-keyring", "missing"]).expect(2);
    assert!(none.stderr.contains("--gpg-keyring"), "{}", none.stderr);

    // A key that is not there: everything else is done, and the next run takes the snapshot.
    world.registry.add("late", "1.0.0", b"late");
    world.publish();
    let failed = run(world.mirroring("out").args(["--sign-gpg", "nobody"]).env("GNUPGHOME", gpg.home()));
    let failed = failed.expect(3);
    assert!(failed.stderr.contains("could not sign the snapshot"), "{}", failed.stderr);
    assert_eq!((failed.count("downloaded"), world.files("out").len()), (1, 2));
    sign(&world);
    assert_eq!(world.snapshot("out", 2)["counts"]["releases"], 4);
}

#[test]
fn what_may_not_follow_is_refused() {
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    copy(&world, "out", "forked");
    world.grow("out", "1.0.0");
    world.registry.crates.remove("grown");
    world.grow("forked", "1.0.0");
    world.grow("forked", "1.1.0");
    run(&mut world.mirroring("stranger")).expect(0);
    let (one, two) = (world.document("out", 1), world.document("out", 2));
    let after = |held: &Path, document: &Path, more: &[&str]| {
        let held = held.to_str().unwrap();
        world.check(document, &[&["--allow-unsigned", "--after", held], more].concat())
    };
    let followed = after(&one, &two, &[]).expect(0).stdout;
    let unit = format!("unit {} differs", &hex(b"grown")[..2]);
    assert!(followed.contains("the one before") && followed.contains(&unit), "{followed}");
    after(&two, &two, &[]).expect(0);
    let skipped = after(&one, &world.document("forked", 3), &[]).expect(0);
    assert!(skipped.stdout.contains("1 between are not known"), "{}", skipped.stdout);

    for (held, document, at, why) in [
        (&two, &one, "", "serial"),
        (&two, &world.document("forked", 2), "", "is held with digest"),
        (&two, &world.document("forked", 3), "", "does not follow"),
        (&one, &world.document("stranger", 1), "", "mirror"),
        (&one, &two, "2100-01-01", "expired"),
        (&two, &two, "2100-01-01", "expired"),
        (&one, &two, "2020-01-01", "it is only"),
    ] {
        let more: &[&str] = if at.is_empty() { &[] } else { &["--at", at] };
        let refused = after(held, document, more).expect(8);
        assert!(refused.stderr.contains(why), "{why} is not in {}", refused.stderr);
    }
    // An expired one is good where the clock is wrong.
    run(world.mirroring("brief").args(["--valid-for", "1s"])).expect(0);
    let brief = world.snapshot("brief", 1);
    let created = brief["created"].as_str().unwrap();
    world.check(&world.document("brief", 1), &["--allow-unsigned", "--at", created]).expect(0);
}

#[test]
fn a_flipped_bit_in_a_document_or_in_rows_is_found() {
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    world.grow("out", "1.0.0");
    let document = world.document("out", 1);
    let rows = ["--allow-unsigned", "--check-rows"];
    let checked = world.check(&document, &rows).expect(0);
    assert!(checked.stdout.contains("those of the mirror"), "{}", checked.stdout);
    world.check(&world.document("out", 2), &rows).expect(0);

    let bytes = std::fs::read(&document).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 12) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&document, flipped).unwrap();
        let refused = world.check(&document, &rows);
        assert!([4, 8].contains(&refused.code), "{at}: {}", refused.stderr);
    }
    std::fs::write(&document, &bytes).unwrap();

    // Rows of now, which both have, and rows that only the first has.
    let beside = "INSERT INTO offered_before (crate, serial, version) VALUES ('a', 3, '');
        INSERT INTO offered_before SELECT name, 3, version, sha256, size, 0
            FROM releases JOIN crates ON id = crate_id WHERE name = 'a';
        UPDATE releases SET sha256 = zeroblob(32) WHERE version = '1.1.0'";
    let flips = [
        // What is offered, beside rows that say otherwise.
        (beside, 2),
        ("UPDATE releases SET sha256 = zeroblob(32) WHERE version = '1.1.0'", 2),
        ("UPDATE offered_before SET yanked = 1 - yanked WHERE version <> ''", 1),
        ("DELETE FROM offered_before WHERE crate = 'grown'", 1),
    ];
    copy(&world, "out", "kept");
    for (flip, serial) in flips {
        std::fs::remove_dir_all(world.path("out")).unwrap();
        copy(&world, "kept", "out");
        if flip.contains("yanked") {
            // The crate whose rows only the first snapshot has.
            world.registry.crates.get_mut("b").unwrap()[0].yanked = true;
            world.publish();
            run(&mut world.mirroring("out")).expect(0);
        }
        world.sql("out", flip);
        let refused = world.check(&world.document("out", serial), &rows).expect(8);
        assert!(refused.stderr.contains("has other releases for snapshot"), "{flip}: {}", refused.stderr);
    }
}

#[test]
fn the_newest_are_kept_and_those_that_are_pinned() {
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    std::fs::write(world.path("out/snapshots/snapshot-1.json.pin"), "").unwrap();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        world.registry.add("grown", version, version.as_bytes());
        world.publish();
        run(world.mirroring("out").args(["--keep-snapshots", "2"])).expect(0);
    }
    let names = ["snapshot-1.json", "snapshot-1.json.pin", "snapshot-3.json", "snapshot-4.json"];
    assert_eq!(world.files("out"), names);
    for serial in [1, 3, 4] {
        world.check(&world.document("out", serial), &["--allow-unsigned", "--check-rows"]).expect(0);
    }
    let listed = run(world.command("out").arg("--snapshots")).expect(0).stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    assert!(lines[0].starts_with("1\tfrom ") && lines[0].ends_with("not signed, pinned"), "{listed}");
    assert!(lines[2].contains("6 releases of 3 crates"), "{listed}");
    let gone = run(world.command("out").args(["--diff-snapshots", "2..4"])).expect(2);
    assert!(gone.stderr.contains("no snapshot with serial 2"), "{}", gone.stderr);
}

#[test]
fn documents_of_other_mirrors_stay_and_take_no_place() {
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    run(&mut world.mirroring("other")).expect(0);
    let mut grow = |version: &str, out: &str, keep: &str| {
        world.registry.add("grown", version, version.as_bytes());
        world.publish();
        run(world.mirroring(out).args(["--keep-snapshots", keep])).expect(0);
    };
    grow("1.0.0", "other", "9");
    grow("1.1.0", "other", "9");
    grow("1.2.0", "out", "9");
    let foreign = ["snapshot-3.json", "snapshot-4.json"];
    let ours = ["snapshot-1.json", "snapshot-2.json", "snapshot-5.json"];
    // A document that nobody can read may be anyone's.
    std::fs::copy(world.document("other", 3), world.path("out/snapshots/snapshot-3.json")).unwrap();
    std::fs::write(world.path("out/snapshots/snapshot-4.json"), "{").unwrap();
    world.registry.add("grown", "1.3.0", b"1.3.0");
    world.publish();
    run(world.mirroring("out").args(["--keep-snapshots", "3"])).expect(0);
    let mut all = [&ours[..], &foreign[..]].concat();
    all.sort_unstable();
    assert_eq!(world.files("out"), all);
    world.registry.add("grown", "1.4.0", b"1.4.0");
    world.publish();
    run(world.mirroring("out").args(["--keep-snapshots", "1"])).expect(0);
    assert_eq!(world.files("out"), [&foreign[..], &["snapshot-6.json"]].concat());
}

#[test]
fn differences_are_told_by_name() {
    let mut world = world();
    world.registry.add("gone", "1.0.0", b"gone");
    world.publish();
    run(&mut world.mirroring("out")).expect(0);
    world.registry.crates.remove("gone");
    world.registry.crates.get_mut("a").unwrap()[0].yanked = true;
    world.registry.republish("b", "1.0.0", b"other bytes");
    world.registry.add("new", "1.0.0", b"new");
    world.publish();
    std::fs::write(world.path("out/policy.toml"), "deny = [\"a@1.1.0\"]\n").unwrap();
    run(world.mirroring("out").args(["--accept-mass-removal"])).expect(0);
    let told = run(world.command("out").args(["--diff-snapshots", "1..2"])).expect(0).stdout;
    let held_back = told.lines().nth(1).unwrap();
    assert!(told.starts_with("yanked\ta 1.0.0\n"), "{told}");
    assert!(held_back.starts_with("held back\ta 1.1.0\theld back since "), "{told}");
    assert!(held_back.ends_with(" by deny: matches `a@1.1.0`"), "{told}");
    for line in ["replaced\tb 1.0.0", "removed\tgone 1.0.0", "added\tnew 1.0.0"] {
        assert!(told.lines().any(|found| found == line), "{line} is not in {told}");
    }
    let sum = "1 added, 1 removed, 1 newly held back, 1 replaced, 1 yanked, 0 unyanked; 4 units differ: ";
    let mut units = ["a", "b", "gone", "new"].map(|name| hex(name.as_bytes())[..2].to_owned());
    units.sort();
    assert_eq!(told.lines().last().unwrap(), format!("{sum}{}", units.join(" ")));
    // From one to now, and back.
    assert_eq!(run(world.command("out").args(["--diff-snapshots", "1.."])).expect(0).stdout, told);
    let back = run(world.command("out").args(["--diff-snapshots", "2..1"])).expect(0).stdout;
    assert!(back.contains("unyanked\ta 1.0.0") && back.contains("removed\tnew 1.0.0"), "{back}");
    let none = run(world.command("out").args(["--diff-snapshots", "2..2"])).expect(0).stdout;
    assert!(none.lines().count() == 1 && none.ends_with("no unit differs\n"), "{none}");
}

/// A kill may come between a document and its rows, and a document or a catalogue may be lost.
#[test]
fn lost_halves_of_a_snapshot_do_no_harm() {
    let mut world = world();
    run(&mut world.mirroring("out")).expect(0);
    world.grow("out", "1.0.0");
    // The document of the second is published, and its rows are not recorded.
    let forget = "DELETE FROM snapshots WHERE serial = 2";
    world.sql("out", forget);
    run(&mut world.mirroring("out")).expect(0);
    assert_eq!(world.files("out").len(), 2);
    world.check(&world.document("out", 2), &["--allow-unsigned", "--check-rows"]).expect(0);

    // The same, and something changes before the next run comes to its end.
    world.sql("out", forget);
    world.grow("out", "1.1.0");
    let digest = hex(&std::fs::read(world.document("out", 2)).unwrap());
    assert_eq!(world.snapshot("out", 3)["previous"], Value::from(digest));
    world.check(&world.document("out", 3), &["--allow-unsigned", "--check-rows"]).expect(0);

    // The newest document is lost: its serial is not used again, and the chain goes on.
    let digest = hex(&std::fs::read(world.document("out", 3)).unwrap());
    std::fs::remove_file(world.document("out", 3)).unwrap();
    run(&mut world.mirroring("out")).expect(0);
    let fourth = world.snapshot("out", 4);
    assert_eq!(fourth["previous"], Value::from(digest));
    world.check(&world.document("out", 4), &["--allow-unsigned", "--check-rows"]).expect(0);

    // The newest document is damaged: it is passed over, with a warning.
    std::fs::write(world.document("out", 4), b"{").unwrap();
    world.grow("out", "1.2.0");
    assert_eq!(world.snapshot("out", 5)["counts"]["releases"], 6);

    // The document of another mirror is no part of the chain, and is not overwritten.
    run(&mut world.mirroring("stranger")).expect(0);
    let strange = std::fs::read_to_string(world.document("stranger", 1)).unwrap();
    let strange = strange.replace("\"serial\": 1,", "\"serial\": 6,");
    std::fs::write(world.document("out", 6), &strange).unwrap();
    let listed = run(world.command("out").arg("--snapshots")).expect(8);
    assert!(listed.stdout.lines().any(|line| line.starts_with("5\t")), "{}", listed.stdout);
    assert!(listed.stderr.contains("snapshot-4.json cannot be used"), "{}", listed.stderr);

    // A new catalogue knows no rows of earlier ones, and the chain goes on.
    run(world.command("out").arg("--rebuild-catalogue")).expect(0);
    let unknown = world.check(&world.document("out", 5), &["--allow-unsigned", "--check-rows"]).expect(2);
    assert!(unknown.stderr.contains("does not know what snapshot 5 offered"), "{}", unknown.stderr);
    run(&mut world.mirroring("out")).expect(0);
    world.check(&world.document("out", 5), &["--allow-unsigned", "--check-rows"]).expect(0);
    world.grow("out", "1.3.0");
    let digest = hex(&std::fs::read(world.document("out", 5)).unwrap());
    assert_eq!(world.snapshot("out", 7)["previous"], Value::from(digest));
    assert_eq!(std::fs::read_to_string(world.document("out", 6)).unwrap(), strange);

    // Everything that names the mirror is lost: it is another one from then on.
    std::fs::remove_dir_all(world.path("out/.mirror")).unwrap();
    std::fs::remove_file(world.path("out.jsonl")).unwrap();
    run(&mut world.mirroring("out")).expect(0);
    let first = world.snapshot("out", 8);
    assert_eq!((&first["previous"], &first["counts"]["releases"]), (&Value::Null, &7.into()));
}

/// The yank of a release survives its repair, and ends with a fetch that failed before.
#[test]
fn yanks_are_stated_as_the_index_has_them_whatever_happened_to_the_bytes() {
    let mut world = world();
    world.registry.crates.get_mut("b").unwrap()[0].yanked = true;
    world.publish();
    let mirror = |world: &World, out: &str, more: &[&str], code: i32| {
        run(world.mirroring(out).arg("--include-yanked").args(more)).expect(code)
    };
    mirror(&world, "out", &[], 0);
    let path = mirror_sync::Layout::Shard.path(&world.registry.crates["b"][0].id);
    std::fs::write(world.path("out").join(path), b"b 0.0.1").unwrap();
    let repaired = mirror(&world, "out", &["--verify-existing"], 0);
    assert_eq!(repaired.count("quarantined"), 1);
    assert_eq!(world.files("out"), ["snapshot-1.json"], "nothing else is offered");

    // It could not be fetched while it was yanked, and is not yanked any more when it is.
    world.origin.script(
        |ask| {
            if ask.path.ends_with("b-1.0.0.crate") { Fault::Status(404) } else { Fault::None }
        },
    );
    mirror(&world, "late", &[], 3);
    world.origin.heal();
    world.registry.crates.get_mut("b").unwrap()[0].yanked = false;
    world.publish();
    mirror(&world, "late", &[], 0);
    mirror(&world, "fresh", &[], 0);
    assert!(world.snapshot("late", 2)["units"] == world.snapshot("fresh", 1)["units"], "other rows");
}
