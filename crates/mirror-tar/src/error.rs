/// A header that this crate does not write and does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// The header is damaged, or no header.
    #[error("the checksum of the header is wrong")]
    Checksum,
    /// The header has another magic than ustar's: it is GNU's, or older than POSIX.
    #[error("the header is of another format")]
    Format,
    /// The size is something else than octal digits.
    #[error("the size is not octal")]
    Size,
    /// The mode, the owner, the group or the time is something else than octal digits.
    #[error("a number is not octal")]
    Number,
    /// A device number is something else than octal digits or zeros.
    #[error("a device number is not octal")]
    Device,
    /// Something follows the zero byte that ends a name.
    #[error("a name goes on behind its end")]
    Name,
}

/// Bytes that are no PAX records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// The length, the `=` or the newline of a record is not where it belongs, or a number is none.
    #[error("a PAX record is malformed")]
    Malformed,
    /// The record has a key that this crate does not write.
    #[error("a PAX record has a key that is not written here")]
    Key,
}
