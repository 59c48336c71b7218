//! PAX records, `LENGTH KEY=VALUE\n`. The `tar` crate ends a record at its first newline, which a path may have in it,
//! and writes records only behind a header of its own; so these are read and written here.

use crate::error::RecordFault;

/// Iterates over PAX records. The length of each counts, as POSIX says, whatever its value has in it.
#[derive(Debug, Clone)]
pub struct Records<'a>(&'a [u8]);

/// Returns the PAX records in `bytes`, as keys and values, up to the first that is malformed.
#[must_use]
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records(bytes)
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), RecordFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = split(self.0);
        self.0 = split.map_or(&[], |(_, _, rest)| rest);
        Some(split.map(|(key, value, _)| (key, value)).ok_or(RecordFault::Malformed))
    }
}

/// Splits into key and value of the first record, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // One length has one form: no sign, no zeros before it.
    if bytes[0] == b'0' || bytes.get(digits) != Some(&b' ') {
        return None;
    }
    let len: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let (body, rest) = (bytes.get(digits + 1..len)?, &bytes[len..]);
    let body = body.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

/// Appends a record, whose length counts its own digits.
pub(crate) fn push_record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend(format!("{len} {key}=").bytes());
    out.extend(value);
    out.push(b'\n');
}
