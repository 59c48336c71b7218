use crate::cause::Cause;

/// A fault of this program that another library or the system reported: a person can do nothing about it but report it.
#[derive(Debug, thiserror::Error)]
#[error("internal error: could not {doing}; please report it")]
pub struct Unexpected {
    /// The operation that failed.
    pub doing: &'static str,
    /// The problem that was reported.
    pub source: Cause,
}

impl Unexpected {
    /// Returns a function for `map_err` that makes one of an error. `doing` follows "could not".
    pub fn could_not<E>(doing: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |error| Self { doing, source: Cause::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::chain;

    #[test]
    fn the_message_has_the_problem_after_the_operation() {
        let refused = Err::<(), _>(std::io::Error::other("no more threads"));
        let error = refused.map_err(Unexpected::could_not("start a thread")).expect_err("refused");
        assert_eq!(
            chain(&error),
            "internal error: could not start a thread; please report it: no more threads"
        );
    }
}
