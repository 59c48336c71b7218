//! Lists the dependencies of every release of an index.
//!
//! `cargo run -p mirror-git --example dependencies -- INDEX`, where INDEX is a clone of an index, bare or not, or a plain
//! directory of index files. Streams: one file of the index is in memory at a time.

use std::error::Error;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use mirror_git::{IndexFile, IndexSource};
use mirror_index::{IndexLine, records};

fn main() -> Result<(), Box<dyn Error>> {
    let index = std::env::args_os().nth(1).ok_or("usage: dependencies INDEX")?;
    list(Path::new(&index), &mut io::stdout().lock())
}

/// Writes a line for each release, and one for each of its dependencies below it.
pub(crate) fn list(index: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut written = Ok(());
    IndexSource::open_index(index)?.scan(&mut |file| {
        written = list_crate(&file, out);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(written?)
}

fn list_crate(file: &IndexFile, out: &mut dyn Write) -> io::Result<()> {
    // Skips lines that are no records.
    for (record, line) in records(&file.data) {
        writeln!(out, "{}{}", record.id, if record.yanked { " (yanked)" } else { "" })?;
        match IndexLine::parse(line).and_then(|line| line.requirements()) {
            Ok(requirements) => {
                for dependency in requirements.deps.iter().flatten() {
                    let kind = dependency.kind.as_deref().unwrap_or("normal");
                    writeln!(out, "    {} {} ({kind})", dependency.crate_name(), dependency.req)?;
                }
            }
            Err(error) => writeln!(out, "    its dependencies cannot be read: {error}")?,
        }
    }
    Ok(())
}
