use mirror_types::Sha256;
use sha2::Digest as _;

/// Hashes bytes as they arrive.
#[derive(Debug, Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Returns the checksum of `data` alone.
    #[must_use]
    pub fn of(data: &[u8]) -> Sha256 {
        let mut hasher = Self::default();
        hasher.update(data);
        hasher.finish()
    }

    /// Adds bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Returns the checksum of all added bytes.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        Sha256::from_bytes(self.0.finalize().into())
    }
}
