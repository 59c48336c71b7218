//! One header: 512 bytes, and PAX records before it where they are needed.

/// Everything in a tar is a multiple of this.
pub(super) const UNIT_BYTES: usize = 512;

/// Longest name, and longest target of a link, that the fields hold.
const NAME_BYTES: usize = 100;
/// Largest number in a field of twelve bytes: eleven octal digits.
const MAX_NUMBER: u64 = 0o777_7777_7777;

/// Contents of a file follow.
pub(super) const FILE: u8 = b'0';
/// A symbolic link.
pub(super) const SYMLINK: u8 = b'2';
/// A directory.
pub(super) const DIRECTORY: u8 = b'5';
/// PAX records for the next member follow.
pub(super) const PAX: u8 = b'x';

/// The contents of a header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// A directory's ends with `/`.
    pub(super) name: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) size_bytes: u64,
    pub(super) modified_s: i64,
    pub(super) mode: u32,
    pub(super) kind: u8,
}

impl Header {
    /// Encodes the header as it is in a tar, behind its PAX records.
    pub(super) fn encode(&self) -> Vec<u8> {
        let records = self.records();
        let mut out = Vec::with_capacity(UNIT_BYTES);
        if !records.is_empty() {
            let mut name = [b"PaxHeaders/", plain(&self.name).as_slice()].concat();
            name.truncate(NAME_BYTES);
            let pax = Header {
                name,
                target: Vec::new(),
                size_bytes: records.len() as u64,
                modified_s: 0,
                mode: 0o644,
                kind: PAX,
            };
            out.extend(pax.fields());
            out.extend(&records);
            out.resize(out.len().next_multiple_of(UNIT_BYTES), 0);
        }
        out.extend(self.fields());
        out
    }

    fn records(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let texts = [("path", &self.name), ("linkpath", &self.target)];
        // PAX text is UTF-8 unless this record says otherwise; it must come first.
        if texts.iter().any(|(_, text)| needs_record(text) && std::str::from_utf8(text).is_err()) {
            record(&mut out, "hdrcharset", b"BINARY");
        }
        for (key, text) in texts.into_iter().filter(|(_, text)| needs_record(text)) {
            record(&mut out, key, text);
        }
        if self.size_bytes > MAX_NUMBER {
            record(&mut out, "size", self.size_bytes.to_string().as_bytes());
        }
        if field(self.modified_s).is_none() {
            record(&mut out, "mtime", self.modified_s.to_string().as_bytes());
        }
        out
    }

    fn fields(&self) -> [u8; UNIT_BYTES] {
        let mut out = [0; UNIT_BYTES];
        text(&mut out[0..100], &plain(&self.name));
        octal(&mut out[100..108], u64::from(self.mode));
        octal(&mut out[108..116], 0);
        octal(&mut out[116..124], 0);
        octal(&mut out[124..136], if self.size_bytes > MAX_NUMBER { 0 } else { self.size_bytes });
        octal(&mut out[136..148], field(self.modified_s).unwrap_or(0));
        out[156] = self.kind;
        text(&mut out[157..257], &plain(&self.target));
        out[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut out[329..337], 0);
        octal(&mut out[337..345], 0);
        let sum = checksum(&out);
        out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out
    }

    /// Reads 512 bytes; PAX records are the caller's.
    pub(super) fn decode(bytes: &[u8; UNIT_BYTES]) -> Result<Self, &'static str> {
        if &bytes[257..263] != b"ustar\0" {
            return Err("no header of POSIX tar");
        }
        if number(&bytes[148..156]) != Some(u64::from(checksum(bytes))) {
            return Err("wrong checksum of a header");
        }
        let mut name = until_nul(&bytes[0..100]).to_vec();
        let prefix = until_nul(&bytes[345..500]);
        if !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        Ok(Self {
            name,
            target: until_nul(&bytes[157..257]).to_vec(),
            size_bytes: number(&bytes[124..136]).ok_or("a size that is no number")?,
            modified_s: number(&bytes[136..148])
                .and_then(|seconds| i64::try_from(seconds).ok())
                .ok_or("a time that is no number")?,
            mode: number(&bytes[100..108])
                .and_then(|mode| u32::try_from(mode).ok())
                .ok_or("a mode that is no number")?,
            kind: bytes[156],
        })
    }

    /// Takes over what PAX records say.
    pub(super) fn apply(&mut self, records: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "damaged PAX records";
        let mut rest = records;
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
            let len: usize = ascii(&rest[..space]).and_then(|digits| digits.parse().ok()).ok_or(BAD)?;
            if len <= space + 1 || len > rest.len() || rest[len - 1] != b'\n' {
                return Err(BAD);
            }
            let body = &rest[space + 1..len - 1];
            let equals = body.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
            let (key, value) = (&body[..equals], &body[equals + 1..]);
            match key {
                b"path" => self.name = value.to_vec(),
                b"linkpath" => self.target = value.to_vec(),
                b"size" => self.size_bytes = ascii(value).and_then(|text| text.parse().ok()).ok_or(BAD)?,
                b"mtime" => self.modified_s = ascii(value).and_then(|text| text.parse().ok()).ok_or(BAD)?,
                b"hdrcharset" => {}
                _ => return Err("a PAX record that we do not write"),
            }
            rest = &rest[len..];
        }
        Ok(())
    }
}

/// Returns whether a text needs a PAX record: it is too long for its field, or non-ASCII UTF-8, which only PAX defines.
/// Text that is not UTF-8 goes into the field as it is, when it fits: all readers take it for bytes, while not all know
/// the record that says so.
fn needs_record(text: &[u8]) -> bool {
    text.len() > NAME_BYTES || (!text.is_ascii() && std::str::from_utf8(text).is_ok())
}

fn field(modified_s: i64) -> Option<u64> {
    u64::try_from(modified_s).ok().filter(|seconds| *seconds <= MAX_NUMBER)
}

/// Appends `length key=value\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend(format!("{len} {key}=").bytes());
    out.extend(value);
    out.push(b'\n');
}

/// Returns the text for a field when the real text is in a PAX record: a hint for readers that do not know PAX.
fn plain(text: &[u8]) -> Vec<u8> {
    if !needs_record(text) {
        return text.to_vec();
    }
    let ascii = text.iter().map(|byte| if byte.is_ascii() { *byte } else { b'_' });
    ascii.take(NAME_BYTES).collect()
}

fn text(field: &mut [u8], text: &[u8]) {
    field[..text.len()].copy_from_slice(text);
}

fn octal(field: &mut [u8], number: u64) {
    let digits = format!("{number:0width$o}", width = field.len() - 1);
    field[..digits.len()].copy_from_slice(digits.as_bytes());
}

/// Returns the sum of all bytes, with the field of the sum taken as spaces.
fn checksum(header: &[u8; UNIT_BYTES]) -> u32 {
    let outside = header[..148].iter().chain(&header[156..]);
    outside.map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ')
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn ascii(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))
}

fn number(field: &[u8]) -> Option<u64> {
    let text = ascii(field)?.trim_end_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}
