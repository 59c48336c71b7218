use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;

/// The id of a mirror: 128 random bits, drawn once, when the mirror is made. Shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorId([u8; 16]);

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a mirror is 32 lower-case hexadecimal digits")]
pub struct InvalidMirrorId;

impl MirrorId {
    /// Wraps the 16 bytes of an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl FromStr for MirrorId {
    type Err = InvalidMirrorId;

    fn from_str(text: &str) -> Result<Self, InvalidMirrorId> {
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| InvalidMirrorId)?;
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(InvalidMirrorId),
        };
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MirrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MirrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MirrorId({self})")
    }
}

impl serde::Serialize for MirrorId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        to.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> serde::Deserialize<'de> for MirrorId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = MirrorId::from_bytes([0x0f, 0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 255]);
        let text = "0fa00102030405060708090a0b0c0dff";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).expect("json"), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<MirrorId>(&format!("\"{text}\"")).expect("id"), id);
    }

    #[test]
    fn anything_else_is_no_id() {
        for text in ["", "0fa0", &"0".repeat(31), &"0".repeat(33), &"A".repeat(32), &"é".repeat(16)] {
            assert_eq!(text.parse::<MirrorId>(), Err(InvalidMirrorId), "{text}");
        }
    }
}
