//! Identities that the catalog knows something about.

use super::{CatalogError, valid_identity};

/// Most certificates that count for one identity at a time: the newest, and those it is being rotated from.
pub const MAX_SERIALS: usize = 4;
/// Longest serial number of a certificate, in bytes (RFC 5280).
pub const MAX_SERIAL_BYTES: usize = 20;
/// Most identities of one catalog; an identity without a role needs no record.
pub const MAX_IDENTITIES: usize = 10_000;

/// One identity. A name without an entry is an identity without a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityEntry {
    /// Its name.
    pub name: String,
    /// Whether it may create, grow and delete regions, and manage access.
    pub administrator: bool,
    /// Whether it may do nothing any more.
    pub revoked: bool,
    /// Serial numbers of the certificates that count, oldest first; none: any that a trusted authority signed.
    pub serials: Vec<Vec<u8>>,
    /// When it was first recorded: milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// When the newest certificate that the manager signed expires; 0: it signed none.
    pub expires_ms: u64,
}

impl IdentityEntry {
    /// Whether a certificate with this serial number counts for it.
    pub fn counts(&self, serial: &[u8]) -> bool {
        self.serials.is_empty() || self.serials.iter().any(|known| known == serial)
    }

    /// Checks the entry's own bounds.
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        if !valid_identity(&self.name) {
            let identity = self.name.clone();
            return Err(CatalogError::Identity { identity });
        }
        let sane = |serial: &Vec<u8>| (1..=MAX_SERIAL_BYTES).contains(&serial.len());
        let mut unique = self.serials.clone();
        unique.sort_unstable();
        unique.dedup();
        if self.serials.len() > MAX_SERIALS
            || unique.len() != self.serials.len()
            || !self.serials.iter().all(sane)
        {
            let identity = self.name.clone();
            return Err(CatalogError::Serials { identity });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_count_by_their_serials_where_some_are_named() {
        let mut entry = IdentityEntry {
            name: "a".into(),
            ..IdentityEntry::default()
        };
        assert!(entry.counts(&[1]));
        entry.serials = vec![vec![1], vec![2, 3]];
        assert!(entry.counts(&[1]) && entry.counts(&[2, 3]));
        assert!(!entry.counts(&[2]) && !entry.counts(&[]));
    }

    #[test]
    fn serials_are_bounded_and_unique() {
        let of = |serials: Vec<Vec<u8>>| IdentityEntry {
            name: "a".into(),
            serials,
            ..IdentityEntry::default()
        };
        assert_eq!(of(vec![vec![1]; 1]).check(), Ok(()));
        assert_eq!(of((1..=4).map(|n| vec![n; 20]).collect()).check(), Ok(()));
        for bad in [
            vec![vec![]],
            vec![vec![1; 21]],
            vec![vec![1], vec![1]],
            (1..=5).map(|n| vec![n]).collect(),
        ] {
            assert!(of(bad.clone()).check().is_err(), "{bad:?}");
        }
    }
}
