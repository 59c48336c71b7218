/// Why a text is no line of an index: no JSON object, or a field that every line has is missing, is there twice, or has
/// another type.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidLine(#[from] serde_json::Error);

/// Why a line that is checked byte for byte is no line of an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Not UTF-8.
    #[error("it is not UTF-8, at byte {at}")]
    NotUtf8 {
        /// The offset, from 0.
        at: usize,
    },
    /// JSON, but something other than an object.
    #[error("it is no JSON object")]
    NoObject,
    /// No JSON.
    #[error("it is no JSON: {expected} expected at byte {at}")]
    Syntax {
        /// The offset, from 0.
        at: usize,
        /// The token that should be there.
        expected: &'static str,
    },
    /// Nested beyond [`crate::MAX_DEPTH`].
    #[error("it is nested more than {} deep", crate::MAX_DEPTH)]
    TooDeep,
    /// A field that every line has is not there.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field has another type.
    #[error("the field `{field}` is not {expected}")]
    WrongType {
        /// Which.
        field: &'static str,
        /// The expected value.
        expected: &'static str,
    },
}
