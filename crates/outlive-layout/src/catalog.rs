//! The catalog: which regions a unit holds, where they lie, who may use them and who owns them, and which identities
//! have a role or were revoked.
//!
//! The state is what results from applying records, in order, to an empty catalog; records are the
//! payloads of updates in the catalog's own checkpoint region, and the state's encoding is the payload
//! of its snapshots. A record that would break an invariant is refused and changes nothing. Invariants:
//! no two extents overlap, each lies in the allocatable range, names are unique, generations only rise, access lists and
//! identities are within their bounds. Free space is whatever no extent covers, so nothing can leak.

mod access;
mod allocator;
mod encoding;
mod error;
mod identity;
mod record;
mod state;

pub use access::{AccessList, AccessRight};
pub use allocator::{Allocator, NoSpace};
pub use encoding::CatalogDecodeError;
pub use error::{CatalogError, Violation};
pub use identity::{IdentityEntry, MAX_IDENTITIES, MAX_SERIAL_BYTES, MAX_SERIALS};
pub use record::{Extent, Record};
pub use state::{Catalog, Owner, RegionEntry};

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

/// Whether an identity may have this name: 1 to [`MAX_IDENTITY_BYTES`](crate::metadata::MAX_IDENTITY_BYTES) bytes, otherwise
/// as a region's.
pub fn valid_identity(name: &str) -> bool {
    name.len() <= crate::metadata::MAX_IDENTITY_BYTES && valid_name(name)
}
