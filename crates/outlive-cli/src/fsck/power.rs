//! Power goes at every store and every persist of a repair, and of the repair after it, on simulated media.
//!
//! Before each repair some copies are damaged, and the good ones may be placed only: their unit was killed while it
//! wrote them. Whatever is left must be a medium that a further check mends, with everything that was told.

use std::collections::HashSet;
use std::path::Path;

use outlive_layout::catalog::{AccessList, Extent, Record};
use outlive_layout::geometry::CONTROL_OFFSETS;
use outlive_layout::{Geometry, MetadataPage, Reader, RecoveryOptions, RegionId, RegionKind, Start, Writer};
use outlive_media::simulated::{Image, SimulatedMedia, Survival};
use outlive_media::superblock::{BLOCK, MIN_MEDIA_LEN};
use outlive_media::{Media, MediaError, Medium, Persistence, Stored, Superblock, Volume};

use super::extents::Extents;
use super::{Report, check_medium};

/// Cuts with at most so many outcomes are tried exhaustively.
const EXHAUSTIVE: u64 = 64;
/// Beside the adversarial choices, which mostly differ in words that a repair does not change: it writes whole blocks.
const SAMPLES: u64 = 64;
const REGION: RegionId = RegionId([7; 16]);
const REGION_BYTES: u64 = 256 << 10;
const PAGE: u64 = 4096;

/// Where the regions' control blocks lie on the medium.
#[derive(Clone, Copy, Debug)]
struct Places {
    catalog: u64,
    region: u64,
}

/// A medium with a region in its catalog, and one set in the region.
fn medium() -> (SimulatedMedia, Places) {
    let media = SimulatedMedia::new(MIN_MEDIA_LEN);
    let volume = Volume::start(media.medium(), Stored::New).expect("a volume");
    let geometry = *volume.geometry();
    let extent = Extent {
        start: geometry.allocatable_start,
        len: REGION_BYTES + PAGE,
    };
    let layout = Geometry::new(REGION_BYTES, 2, 8192).expect("it fits");
    let created = Record::RegionCreated {
        region: REGION,
        name: "r".to_owned(),
        kind: RegionKind::Checkpoint,
        size: REGION_BYTES,
        slots: 2,
        max_snapshot: 8192,
        extents: vec![extent],
        created_ms: 0,
        access: AccessList::default(),
    };
    let places = Places {
        catalog: geometry.catalog_data_start(),
        region: extent.start + PAGE,
    };
    let medium = volume.medium();
    for (offset, bytes) in layout.format(REGION) {
        medium.store(places.region + offset, &bytes).expect("it works");
    }
    let page = MetadataPage {
        region: REGION,
        name: "r".to_owned(),
        kind: RegionKind::Checkpoint,
        size: REGION_BYTES,
        slots: 2,
        max_snapshot: 8192,
        generation: 0,
        owner: String::new(),
        created_ms: 0,
        ranges: vec![(0, REGION_BYTES)],
        access: Vec::new(),
    };
    medium
        .store(extent.start, &page.encode().expect("it fits"))
        .expect("it works");
    let catalog = Extent {
        start: places.catalog,
        len: geometry.catalog_data_len(),
    };
    append(
        medium,
        RegionId(geometry.catalog_region),
        catalog,
        &Record::encode_all(&[created]),
    );
    let data = Extent {
        start: places.region,
        len: REGION_BYTES,
    };
    append(medium, REGION, data, b"a set that was acknowledged");
    drop(volume);
    media.forget();
    (media, places)
}

/// Opens a region in its next generation and appends one set, all of it persistent.
fn append(medium: &std::sync::Arc<Medium>, region: RegionId, data: Extent, payload: &[u8]) {
    let mut source = Extents::new(medium.clone(), vec![data]);
    let mut reader = Reader::open(&mut source, region, data.len).expect("a checkpoint");
    let found = reader.recover(&mut source, Start::Everything, &RecoveryOptions::default());
    let point = found.expect("whole").point;
    let (mut writer, takeover) = Writer::resume(region, &point, point.generation + 1, 0).expect("room");
    let update = writer.append(payload, 0).expect("room");
    for (plan, payload) in [(takeover, [].as_slice()), (update, payload)] {
        let bytes = [&plan.header, payload].concat();
        source.write_at(plan.offset, &bytes).expect("it works");
    }
    medium.settle().expect("it works");
}

/// What happened to a medium before it is repaired.
#[derive(Clone, Copy, Debug)]
struct Damage {
    /// Which copies do not verify: of the superblock, of the catalog's control block, of the region's.
    copies: [Option<u64>; 3],
    /// The good ones were written by a unit that was killed at once: they are placed only.
    placed_only: bool,
}

const ALL_DAMAGE: [[Option<u64>; 3]; 6] = [
    [Some(0), None, None],
    [Some(1), None, None],
    [None, Some(0), None],
    [None, Some(1), None],
    [None, None, Some(1)],
    [Some(1), Some(0), Some(0)],
];

fn damaged(damage: Damage) -> SimulatedMedia {
    let (media, places) = medium();
    let good = media.placed();
    let (mut placed, mut persistent) = (good.clone(), good.clone());
    let offsets = [
        [0, BLOCK],
        CONTROL_OFFSETS.map(|offset| places.catalog + offset),
        CONTROL_OFFSETS.map(|offset| places.region + offset),
    ];
    for (offsets, copy) in offsets.iter().zip(damage.copies) {
        let Some(copy) = copy else { continue };
        let bad = offsets[usize::try_from(copy).expect("0 or 1")];
        for image in [&mut placed, &mut persistent] {
            image.write(bad + 8, &[0xee; 120]);
        }
        if damage.placed_only {
            let copy = offsets[usize::try_from(1 - copy).expect("0 or 1")];
            persistent.write(copy, &[0; 128]);
        }
    }
    SimulatedMedia::left(persistent, placed)
}

fn repair(medium: Medium) -> Result<Report, String> {
    check_medium(medium, Path::new("simulated"), true).map_err(|error| error.to_string())
}

/// Repairs, cuts that everywhere, and the repairs of what is left, too.
fn explore(damage: Damage, flushes: Flushes) -> Result<usize, String> {
    let mut states = HashSet::new();
    cut(&damaged(damage), flushes, 1, &mut states).map_err(|what| format!("{what}; {damage:?}"))?;
    Ok(states.len())
}

fn cut(
    media: &SimulatedMedia,
    flushes: Flushes,
    depth: u32,
    states: &mut HashSet<u64>,
) -> Result<(), String> {
    let report = repair(flushes.medium(media))?;
    if report.problems() != 0 {
        return Err(format!("problems are left: {}", report.text()));
    }
    media.trace().each_cut(|cut| {
        let images: Vec<Image> = match cut.every_outcome(EXHAUSTIVE) {
            Some(every) => every.collect(),
            None => {
                let samples = (0..SAMPLES).map(|n| Survival::Sampled((cut.event() as u64) << 8 | n));
                let choices = Survival::ADVERSARIAL.into_iter().chain(samples);
                choices.map(|choice| cut.survivors(choice)).collect()
            }
        };
        for image in images {
            // Before the repair's own flush, a killed unit's writes may be lost whatever anybody does.
            if cut.event() == 0 || !states.insert(image.fingerprint()) {
                continue;
            }
            let next = SimulatedMedia::of(image);
            let at = |what| format!("{what}; power went at event {}", cut.event());
            keeps_everything(&next).map_err(at)?;
            if depth > 0 {
                self::cut(&next, flushes, depth - 1, states).map_err(at)?;
            }
        }
        Ok(())
    })
}

/// Superblock, catalog, region and its set are there, in a copy at least.
fn keeps_everything(media: &SimulatedMedia) -> Result<(), String> {
    let medium = media.medium();
    let superblock = Superblock::read(&medium).map_err(|error| error.to_string())?;
    if superblock.incarnation != 1 {
        return Err(format!("incarnation {} and not 1", superblock.incarnation));
    }
    let report = check_medium(medium, Path::new("simulated"), false).map_err(|error| error.to_string())?;
    // A takeover set and an update in the catalog and in the region.
    if (report.regions, report.sets) != (1, 4) {
        return Err(format!("something is missing: {}", report.text()));
    }
    Ok(())
}

/// What the device does with flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushes {
    Honest,
    /// None reaches it.
    Skipped,
    /// The first one, before anything is repaired, does not reach it.
    FirstSkipped,
}

impl Flushes {
    fn medium(self, media: &SimulatedMedia) -> Medium {
        let flushed = std::sync::atomic::AtomicU64::new(0);
        let media = media.clone();
        Medium::new(Box::new(Device {
            media,
            flushes: self,
            flushed,
        }))
    }
}

struct Device {
    media: SimulatedMedia,
    flushes: Flushes,
    flushed: std::sync::atomic::AtomicU64,
}

impl Media for Device {
    fn len(&self) -> u64 {
        self.media.len()
    }

    fn persistence(&self) -> Persistence {
        self.media.persistence()
    }

    fn describe(&self) -> String {
        self.media.describe()
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        self.media.store(at, bytes)
    }

    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.media.load(at, into)
    }

    fn receive(
        &self,
        at: u64,
        len: u64,
        socket: std::os::fd::BorrowedFd<'_>,
    ) -> Result<Option<std::io::Result<usize>>, MediaError> {
        self.media.receive(at, len, socket)
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        self.media.zero(at, len)
    }

    fn flush(&self) -> std::io::Result<()> {
        let first = self.flushed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        match self.flushes {
            Flushes::Skipped => Ok(()),
            Flushes::FirstSkipped if first => Ok(()),
            Flushes::Honest | Flushes::FirstSkipped => self.media.flush(),
        }
    }
}

#[test]
fn a_repair_survives_a_cut_at_every_event_and_so_does_the_next() {
    let mut states = 0;
    for copies in ALL_DAMAGE {
        for placed_only in [false, true] {
            let damage = Damage { copies, placed_only };
            states += explore(damage, Flushes::Honest).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
    println!("repairs: {states} distinct crash states");
    assert!(states > 300, "{states}");
}

/// What a killed unit only placed is made persistent before a repair rests on it.
#[test]
fn a_repair_without_its_flushes_is_caught() {
    for flushes in [Flushes::Skipped, Flushes::FirstSkipped] {
        let noticed = ALL_DAMAGE.into_iter().filter_map(|copies| {
            let placed_only = true;
            explore(Damage { copies, placed_only }, flushes).err()
        });
        let noticed: Vec<_> = noticed.collect();
        println!("{flushes:?}: {noticed:#?}");
        assert!(!noticed.is_empty(), "{flushes:?} went unnoticed");
    }
}
