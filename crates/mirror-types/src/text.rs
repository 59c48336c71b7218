use std::fmt;

/// Shows text from an origin or an index with control characters and non-ASCII escaped, so that it can do no harm on a
/// terminal or in a log. Adds no quotes.
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

/// Most bytes of one value from a peer in a message: a header, an address, a name.
pub const CLIPPED_VALUE_BYTES: usize = 160;
/// Most bytes of a message that quotes a peer.
pub const CLIPPED_MESSAGE_BYTES: usize = 600;

/// Returns bytes from a peer as printable ASCII of at most `most_bytes`; states the full length of a longer text.
/// Control characters, non-ASCII and invalid UTF-8 are escaped as in [`Printable`]. Text that is printable and short
/// enough stays as it is, so that clipping twice changes nothing.
#[must_use]
pub fn clipped(sent: impl AsRef<[u8]>, most_bytes: usize) -> String {
    let sent = sent.as_ref();
    let mut text = String::with_capacity(sent.len().min(most_bytes));
    // Leaves room for the note after a clipped text.
    let tail = format!("... ({} bytes)", sent.len());
    let mut fits = 0;
    for chunk in sent.utf8_chunks() {
        let escaped = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        let pieces = chunk.valid().chars().map(|c| match c {
            ' '..='~' => c.to_string(),
            other => other.escape_default().to_string(),
        });
        for piece in pieces.chain(escaped) {
            text.push_str(&piece);
            if text.len() + tail.len() <= most_bytes {
                fits = text.len();
            }
            if text.len() > most_bytes {
                text.truncate(fits);
                return text + &tail;
            }
        }
    }
    text
}

/// Formats a number of bytes for people, in powers of 1024: `17 B`, `1.5 KiB`, `8.0 GiB`.
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

/// Formats a time for people, in its two largest units: `42 s`, `3 min 5 s`, `3 h 1 min`, `2 d 4 h`.
#[must_use]
pub fn human_time(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let two = |large: u64, of: &str, small: u64, rest: &str| match small {
        0 => format!("{large} {of}"),
        small => format!("{large} {of} {small} {rest}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// Returns advice for a refusal of the disk, to be appended to a message; empty where there is none.
#[must_use]
pub fn disk_advice(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::StorageFull => ": the disk is full; free space, then run the same command again",
        ErrorKind::QuotaExceeded => ": the quota is used up; free space, then run the same command again",
        ErrorKind::ReadOnlyFilesystem => ": the file system is read-only; remount it or choose another place",
        ErrorKind::PermissionDenied => ": permission denied; check who owns it",
        _ => "",
    }
}

/// Returns the known word that is nearest to a word that is not known, for a message; the first of several that are
/// equally near, and an empty text where none is known.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> &'a str {
    known.iter().min_by_key(|known| distance(word, known)).copied().unwrap_or_default()
}

/// Returns the known word that somebody probably meant who typed another one; `None` when none is near.
#[must_use]
pub fn near<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = nearest(word, known);
    let letters = word.chars().count().max(found.chars().count());
    (!found.is_empty() && distance(word, found) * 3 <= letters).then_some(found)
}

/// Returns the number of letters to add, remove or change to turn one word into the other. Compares the first 64.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_that_is_near_is_meant() {
        let known = ["max-bytes-per-sec", "concurrency", "out"];
        for (typed, meant) in [
            ("concurency", Some("concurrency")),
            ("ot", Some("out")),
            ("yes", None),
            ("bytes", None),
            ("", None),
        ] {
            assert_eq!(near(typed, &known), meant, "{typed}");
        }
        assert_eq!(near("out", &[]), None);
    }

    #[test]
    fn times_for_people_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (185, "3 min 5 s"),
            (10_866, "3 h 1 min"),
            (7_200, "2 h"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(human_time(std::time::Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(Printable("a\x1b[2Jé\n").to_string(), "a\\u{1b}[2J\\u{e9}\\n");
    }

    #[test]
    fn what_a_peer_sent_is_clipped() {
        assert_eq!(clipped("as it is", 8), "as it is");
        assert_eq!(clipped("a\x1b\u{e9}", 100), "a\\u{1b}\\u{e9}");
        assert_eq!(clipped(b"a\xff\xfeb", 100), "a\\xff\\xfeb");
        assert_eq!(clipped("x".repeat(30_000), 30), format!("{}... (30000 bytes)", "x".repeat(13)));
        for most_bytes in 30..90 {
            for sent in [&b"\xff"[..], b"\n", b"x", "\u{10ffff}".as_bytes()].map(|one| one.repeat(1_000)) {
                let text = clipped(&sent, most_bytes);
                assert!(text.len() <= most_bytes && text.is_ascii(), "{text}");
                assert_eq!(clipped(&text, most_bytes), text);
            }
        }
    }

    #[test]
    fn the_nearest_word_is_found() {
        let known = ["release", "since", "who", "why"];
        for (word, expected) in
            [("sinse", "since"), ("Who", "who"), ("wy", "why"), ("relaese", "release"), ("", "who")]
        {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
        assert_eq!(nearest("a", &[]), "");
        assert_eq!(nearest(&"x".repeat(1_000_000), &known), "release", "a long word costs no more");
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
