//! What an identity is called, and who a connection's other side is.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

/// Longest name in bytes: what a region's metadata page holds.
pub const MAX_NAME_BYTES: usize = 64;
/// Names that begin so belong to Outlive's own processes: nobody is issued one.
const SYSTEM: &str = "system/";

/// An identity's name: 1 to 64 bytes, ASCII letters, digits and `. _ - @ + : /`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Not a name that an identity may have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not an identity's name: 1 to 64 letters, digits and . _ - @ + : /, beginning with a letter or digit"
)]
pub struct NameError(String);

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it belongs to one of Outlive's own processes (`system/…`).
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with(SYSTEM)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+:/".contains(&byte);
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins && text.len() <= MAX_NAME_BYTES && text.bytes().all(sane) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.chars().take(MAX_NAME_BYTES).collect()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate's serial number, big-endian, without leading zeros; at most 20 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Serial(pub Vec<u8>);

/// The other side of a control connection, as its certificate proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The certificate's common name.
    pub name: Name,
    /// The certificate's serial number.
    pub serial: Serial,
    /// Where it calls from; `None` inside one process.
    pub source: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in [
            "a",
            "orders-primary@host.example",
            "system/manager",
            "9",
            &"n".repeat(64),
        ] {
            assert_eq!(good.parse::<Name>().expect("a name").as_str(), good);
        }
        for bad in ["", "-a", "a b", "é", "a\n", "a\"", &"n".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
