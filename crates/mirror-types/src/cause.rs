use std::error::Error;
use std::fmt;

use crate::text::{CLIPPED_MESSAGE_BYTES, clipped};

/// The text of a failure from another library or another machine, as the source of an error. The text is one line,
/// escaped and clipped, because parts of it come from elsewhere; the original error is kept.
pub struct Cause {
    text: String,
    error: Box<dyn Error + Send + Sync>,
}

impl Cause {
    /// Makes a cause of an error, or of a text where there is no error.
    #[must_use]
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self { text: one_line(&error.to_string()), error }
    }

    /// Makes a cause of an error with another text.
    #[must_use]
    pub fn worded(text: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { text: one_line(text), error: error.into() }
    }

    /// Returns the original error of the library that failed. Its text may contain anything.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Shows only the text: an error of a library may contain secrets, such as an address with a password.
impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cause").field(&self.text).finish()
    }
}

/// Has no source: the text of a source would not be escaped.
impl Error for Cause {}

/// Returns an error and all its causes in one text, with `: ` between them.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Returns a text on one line, escaped and clipped to [`CLIPPED_MESSAGE_BYTES`].
#[must_use]
pub fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    clipped(lines.collect::<Vec<_>>().join(": "), CLIPPED_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_kept_and_its_text_does_no_harm() {
        let cause = Cause::new(std::io::Error::new(std::io::ErrorKind::TimedOut, "a\x1b[31m\n\n  b"));
        assert_eq!(cause.to_string(), "a\\u{1b}[31m: b");
        let kept: Option<&std::io::Error> = cause.get_ref().downcast_ref();
        assert_eq!(kept.map(std::io::Error::kind), Some(std::io::ErrorKind::TimedOut));
    }

    #[test]
    fn a_chain_has_every_cause_once() {
        let error = std::io::Error::other(Cause::new("no way"));
        assert_eq!(chain(&error), "no way");
        #[derive(Debug, thiserror::Error)]
        #[error("could not go")]
        struct Outer(#[source] Cause);
        assert_eq!(chain(&Outer(Cause::new("no way"))), "could not go: no way");
    }

    #[test]
    fn another_wording_hides_the_own_one() {
        let cause = Cause::worded("no answer", "http://a:pw@h/ does not answer");
        assert_eq!(
            (cause.to_string(), format!("{cause:?}")),
            ("no answer".into(), "Cause(\"no answer\")".into())
        );
        assert!(cause.source().is_none());
    }
}
