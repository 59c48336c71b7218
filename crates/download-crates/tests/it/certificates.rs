//! A certificate that `--cacert` names is trusted as curl trusts it, for the releases and for the git index.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mirror_testkit::{CertificateFiles, GitHttp, OriginOptions, TestRegistry};

use crate::world::{World, has, run};

/// Has openssl make a self-signed certificate, with the section of its configuration that says `extensions`.
fn self_signed(dir: &Path, name: &str, extensions: &str) -> CertificateFiles {
    let (cert, key, config) =
        (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")), dir.join(format!("{name}.conf")));
    let text = format!(
        "[req]\ndistinguished_name = subject\nx509_extensions = extensions\n[subject]\n[extensions]\n{extensions}\n"
    );
    fs::write(&config, text).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-days", "2", "-subj", "/CN=localhost", "-config"]).arg(config);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert);
    run(&mut openssl).expect(0);
    CertificateFiles { cert, key }
}

/// Returns whether curl accepts the server with this file of roots; `None` without curl.
fn curl_accepts(roots: &Path, base: &str) -> Option<bool> {
    if !has("curl", &["--version"]) {
        return None;
    }
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--noproxy", "*", "--cacert"]).arg(roots);
    let ended = run(curl.arg(base));
    assert!([0, 60].contains(&ended.code), "curl: {}: {}", ended.code, ended.stderr);
    Some(ended.code == 0)
}

#[test]
fn a_self_signed_certificate_that_cacert_names_is_trusted_as_by_curl() {
    if !has("openssl", &["version"]) {
        return;
    }
    let made = tempfile::tempdir().unwrap();
    let here = "subjectAltName = DNS:localhost, IP:127.0.0.1";
    // What `openssl req -x509` makes by default calls itself an authority.
    let authority = format!("basicConstraints = critical, CA:TRUE\n{here}");
    let leaf = format!("basicConstraints = critical, CA:FALSE\n{here}");
    let elsewhere = "basicConstraints = critical, CA:TRUE\nsubjectAltName = DNS:elsewhere.test";
    let other = self_signed(made.path(), "other", &authority);
    for (name, extensions, named, trusted) in [
        ("authority", authority.as_str(), None, true),
        ("leaf", leaf.as_str(), None, true),
        ("plain", here, None, true),
        ("elsewhere", elsewhere, None, false),
        // The same subject and the same names, but not these bytes.
        ("authority-not-named", authority.as_str(), Some(&other.cert), false),
        ("leaf-not-named", leaf.as_str(), Some(&other.cert), false),
    ] {
        let files = self_signed(made.path(), name, extensions);
        let roots: &PathBuf = named.unwrap_or(&files.cert);
        let options = OriginOptions { certificate: Some(files.clone()), ..OriginOptions::default() };
        let world = World::with(TestRegistry::generate(431, 5, 100), options);
        world.registry.commit_git(&world.path("remote"));
        let git = GitHttp::with_certificate(world.dir.path(), &files);
        let expected = if trusted { 0 } else { 5 };

        let mut download = world.mirroring("out");
        let downloaded = run(download.args(["--retries", "0", "--cacert"]).arg(roots)).expect(expected);
        let mut clone = world.command("clone");
        clone.args(["--index-dir", "clone.git", "--update-index", "--retries", "0", "--limit", "1"]);
        clone.args(["--index-url", &git.url("remote/.git"), "--cacert"]).arg(roots);
        clone.arg("--crates-base-url").arg(format!("{}/crates", world.origin.base()));
        let cloned = run(&mut clone).expect(expected);
        if trusted {
            world.assert_whole("out");
        } else {
            for said in [downloaded.stderr, cloned.stderr] {
                assert!(said.contains("certificate"), "{name}: {said}");
            }
        }
        for base in [world.origin.base(), git.url("")] {
            assert!(curl_accepts(roots, &base).is_none_or(|accepted| accepted == trusted), "{name}: {base}");
        }
    }
}
