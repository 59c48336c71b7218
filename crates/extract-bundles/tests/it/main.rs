//! The program as a person runs it.

mod hostile;
mod program;
mod source;
mod tools;
mod world;
