use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::PolicyError;
use crate::policy::Policy;

/// Longest policy file, bytes. A list of every crate of the registry has about 4 MiB.
pub const MAX_POLICY_BYTES: u64 = 16 << 20;

impl Policy {
    /// Reads a policy file. Blocks.
    ///
    /// # Errors
    /// When the disk refuses, or the file is larger than [`MAX_POLICY_BYTES`], is not UTF-8, or has a key or a value that
    /// this version does not know.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_POLICY_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        let no_text = |reason: String| PolicyError::NoText { path: path.to_owned(), reason };
        if bytes.len() as u64 > MAX_POLICY_BYTES {
            return Err(no_text(format!("it is larger than {MAX_POLICY_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| no_text("it is not UTF-8".to_owned()))?;
        Self::parse(&text).map_err(|source| PolicyError::Refused { path: path.to_owned(), source })
    }
}
