//! Bounded reading and writing of the variable-length encodings (catalog, metadata page).

use thiserror::Error;

/// Reads fields from bytes that may be anything. Nothing is allocated before its length was checked
/// against what is left.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
}

/// Appends fields to a byte vector.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end in the middle of a field.
    #[error("the bytes end inside {0}")]
    Short(&'static str),
    /// A field has a value that cannot be.
    #[error("{0} cannot be")]
    Invalid(&'static str),
    /// More bytes than the encoding has.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// Written by a version that this crate does not know.
    #[error("encoding version {0} is not known")]
    Version(u16),
    /// The checksum differs.
    #[error("the checksum differs")]
    Checksum,
}

impl<'a> Decoder<'a> {
    /// Over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] naming `what`.
    pub fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(DecodeError::Short(what))?;
        self.bytes = rest;
        Ok(head)
    }

    /// A fixed number of bytes.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::Short(what))?;
        self.bytes = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_le_bytes)
    }

    /// Two bytes, little-endian.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// As for [`bytes`](Self::bytes).
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Text with its length (u16) in front, at most `max` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] beyond `max` or when it is not UTF-8; [`DecodeError::Short`].
    pub fn text(&mut self, max: usize, what: &'static str) -> Result<String, DecodeError> {
        let len = usize::from(self.u16(what)?);
        if len > max {
            return Err(DecodeError::Invalid(what));
        }
        let bytes = self.bytes(len, what)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| DecodeError::Invalid(what))
    }

    /// How many items follow (u32), each of at least `least` bytes: never more than the bytes left can hold.
    ///
    /// # Errors
    /// [`DecodeError::Short`], [`DecodeError::Invalid`].
    pub fn count(&mut self, least: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u32(what)?).map_err(|_| DecodeError::Invalid(what))?;
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.bytes.len() => Ok(count),
            _ => Err(DecodeError::Short(what)),
        }
    }

    /// Bytes left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the decoding.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] when bytes are left.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing(self.bytes.len()))
        }
    }
}

impl Encoder {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends text with its length in front. The caller keeps it below 64 KiB.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.u16(u16::try_from(text.len()).expect("bounded where it was made"))
            .bytes(text.as_bytes())
    }

    /// Appends a number of items. The caller keeps it below 2^32.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("bounded where it was made"))
    }

    /// What was encoded.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
