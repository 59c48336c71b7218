//! The inventory: its content, its writer, its reader.

mod head;
mod lines;
mod read;
mod toml;
mod yaml;

pub(crate) use head::{Head, TarFacts, ZipFacts, date};
pub(crate) use read::{Inventory, Records};
pub(crate) use toml::write_toml;
pub(crate) use yaml::{insert_signature, write_yaml};

#[cfg(test)]
mod tests;
