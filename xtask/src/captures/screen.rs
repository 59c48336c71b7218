//! What a program wrote to a terminal, as a person sees it.

use std::iter::Peekable;
use std::str::Chars;

/// Everything that was written to a terminal.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The lines that stayed.
    lines: Vec<String>,
    /// What was drawn and erased again: bars.
    erased: Vec<String>,
    has_colours: bool,
}

impl Screen {
    /// Follows line ends, carriage returns, colours, and sequences that erase a line or move the cursor.
    pub(super) fn of(text: &str) -> Self {
        let mut screen = Self::default();
        let mut line = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\n' => screen.lines.push(std::mem::take(&mut line).trim_end().to_owned()),
                // The terminal puts one before each line end.
                '\r' if letters.peek() == Some(&'\n') => {}
                '\r' => screen.erase(&mut line),
                '\u{1b}' => match end_of_sequence(&mut letters) {
                    Some('m') => screen.has_colours = true,
                    _ => screen.erase(&mut line),
                },
                letter => line.push(letter),
            }
        }
        if !line.trim().is_empty() {
            screen.lines.push(line.trim_end().to_owned());
        }
        screen
    }

    fn erase(&mut self, line: &mut String) {
        let erased = std::mem::take(line);
        if !erased.trim().is_empty() {
            self.erased.push(erased.trim_end().to_owned());
        }
    }

    /// Returns the lines that stayed.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns every line that was on the screen at some time.
    pub(super) fn written(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().chain(&self.erased).map(String::as_str)
    }

    /// Returns the longest line that was erased again.
    pub(super) fn widest_bar(&self) -> Option<&str> {
        self.erased.iter().max_by_key(|line| line.chars().count()).map(String::as_str)
    }

    pub(super) fn has_colours(&self) -> bool {
        self.has_colours
    }
}

/// Skips an escape sequence; returns its last letter, which is its command.
fn end_of_sequence(letters: &mut Peekable<Chars<'_>>) -> Option<char> {
    if letters.next() != Some('[') {
        return None;
    }
    letters.find(|letter| ('@'..='~').contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_and_bars_are_erased() {
        let text = "first\r\n\r\u{1b}[2K[##--]  2 of 4\r\u{1b}[2K[####]  4 of 4   \r\u{1b}[2Klast \u{1b}[31mred\u{1b}[0m\r\nend";
        let screen = Screen::of(text);
        assert_eq!(screen.lines(), ["first", "last red", "end"]);
        assert_eq!(screen.erased, ["[##--]  2 of 4", "[####]  4 of 4"]);
        assert_eq!(screen.widest_bar(), Some("[####]  4 of 4"), "of two, the later");
        assert!(screen.has_colours());
        assert_eq!(screen.written().count(), 5);
        assert!(!Screen::of("plain\r\u{1b}[2K\n").has_colours());
    }
}
