//! `archive-hasher`.
fn main() {}
