use std::borrow::Cow;

use crate::error::LineError;

/// Deepest nesting that is read; serde has the same limit.
pub const MAX_DEPTH: usize = 127;

/// Scans the JSON of a line byte by byte and checks it in full, without building anything.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    line: &'a [u8],
    at: usize,
    spaced: bool,
}

/// A string, as it is in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JsonText<'a> {
    /// The text between its quotes.
    pub(crate) inner: &'a [u8],
    pub(crate) escaped: bool,
}

impl<'a> JsonText<'a> {
    /// Decodes the string.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        // Neither can fail: the line is UTF-8, and the scanner has checked the escapes.
        if self.escaped {
            let quoted = [b"\"", self.inner, b"\""].concat();
            return Cow::Owned(serde_json::from_slice(&quoted).unwrap_or_default());
        }
        Cow::Borrowed(std::str::from_utf8(self.inner).unwrap_or_default())
    }
}

impl<'a> Scanner<'a> {
    /// Begins at the first byte of a line.
    pub(crate) fn new(line: &'a str) -> Self {
        Self { text: line, line: line.as_bytes(), at: 0, spaced: false }
    }

    /// Returns the number of bytes passed.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Returns the text passed since position `start`.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Returns whether there was white space outside of strings.
    pub(crate) const fn is_spaced(&self) -> bool {
        self.spaced
    }

    /// Returns the next byte.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn wanted<T>(&self, expected: &'static str) -> Result<T, LineError> {
        Err(LineError::Syntax { at: self.at, expected })
    }

    /// Passes over the opening brace of the line's object. Call [`Scanner::is_empty`] to find out whether it has
    /// members.
    pub(crate) fn begin(&mut self) -> Result<(), LineError> {
        self.space();
        if self.peek() != Some(b'{') {
            return Err(LineError::NoObject);
        }
        self.at += 1;
        Ok(())
    }

    /// Checks that nothing follows the object.
    pub(crate) fn end(&mut self) -> Result<(), LineError> {
        self.space();
        if self.at < self.line.len() { self.wanted("the end of the line") } else { Ok(()) }
    }

    /// Passes over white space.
    pub(crate) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.spaced = true;
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Result<(), LineError> {
        if self.peek() != Some(byte) {
            return self.wanted(name);
        }
        self.at += 1;
        Ok(())
    }

    /// Takes a key, and passes over the colon after it.
    pub(crate) fn key(&mut self) -> Result<JsonText<'a>, LineError> {
        self.space();
        let key = self.string()?;
        self.space();
        self.expect(b':', "a colon")?;
        self.space();
        Ok(key)
    }

    /// Returns, after a value, whether the object or array that ends with `close` continues; passes over the comma or
    /// the bracket.
    pub(crate) fn goes_on(&mut self, close: u8) -> Result<bool, LineError> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.wanted(if close == b'}' { "a comma or a brace" } else { "a comma or a bracket" }),
        }
    }

    /// Returns, after an opening bracket, whether the closing one follows, and passes over that.
    pub(crate) fn is_empty(&mut self, close: u8) -> bool {
        self.space();
        let empty = self.peek() == Some(close);
        self.at += usize::from(empty);
        empty
    }

    /// Passes over a value at nesting depth `depth`.
    pub(crate) fn value(&mut self, depth: usize) -> Result<(), LineError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => {
                self.open(depth)?;
                if self.is_empty(b'}') {
                    return Ok(());
                }
                loop {
                    self.key()?;
                    self.value(depth + 1)?;
                    if !self.goes_on(b'}')? {
                        return Ok(());
                    }
                }
            }
            Some(b'[') => {
                self.open(depth)?;
                if self.is_empty(b']') {
                    return Ok(());
                }
                loop {
                    self.space();
                    self.value(depth + 1)?;
                    if !self.goes_on(b']')? {
                        return Ok(());
                    }
                }
            }
            _ => self.plain(),
        }
    }

    /// Passes over an opening bracket at nesting depth `depth`.
    fn open(&mut self, depth: usize) -> Result<(), LineError> {
        if depth >= MAX_DEPTH {
            return Err(LineError::TooDeep);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes over a number, `true`, `false` or `null`.
    fn plain(&mut self) -> Result<(), LineError> {
        let word: &[u8] = match self.peek() {
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => b"null",
            Some(b'-' | b'0'..=b'9') => return self.number(),
            _ => return self.wanted("a value"),
        };
        if !self.line[self.at..].starts_with(word) {
            return self.wanted("a value");
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), LineError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), LineError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.wanted("a digit") } else { Ok(()) }
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<JsonText<'a>, LineError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_len(&self.line[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    let inner = &self.line[start..self.at];
                    self.at += 1;
                    return Ok(JsonText { inner, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.wanted("a character of a string, or its end"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), LineError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xd800..=0xdbff => {
                    let low = self.line[self.at..].starts_with(b"\\u");
                    self.at += usize::from(low);
                    if !low || !(0xdc00..=0xdfff).contains(&self.unit()?) {
                        return self.wanted("the second half of a character");
                    }
                    Ok(())
                }
                0xdc00..=0xdfff => self.wanted("the first half of a character"),
                _ => Ok(()),
            },
            _ => self.wanted("an escape"),
        }
    }

    /// Takes `u` and four digits.
    fn unit(&mut self) -> Result<u32, LineError> {
        self.at += 1;
        let digits = self.line.get(self.at..self.at + 4).unwrap_or_default();
        let value = digits
            .iter()
            .try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
            .filter(|_| digits.len() == 4);
        match value {
            Some(value) => {
                self.at += 4;
                Ok(value)
            }
            None => self.wanted("four hexadecimal digits"),
        }
    }
}

/// Counts the bytes before a quote, a backslash or a control character, eight at a time: most strings of an index are
/// short.
fn plain_len(rest: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let (words, _) = rest.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero(word ^ (ONES * 0x22));
        let backslash = zero(word ^ (ONES * 0x5c));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // The lowest mark of each is right; a borrow makes only false ones above it.
        let found = (quote | backslash | control) & HIGH;
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let done = words.len() * 8;
    let tail = &rest[done..];
    done + tail.iter().position(|byte| matches!(byte, b'"' | b'\\') || *byte < 0x20).unwrap_or(tail.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_bytes_are_counted_right(bytes: Vec<u8>) {
            let special = |byte: &u8| matches!(byte, b'"' | b'\\') || *byte < 0x20;
            prop_assert_eq!(plain_len(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
        }

        /// Covers digits, signs and letters of numbers, in any order.
        #[test]
        fn numbers_are_those_of_json(text in "[-+0-9.eE]{1,8}") {
            let mut scanner = Scanner::new(&text);
            let ours = scanner.value(0).is_ok() && scanner.at == text.len();
            // By its grammar alone: a number that serde cannot hold (1e999) is still a number.
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}
