//! The crate as those use it who depend on it.

mod examples;
