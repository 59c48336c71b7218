/// The reason why a text is no line of an index: it is no JSON object, or a field that every line has is missing,
/// repeated, or of another type.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidLine(#[from] serde_json::Error);

/// The reason why a line that was checked byte for byte is no line of an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It is not UTF-8.
    #[error("it is not UTF-8, at byte {at}")]
    NotUtf8 {
        /// The offset, from 0.
        at: usize,
    },
    /// It is JSON, but not an object.
    #[error("it is no JSON object")]
    NoObject,
    /// It is not JSON.
    #[error("it is no JSON: {expected} expected at byte {at}")]
    Syntax {
        /// The offset, from 0.
        at: usize,
        /// The expected token.
        expected: &'static str,
    },
    /// It is nested beyond [`crate::MAX_DEPTH`].
    #[error("it is nested more than {} deep", crate::MAX_DEPTH)]
    TooDeep,
    /// A field that every line has is missing.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field has another type.
    #[error("the field `{field}` is not {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// The expected value.
        expected: &'static str,
    },
}
