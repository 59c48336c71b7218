//! Breaks long lines where a terminal would break them in the middle of a word.

use std::borrow::Cow;

use console::Term;

/// Narrowest terminal for which lines are broken.
const MIN_COLUMNS: usize = 40;
/// The last column at which a value beside its name begins. What continues it begins there, too.
const MAX_VALUE_COLUMN: usize = 24;
/// The indentation of what continues other lines.
const INDENT: usize = 4;

/// A stream of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Breaks the lines of a text for people at spaces when they are longer than the terminal to which `stream` leads is
/// wide. A longer word, such as a path, stays whole, so that it can be copied. Changes nothing where there is no
/// terminal.
#[must_use]
pub fn fitted(text: &str, stream: Stream) -> Cow<'_, str> {
    let terminal = match stream {
        Stream::Output => Term::stdout(),
        Stream::Error => Term::stderr(),
    };
    match terminal.size_checked() {
        // The last column stays free: some terminals begin a new line when it is written.
        Some((_, columns)) => wrapped(text, usize::from(columns).saturating_sub(1)),
        None => Cow::Borrowed(text),
    }
}

fn wrapped(text: &str, columns: usize) -> Cow<'_, str> {
    if columns < MIN_COLUMNS || text.lines().all(|line| width(line) <= columns) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                wrap(line, columns, &mut out);
                out.push('\n');
            }
            None => wrap(line, columns, &mut out),
        }
    }
    Cow::Owned(out)
}

fn wrap(line: &str, columns: usize, out: &mut String) {
    if width(line) <= columns {
        out.push_str(line);
        return;
    }
    let indent = indent_below(line);
    let mut column = 0;
    for word in line.split_inclusive(' ') {
        if column > indent && column + width(word.trim_end()) > columns {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        out.push_str(word);
        column += width(word);
    }
}

/// Returns the column at which what continues a line begins: below the value of a row of a table, else indented.
fn indent_below(line: &str) -> usize {
    let begin = line.len() - line.trim_start().len();
    let gap = line[begin..].find("  ").map(|at| begin + at);
    let value = gap.and_then(|gap| Some(gap + line[gap..].find(|c| c != ' ')?));
    value.map(|at| width(&line[..at])).filter(|column| *column <= MAX_VALUE_COLUMN).unwrap_or(begin + INDENT)
}

/// Counts the columns of a text; colours have none.
fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut is_escape = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => is_escape = true,
            _ if is_escape => is_escape = c != 'm',
            _ => columns += 1,
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        for text in ["", "short\n", "one\ntwo  three\n"] {
            assert!(matches!(wrapped(text, 40), Cow::Borrowed(same) if same == text), "{text}");
        }
        let long = "a word and another, again and again and again and again\n";
        assert!(matches!(wrapped(long, MIN_COLUMNS - 1), Cow::Borrowed(_)), "too narrow to help");
    }

    #[test]
    fn lines_are_broken_at_spaces_and_values_stay_below_each_other() {
        let log = "2026-11-28T05:55:20.853998Z  WARN connecting to the origin: Connection refused\n";
        let row = "kinds of failures  31 connect, 42 timeout, 17 wrong_hash, 9 http_status";
        assert_eq!(
            wrapped(log, 60),
            "2026-11-28T05:55:20.853998Z  WARN connecting to the origin:\n    Connection refused\n"
        );
        assert_eq!(
            wrapped(row, 40),
            "kinds of failures  31 connect, 42\n                   timeout, 17\n                   wrong_hash, 9\n                   http_status"
        );
        let listed = "  serde 1.0.0: the origin answers with status 503 Service Unavailable";
        assert_eq!(
            wrapped(listed, 44),
            "  serde 1.0.0: the origin answers with\n      status 503 Service Unavailable"
        );
    }

    #[test]
    fn a_long_word_stays_whole_and_no_other_line_is_too_long() {
        let path = "/a/very/long/path/to/a/mirror/that/is/longer/than/the/terminal";
        let text = format!("could not open {path}: it is not there, and a run needs it to go on\n\nend");
        let broken = wrapped(&text, 40);
        assert!(broken.contains(path), "{broken}");
        assert!(
            broken.lines().all(|line| width(line) <= 40 || line.trim() == format!("{path}:")),
            "{broken}"
        );
        assert_eq!(
            broken.split_whitespace().collect::<Vec<_>>(),
            text.split_whitespace().collect::<Vec<_>>()
        );
        assert!(broken.ends_with("\n\nend"), "{broken}");
    }

    #[test]
    fn colours_take_no_room() {
        let red = "\u{1b}[31mfailed             3 of 4 releases, of kinds\u{1b}[0m";
        assert_eq!(width(red), 44);
        assert!(matches!(wrapped(red, 44), Cow::Borrowed(_)));
        assert!(wrapped(red, 43).contains("of\n                   kinds"));
    }
}
