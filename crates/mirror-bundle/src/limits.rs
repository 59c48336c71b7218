/// Most members of a bundle by default.
pub const MAX_MEMBERS: u64 = 4_000_000;
/// Largest member by default, in bytes: twice what a download may be.
pub const MAX_MEMBER_BYTES: u64 = 1 << 30;
/// Largest window of a zstd frame by default, in bytes: what every zstd decoder accepts by default.
pub const MAX_WINDOW_BYTES: u64 = 1 << 27;
/// By default a frame may unpack to this many times its bytes, beyond its first MiB. `.crate` files are compressed, so
/// an honest bundle stays near 1.
pub const MAX_RATIO: u64 = 1_000;

/// The limits of a reader. They bound memory and disk for any bundle, whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleLimits {
    /// Most members of one bundle. A reader keeps 16 bytes for each, to detect duplicates.
    pub members: u64,
    /// Most bytes of one member.
    pub member_bytes: u64,
    /// Largest window of a frame, in bytes. Values above 2^27 count as 2^27.
    pub window_bytes: u64,
    /// Most unpacked bytes for each packed byte, beyond the first MiB of a frame.
    pub ratio: u64,
}

impl Default for BundleLimits {
    fn default() -> Self {
        Self {
            members: MAX_MEMBERS,
            member_bytes: MAX_MEMBER_BYTES,
            window_bytes: MAX_WINDOW_BYTES,
            ratio: MAX_RATIO,
        }
    }
}

impl BundleLimits {
    /// Returns whether `given` bytes unpacked from `taken` exceed the ratio.
    pub(crate) fn is_bomb(&self, given: u64, taken: u64) -> bool {
        const FREE: u64 = 1 << 20;
        given > FREE && given - FREE > taken.saturating_mul(self.ratio)
    }

    pub(crate) fn window(&self) -> u64 {
        self.window_bytes.min(MAX_WINDOW_BYTES)
    }
}
