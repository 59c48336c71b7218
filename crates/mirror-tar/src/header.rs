use std::borrow::Cow;

use tar::EntryType;

use crate::block::{BLOCK_BYTES, padding};
use crate::error::RecordFault;
use crate::records::{push_record, records};

/// Longest name, and longest target of a link, that the fields hold.
pub const NAME_BYTES: usize = 100;
/// The mode of files that have none of their own, and of PAX records.
pub const MODE: u32 = 0o644;
/// Largest number in a field of twelve bytes: eleven octal digits.
const MAX_NUMBER: u64 = 0o777_7777_7777;

/// The header of a member. Its owner and its group are 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// A directory's ends with `/`.
    pub name: Cow<'a, [u8]>,
    /// The target of a link; empty for other members.
    pub target: Cow<'a, [u8]>,
    /// The number of bytes behind the header, without padding.
    pub size_bytes: u64,
    /// Seconds since 1970.
    pub modified_s: i64,
    /// At most seven octal digits.
    pub mode: u32,
    /// The type of the member.
    pub kind: EntryType,
}

impl Header<'_> {
    /// Appends the header as it is in a tar: behind its PAX records, where the fields cannot hold it. `records_name`
    /// names the records, given the name of the member in ASCII; what is longer than a field is cut.
    pub fn encode_into(&self, out: &mut Vec<u8>, records_name: impl FnOnce(&[u8]) -> Vec<u8>) {
        let records = self.records();
        if !records.is_empty() {
            let mut name = records_name(&plain(&self.name));
            name.truncate(NAME_BYTES);
            let header = Header {
                name: Cow::Owned(name),
                target: Cow::Borrowed(b""),
                size_bytes: records.len() as u64,
                modified_s: 0,
                mode: MODE,
                kind: EntryType::XHeader,
            };
            out.extend(header.fields().as_bytes());
            out.extend(&records);
            out.resize(out.len() + padding(records.len() as u64), 0);
        }
        out.extend(self.fields().as_bytes());
    }

    /// Returns the number of bytes that [`Header::encode_into`] appends.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        match self.records().len() {
            0 => BLOCK_BYTES,
            records => 2 * BLOCK_BYTES + records.next_multiple_of(BLOCK_BYTES),
        }
    }

    /// Takes over what the PAX records of the member say, as [`Header::encode_into`] writes them.
    ///
    /// # Errors
    /// When they are malformed, or say something else.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), RecordFault> {
        for record in records(bytes) {
            let (key, value) = record?;
            match key {
                b"path" => self.name = Cow::Owned(value.to_vec()),
                b"linkpath" => self.target = Cow::Owned(value.to_vec()),
                b"size" => self.size_bytes = decimal(value)?,
                b"mtime" => self.modified_s = decimal(value)?,
                b"hdrcharset" => {}
                _ => return Err(RecordFault::Key),
            }
        }
        Ok(())
    }

    fn records(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let texts = [("path", &self.name), ("linkpath", &self.target)];
        // PAX text is UTF-8 unless this record says otherwise; it must come first.
        if texts.iter().any(|(_, text)| needs_record(text) && std::str::from_utf8(text).is_err()) {
            push_record(&mut out, "hdrcharset", b"BINARY");
        }
        for (key, text) in texts.into_iter().filter(|(_, text)| needs_record(text)) {
            push_record(&mut out, key, text);
        }
        if self.size_bytes > MAX_NUMBER {
            push_record(&mut out, "size", self.size_bytes.to_string().as_bytes());
        }
        if time_field(self.modified_s).is_none() {
            push_record(&mut out, "mtime", self.modified_s.to_string().as_bytes());
        }
        out
    }

    fn fields(&self) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_mode(self.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(if self.size_bytes > MAX_NUMBER { 0 } else { self.size_bytes });
        header.set_mtime(time_field(self.modified_s).unwrap_or(0));
        header.set_entry_type(self.kind);
        if let Some(fields) = header.as_ustar_mut() {
            fields.set_device_major(0);
            fields.set_device_minor(0);
            put(&mut fields.name, &plain(&self.name));
            put(&mut fields.linkname, &plain(&self.target));
        }
        header.set_cksum();
        // POSIX allows `0NNNNNN\0`, which is there now, and `NNNNNN\0 `, which every tar program writes.
        let sum = &mut header.as_old_mut().cksum;
        sum.rotate_left(1);
        sum[6..].copy_from_slice(b"\0 ");
        header
    }
}

/// Returns whether a text needs a PAX record: it is too long for its field, or non-ASCII UTF-8, which only PAX defines.
/// Text that is not UTF-8 goes into the field as it is, when it fits: all readers take it for bytes, while not all know
/// the record that says so.
fn needs_record(text: &[u8]) -> bool {
    text.len() > NAME_BYTES || (!text.is_ascii() && std::str::from_utf8(text).is_ok())
}

/// Returns the text for a field when the real text is in a PAX record: a hint for readers that do not know PAX.
fn plain(text: &[u8]) -> Cow<'_, [u8]> {
    if !needs_record(text) {
        return Cow::Borrowed(text);
    }
    let ascii = text.iter().map(|byte| if byte.is_ascii() { *byte } else { b'_' });
    Cow::Owned(ascii.collect())
}

/// Copies as much of a text as its field holds.
fn put(field: &mut [u8], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}

fn time_field(modified_s: i64) -> Option<u64> {
    u64::try_from(modified_s).ok().filter(|seconds| *seconds <= MAX_NUMBER)
}

/// Reads a decimal number without a plus sign.
fn decimal<N: std::str::FromStr>(value: &[u8]) -> Result<N, RecordFault> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| text.parse().ok()).ok_or(RecordFault::Malformed)
}
