//! What the sets of a region mean, so that what is found after a crash can be compared with what was there before.

use outlive_layout::catalog::{
    AccessList, AccessRight, Allocator, Catalog, EXTENT_ALIGN, Extent, IdentityEntry, MAX_EXTENTS, Record,
    footprint,
};
use outlive_layout::{RegionId, RegionKind};
use outlive_media::simulated::Random;

/// A state that changes by sets.
pub(crate) trait Content: Clone {
    /// A change: the set to append, and the state after it.
    fn change(&self, random: &mut Random) -> (Vec<u8>, Self);

    /// The state after a clear mark.
    fn cleared(&self) -> Self;

    /// All of it, always the same bytes for the same state.
    fn snapshot(&self) -> Vec<u8>;

    /// The state that these sets make. Fails where a set is not one that a primary wrote.
    fn rebuild<'a>(
        &self,
        snapshot: Option<&[u8]>,
        updates: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, String>;
}

/// A list of numbers; each is appended with a payload that it alone has.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    items: Vec<u32>,
    /// Largest payload behind the number.
    bulk: u64,
}

impl Numbers {
    pub(crate) fn none(bulk: u64) -> Self {
        Self {
            items: Vec::new(),
            bulk,
        }
    }
}

impl Content for Numbers {
    fn change(&self, random: &mut Random) -> (Vec<u8>, Self) {
        let item = u32::try_from(random.next_u64() >> 32).expect("32 bits");
        let mut next = self.clone();
        next.items.push(item);
        let length = random.below(self.bulk + 1);
        (numbered(item, usize::try_from(length).expect("small")), next)
    }

    fn cleared(&self) -> Self {
        Self {
            items: Vec::new(),
            ..*self
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.items.iter().flat_map(|item| item.to_le_bytes()).collect()
    }

    fn rebuild<'a>(
        &self,
        snapshot: Option<&[u8]>,
        updates: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, String> {
        let words = snapshot.unwrap_or_default().chunks(4);
        let item = |bytes: &[u8]| bytes.first_chunk().copied().map(u32::from_le_bytes);
        let mut items: Vec<u32> = words.map(item).collect::<Option<_>>().ok_or("half a number")?;
        for update in updates {
            let item = item(update).ok_or("an update without a number")?;
            if numbered(item, update.len() - 4) != update {
                return Err(format!("the update of {item} is a mix"));
            }
            items.push(item);
        }
        Ok(Self { items, ..*self })
    }
}

/// The number, and behind it words that no other number has, each in its place.
fn numbered(item: u32, length: usize) -> Vec<u8> {
    let mut payload = item.to_le_bytes().to_vec();
    for place in 0..length.div_ceil(8) as u64 {
        payload.extend_from_slice(&(u64::from(item) << 32 | place).to_le_bytes());
    }
    payload.truncate(4 + length);
    payload
}

/// The regions of a unit, changed as a manager does.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    catalog: Catalog,
}

/// More would not fit into the small snapshot slots of the scenarios.
const MAX_REGIONS: usize = 24;

impl Regions {
    pub(crate) fn none(allocatable: Extent) -> Self {
        Self {
            catalog: Catalog::new(allocatable),
        }
    }

    fn record(&self, random: &mut Random) -> Record {
        let regions: Vec<_> = self.catalog.regions().collect();
        let Some(entry) = regions.get(usize::try_from(random.below(MAX_REGIONS as u64)).expect("small"))
        else {
            return self.creation(random);
        };
        let region = entry.region;
        match random.below(7) {
            0 => Record::Deleted { region },
            1 => Record::IdentitySet {
                identity: IdentityEntry {
                    name: identity(random),
                    administrator: random.below(2) == 0,
                    revoked: random.below(2) == 0,
                    serials: vec![random.next_u64().to_be_bytes().to_vec()],
                    issued_ms: random.below(1000),
                    expires_ms: 1000 + random.below(1000),
                },
            },
            2 => Record::AccessChanged {
                region,
                identity: identity(random),
                right: AccessRight::Reader,
                allowed: random.below(2) == 0,
            },
            3 if entry.owner.is_some() => Record::Closed {
                region,
                generation: entry.generation,
            },
            4 => self.growth(region, random),
            _ => self.opening(region, random),
        }
    }

    fn creation(&self, random: &mut Random) -> Record {
        let number = random.next_u64();
        let mut region = RegionId([0; 16]);
        region.0[..8].copy_from_slice(&number.to_le_bytes());
        let size = (1 + random.below(5)) * EXTENT_ALIGN;
        let mut allocator = Allocator::new(&self.catalog);
        let extents = allocator.allocate(footprint(size).expect("small"), MAX_EXTENTS);
        Record::RegionCreated {
            region,
            name: format!("region-{number:x}"),
            kind: RegionKind::Raw,
            size,
            slots: 0,
            max_snapshot: 0,
            extents: extents.expect("room for all of them"),
            created_ms: number % 1_000_000,
            access: AccessList::new([identity(random)], []).expect("a name"),
        }
    }

    fn growth(&self, region: RegionId, random: &mut Random) -> Record {
        let entry = self.catalog.region(region).expect("it was just there");
        let more = (1 + random.below(3)) * EXTENT_ALIGN;
        let mut allocator = Allocator::new(&self.catalog);
        let mut extents = entry.extents.clone();
        let room = MAX_EXTENTS - extents.len();
        extents.extend(allocator.allocate(more, room).expect("room for all of them"));
        Record::Resized {
            region,
            size: entry.size + more,
            extents,
        }
    }

    fn opening(&self, region: RegionId, random: &mut Random) -> Record {
        let entry = self.catalog.region(region).expect("it was just there");
        Record::Opened {
            region,
            generation: entry.generation + 1,
            owner: format!("host-{}", random.below(100)),
            identity: identity(random),
        }
    }
}

/// One of a few, so that lists stay within their bounds.
fn identity(random: &mut Random) -> String {
    format!("identity-{}", random.below(6))
}

impl Content for Regions {
    fn change(&self, random: &mut Random) -> (Vec<u8>, Self) {
        let record = self.record(random);
        let mut next = self.clone();
        next.catalog.apply(&record).expect("it was made to fit");
        (Record::encode_all(&[record]), next)
    }

    fn cleared(&self) -> Self {
        Self::none(self.catalog.allocatable())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.catalog.encode()
    }

    fn rebuild<'a>(
        &self,
        snapshot: Option<&[u8]>,
        updates: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, String> {
        let allocatable = self.catalog.allocatable();
        let mut catalog = match snapshot {
            Some(bytes) => Catalog::decode(bytes, allocatable).map_err(|error| error.to_string())?,
            None => Catalog::new(allocatable),
        };
        for update in updates {
            for record in Record::decode_all(update).map_err(|error| error.to_string())? {
                catalog.apply(&record).map_err(|error| error.to_string())?;
            }
        }
        let violations = catalog.check();
        if violations.is_empty() {
            Ok(Self { catalog })
        } else {
            Err(format!("{violations:?}"))
        }
    }
}
