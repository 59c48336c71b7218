//! Checks that one flipped bit is found anywhere.

use std::path::PathBuf;

use mirror_archive::{Against, Monitor, VerifyOptions};

use crate::world::World;

/// Verifies with the library, and returns the result as an exit code.
fn verify(world: &World, against: Against) -> u8 {
    let mut options = VerifyOptions::new(world.path("out/t.yaml"), against);
    options.workers = 2;
    match mirror_archive::verify(&options, &Monitor::new(), &mut |_| {}) {
        Ok(verified) => {
            if verified.is_good() {
                0
            } else {
                4
            }
        }
        Err(error) => error.kind().exit_status().code(),
    }
}

struct Target {
    path: PathBuf,
    /// The part of the file in which bits are flipped.
    range: std::ops::Range<usize>,
    in_tar: bool,
}

fn targets(world: &World) -> Vec<Target> {
    let whole = |path: PathBuf, in_tar| {
        let len = std::fs::read(&path).unwrap().len();
        Target { path, range: 0..len, in_tar }
    };
    let tar = world.path("out/t.tar");
    let bytes = std::fs::read(&tar).unwrap();
    let toml = bytes.windows(14).rposition(|window| window == b"# Generated on").unwrap();
    vec![
        whole(world.path("t/a"), false),
        whole(world.path("t/d/b"), false),
        whole(world.path("out/t.yaml"), true),
        Target { path: tar.clone(), range: toml..bytes.len() - 1024, in_tar: true },
        whole(tar, true),
    ]
}

#[test]
fn a_thousand_random_flips_are_found() {
    let world = World::small();
    // A name that needs PAX records, so that these are flipped, too.
    world.write(&"long ".repeat(40), b"long");
    world.create(&[]).expect(0);
    let (dir, tar) = (Against::Dir(world.path("t")), Against::Tar(world.path("out/t.tar")));
    assert_eq!((verify(&world, dir.clone()), verify(&world, tar.clone())), (0, 0));
    let targets = targets(&world);
    let mut random = fastrand::Rng::with_seed(1_000);
    for number in 0..1_000 {
        let target = &targets[number % targets.len()];
        let good = std::fs::read(&target.path).unwrap();
        let (at, bit) = (random.usize(target.range.clone()), random.u8(..8));
        let mut bad = good.clone();
        bad[at] ^= 1 << bit;
        std::fs::write(&target.path, bad).unwrap();
        let code = verify(&world, if target.in_tar { tar.clone() } else { dir.clone() });
        assert_eq!(code, 4, "bit {bit} of byte {at} of {}", target.path.display());
        std::fs::write(&target.path, good).unwrap();
    }
    assert_eq!((verify(&world, dir), verify(&world, tar)), (0, 0));
}

/// Flips bits under the program itself, a few times, with and without a signature.
#[test]
fn the_program_finds_flipped_bits() {
    for sign in [&[][..], &["--no-sign"]] {
        let world = World::small();
        world.create(sign).expect(0);
        let mut random = fastrand::Rng::with_seed(7);
        for target in targets(&world) {
            let good = std::fs::read(&target.path).unwrap();
            for _ in 0..5 {
                let (at, bit) = (random.usize(target.range.clone()), random.u8(..8));
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                std::fs::write(&target.path, bad).unwrap();
                let against = if target.in_tar { ["--tar", "out/t.tar"] } else { ["--dir", "t"] };
                world.verify(&against).expect(4);
            }
            std::fs::write(&target.path, good).unwrap();
        }
    }
}
