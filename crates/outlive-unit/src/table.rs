//! The address protection and translation table of one connection.

use std::sync::Arc;

use outlive_fabric::access::check_access;
use outlive_fabric::{AccessInfo, Refusal, RemoteKey};

use crate::translation::{Pieces, Translation};

/// Kinds of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing, and making persistent what was written.
    Write,
}

/// What one connection may reach. Filled when it is admitted, never changed.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    info: AccessInfo,
    /// Virtual address in the translation of the key's offset 0.
    base: u64,
    translation: Arc<Translation>,
}

impl Table {
    /// A table of nothing.
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Exposes `info.len` bytes of `translation` from its virtual address `base` on.
    ///
    /// # Panics
    /// Where they do not lie inside it: regions are checked when they are programmed.
    pub(crate) fn expose(&mut self, info: AccessInfo, base: u64, translation: Arc<Translation>) {
        let end = base.checked_add(info.len);
        assert!(
            end.is_some_and(|end| end <= translation.len()),
            "a key exposes what is mapped"
        );
        self.entries.push(Entry {
            info,
            base,
            translation,
        });
    }

    /// What a client is told about its keys.
    pub(crate) fn access(&self) -> Vec<AccessInfo> {
        self.entries.iter().map(|entry| entry.info.clone()).collect()
    }

    /// Turns an access from the wire into physical pieces of what its key exposes. The only place
    /// where that happens.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`], [`Refusal::ReadOnly`], [`Refusal::OutOfRange`].
    pub fn translate(
        &self,
        key: RemoteKey,
        offset: u64,
        len: u64,
        access: Access,
    ) -> Result<Pieces<'_>, Refusal> {
        // A few entries at most: looking through them is faster than hashing.
        let entry = self.entries.iter().find(|entry| entry.info.key == key);
        let entry = entry.ok_or(Refusal::UnknownKey { key: key.0 })?;
        let info = &entry.info;
        let range = check_access(info.rights, access == Access::Write, offset, len, info.len)?;
        // No overflow: `expose` checked that base + info.len is mapped.
        Ok(entry
            .translation
            .pieces(entry.base + range.start..entry.base + range.end))
    }
}

#[cfg(test)]
mod tests {
    use outlive_fabric::{ExposedPart, RegionId, Rights};
    use proptest::prelude::*;

    use super::*;
    use crate::translation::Extent;

    const META: u64 = 64;
    const DATA: u64 = 500;

    fn table() -> Table {
        let extents = [(9_000, 100), (1_000, 300), (5_000, 1), (4_000, 163)];
        let extents = extents.map(|(start, len)| Extent { start, len });
        let translation = Arc::new(Translation::new(&extents).unwrap());
        let info = |key, part, len, rights| AccessInfo {
            region: RegionId([0; 16]),
            part,
            key: RemoteKey(key),
            len,
            rights,
            generation: 1,
        };
        let mut table = Table::new();
        table.expose(
            info(11, ExposedPart::Data, DATA, Rights::ReadWrite),
            META,
            Arc::clone(&translation),
        );
        table.expose(
            info(12, ExposedPart::Metadata, META, Rights::Read),
            0,
            translation,
        );
        table
    }

    fn hostile() -> impl Strategy<Value = u64> {
        prop_oneof![0..=600_u64, any::<u64>(), (u64::MAX - 600)..=u64::MAX]
    }

    proptest! {
        #[test]
        fn every_access_is_bounded_or_refused(
            key in prop_oneof![10..14_u64, any::<u64>()],
            offset in hostile(),
            len in hostile(),
            write: bool,
        ) {
            let table = table();
            let access = if write { Access::Write } else { Access::Read };
            let limit = match key { 11 => Some(DATA), 12 => Some(META), _ => None };
            let fits = limit.is_some_and(|limit| u128::from(offset) + u128::from(len) <= u128::from(limit));
            match table.translate(RemoteKey(key), offset, len, access) {
                Ok(pieces) => {
                    prop_assert!(fits && !(write && key == 12));
                    let pieces: Vec<_> = pieces.collect();
                    prop_assert_eq!(pieces.iter().map(|piece| piece.len).sum::<u64>(), len);
                    // Data never reaches the metadata page, nor metadata the data.
                    let in_page = |at| (9_000..9_000 + META).contains(&at);
                    for piece in pieces {
                        prop_assert!((piece.start..piece.end()).all(|at| in_page(at) == (key == 12)));
                    }
                }
                Err(Refusal::UnknownKey { key: named }) => prop_assert!(limit.is_none() && named == key),
                Err(Refusal::ReadOnly) => prop_assert!(write && key == 12),
                Err(refusal) => {
                    prop_assert_eq!(refusal, Refusal::OutOfRange { offset, len, limit: limit.unwrap() });
                    prop_assert!(!fits);
                }
            }
        }
    }
}
