/// The passphrase of a private key. `Debug` does not show it.
#[derive(Clone)]
pub struct Passphrase(
    #[cfg_attr(
        not(feature = "openpgp"),
        expect(dead_code, reason = "without OpenPGP there is no key to unlock")
    )]
    Vec<u8>,
);

impl Passphrase {
    /// Wraps the bytes as they are.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    #[cfg(feature = "openpgp")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(...)")
    }
}
