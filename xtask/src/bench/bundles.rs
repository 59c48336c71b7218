//! P7: a bundle back to loose files, beside `tar --zstd -x`; one release out of a large bundle.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use sha2::Digest as _;

use super::Bench;
use super::measure::{Series, median, words};
use super::report::Report;

/// Bytes of the bundle: an eighth of the default size of bundles, so that it and what comes out of it fit a
/// tmpfs.
const BUNDLE_BYTES: u64 = 1 << 30;
/// Single releases that are taken out of it in one round.
const SINGLES: usize = 20;

/// With the sizes of the other benchmarks.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    println!("P7: making a bundle of 1 GiB");
    let dir = bench.work.join("p7");
    std::fs::create_dir_all(&dir).context("making a folder")?;
    let count = make(&dir)?;
    let program = bench.program.with_file_name("extract-bundles").display().to_string();
    let bundles = dir.display().to_string();

    let mut us = Series::new("extract-bundles, everything on");
    let mut tar = Series::new("tar --zstd -x (no hash, no sync)");
    let mut singles_ms = Vec::new();
    for round in 0..bench.rounds {
        println!("P7, round {} of {}", round + 1, bench.rounds);
        let out = bench.work.join(format!("p7-ours-{round}"));
        us.run(
            bench.work,
            &program,
            &words(&["--bundles-dir", &bundles, "--out", &out.display().to_string()]),
        )?;
        std::fs::remove_dir_all(&out).context("removing what came out")?;
        let out = bench.work.join(format!("p7-tar-{round}"));
        std::fs::create_dir_all(&out).context("making a folder")?;
        let bundle = dir.join("bundle-0000.tar.zst").display().to_string();
        tar.run(bench.work, "tar", &words(&["--zstd", "-xf", &bundle, "-C", &out.display().to_string()]))?;
        std::fs::remove_dir_all(&out).context("removing what came out")?;
        for single in 0..SINGLES {
            let number = (single * 7_919 + round * 104_729) % count;
            singles_ms.push(one(bench, &program, &bundles, number)?);
        }
    }
    report.downloads(
        "P7: extract a bundle",
        &format!("{count} members of 20 kB on average in one bundle of 1 GiB, warm, to tmpfs"),
        count,
        &us,
        &[&tar],
    );
    report.target("P7 extract over tar --zstd -x", us.speed_over(&tar), "at least 0.8", |x| x >= 0.8);
    report.target("P7 one release out of 1 GiB, ms", median(singles_ms), "below 10", |x| x < 10.0);
    std::fs::remove_dir_all(&dir).context("removing the bundle of P7")
}

/// Milliseconds for one release, the start of the program included. GNU time counts hundredths of seconds.
fn one(bench: &Bench<'_>, program: &str, bundles: &str, number: usize) -> anyhow::Result<f64> {
    let out = bench.work.join("p7-one");
    let begun = Instant::now();
    let status = Command::new(program)
        .args(["--bundles-dir", bundles, "--crate", &format!("{}@1.0.0", name(number)), "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .status()
        .context("running extract-bundles")?;
    let elapsed = begun.elapsed();
    if !status.success() {
        bail!("extract-bundles --crate failed");
    }
    std::fs::remove_dir_all(&out).context("removing what came out")?;
    Ok(elapsed.as_secs_f64() * 1e3)
}

fn name(number: usize) -> String {
    format!("c{:02x}-{number}", number * 37 % 256)
}

/// Makes the bundle with its manifest, as `docs/bundles.md` describes them; gives the number of members.
fn make(dir: &Path) -> anyhow::Result<usize> {
    let path = dir.join("bundle-0000.tar.zst");
    let mut bundle = BufWriter::new(File::create(&path).context("making the bundle")?);
    let mut compressor = zstd::bulk::Compressor::new(1).context("setting up zstd")?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true)).context("setting up zstd")?;
    let (mut manifest, mut table) = (String::new(), Vec::new());
    let (mut offset, mut count, mut random) = (0_u64, 0, 88_172_645_463_325_252_u64);
    while offset < BUNDLE_BYTES {
        let name = name(count);
        let member = format!("{}/{}/{name}-1.0.0.crate", &name[..1], &name[1..3]);
        let body = body(&mut random);
        let mut frame = header(&member, body.len())?;
        frame.extend_from_slice(&body);
        frame.resize(frame.len().next_multiple_of(512), 0);
        let packed = compressor.compress(&frame).context("compressing")?;
        let sum = sha2::Sha256::digest(&body).iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        writeln!(
            manifest,
            "{{\"url\":\"http://localhost/crates/{name}/{name}-1.0.0.crate\",\"crate\":\"{name}\",\
             \"bundle_path\":\"bundles/bundle-0000.tar.zst\",\"bundle_member\":\"{member}\",\"size\":{},\
             \"sha256\":\"{sum}\",\"version\":\"1.0.0\",\"frame_offset\":{offset},\"frame_len\":{}}}",
            body.len(),
            packed.len()
        )?;
        entry(&mut table, packed.len(), frame.len())?;
        bundle.write_all(&packed).context("writing the bundle")?;
        offset += packed.len() as u64;
        count += 1;
    }
    let end = compressor.compress(&[0; 1024]).context("compressing")?;
    entry(&mut table, end.len(), 1024)?;
    table.extend_from_slice(&u32::try_from(count + 1)?.to_le_bytes());
    table.extend_from_slice(&[0, 0xb1, 0xea, 0x92, 0x8f]);
    bundle.write_all(&end).context("writing the bundle")?;
    bundle.write_all(&[0x5e, 0x2a, 0x4d, 0x18]).context("writing the bundle")?;
    bundle.write_all(&u32::try_from(table.len())?.to_le_bytes()).context("writing the bundle")?;
    bundle.write_all(&table).context("writing the bundle")?;
    bundle.flush().context("writing the bundle")?;
    std::fs::write(dir.join("bundle-0000-c00-to-cff.manifest.jsonl"), manifest)
        .context("writing the manifest")?;
    Ok(count)
}

fn entry(table: &mut Vec<u8>, packed: usize, plain: usize) -> anyhow::Result<()> {
    table.extend_from_slice(&u32::try_from(packed)?.to_le_bytes());
    table.extend_from_slice(&u32::try_from(plain)?.to_le_bytes());
    Ok(())
}

/// Up to 40 kB that zstd cannot make smaller, like a `.crate`.
fn body(random: &mut u64) -> Vec<u8> {
    let mut next = || {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random
    };
    let words = next() % 5_000;
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}

fn header(path: &str, size: usize) -> anyhow::Result<Vec<u8>> {
    let mut block = vec![0; 512];
    block.get_mut(..path.len()).context("a long path")?.copy_from_slice(path.as_bytes());
    for (at, text) in [
        (100, "0000644\0"),
        (108, "0000000\0"),
        (116, "0000000\0"),
        (124, &format!("{size:011o}\0")),
        (136, "00000000000\0"),
        (148, "        "),
        (156, "0"),
        (257, "ustar\x0000"),
    ] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}
