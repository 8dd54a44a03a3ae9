//! Making a medium, starting a unit on it, attaching managers: cut at every event, and again while the unit starts anew.

use std::collections::HashSet;
use std::io;
use std::os::fd::BorrowedFd;

use outlive_layout::{Reader, RegionId};
use outlive_media::simulated::{Image, SimulatedMedia, Survival};
use outlive_media::superblock::{BLOCK, FORMATTING, MIN_MEDIA_LEN};
use outlive_media::{Copy, Media, MediaError, Medium, Persistence, Stored, Superblock, Volume};

use crate::region::{InImage, Region};

/// Cuts with at most so many outcomes are tried exhaustively: those within an update of one copy are.
const EXHAUSTIVE: u64 = 512;
const SAMPLES: u64 = 8;
/// Of so many crash states one is started on by a killed and one by a powerless unit, and cut again.
const ONE_STARTED_OF: u64 = 16;

/// Numbers that somebody was told, and that are never given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    incarnation: u64,
    manager: u64,
}

/// A life of a unit's medium: what was told, by event.
struct Life {
    media: SimulatedMedia,
    told: Vec<(usize, Told)>,
    flushes: Flushes,
}

/// What a test lets the device do with flushes, to see whether it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushes {
    Honest,
    /// None reaches the device.
    Skipped,
    /// Every other one does not: nothing is persistent between the two copies.
    EveryOtherSkipped,
}

impl Life {
    /// A medium whose making has begun.
    fn begin(flushes: Flushes) -> Self {
        let mut image = Image::zeroed(MIN_MEDIA_LEN);
        image.write(0, &FORMATTING);
        Self::of(SimulatedMedia::of(image), Told::default(), flushes)
    }

    fn of(media: SimulatedMedia, told: Told, flushes: Flushes) -> Self {
        Self {
            media,
            told: vec![(0, told)],
            flushes,
        }
    }

    /// A unit starts and managers attach, so many of them.
    fn serve(&mut self, managers: u32) -> Result<(), String> {
        let stored = if is_unfinished(&self.media.placed()) {
            Stored::New
        } else {
            Stored::Before
        };
        let before = self.told.last().expect("something").1;
        let volume = Volume::start(self.medium(), stored).map_err(|error| error.to_string())?;
        let incarnation = volume.incarnation();
        if incarnation <= before.incarnation {
            return Err(format!("incarnation {incarnation} was used before: {before:?}"));
        }
        if volume.manager_generation() < before.manager {
            return Err(format!(
                "manager generation {} is behind {before:?}",
                volume.manager_generation()
            ));
        }
        let mut told = Told {
            incarnation,
            ..before
        };
        self.told.push((self.media.events(), told));
        for _ in 0..managers {
            let manager = volume
                .raise_manager_generation()
                .map_err(|error| error.to_string())?;
            if manager <= told.manager {
                return Err(format!("manager generation {manager} was used before: {told:?}"));
            }
            told.manager = manager;
            self.told.push((self.media.events(), told));
        }
        Ok(())
    }

    fn medium(&self) -> Medium {
        let flushed = std::sync::atomic::AtomicU64::new(0);
        Medium::new(Box::new(Device {
            media: self.media.clone(),
            flushes: self.flushes,
            flushed,
        }))
    }

    fn told_at(&self, event: usize) -> Told {
        let at = self.told.partition_point(|(from, _)| *from <= event);
        self.told[at - 1].1
    }
}

/// As the file backend finds out whether there is anything to keep.
fn is_unfinished(image: &Image) -> bool {
    let mut begin = FORMATTING;
    image.read(0, &mut begin);
    begin == FORMATTING
}

/// Cuts a life everywhere, and `depth` times what is started on what is left.
fn cut_everywhere(life: &Life, depth: u32, states: &mut HashSet<u64>) -> Result<(), String> {
    let trace = life.media.trace();
    trace.each_cut(|cut| {
        let told = life.told_at(cut.event());
        let mut images: Vec<(String, Image)> = Vec::new();
        if let Some(every) = cut.every_outcome(EXHAUSTIVE) {
            images.extend(every.map(|image| ("one of all outcomes".to_owned(), image)));
        } else {
            let samples = (0..SAMPLES).map(|n| Survival::Sampled((cut.event() as u64) << 8 | n));
            let choices = Survival::ADVERSARIAL.into_iter().chain(samples);
            images.extend(choices.map(|choice| (format!("{choice:?}"), cut.survivors(choice))));
        }
        for (name, image) in images {
            let context = |what| format!("{what}; event {} leaving {name}", cut.event());
            check(&image, told).map_err(context)?;
            let is_new = states.insert(image.fingerprint());
            if depth == 0 || !is_new || image.fingerprint() % ONE_STARTED_OF != 0 {
                continue;
            }
            let powerless = SimulatedMedia::of(image.clone());
            let killed = SimulatedMedia::left(cut.persistent().clone(), image);
            for (how, media) in [("power", powerless), ("its process", killed)] {
                let mut next = Life::of(media, told, life.flushes);
                let served = next
                    .serve(1)
                    .and_then(|()| cut_everywhere(&next, depth - 1, states));
                served.map_err(|what| context(format!("{what}; after loss of {how}")))?;
            }
        }
        Ok(())
    })
}

/// What is left is a medium still being made, or one that knows everything that was told.
fn check(image: &Image, told: Told) -> Result<(), String> {
    if is_unfinished(image) {
        // It will be made anew, whatever else is on it.
        return match told == Told::default() {
            true => Ok(()),
            false => Err("it served, and counts as never made".to_owned()),
        };
    }
    let medium = SimulatedMedia::of(image.clone()).medium();
    let found = Superblock::read(&medium).map_err(|error| error.to_string())?;
    knows(&found, told)?;
    let geometry = found.geometry;
    let region = Region {
        id: RegionId(geometry.catalog_region),
        start: geometry.catalog_data_start(),
        len: geometry.catalog_data_len(),
    };
    Reader::open(&mut InImage(image, region), region.id, region.len)
        .map_err(|error| format!("the superblock names a catalog that is none: {error}"))?;
    let copies = Superblock::read_copies(&medium);
    if copies.iter().any(|copy| !matches!(copy, Copy::Valid(_))) {
        return Ok(());
    }
    // Whichever copy rots, the other one knows the same.
    for copy in 0..2 {
        let rotten = SimulatedMedia::of(image.clone());
        rotten.poison(copy * BLOCK + 64);
        let found = Superblock::read(&rotten.medium()).map_err(|error| error.to_string())?;
        knows(&found, told).map_err(|what| format!("{what}, with copy {copy} unreadable"))?;
    }
    Ok(())
}

fn knows(found: &Superblock, told: Told) -> Result<(), String> {
    if found.incarnation < told.incarnation || found.manager_generation < told.manager {
        return Err(format!("{found:?} does not know {told:?}"));
    }
    Ok(())
}

/// The simulated medium, but for its flushes.
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
        socket: BorrowedFd<'_>,
    ) -> Result<Option<io::Result<usize>>, MediaError> {
        self.media.receive(at, len, socket)
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        self.media.zero(at, len)
    }

    fn flush(&self) -> io::Result<()> {
        let number = self.flushed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match self.flushes {
            Flushes::Skipped => Ok(()),
            Flushes::EveryOtherSkipped if number.is_multiple_of(2) => Ok(()),
            Flushes::Honest | Flushes::EveryOtherSkipped => self.media.flush(),
        }
    }
}

fn explore(flushes: Flushes) -> Result<HashSet<u64>, String> {
    let mut states = HashSet::new();
    let mut life = Life::begin(flushes);
    for managers in [2, 0, 1, 3] {
        life.serve(managers)?;
    }
    cut_everywhere(&life, 2, &mut states).map(|()| states)
}

#[test]
fn no_incarnation_and_no_manager_generation_is_ever_given_twice() {
    let states = explore(Flushes::Honest).unwrap_or_else(|failure| panic!("{failure}"));
    println!("superblock: {} distinct crash states", states.len());
    assert!(states.len() > 1000, "{}", states.len());
}

#[test]
fn a_superblock_without_its_flushes_is_caught() {
    for flushes in [Flushes::Skipped, Flushes::EveryOtherSkipped] {
        let failure = explore(flushes).expect_err("it must be noticed");
        println!("{flushes:?}: {failure}");
    }
}
