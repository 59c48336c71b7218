//! Fetches a list of files as a stream, each verified before it is seen.
//!
//! `cargo run -p mirror-fetch --example fetch_stream -- LIST OUT`: LIST has a checksum and an address in each line, as
//! in `<64 hexadecimal digits> https://host/name-1.0.0.crate`; OUT is a directory. Memory: some 50 MiB at most.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use mirror_fetch::{FetchOptions, FetchRequest, Fetched, Fetcher, FileSpools, RunEnd, Url, Verified};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [list, out] = &arguments[..] else { return Err("usage: fetch_stream LIST OUT".into()) };
    let out = Path::new(out);
    // Large bodies go into temporary files in the same directory.
    let fetcher = Fetcher::new(FetchOptions::default(), Arc::new(()), Arc::new(FileSpools::new(out)))?;
    let failures = fetch_all(&fetcher, &fs::read_to_string(list)?, out).await?;
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Fetches the files of a list into `out`; returns those that failed, and why.
pub(crate) async fn fetch_all(
    fetcher: &Fetcher,
    list: &str,
    out: &Path,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut jobs = Vec::new();
    for line in list.lines() {
        let (checksum, url) = line.split_once(' ').ok_or("a line has no address")?;
        let url = Url::parse(url)?;
        jobs.push((url.clone(), FetchRequest::new(url).with_expect(checksum.parse()?)));
    }
    let mut failures = Vec::new();
    let mut stream = fetcher.stream(jobs);
    while let Some((url, result)) = stream.next().await {
        match result.map(Fetched::into_verified) {
            Ok(Some(verified)) => save(verified, &out.join(url.path().rsplit('/').next().unwrap_or("file")))?,
            Ok(None) => failures.push(format!("{url}: no body came")),
            Err(failure) => failures.push(format!("{url}: {failure}")),
        }
    }
    if stream.end() == Some(RunEnd::Silent) {
        failures.push("nobody answered any more".to_owned());
    }
    Ok(failures)
}

#[expect(clippy::disallowed_methods, reason = "these files are no mirror's")]
fn save(verified: Verified, path: &Path) -> io::Result<()> {
    io::copy(&mut verified.into_body().into_reader()?, &mut File::create(path)?)?;
    Ok(())
}
