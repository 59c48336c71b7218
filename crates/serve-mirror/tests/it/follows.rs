//! Checks that a server that may not write to the mirror shows what runs commit.
#![cfg(unix)]

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;
use std::time::{Duration, Instant};

use mirror_testkit::has;

use crate::client::get;
use crate::world::{BIN, MOST, Serving, World, add, registry};

/// Needs root and setpriv: only another user cannot write to what the runs of this one write.
#[test]
fn a_server_of_another_user_follows_runs() {
    let mut world = World::new(registry());
    let is_root = std::fs::metadata(world.dir.path()).unwrap().uid() == 0;
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    if !is_root || !has("setpriv", &[&nobody[..], &["true"]].concat()) {
        return;
    }
    world.sync();
    // The parents must be readable to others, and so must the program.
    std::fs::set_permissions(world.dir.path(), Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(BIN, world.path("served")).unwrap();
    let readable = [&nobody[..], &["test", "-r"]].concat();
    let mirror = world.path("out/.mirror/catalogue.sqlite");
    if !Command::new("setpriv").args(readable).arg(mirror).status().unwrap().success() {
        return;
    }
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(world.path("served")).arg("--mirror").arg(world.path("out"));
    let server = Serving::start(&mut command);
    assert_eq!(get(&server.base, "/index/2/ab").status, 200);
    // Small runs, and one that changes most pages of the catalogue.
    for (run, releases) in [1, 1, 1_500, 1].into_iter().enumerate() {
        for n in 0..releases {
            add(&mut world.registry, &format!("newcomer{run}x{n}"), "1.0.0", &[]);
        }
        world.sync();
        let name = format!("newcomer{run}x{}", releases - 1);
        let began = Instant::now();
        while get(&server.base, &format!("/index/ne/wc/{name}")).status != 200 {
            assert!(began.elapsed() < MOST, "{name} is not shown");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(get(&server.base, &format!("/crates/{name}/{name}-1.0.0.crate")).status, 200);
        let found = get(&server.base, &format!("/api/v1/crates?q={name}"));
        assert!(found.text().contains(&name), "{}", found.text());
    }
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(!log.contains("ERROR"), "the mirror is well: {log}");
}
