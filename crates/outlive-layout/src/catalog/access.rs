//! Who may use a region: its owners and its readers.

use std::collections::BTreeSet;

use super::{CatalogError, valid_identity};
use crate::metadata::{AccessEntry, MAX_ACCESS_ENTRIES};

/// What an identity may be allowed in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessRight {
    /// May become backup.
    Reader,
    /// May become primary, and backup.
    Owner,
}

/// A region's two lists. Together they have at most [`MAX_ACCESS_ENTRIES`] entries, so that they fit into its metadata
/// page; each identity stands at most once in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    owners: BTreeSet<String>,
    readers: BTreeSet<String>,
}

impl AccessRight {
    /// Its name, for people and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Owner => "owner",
        }
    }
}

impl AccessList {
    /// Lists of these identities.
    ///
    /// # Errors
    /// [`CatalogError::Identity`] for what is no identity's name, [`CatalogError::AccessTwice`],
    /// [`CatalogError::AccessFull`].
    pub fn new(
        owners: impl IntoIterator<Item = String>,
        readers: impl IntoIterator<Item = String>,
    ) -> Result<Self, CatalogError> {
        let mut list = Self::default();
        let owners = owners.into_iter().map(|identity| (identity, AccessRight::Owner));
        let readers = readers
            .into_iter()
            .map(|identity| (identity, AccessRight::Reader));
        for (identity, right) in owners.chain(readers) {
            if list.names(&identity, right) {
                return Err(CatalogError::AccessTwice { identity, right });
            }
            list.change(&identity, right, true)?;
        }
        Ok(list)
    }

    /// Identities that may become primary, in order.
    pub fn owners(&self) -> impl ExactSizeIterator<Item = &str> {
        self.owners.iter().map(String::as_str)
    }

    /// Identities that may become backup beside the owners, in order.
    pub fn readers(&self) -> impl ExactSizeIterator<Item = &str> {
        self.readers.iter().map(String::as_str)
    }

    /// Whether an identity stands in the list for this very right.
    pub fn names(&self, identity: &str, right: AccessRight) -> bool {
        match right {
            AccessRight::Owner => self.owners.contains(identity),
            AccessRight::Reader => self.readers.contains(identity),
        }
    }

    /// Whether the lists give an identity a right: owners may read, too.
    pub fn allows(&self, identity: &str, right: AccessRight) -> bool {
        self.names(identity, AccessRight::Owner) || self.names(identity, right)
    }

    /// Puts an identity into a list, or takes it out. What is so already stays so.
    ///
    /// # Errors
    /// As for [`new`](Self::new); nothing changed.
    pub fn change(&mut self, identity: &str, right: AccessRight, allowed: bool) -> Result<(), CatalogError> {
        if !valid_identity(identity) {
            let identity = identity.to_owned();
            return Err(CatalogError::Identity { identity });
        }
        let is_new = allowed && !self.names(identity, right);
        if is_new && self.len() >= MAX_ACCESS_ENTRIES {
            return Err(CatalogError::AccessFull);
        }
        let list = match right {
            AccessRight::Owner => &mut self.owners,
            AccessRight::Reader => &mut self.readers,
        };
        if is_new {
            list.insert(identity.to_owned());
        } else if !allowed {
            list.remove(identity);
        }
        Ok(())
    }

    /// Entries of both lists.
    pub fn len(&self) -> usize {
        self.owners.len() + self.readers.len()
    }

    /// Whether nobody may use the region.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the region's metadata page says: each identity once, with the most that it may.
    pub fn entries(&self) -> Vec<AccessEntry> {
        let entry = |identity: &String, writable| AccessEntry {
            identity: identity.clone(),
            writable,
        };
        let owners = self.owners.iter().map(|identity| entry(identity, true));
        let readers = self.readers.difference(&self.owners);
        owners
            .chain(readers.map(|identity| entry(identity, false)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn owners_may_read_and_readers_may_not_write() {
        let list = AccessList::new(names(&["o"]), names(&["r"])).expect("two names");
        assert!(list.allows("o", AccessRight::Owner) && list.allows("o", AccessRight::Reader));
        assert!(!list.names("o", AccessRight::Reader));
        assert!(list.allows("r", AccessRight::Reader) && !list.allows("r", AccessRight::Owner));
        assert!(!list.allows("x", AccessRight::Reader));
    }

    #[test]
    fn who_stands_in_both_lists_is_one_entry_that_may_write() {
        let mut list = AccessList::new(names(&["a"]), names(&["a", "b"])).expect("three entries");
        let entry = |identity: &str, writable| AccessEntry {
            identity: identity.to_owned(),
            writable,
        };
        assert_eq!(list.entries(), [entry("a", true), entry("b", false)]);
        list.change("a", AccessRight::Owner, false).expect("it was there");
        assert_eq!(list.entries(), [entry("a", false), entry("b", false)]);
        list.change("a", AccessRight::Owner, false).expect("no change");
    }

    #[test]
    fn lists_are_bounded_and_hold_names_only() {
        let many = (0..MAX_ACCESS_ENTRIES - 1).map(|n| format!("reader-{n}"));
        let mut list = AccessList::new(names(&["o"]), many).expect("as many as fit");
        let full = list.clone();
        assert_eq!(
            list.change("p", AccessRight::Owner, true),
            Err(CatalogError::AccessFull)
        );
        list.change("o", AccessRight::Owner, true)
            .expect("it is there already");
        assert_eq!(list, full);
        for bad in ["", "-a", "a b", "a\n", &"n".repeat(65)] {
            assert!(AccessList::new(names(&[bad]), []).is_err(), "{bad:?}");
        }
        assert_eq!(
            AccessList::new([], names(&["a", "a"])),
            Err(CatalogError::AccessTwice {
                identity: "a".into(),
                right: AccessRight::Reader
            })
        );
    }
}
