//! What a catalog refuses, and what must never be found in one.

use thiserror::Error;

use super::AccessRight;
use crate::RegionId;

/// Why a record was refused. The catalog is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Not a name that a region may have.
    #[error(
        "{name:?} is not a region name: 1 to 200 letters, digits and . _ - / : @ +, beginning with a letter or digit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("a region named {name} exists")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The identity is taken.
    #[error("region {region} exists")]
    Exists {
        /// The identity.
        region: RegionId,
    },
    /// There is no such region.
    #[error("there is no region {region}")]
    NoSuchRegion {
        /// The identity.
        region: RegionId,
    },
    /// An extent overlaps another one.
    #[error("bytes {start} to {end} overlap an extent of region {with}")]
    Overlap {
        /// First byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
        /// Whose.
        with: RegionId,
    },
    /// An extent lies outside the allocatable range, is unaligned or empty.
    #[error("an extent of {len} bytes at {start} is not within the allocatable range, or not aligned")]
    Extent {
        /// First byte.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// The extents do not add up to metadata page and data, or are too many.
    #[error("{count} extents of {total} bytes in all do not hold a region of {size} bytes")]
    Extents {
        /// How many.
        count: usize,
        /// Bytes in all.
        total: u64,
        /// Bytes of data.
        size: u64,
    },
    /// A generation did not rise, or a close named another than the current one.
    #[error("generation {generation} does not follow {current}")]
    Generation {
        /// In the record.
        generation: u64,
        /// In the catalog.
        current: u64,
    },
    /// Size, slots and largest snapshot make no layout.
    #[error("the region's size, slots and largest snapshot make no layout")]
    Layout,
    /// The owner's text is too long.
    #[error("an owner's address or label has at most 200 bytes")]
    Owner,
    /// Not a name that an identity may have.
    #[error(
        "{identity:?} is not an identity's name: 1 to 64 letters, digits and . _ - @ + : /, beginning with a letter or digit"
    )]
    Identity {
        /// The name.
        identity: String,
    },
    /// An identity stands in one list twice.
    #[error("{identity} is named twice as {}", right.name())]
    AccessTwice {
        /// The identity.
        identity: String,
        /// Which list.
        right: AccessRight,
    },
    /// A region's lists are full.
    #[error("a region's owners and readers are 16 at most, together: take one out first")]
    AccessFull,
    /// An identity's certificates are too many, or no serial numbers.
    #[error(
        "{identity}: at most 4 certificates count for an identity, each by a serial number of 1 to 20 bytes"
    )]
    Serials {
        /// The identity.
        identity: String,
    },
    /// The catalog's identities are as many as it holds.
    #[error("the catalog knows 10000 identities, which is the limit")]
    IdentitiesFull,
}

/// Something that must not be; found by [`Catalog::check`](super::Catalog::check).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// Two extents share bytes.
    #[error("extents at {first} (region {first_region}) and {second} (region {second_region}) overlap")]
    Overlap {
        /// Where the first begins.
        first: u64,
        /// Whose it is.
        first_region: RegionId,
        /// Where the second begins.
        second: u64,
        /// Whose it is.
        second_region: RegionId,
    },
    /// A region's entry breaks a rule.
    #[error("region {region}: {error}")]
    Entry {
        /// The region.
        region: RegionId,
        /// The rule.
        error: CatalogError,
    },
    /// An identity's entry breaks a rule.
    #[error("identity {identity}: {error}")]
    Identity {
        /// The identity.
        identity: String,
        /// The rule.
        error: CatalogError,
    },
    /// Bytes that are neither in an extent nor free.
    #[error("{bytes} bytes at {start} are neither free nor in use")]
    Leaked {
        /// First byte.
        start: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Bytes that are both.
    #[error("{bytes} bytes at {start} are both free and in use")]
    Shared {
        /// First byte.
        start: u64,
        /// Bytes.
        bytes: u64,
    },
}
