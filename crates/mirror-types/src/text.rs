use std::fmt;

/// Shows text from an origin or an index with control characters and non-ASCII escaped, so that
/// it can do no harm on a terminal or in a log. No quotes are added.
pub struct Printable<T>(pub T);

impl<T: AsRef<str>> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.as_ref().chars() {
            if c == ' ' || c.is_ascii_graphic() {
                fmt::Write::write_char(f, c)?;
            } else {
                write!(f, "{}", c.escape_default())?;
            }
        }
        Ok(())
    }
}

/// A number of bytes for people, in powers of 1024: `17 B`, `1.5 KiB`, `8.0 GiB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// What to do when the disk refused, to be put behind a message; empty where there is nothing to say.
#[must_use]
pub fn disk_advice(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::StorageFull => ": the disk is full; free space, then run the same command again",
        ErrorKind::QuotaExceeded => ": the quota is used up; free space, then run the same command again",
        ErrorKind::ReadOnlyFilesystem => ": the file system is read-only; remount it or choose another --out",
        ErrorKind::PermissionDenied => ": permission denied; check who owns it",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(Printable("a\x1b[2Jé\n").to_string(), "a\\u{1b}[2J\\u{e9}\\n");
    }

    #[test]
    fn bytes_read_well() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
