//! SHA-256, the checksum of the registry: of bytes as they come ([`Hasher`]), and of several byte
//! strings at a time ([`each`]), which is twice as fast where the processor has instructions for it.

mod each;
mod hasher;
#[cfg(target_arch = "x86_64")]
mod lanes;

pub use each::each;
pub use hasher::Hasher;
