//! A floor for a downloader that must hash and stage: a program that only receives, and beside it two threads that hash
//! the same files from memory, stage and rename them. They exchange nothing, plan nothing and record nothing. Prints
//! the seconds until both are done, and the CPU seconds of both.
//!
//! `cargo run --release -p mirror-store --example floor -- FILES OUT PROGRAM [ARGUMENTS]`; a yardstick of `cargo xtask
//! bench p1`. OUT must not exist.
#![expect(clippy::print_stdout, reason = "a program that prints")]
#![expect(clippy::disallowed_methods, reason = "it writes what no mirror needs")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

/// Files that are hashed together, as in a download.
const TOGETHER: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(files), Some(out), Some(program)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: floor FILES OUT PROGRAM [ARGUMENTS]".into());
    };
    let mut bodies = Vec::new();
    read_all(Path::new(&files), &mut bodies)?;
    let out = PathBuf::from(out);
    fs::create_dir_all(out.join("stage"))?;
    fs::create_dir(out.join("held"))?;

    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let mut receiver = Command::new(program).args(arguments).stdout(Stdio::null()).spawn()?;
    let written = thread::scope(|scope| {
        let half = bodies.len().div_ceil(2).max(1);
        let threads: Vec<_> = bodies
            .chunks(half)
            .enumerate()
            .map(|(thread, bodies)| {
                let out = &out;
                scope.spawn(move || hold(bodies, out, thread))
            })
            .collect();
        threads.into_iter().all(|thread| matches!(thread.join(), Ok(Ok(()))))
    });
    let received = receiver.wait()?;
    println!("{:.3} {:.3}", begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    if !received.success() || !written {
        return Err("receiving or writing failed".into());
    }
    Ok(())
}

/// Of this process and of children that were waited for, in hundredths, as Linux counts them.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = text.rsplit(") ").next().unwrap_or_default();
    let ticks = behind_name.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn read_all(dir: &Path, bodies: &mut Vec<Vec<u8>>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => read_all(&entry.path(), bodies)?,
            false => bodies.push(fs::read(entry.path())?),
        }
    }
    Ok(())
}

fn hold(bodies: &[Vec<u8>], out: &Path, thread: usize) -> std::io::Result<()> {
    for (batch, bodies) in bodies.chunks(TOGETHER).enumerate() {
        black_box(mirror_checksum::each(&bodies.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        for (n, body) in bodies.iter().enumerate() {
            let name = format!("{thread}-{batch}-{n}");
            let staged = out.join("stage").join(&name);
            fs::write(&staged, body)?;
            fs::rename(staged, out.join("held").join(name))?;
        }
    }
    Ok(())
}
