use std::borrow::Cow;
use std::ops::Range;

use crate::document::{self, Form, Member, Node};
use crate::error::LineError;
use crate::facts::{Facts, KEYS};
use crate::scan::{Scanner, Text};

/// A line of the index, checked to be one JSON object, with the fields that say which release it is.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    /// The crate.
    pub name: Cow<'a, str>,
    /// Its version.
    pub version: Cow<'a, str>,
    /// Checksum of its `.crate`.
    pub cksum: Cow<'a, str>,
    /// Whether it is yanked.
    pub yanked: bool,
    text: &'a str,
    /// Whether facts can be put behind the last field as the line stands.
    plain: bool,
}

/// Keys of an object that are compared with each other as bytes; lines have some ten.
const KEYS_MOST: usize = 24;

impl<'a> Line<'a> {
    /// Reads a line, without the newline at its end. All of it is checked, and nothing of it is kept
    /// beyond the call but references.
    ///
    /// # Errors
    /// When it is no JSON object, or lacks one of the fields that every line has.
    pub fn read(line: &'a [u8]) -> Result<Self, LineError> {
        let text =
            std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() })?;
        let mut found = Found::default();
        if !found.scan(text)? {
            // A key that is written with escapes, or stands there twice: which one counts?
            found = Found::of(&document::read(text)?)?;
            found.plain = false;
        }
        Ok(Self {
            name: found.name.ok_or(LineError::Missing("name"))?,
            version: found.version.ok_or(LineError::Missing("vers"))?,
            cksum: found.cksum.ok_or(LineError::Missing("cksum"))?,
            yanked: found.yanked,
            text,
            plain: found.plain,
        })
    }

    /// Where the version stands in a line that [`splice`] may be used on; `None` for any other.
    #[must_use]
    pub fn version_place(&self) -> Option<Range<usize>> {
        let Cow::Borrowed(version) = self.version else { return None };
        let start = (version.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        (self.plain && start < self.text.len()).then(|| start..start + version.len())
    }

    /// Appends the sidecar on one line, without a newline: the fields as they stand in the line, the
    /// facts behind them.
    ///
    /// # Errors
    /// None that [`Line::read`] did not have.
    pub fn compact(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Result<(), LineError> {
        if self.plain {
            splice(self.text.as_bytes(), facts, out);
            return Ok(());
        }
        self.written(facts, Form::Compact, out)
    }

    /// Appends the sidecar for people: keys sorted, two spaces for each level, a newline at the end.
    ///
    /// # Errors
    /// None that [`Line::read`] did not have.
    pub fn pretty(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Result<(), LineError> {
        self.written(facts, Form::Pretty, out)?;
        out.push(b'\n');
        Ok(())
    }

    fn written(&self, facts: &Facts<'_>, form: Form, out: &mut Vec<u8>) -> Result<(), LineError> {
        let mut room = Vec::new();
        let mut members = document::read(self.text)?;
        document::add(&mut members, facts, &mut room);
        document::write(&members, form, out);
        Ok(())
    }
}

/// Appends the sidecar of a line for which [`Line::version_place`] gave a place, which is not read
/// again.
pub fn splice(line: &[u8], facts: &Facts<'_>, out: &mut Vec<u8>) {
    let body = line.strip_suffix(b"}").unwrap_or(line);
    out.extend_from_slice(body);
    facts.append(out);
    out.push(b'}');
}

#[derive(Default)]
struct Found<'a> {
    name: Option<Cow<'a, str>>,
    version: Option<Cow<'a, str>>,
    cksum: Option<Cow<'a, str>>,
    yanked: bool,
    plain: bool,
}

impl<'a> Found<'a> {
    /// Follows the line and checks all of it. `false`: its keys need a closer look.
    fn scan(&mut self, text: &'a str) -> Result<bool, LineError> {
        let mut at = Scanner::new(text);
        at.space();
        if at.peek() != Some(b'{') {
            return Err(LineError::NoObject);
        }
        at.at += 1;
        let (mut keys, mut count, mut clear) = ([b"".as_slice(); KEYS_MOST], 0, true);
        let mut more = !at.is_empty(b'}');
        while more {
            let key = at.key()?;
            clear &= !key.escaped && count < KEYS_MOST && !keys[..count.min(KEYS_MOST)].contains(&key.inner);
            if let Some(place) = keys.get_mut(count) {
                *place = key.inner;
            }
            count += 1;
            match key.inner {
                b"name" => clear &= string(&mut at, &mut self.name)?,
                b"vers" => clear &= string(&mut at, &mut self.version)?,
                b"cksum" => clear &= string(&mut at, &mut self.cksum)?,
                b"yanked" => {
                    let start = at.at;
                    at.value(1)?;
                    match flag(&text.as_bytes()[start..at.at]) {
                        Ok(yanked) => self.yanked = yanked,
                        Err(_) => clear = false,
                    }
                }
                own => {
                    clear &= !is_fact(own);
                    at.value(1)?;
                }
            }
            more = at.goes_on(b'}')?;
        }
        at.space();
        if at.at < text.len() {
            return at.wanted("the end of the line");
        }
        self.plain = clear && !at.spaced;
        Ok(clear)
    }

    fn of(members: &[Member<'a>]) -> Result<Self, LineError> {
        let mut found = Self::default();
        for (key, value) in members {
            match key.as_ref() {
                "name" => found.name = plain_string(value, "name")?,
                "vers" => found.version = plain_string(value, "vers")?,
                "cksum" => found.cksum = plain_string(value, "cksum")?,
                "yanked" => {
                    let Node::Plain(value) = value else { return Err(YANKED) };
                    found.yanked = flag(value)?;
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn is_fact(key: &[u8]) -> bool {
    KEYS.iter().any(|fact| fact.as_bytes() == key)
}

/// Takes the string that stands here; `false` for anything else, which is told by who looks closer.
fn string<'a>(at: &mut Scanner<'a>, place: &mut Option<Cow<'a, str>>) -> Result<bool, LineError> {
    if at.peek() != Some(b'"') {
        at.value(1)?;
        return Ok(false);
    }
    *place = Some(document::text(at.string()?)?);
    Ok(true)
}

fn plain_string<'a>(value: &Node<'a>, field: &'static str) -> Result<Option<Cow<'a, str>>, LineError> {
    let wrong = LineError::WrongType { field, expected: "a string" };
    let Node::Plain(bytes) = value else { return Err(wrong) };
    let Some(inner) = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Err(wrong);
    };
    document::text(Text { inner, escaped: inner.contains(&b'\\') }).map(Some)
}

/// What is wrong with any other value.
const YANKED: LineError = LineError::WrongType { field: "yanked", expected: "true or false" };

fn flag(value: &[u8]) -> Result<bool, LineError> {
    match value {
        b"true" => Ok(true),
        b"false" | b"null" => Ok(false),
        _ => Err(YANKED),
    }
}
