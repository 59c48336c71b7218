#![doc = include_str!("../README.md")]

mod each;
mod hasher;
#[cfg(target_arch = "x86_64")]
mod lanes;

pub use each::each;
pub use hasher::Hasher;
