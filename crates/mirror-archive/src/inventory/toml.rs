//! The legacy metadata that travels inside the tar.

use std::io::{self, Write};

use super::head::{Head, SCHEMA_VERSION, date};
use crate::error::ArchiveError;
use crate::hashes::hex;
use crate::names::{key, quoted, text};
use crate::record::{Spool, What};

/// Writes the contents of the inventory, without the facts about the tar, of which this is a part.
pub(crate) fn write_toml(out: &mut dyn Write, head: &Head, spool: &mut Spool) -> Result<(), ArchiveError> {
    let failed = || ArchiveError::io("writing", b"the metadata");
    let begin = |out: &mut dyn Write| -> io::Result<()> {
        writeln!(out, "# Generated on: {}\nschemaVersion = {SCHEMA_VERSION}", head.date)?;
        writeln!(out, "generator = {}\ndirectories = [", quoted(&head.generator))
    };
    begin(out).map_err(failed())?;
    spool.replay(|record| match record.what {
        What::Directory => writeln!(out, "    {},", quoted(&key(&record.path).0)),
        _ => Ok(()),
    })?;
    write_head(out, head).map_err(failed())?;
    spool.replay(|record| {
        let What::File(file) = &record.what else { return Ok(()) };
        let modified =
            date(file.modified_s).ok_or_else(|| io::Error::other("a time outside the years 0 to 9999"))?;
        let (name, escaped) = key(&record.path);
        writeln!(out, "\n[files.{}]\nsize = {}", quoted(&name), file.size_bytes)?;
        writeln!(out, "modified = {}", quoted(&modified))?;
        writeln!(out, "sha256 = {}", quoted(&hex(&file.sha256)))?;
        writeln!(out, "blake3 = {}", quoted(&hex(&file.blake3)))?;
        if escaped { writeln!(out, "escaped = true") } else { Ok(()) }
    })?;
    writeln!(out, "\n[symlinks]").map_err(failed())?;
    spool.replay(|record| {
        let What::Symlink(target) = &record.what else { return Ok(()) };
        let (name, escaped) = key(&record.path);
        let (target, target_escaped) = text(target);
        writeln!(out, "\n[symlinks.{}]\ntarget = {}", quoted(&name), quoted(&target))?;
        if target_escaped {
            writeln!(out, "target_escaped = true")?;
        }
        if escaped { writeln!(out, "escaped = true") } else { Ok(()) }
    })
}

fn write_head(out: &mut dyn Write, head: &Head) -> io::Result<()> {
    let (name, escaped) = text(&head.name);
    writeln!(out, "]\n\n[directory]\nname = {}", quoted(&name))?;
    if escaped {
        writeln!(out, "name_escaped = true")?;
    }
    writeln!(out, "total_files = {}\ntotal_directories = {}", head.files, head.directories)?;
    writeln!(out, "total_symlinks = {}\ntotal_size_bytes = {}", head.symlinks, head.bytes)?;
    writeln!(out, "inventory_date = {}\n\n[hashes]", quoted(&head.date))?;
    for (kind, digest) in &head.hashes {
        writeln!(out, "{} = {}", kind.key(), quoted(digest))?;
    }
    writeln!(out, "\n[files]")
}
