//! Prints a digest of a file and the seconds that it took on one thread, without reading.
//!
//! `cargo run --release -p mirror-archive --example digest -- sha512 FILE`. `cargo xtask bench archive`
//! compares with it.
#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

use mirror_archive::HashKind;

/// The bytes that `archive-hasher` passes to a hasher at once.
const BLOCK_BYTES: usize = 512 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(kind), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: digest KIND FILE".into());
    };
    for kind in HashKind::parse_list(&kind)? {
        let (mut file, mut hasher) = (File::open(&path)?, kind.hasher());
        let (mut block, mut spent) = (vec![0; BLOCK_BYTES], Duration::ZERO);
        loop {
            let got = file.read(&mut block)?;
            if got == 0 {
                break;
            }
            let begun = Instant::now();
            hasher.update(&block[..got]);
            spent += begun.elapsed();
        }
        println!("{kind} {:.6} {}", spent.as_secs_f64(), hasher.finish());
    }
    Ok(())
}
