use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::allowed::AllowedSignersError;

/// Public keys whose signatures no longer count, as in the file that `ssh-keygen -Y verify -r` takes: one key in each
/// line; empty lines and lines that begin with `#` are passed over. Key revocation lists in OpenSSH's binary format are
/// refused.
#[derive(Debug, Clone, Default)]
pub struct RevokedKeys(Vec<KeyData>);

impl RevokedKeys {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// When a line is not a public key, or the file is a binary list.
    pub fn parse(text: &[u8]) -> Result<Self, AllowedSignersError> {
        if text.starts_with(b"SSHKRL\n\0") {
            return Err(AllowedSignersError::BinaryList);
        }
        let bad = |line, why: &str| AllowedSignersError::Line { line, why: why.to_owned() };
        let mut keys = Vec::new();
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
            let line = std::str::from_utf8(line).map_err(|_| bad(number, "it is not UTF-8"))?.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = PublicKey::from_openssh(line);
            let key = key.map_err(|_| bad(number, "it is not a public key as in id_ed25519.pub"))?;
            keys.push(key.key_data().clone());
        }
        Ok(Self(keys))
    }

    /// Returns whether there are no revoked keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, key: &KeyData) -> bool {
        self.0.contains(key)
    }
}
