//! Checks that stock gpg accepts our signatures, and that the program signs with keys of gpg.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mirror_testkit::Gpg;

use crate::world::{Ended, World, run};

fn import(gpg: &Gpg, key: &Path) {
    gpg.run(&["--import", key.to_str().unwrap()]).expect(0);
}

/// Verifies a detached signature with gpg, which reports its status in the form for programs.
fn verify(gpg: &Gpg, signature: &Path, data: &Path) -> Ended {
    gpg.run(&["--status-fd", "1", "--verify", signature.to_str().unwrap(), data.to_str().unwrap()])
}

/// Makes a key, exports both halves into the world, and returns its fingerprint.
fn generate(gpg: &Gpg, world: &World, kind: &str, passphrase: &str) -> String {
    let id = format!("{kind} <{kind}@example.org>");
    gpg.run(&["--passphrase", passphrase, "--quick-generate-key", &id, kind, "sign", "never"]).expect(0);
    export(gpg, world, &id, passphrase)
}

fn export(gpg: &Gpg, world: &World, id: &str, passphrase: &str) -> String {
    for (name, export) in [("secret.asc", "--export-secret-keys"), ("public.asc", "--export")] {
        let file = world.path(name);
        let _ = std::fs::remove_file(&file);
        let file = file.to_str().unwrap().to_owned();
        gpg.run(&["--passphrase", passphrase, "--armor", "--output", &file, export, id]).expect(0);
    }
    gpg.fingerprint(id)
}

/// Cuts the signature and the signed document out of the inventory, as the documentation describes.
fn cut_out(world: &World) {
    let yaml = std::fs::read_to_string(world.path("out/t.yaml")).unwrap();
    let begin = yaml.find("signature:\n").unwrap();
    let end = begin + yaml[begin..].find("\nfiles:").unwrap() + 1;
    std::fs::write(world.path("unsigned.yaml"), format!("{}{}", &yaml[..begin], &yaml[end..])).unwrap();
    let block: String =
        yaml[begin..end].lines().skip(4).map(|line| format!("{}\n", line.trim_start())).collect();
    std::fs::write(world.path("inside.asc"), block).unwrap();
}

#[track_caller]
fn gpg_accepts_both(gpg: &Gpg, world: &World, fingerprint: &str) {
    let good = verify(gpg, &world.path("out/t.yaml.asc"), &world.path("out/t.yaml")).expect(0);
    assert!(good.stdout.contains("GOODSIG") && good.stdout.contains(fingerprint), "{}", good.stdout);
    cut_out(world);
    verify(gpg, &world.path("inside.asc"), &world.path("unsigned.yaml")).expect(0);
}

#[test]
fn a_generated_key_signs() {
    let world = World::small();
    let ended = world.create(&[]).expect(0);
    let fingerprint = ended.value("signed by").to_owned();
    assert!(ended.stdout.contains("made by this run"), "{}", ended.stdout);
    assert!(ended.stdout.contains("must not travel"), "{}", ended.stdout);
    assert_eq!(world.outputs(), ["t.public.asc", "t.secret.asc", "t.tar", "t.yaml", "t.yaml.asc"]);
    assert_eq!(std::fs::metadata(world.path("out/t.secret.asc")).unwrap().mode() & 0o777, 0o600);

    let again = world.create(&[]).expect(0);
    assert_eq!(again.value("signed by"), fingerprint, "the key is kept");
    assert!(again.stdout.contains("used again"), "{}", again.stdout);
    let ended = world.verify(&["--dir", "t"]).expect(0);
    assert!(ended.value("signature").contains(&fingerprint));
    assert!(ended.stdout.contains("compare the fingerprint"), "{}", ended.stdout);
    let known = world.verify(&["--public-key", "out/t.public.asc"]).expect(0);
    assert!(!known.stdout.contains("compare the fingerprint"), "{}", known.stdout);

    let Some(gpg) = Gpg::new() else { return };
    import(&gpg, &world.path("out/t.public.asc"));
    gpg_accepts_both(&gpg, &world, &fingerprint);
    let mut yaml = std::fs::read(world.path("out/t.yaml")).unwrap();
    yaml[200] ^= 1;
    std::fs::write(world.path("out/t.yaml"), yaml).unwrap();
    verify(&gpg, &world.path("out/t.yaml.asc"), &world.path("out/t.yaml")).expect(1);
}

#[test]
fn keys_made_by_gpg_sign() {
    let Some(gpg) = Gpg::new() else { return };
    for (kind, passphrase) in [("ed25519", "correct horse"), ("rsa2048", ""), ("nistp256", "battery")] {
        let world = World::small();
        let fingerprint = generate(&gpg, &world, kind, passphrase);
        let mut command = world.command(&["--dir", "t", "--out-dir", "out", "--gpgkey", "secret.asc"]);
        if passphrase.is_empty() {
            run(&mut command).expect(0);
        } else {
            let ended = run(&mut command).expect(2);
            assert!(ended.stderr.contains("needs a passphrase"), "{}", ended.stderr);
            let ended = run(command.env("ARCHIVE_HASHER_PASSPHRASE", "wrong")).expect(2);
            assert!(ended.stderr.contains("does not unlock"), "{}", ended.stderr);
            assert!(
                world.outputs().is_empty(),
                "a key that does not work is found before anything is written"
            );
            run(command.env("ARCHIVE_HASHER_PASSPHRASE", passphrase)).expect(0);
            std::fs::write(world.path("phrase"), format!("{passphrase}\n")).unwrap();
            run(command.env_remove("ARCHIVE_HASHER_PASSPHRASE").args(["--passphrase-file", "phrase"]))
                .expect(0);
        }
        assert_eq!(world.outputs(), ["t.tar", "t.yaml", "t.yaml.asc"], "no key is left behind");
        gpg_accepts_both(&gpg, &world, &fingerprint);
        let ended = world.verify(&["--tar", "out/t.tar", "--public-key", "public.asc"]).expect(0);
        assert!(ended.value("signature").contains(&fingerprint), "{}", ended.stdout);
        let ended = world.verify(&[]).expect(2);
        assert!(ended.stderr.contains("give that --public-key"), "{}", ended.stderr);
        world.verify(&["--skip-signature"]).expect(0);
    }
}

#[test]
fn one_file_is_signed_as_it_is() {
    let Some(gpg) = Gpg::new() else { return };
    let world = World::small();
    let fingerprint = generate(&gpg, &world, "ed25519", "battery");
    std::fs::write(world.path("SUMS"), "of something\n").unwrap();
    let sign = |arguments: &[&str]| {
        let mut command = world.command(&["sign", "--gpgkey", "secret.asc"]);
        run(command.args(arguments).env("ARCHIVE_HASHER_PASSPHRASE", "battery"))
    };
    let (file, signature) = (world.path("SUMS"), world.path("SUMS.asc"));
    let ended = sign(&["SUMS"]).expect(0);
    assert_eq!(ended.value("signed by"), fingerprint);
    let good = verify(&gpg, &signature, &file).expect(0);
    assert!(good.stdout.contains("GOODSIG") && good.stdout.contains(&fingerprint), "{}", good.stdout);

    // A second run signs the new contents.
    std::fs::write(&file, "of something else\n").unwrap();
    verify(&gpg, &signature, &file).expect(1);
    sign(&["SUMS"]).expect(0);
    verify(&gpg, &signature, &file).expect(0);

    let old = std::fs::read(&signature).unwrap();
    let locked = run(&mut world.command(&["sign", "--gpgkey", "secret.asc", "SUMS"])).expect(2);
    assert!(locked.stderr.contains("give --passphrase-file"), "{}", locked.stderr);
    assert_eq!(std::fs::read(&signature).unwrap(), old, "a run that fails leaves the old signature");
    let missing = sign(&["missing"]).expect(2);
    assert!(missing.stderr.contains("missing"), "{}", missing.stderr);
    let directory = sign(&["t"]).expect(2);
    assert!(directory.stderr.contains("not a regular file"), "{}", directory.stderr);
    assert!(!world.path("t.asc").exists());
}

#[test]
fn a_public_key_of_an_earlier_run_is_not_taken_for_the_senders() {
    let Some(gpg) = Gpg::new() else { return };
    let world = World::small();
    world.create(&["--no-tar"]).expect(0);
    generate(&gpg, &world, "ed25519", "");
    let ended = world.create(&["--no-tar", "--gpgkey", "secret.asc"]).expect(0);
    assert!(ended.stdout.contains("t.public.asc belongs to an earlier run"), "{}", ended.stdout);
    let ended = world.verify(&[]).expect(4);
    assert!(ended.stdout.contains("made by another key (0x"), "{}", ended.stdout);
    assert!(ended.stdout.contains("give --public-key for another"), "{}", ended.stdout);
    world.verify(&["--public-key", "public.asc"]).expect(0);
}

/// Covers the usual form of a personal key: the primary key certifies, a subkey signs.
#[test]
fn a_subkey_signs() {
    let Some(gpg) = Gpg::new() else { return };
    let world = World::small();
    let id = "Sub Key <sub@example.org>";
    gpg.run(&["--passphrase", "", "--quick-generate-key", id, "ed25519", "cert", "never"]).expect(0);
    let fingerprint = export(&gpg, &world, id, "");
    let certify_only = ["--gpgkey", "secret.asc", "--no-tar"];
    let ended = world.create(&certify_only).expect(2);
    assert!(ended.stderr.contains("no private key that may sign today"), "{}", ended.stderr);

    gpg.run(&["--passphrase", "", "--quick-add-key", &fingerprint, "ed25519", "sign", "never"]).expect(0);
    export(&gpg, &world, id, "");
    let ended = world.create(&certify_only).expect(0);
    assert_eq!(ended.value("signed by"), fingerprint);
    gpg_accepts_both(&gpg, &world, &fingerprint);
    world.verify(&["--public-key", "public.asc"]).expect(0);

    // People often store the secret part of the primary key elsewhere.
    let file = world.path("secret.asc");
    std::fs::remove_file(&file).unwrap();
    gpg.run(&[
        "--passphrase",
        "",
        "--armor",
        "--output",
        file.to_str().unwrap(),
        "--export-secret-subkeys",
        id,
    ])
    .expect(0);
    world.create(&certify_only).expect(0);
    gpg_accepts_both(&gpg, &world, &fingerprint);
}

#[test]
fn an_expired_key_does_not_sign() {
    let Some(gpg) = Gpg::new() else { return };
    let world = World::small();
    let id = "old@example.org";
    gpg.run(&[
        "--passphrase",
        "",
        "--faked-system-time",
        "20200101T000000!",
        "--quick-generate-key",
        id,
        "ed25519",
        "sign",
        "1d",
    ])
    .expect(0);
    export(&gpg, &world, id, "");
    let ended = world.create(&["--gpgkey", "secret.asc"]).expect(2);
    assert!(ended.stderr.contains("expired"), "{}", ended.stderr);
}

#[test]
fn a_passphrase_protects_a_generated_key() {
    let world = World::small();
    let create = |passphrase: &str| {
        let mut command = world.command(&["--dir", "t", "--out-dir", "out", "--no-tar"]);
        run(command.env("ARCHIVE_HASHER_PASSPHRASE", passphrase))
    };
    create("correct horse").expect(0);
    create("wrong").expect(2);
    create("correct horse").expect(0);
    world.verify(&[]).expect(0);
}

#[test]
fn an_unsigned_inventory_is_reported_as_unsigned() {
    let world = World::small();
    world.create(&[]).expect(0);
    let public = std::fs::read(world.path("out/t.public.asc")).unwrap();
    let ended = world.create(&["--no-sign"]).expect(0);
    assert!(ended.value("signature").starts_with("none"));
    assert!(!world.path("out/t.yaml.asc").exists(), "an outdated signature is removed");
    let ended = world.verify(&["--dir", "t"]).expect(0);
    assert!(ended.value("signature").starts_with("none: nothing proves who"), "{}", ended.stdout);
    std::fs::write(world.path("public.asc"), public).unwrap();
    let ended = world.verify(&["--public-key", "public.asc"]).expect(4);
    assert!(ended.stdout.contains("holds no signature, but one was expected"), "{}", ended.stdout);
    world.create(&["--no-sign", "--gpgkey", "x"]).expect(2);
}

/// Checks that changing the inventory and its checksum is not enough: a forger still needs the key.
#[test]
fn a_forged_inventory_is_found_even_without_the_detached_signature() {
    let world = World::small();
    world.create(&["--no-sign"]).expect(0);
    let unsigned = std::fs::read_to_string(world.path("out/t.yaml")).unwrap();
    world.write("a", b"First");
    world.create(&[]).expect(0);
    std::fs::remove_file(world.path("out/t.yaml.asc")).unwrap();
    let ended = world.verify(&[]).expect(0);
    assert!(ended.stdout.contains("the detached .yaml.asc is missing"), "{}", ended.stdout);

    let signed = std::fs::read_to_string(world.path("out/t.yaml")).unwrap();
    let begin = signed.find("signature:\n").unwrap();
    let end = begin + signed[begin..].find("\nfiles:").unwrap() + 1;
    let at = unsigned.find("\nfiles:").unwrap() + 1;
    let forged = format!("{}{}{}", &unsigned[..at], &signed[begin..end], &unsigned[at..]);
    std::fs::write(world.path("out/t.yaml"), forged).unwrap();
    let ended = world.verify(&[]).expect(4);
    assert!(ended.stdout.contains("signature  it does not match"), "{}", ended.stdout);
}
