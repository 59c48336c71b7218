use std::borrow::Cow;

use crate::error::LineError;
use crate::scanner::{JsonText, Scanner};

/// A line that has been checked to its last byte: it is one JSON object with the fields that every line has, and can be
/// embedded in another document. The last value of a repeated key counts, as for most readers of JSON. Invalid text,
/// and nesting beyond [`MAX_DEPTH`](crate::MAX_DEPTH), are refused wherever they occur.
#[derive(Debug, Clone)]
pub struct CheckedLine<'a> {
    /// The crate.
    pub name: Cow<'a, str>,
    /// Its version.
    pub vers: Cow<'a, str>,
    /// Checksum of its `.crate`.
    pub cksum: Cow<'a, str>,
    /// True if it is yanked; false when the field is missing or `null`.
    pub yanked: bool,
    text: &'a str,
    plain: bool,
}

/// Most keys of an object that are compared one by one; lines have some ten.
const MAX_KEYS: usize = 24;

impl<'a> CheckedLine<'a> {
    /// Reads a line, without the newline at its end. Keeps only references into it.
    ///
    /// # Errors
    /// When it is no JSON object, or lacks one of the fields that every line has.
    pub fn read(line: &'a [u8]) -> Result<Self, LineError> {
        Self::read_beside(line, &[])
    }

    /// Reads a line to which fields with the names in `keys` are to be appended.
    ///
    /// # Errors
    /// As [`CheckedLine::read`].
    pub fn read_beside(line: &'a [u8], keys: &[&str]) -> Result<Self, LineError> {
        let text =
            std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() })?;
        let mut found = Found::default();
        if !found.scan(text, keys)? {
            // A key is written with escapes, or occurs twice: the last one counts.
            found = Found::of_the_last(text)?;
        }
        Ok(Self {
            name: found.name.ok_or(LineError::Missing("name"))?,
            vers: found.vers.ok_or(LineError::Missing("vers"))?,
            cksum: found.cksum.ok_or(LineError::Missing("cksum"))?,
            yanked: found.yanked,
            text,
            plain: found.plain,
        })
    }

    /// Returns the line, byte for byte.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Returns whether fields can be appended to the line as it is: each key occurs once and without escapes, none is
    /// one of the reserved ones, and there is no white space outside of strings.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.plain
    }
}

/// Finds the JSON of the field `name` in a line, unchanged; the last one of several. Checks the whole line.
pub(crate) fn field<'a>(line: &'a [u8], name: &str) -> Result<Option<&'a str>, LineError> {
    let text = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() })?;
    let mut found = None;
    members(text, &mut |key, value| {
        if key.decode() == name {
            found = Some(value);
        }
    })?;
    Ok(found)
}

/// Passes each member of the line's object to `visit`, with its value as it is in the line.
fn members<'a>(text: &'a str, visit: &mut dyn FnMut(JsonText<'a>, &'a str)) -> Result<(), LineError> {
    let mut at = Scanner::new(text);
    at.begin()?;
    let mut more = !at.is_empty(b'}');
    while more {
        let key = at.key()?;
        let start = at.position();
        at.value(1)?;
        visit(key, at.since(start));
        more = at.goes_on(b'}')?;
    }
    at.end()
}

#[derive(Default)]
struct Found<'a> {
    name: Option<Cow<'a, str>>,
    vers: Option<Cow<'a, str>>,
    cksum: Option<Cow<'a, str>>,
    yanked: bool,
    plain: bool,
}

impl<'a> Found<'a> {
    /// Scans and checks the whole line. Returns `false` when its keys need a closer look.
    fn scan(&mut self, text: &'a str, reserved: &[&str]) -> Result<bool, LineError> {
        let mut at = Scanner::new(text);
        at.begin()?;
        let (mut keys, mut count, mut clear) = ([b"".as_slice(); MAX_KEYS], 0, true);
        let mut more = !at.is_empty(b'}');
        while more {
            let key = at.key()?;
            clear &= !key.escaped && count < MAX_KEYS && !keys[..count.min(MAX_KEYS)].contains(&key.inner);
            if let Some(place) = keys.get_mut(count) {
                *place = key.inner;
            }
            count += 1;
            match key.inner {
                b"name" => clear &= string(&mut at, &mut self.name)?,
                b"vers" => clear &= string(&mut at, &mut self.vers)?,
                b"cksum" => clear &= string(&mut at, &mut self.cksum)?,
                b"yanked" => {
                    let start = at.position();
                    at.value(1)?;
                    match flag(at.since(start)) {
                        Ok(yanked) => self.yanked = yanked,
                        Err(_) => clear = false,
                    }
                }
                own => {
                    clear &= !reserved.iter().any(|key| key.as_bytes() == own);
                    at.value(1)?;
                }
            }
            more = at.goes_on(b'}')?;
        }
        at.end()?;
        self.plain = clear && !at.is_spaced();
        Ok(clear)
    }

    /// Reads the last occurrence of each field.
    fn of_the_last(text: &'a str) -> Result<Self, LineError> {
        let [mut name, mut vers, mut cksum, mut yanked] = [None; 4];
        members(text, &mut |key, value| match &*key.decode() {
            "name" => name = Some(value),
            "vers" => vers = Some(value),
            "cksum" => cksum = Some(value),
            "yanked" => yanked = Some(value),
            _ => {}
        })?;
        let text = |value: Option<&'a str>, field| value.map(|value| said(value, field)).transpose();
        let (cksum, name, vers) = (text(cksum, "cksum")?, text(name, "name")?, text(vers, "vers")?);
        Ok(Self { name, vers, cksum, yanked: yanked.map_or(Ok(false), flag)?, plain: false })
    }
}

/// Takes the string at this place; returns `false` for anything else, which a closer look reports.
fn string<'a>(at: &mut Scanner<'a>, place: &mut Option<Cow<'a, str>>) -> Result<bool, LineError> {
    if at.peek() != Some(b'"') {
        at.value(1)?;
        return Ok(false);
    }
    *place = Some(at.string()?.decode());
    Ok(true)
}

/// Decodes a value that must be a string.
pub(crate) fn said<'a>(value: &'a str, field: &'static str) -> Result<Cow<'a, str>, LineError> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.ok_or(LineError::WrongType { field, expected: "a string" })?;
    Ok(JsonText { inner: inner.as_bytes(), escaped: inner.contains('\\') }.decode())
}

fn flag(value: &str) -> Result<bool, LineError> {
    match value {
        "true" => Ok(true),
        "false" | "null" => Ok(false),
        _ => Err(LineError::WrongType { field: "yanked", expected: "true or false" }),
    }
}
