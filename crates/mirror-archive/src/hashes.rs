//! The digests of a directory, behind one small trait.

use std::fmt;
use std::hash::Hasher as _;

use sha2::Digest as _;

use crate::error::ArchiveError;

/// A digest over the contents of all regular files, concatenated in the order of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashKind {
    /// KangarooTwelve (KT128), 32 bytes, no customisation.
    Kangaroo12,
    /// BLAKE3, 32 bytes.
    Blake3,
    /// SHA3-256.
    Sha3,
    /// BLAKE2b with 32 bytes.
    Blake2b,
    /// SHA-512.
    Sha512,
    /// Whirlpool, the final version (ISO/IEC 10118-3:2004).
    Whirlpool,
    /// RIPEMD-160.
    Ripemd160,
    /// XXH3 with 64 bits, seed 0.
    Xxh3,
    /// SHA-256.
    Sha256,
    /// XXH64, seed 0.
    Xxh64,
    /// Murmur3 with 128 bits for 64-bit machines, seed 0.
    Murmur3,
}

impl HashKind {
    /// All of them, in the order of the inventory.
    pub const ALL: [Self; 11] = [
        Self::Kangaroo12,
        Self::Blake3,
        Self::Sha3,
        Self::Blake2b,
        Self::Sha512,
        Self::Whirlpool,
        Self::Ripemd160,
        Self::Xxh3,
        Self::Sha256,
        Self::Xxh64,
        Self::Murmur3,
    ];

    /// Returns its key in the inventory.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Kangaroo12 => "kangaroo12",
            Self::Blake3 => "blake3",
            Self::Sha3 => "sha3_256",
            Self::Blake2b => "blake2b",
            Self::Sha512 => "sha512",
            Self::Whirlpool => "whirlpool",
            Self::Ripemd160 => "ripemd160",
            Self::Xxh3 => "xxh3",
            Self::Sha256 => "sha256",
            Self::Xxh64 => "xxhash64",
            Self::Murmur3 => "murmur3",
        }
    }

    /// Returns the length of the digest in bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        match self {
            Self::Sha512 | Self::Whirlpool => 64,
            Self::Kangaroo12 | Self::Blake3 | Self::Sha3 | Self::Blake2b | Self::Sha256 => 32,
            Self::Ripemd160 => 20,
            Self::Murmur3 => 16,
            Self::Xxh3 | Self::Xxh64 => 8,
        }
    }

    /// Parses a list of keys separated by commas, or `all` or `none`. Returns the kinds in the order
    /// of the inventory.
    ///
    /// # Errors
    /// [`ArchiveError::UnknownDigest`] names the first word that is not a key.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, ArchiveError> {
        let mut kinds = Vec::new();
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "all" => kinds.extend(Self::ALL),
                "none" => {}
                word => match Self::ALL.iter().find(|kind| kind.key() == word) {
                    Some(kind) => kinds.push(*kind),
                    None => {
                        let known = Self::ALL.map(Self::key).join(", ");
                        return Err(ArchiveError::UnknownDigest { word: word.to_owned(), known });
                    }
                },
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        Ok(kinds)
    }

    /// Makes a new hasher of this kind.
    #[must_use]
    pub fn hasher(self) -> Hasher {
        let inner: Box<dyn Digester> = match self {
            Self::Kangaroo12 => Box::new(k12::Kt128::default()),
            Self::Blake3 => Box::new(blake3::Hasher::new()),
            Self::Sha3 => Box::new(Rust(sha3::Sha3_256::new())),
            Self::Blake2b => Box::new(Rust(blake2::Blake2b::<sha2::digest::consts::U32>::new())),
            Self::Sha512 => Box::new(Rust(sha2::Sha512::new())),
            Self::Whirlpool => Box::new(Rust(whirlpool::Whirlpool::new())),
            Self::Ripemd160 => Box::new(Rust(ripemd::Ripemd160::new())),
            Self::Xxh3 => Box::new(twox_hash::XxHash3_64::new()),
            Self::Sha256 => Box::new(Rust(sha2::Sha256::new())),
            Self::Xxh64 => Box::new(twox_hash::XxHash64::with_seed(0)),
            Self::Murmur3 => Box::new(mur3::Hasher128::with_seed(0)),
        };
        Hasher { kind: self, inner }
    }
}

impl fmt::Display for HashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// A digest that is being computed.
pub struct Hasher {
    kind: HashKind,
    inner: Box<dyn Digester>,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.kind).finish()
    }
}

impl Hasher {
    /// Returns its kind.
    #[must_use]
    pub fn kind(&self) -> HashKind {
        self.kind
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }

    /// Returns the digest in hexadecimal, as the usual tools print it: numbers with the most significant digit first,
    /// Murmur3 with its first half first.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.inner.finish())
    }
}

trait Digester: Send {
    fn update(&mut self, data: &[u8]);
    fn finish(self: Box<Self>) -> Vec<u8>;
}

struct Rust<D>(D);

impl<D: sha2::Digest + Send> Digester for Rust<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn finish(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

impl Digester for blake3::Hasher {
    fn update(&mut self, data: &[u8]) {
        blake3::Hasher::update(self, data);
    }
    fn finish(self: Box<Self>) -> Vec<u8> {
        self.finalize().as_bytes().to_vec()
    }
}

impl Digester for k12::Kt128 {
    fn update(&mut self, data: &[u8]) {
        k12::Update::update(self, data);
    }
    fn finish(self: Box<Self>) -> Vec<u8> {
        use k12::{ExtendableOutput as _, XofReader as _};
        let mut out = vec![0; 32];
        self.finalize_xof().read(&mut out);
        out
    }
}

impl Digester for twox_hash::XxHash3_64 {
    fn update(&mut self, data: &[u8]) {
        self.write(data);
    }
    fn finish(self: Box<Self>) -> Vec<u8> {
        std::hash::Hasher::finish(&*self).to_be_bytes().to_vec()
    }
}

impl Digester for twox_hash::XxHash64 {
    fn update(&mut self, data: &[u8]) {
        self.write(data);
    }
    fn finish(self: Box<Self>) -> Vec<u8> {
        std::hash::Hasher::finish(&*self).to_be_bytes().to_vec()
    }
}

impl Digester for mur3::Hasher128 {
    fn update(&mut self, data: &[u8]) {
        self.write(data);
    }
    fn finish(self: Box<Self>) -> Vec<u8> {
        let (h1, h2) = self.finish128();
        [h1.to_be_bytes(), h2.to_be_bytes()].concat()
    }
}

/// Formats bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Parses exactly `2 * N` lower-case hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N || text.bytes().any(|c| c.is_ascii_uppercase() || c == b'+') {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
