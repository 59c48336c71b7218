//! Uses the crate as its dependents do.

mod examples;
