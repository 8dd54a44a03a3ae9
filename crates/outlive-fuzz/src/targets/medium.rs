//! A whole medium: superblock, catalog and regions, damaged as the input says, made to verify or not. It is started as a
//! unit starts on it, its catalog is recovered as a manager does, and its regions are read as the offline check does.
//!
//! Whatever stands there, nothing outside of the medium is asked for, a catalog that is taken in keeps its rules, and who
//! serves the medium has a higher incarnation than who served it before.

use std::sync::OnceLock;

use outlive_layout::catalog::{Catalog, Extent, Record};
use outlive_layout::{
    Geometry as RegionGeometry, MetadataPage, Reader, Recovery, RecoveryOptions, RegionId, RegionKind,
    Source, Start, Writer,
};
use outlive_media::superblock::{BLOCK, MIN_MEDIA_LEN};
use outlive_media::{Geometry, MediaError, Medium, MemoryMedia, Stored, Superblock, UnitId, Volume};

use super::catalog::records;
use super::region::history::post;
use super::region::reseal::{reseal, reseal_superblock};
use super::region::{REGION, Region};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "medium",
    about: "a whole medium: superblock, catalog, regions",
    run,
    seeds,
    // The medium itself, and a catalog that is read whole.
    allowance_bytes: 64 << 20,
};

/// Before each piece of the input: in which block of those that hold something it goes, where in it, in bytes; its length;
/// whether what is there is sealed anew.
const HEAD_BYTES: usize = 5;
/// The most reads of one input.
const MAX_READS: u64 = 100_000;
/// Regions that are read, of those that a catalog names.
const MAX_REGIONS: usize = 4;

fn run(input: &[u8]) {
    let Some((&kind, pieces)) = input.split_first() else {
        return;
    };
    let medium = Medium::new(Box::new(
        MemoryMedia::new(MIN_MEDIA_LEN).expect("memory for a small medium"),
    ));
    let mut blocks = image().clone();
    if kind % 2 == 1 {
        // Only the superblock survived.
        blocks.truncate(2);
    }
    damage(&mut blocks, pieces);
    for (at, block) in &blocks {
        medium.store(*at, block).expect("inside the medium");
    }
    let copies = Superblock::read_copies(&medium);
    assert!(copies.iter().all(|copy| !copy.to_string().is_empty()));
    let before = Superblock::read(&medium).map(|found| found.incarnation);
    match Volume::start(medium, Stored::Before) {
        Ok(volume) => {
            let before = before.expect("what starts can be read");
            assert!(volume.incarnation() > before, "an incarnation is given once");
            serve(&volume);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn serve(volume: &Volume) {
    let before = volume.manager_generation();
    if let Ok(raised) = volume.raise_manager_generation() {
        assert!(raised > before, "a manager generation is given once");
    }
    let geometry = volume.geometry();
    let data = Extent {
        start: geometry.catalog_data_start(),
        len: geometry.catalog_data_len(),
    };
    let allocatable = Extent {
        start: geometry.allocatable_start,
        len: geometry.allocatable_len,
    };
    let Some(found) = recover(volume.medium(), RegionId(geometry.catalog_region), &[data]) else {
        return;
    };
    let Some(catalog) = catalog_of(&found, allocatable) else {
        return;
    };
    assert_eq!(catalog.check(), []);
    for region in catalog.regions_by_name().take(MAX_REGIONS) {
        let mut page = vec![0; usize::try_from(BLOCK).expect("a block")];
        volume
            .medium()
            .load(region.extents[0].start, &mut page)
            .expect("inside the medium");
        let _ = MetadataPage::decode(&page);
        if region.kind == RegionKind::Checkpoint {
            recover(volume.medium(), region.region, &behind_page(&region.extents));
        }
    }
}

pub(super) fn catalog_of(found: &Recovery, allocatable: Extent) -> Option<Catalog> {
    let mut catalog = match &found.snapshot {
        Some(set) => Catalog::decode(&set.payload, allocatable).ok()?,
        None => Catalog::new(allocatable),
    };
    for update in &found.updates {
        for record in Record::decode_all(&update.payload).ok()? {
            catalog.apply(&record).ok()?;
        }
    }
    Some(catalog)
}

fn behind_page(extents: &[Extent]) -> Vec<Extent> {
    let mut extents = extents.to_vec();
    extents[0].start += BLOCK;
    extents[0].len -= BLOCK;
    extents
}

pub(super) fn recover(medium: &Medium, region: RegionId, extents: &[Extent]) -> Option<Recovery> {
    let len = extents.iter().map(|extent| extent.len).sum();
    let mut source = Extents {
        medium,
        extents,
        reads: 0,
    };
    let mut reader = Reader::open(&mut source, region, len).ok()?;
    let _ = reader.log(&mut source);
    let options = RecoveryOptions {
        accept_loss: false,
        scan_whole: true,
    };
    reader.recover(&mut source, Start::Everything, &options).ok()
}

/// Extents side by side.
struct Extents<'a> {
    medium: &'a Medium,
    extents: &'a [Extent],
    reads: u64,
}

impl Source for Extents<'_> {
    type Error = MediaError;

    fn read_at(&mut self, mut offset: u64, mut into: &mut [u8]) -> Result<(), MediaError> {
        self.reads += 1;
        assert!(self.reads <= MAX_READS, "reading does not end");
        for extent in self.extents {
            if offset >= extent.len {
                offset -= extent.len;
                continue;
            }
            let here = usize::try_from(extent.len - offset)
                .expect("a small medium")
                .min(into.len());
            let (part, rest) = into.split_at_mut(here);
            self.medium.load(extent.start + offset, part)?;
            (into, offset) = (rest, 0);
        }
        assert!(into.is_empty(), "read behind the region's end");
        Ok(())
    }
}

type Block = (u64, Vec<u8>);

fn damage(blocks: &mut [Block], mut pieces: &[u8]) {
    while let Some((&[block, low, high, len, sealed], rest)) = pieces.split_first_chunk::<HEAD_BYTES>() {
        let (start, bytes) = {
            let index = usize::from(block) % blocks.len();
            let (start, bytes) = &mut blocks[index];
            (*start, bytes)
        };
        let at = usize::from(u16::from_le_bytes([low, high])) % bytes.len();
        let len = usize::from(len).min(rest.len()).min(bytes.len() - at);
        bytes[at..at + len].copy_from_slice(&rest[..len]);
        if sealed % 2 == 1 {
            seal_block(start, bytes, at);
        }
        pieces = &rest[len..];
    }
}

fn seal_block(start: u64, bytes: &mut [u8], at: usize) {
    if start < 2 * BLOCK {
        reseal_superblock(bytes);
        return;
    }
    // The catalog's blocks, as they lie in its region; sets are sealed where the journal has them one after the other.
    let data = geometry().catalog_data_start();
    if let Some(offset) = start.checked_sub(data) {
        let mut region = vec![0; usize::try_from(offset).expect("a small medium")];
        region.extend_from_slice(bytes);
        reseal(&mut region, offset + (at as u64) / 8 * 8);
        bytes.copy_from_slice(&region[usize::try_from(offset).expect("a small medium")..]);
    }
}

fn geometry() -> Geometry {
    Geometry::lay_out(MIN_MEDIA_LEN, UnitId([3; 16]), REGION.0).expect("the smallest medium")
}

/// The blocks of a medium that hold something: both superblock copies first.
fn image() -> &'static Vec<Block> {
    static IMAGE: OnceLock<Vec<Block>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let geometry = geometry();
        let scratch = Medium::new(Box::new(
            MemoryMedia::new(MIN_MEDIA_LEN).expect("memory for a small medium"),
        ));
        for sequence in 1..=2 {
            let superblock = Superblock {
                geometry,
                incarnation: 4,
                manager_generation: 2,
                sequence,
            };
            superblock.write(&scratch).expect("inside the medium");
        }
        let catalog = catalog_image(&geometry);
        scratch
            .store(geometry.catalog_data_start(), &catalog)
            .expect("inside the medium");
        let first = records_region();
        scratch.store(first.0, &first.1).expect("inside the medium");
        non_zero_blocks(&scratch)
    })
}

/// A catalog whose records stand one by one in its journal.
fn catalog_image(geometry: &Geometry) -> Vec<u8> {
    let size = geometry.catalog_data_len();
    let layout = RegionGeometry::new(size, 2, size / 8 * 3 / BLOCK * BLOCK).expect("as a new medium's");
    let mut region = formatted(&layout, REGION);
    let mut reader = Reader::open(&mut region, REGION, size).expect("formatted");
    let found = reader
        .recover(&mut region, Start::Everything, &RecoveryOptions::default())
        .expect("formatted");
    let (mut writer, takeover) = Writer::resume(REGION, &found.point, 1, 7).expect("empty");
    post(&mut region, &takeover, &[]);
    // The last but one deletes a region.
    for record in &records()[..7] {
        let payload = Record::encode_all(std::slice::from_ref(record));
        let plan = writer.append(&payload, 7).expect("room");
        post(&mut region, &plan, &payload);
    }
    region.bytes
}

/// The first region that the records create: where its data lies, and an empty checkpoint.
fn records_region() -> (u64, Vec<u8>) {
    let Some((region, size, extent)) = records().iter().find_map(|record| match record {
        Record::RegionCreated {
            region,
            size,
            extents,
            ..
        } => Some((*region, *size, extents[0])),
        _ => None,
    }) else {
        unreachable!("the records create a region")
    };
    let layout = RegionGeometry::new(size, 2, BLOCK).expect("fits");
    (extent.start + BLOCK, formatted(&layout, region).bytes)
}

fn formatted(layout: &RegionGeometry, id: RegionId) -> Region {
    let mut region = Region::new(vec![0; usize::try_from(layout.size).expect("small")]);
    for (offset, bytes) in layout.format(id) {
        region.write(offset, &bytes);
    }
    region
}

fn non_zero_blocks(medium: &Medium) -> Vec<Block> {
    let mut blocks = Vec::new();
    for at in (0..MIN_MEDIA_LEN).step_by(usize::try_from(BLOCK).expect("a block")) {
        let mut block = vec![0; usize::try_from(BLOCK).expect("a block")];
        medium.load(at, &mut block).expect("inside the medium");
        if block.iter().any(|byte| *byte != 0) {
            blocks.push((at, block));
        }
    }
    blocks
}

fn seeds() -> Vec<Seed> {
    let number = |block: u8, at: u16, sealed: u8, number: u64| {
        let at = at.to_le_bytes();
        [&[0, block, at[0], at[1], 8, sealed][..], &number.to_le_bytes()].concat()
    };
    vec![
        ("whole", vec![0]),
        ("without-a-catalog", vec![1]),
        // Offsets of the superblock's fields: allocatable start, incarnation, sequence.
        ("forged-allocatable", number(0, 80, 1, u64::MAX)),
        ("forged-incarnation", number(0, 96, 1, u64::MAX)),
        ("forged-sequence", number(0, 112, 1, u64::MAX)),
        ("one-copy-broken", number(1, 64, 0, 7)),
        ("catalog-size-forged", number(3, 40, 1, 1 << 40)),
    ]
}
