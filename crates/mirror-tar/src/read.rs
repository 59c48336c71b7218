use std::borrow::Cow;

use tar::EntryType;

use crate::block::{BLOCK_BYTES, is_zero};
use crate::error::HeaderFault;
use crate::header::Header;

/// A block whose checksum is that of a header.
#[derive(Debug, Clone, Copy)]
pub struct CheckedBlock<'a>(&'a tar::Header);

impl<'a> CheckedBlock<'a> {
    /// Checks the checksum of a block.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn new(block: &'a [u8; BLOCK_BYTES]) -> Result<Self, HeaderFault> {
        let header = tar::Header::from_byte_slice(block);
        let field = &header.as_old().cksum;
        let bytes = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The field counts as if it had spaces.
        let sum = bytes(block) - bytes(field) + 8 * u32::from(b' ');
        let read = header.cksum().ok().filter(|_| is_octal(field));
        if read == Some(sum) { Ok(Self(header)) } else { Err(HeaderFault::Checksum) }
    }

    /// Returns the type, of which a header of another format has one as well.
    #[must_use]
    pub fn kind(&self) -> EntryType {
        self.0.entry_type()
    }

    /// Returns whether the type is a zero byte, which programs older than POSIX wrote for a file.
    #[must_use]
    pub fn is_of_old_kind(&self) -> bool {
        self.0.as_old().linkflag == [0]
    }

    /// Reads the fields. Numbers are octal digits, followed only by spaces and zero bytes: what other programs read in
    /// other ways (signs, leading spaces, GNU's numbers in base 256) is refused.
    ///
    /// # Errors
    /// When the header is not ustar, or one of its fields is not as it should be. User and group are not looked at.
    pub fn header(&self) -> Result<Header<'a>, HeaderFault> {
        let Some(fields) = self.0.as_ustar() else { return Err(HeaderFault::Format) };
        if ![&fields.mode[..], &fields.uid, &fields.gid, &fields.mtime].into_iter().all(is_octal) {
            return Err(HeaderFault::Number);
        }
        // Of no meaning for files, yet Python ends the archive silently at a header where they are no numbers.
        if ![&fields.dev_major, &fields.dev_minor].into_iter().all(|field| is_octal(field) || is_zero(field))
        {
            return Err(HeaderFault::Device);
        }
        if !is_octal(&fields.size) {
            return Err(HeaderFault::Size);
        }
        let (target, name, prefix) = (text(&fields.linkname)?, text(&fields.name)?, text(&fields.prefix)?);
        let name =
            if prefix.is_empty() { Cow::Borrowed(name) } else { Cow::Owned([prefix, b"/", name].concat()) };
        Ok(Header {
            name,
            target: Cow::Borrowed(target),
            size_bytes: self.0.entry_size().map_err(|_| HeaderFault::Size)?,
            modified_s: self.0.mtime().ok().and_then(|s| i64::try_from(s).ok()).ok_or(HeaderFault::Number)?,
            mode: self.0.mode().map_err(|_| HeaderFault::Number)?,
            kind: self.kind(),
        })
    }
}

/// Returns whether a field has octal digits, followed only by spaces and zero bytes.
fn is_octal(field: &[u8]) -> bool {
    let digits = field.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    digits > 0 && field[digits..].iter().all(|byte| matches!(byte, b' ' | 0))
}

/// Returns the bytes up to the first zero byte, behind which only zero bytes may follow.
fn text(field: &[u8]) -> Result<&[u8], HeaderFault> {
    let (text, rest) = field.split_at(field.iter().position(|byte| *byte == 0).unwrap_or(field.len()));
    if is_zero(rest) { Ok(text) } else { Err(HeaderFault::Name) }
}
