//! The catalog: which regions a unit holds, where they lie, and who owns them.
//!
//! The state is what results from applying records, in order, to an empty catalog; records are the
//! payloads of updates in the catalog's own checkpoint region, and the state's encoding is the payload
//! of its snapshots. A record that would break an invariant is refused and changes nothing. Invariants:
//! no two extents overlap, each lies in the allocatable range, names are unique, generations only rise. Free space
//! is whatever no extent covers, so nothing can leak.

mod allocator;
mod encoding;
mod record;
mod state;

pub use allocator::{Allocator, NoSpace};
pub use encoding::CatalogDecodeError;
pub use record::{Extent, Record};
pub use state::{Catalog, CatalogError, RegionEntry, Violation};

use crate::geometry::BLOCK_BYTES;

/// Longest name of a region, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// Longest owner's address or label, in bytes.
pub const MAX_OWNER_BYTES: usize = 200;
/// Most extents of one region. Bounds its translation and its metadata page; a medium so fragmented that
/// 64 pieces do not suffice needs a copy, not a longer list.
pub const MAX_EXTENTS: usize = 64;
/// Extents begin and end at multiples of this.
pub const EXTENT_ALIGN: u64 = BLOCK_BYTES;

/// Bytes of the medium that a region with `size` bytes of data takes: its metadata page, and the data
/// rounded up.
pub fn footprint(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(EXTENT_ALIGN)?
        .checked_add(crate::metadata::METADATA_PAGE_BYTES as u64)
}

/// Whether a region may have this name: 1 to [`MAX_NAME_BYTES`] bytes, ASCII letters, digits and
/// `. _ - / : @ +`, beginning with a letter or a digit.
pub fn valid_name(name: &str) -> bool {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(sane)
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
}
