//! Scrubbing in the background of a unit's process.
//!
//! It reads the medium as the offline check does, beside those who write, with the code that `outlive scrub` uses. The unit
//! itself does not look at what a region's bytes mean; this does, beside it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use outlive::{Pace, ScrubOptions};
use outlive_layout::catalog::{Catalog, Extent, RegionEntry};
use outlive_layout::metadata::METADATA_PAGE_BYTES;
use outlive_layout::{ReadError, ReadOptions, Reader, RegionId, RegionKind, Source};
use outlive_media::{MediaError, Medium};
use outlive_proto::v1::ScrubState;
use outlive_unit::Unit;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::fsck::{Extents, replay};
use crate::quantity::{parse_size, parse_time};

/// Longest time in which the end of the process goes unnoticed.
const SLICE: Duration = Duration::from_millis(50);
/// Findings that status tells in words; the log has all of them.
const TOLD: usize = 16;

/// How a unit scrubs in the background.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ScrubArguments {
    /// Verify everything on the medium in the background, so long after the last round began; default: never, since it
    /// costs device time and cache that only you can spare
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    scrub_every: Option<Duration>,
    /// Most bytes that --scrub-every reads in a second
    #[arg(long, value_name = "BYTES", default_value_t = ScrubOptions::DEFAULT_RATE, value_parser = parse_size)]
    scrub_rate: u64,
}

/// The thread that scrubs. Dropping it ends it.
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts it, where it was asked for.
    pub(crate) fn start(unit: &Unit, arguments: &ScrubArguments) -> Result<Option<Self>, Failure> {
        let Some(every) = arguments.scrub_every else {
            return Ok(None);
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut task = Task {
            unit: unit.clone(),
            pace: Pace::new(Some(arguments.scrub_rate)),
            stop: Arc::clone(&stop),
            state: ScrubState::default(),
            known: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new().name("scrub".to_owned());
        let thread = thread.spawn(move || task.run(every));
        let thread =
            thread.map_err(|error| Failure::new(Exit::Failure, format!("cannot start a thread: {error}")))?;
        Ok(Some(Self {
            stop,
            thread: Some(thread),
        }))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

struct Task {
    unit: Unit,
    pace: Pace,
    stop: Arc<AtomicBool>,
    state: ScrubState,
    /// What the last round found, so that the log tells each thing once.
    known: BTreeSet<String>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the unit ends")]
    Stopped,
    #[error(transparent)]
    Media(MediaError),
}

/// What a round found.
#[derive(Default)]
struct Round {
    sets: u64,
    damage: BTreeSet<String>,
}

impl Task {
    fn run(&mut self, every: Duration) {
        self.unit.tell_scrub(self.state.clone());
        loop {
            let began = Instant::now();
            match self.round() {
                Ok(round) => self.tell(round),
                Err(Broken::Stopped) => return,
                Err(error) => tracing::error!(%error, "scrubbing was broken off"),
            }
            while began.elapsed() < every {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(SLICE.min(every.saturating_sub(began.elapsed())));
            }
        }
    }

    fn tell(&mut self, round: Round) {
        for finding in round.damage.difference(&self.known) {
            tracing::error!(finding, "scrubbing found damage");
        }
        for finding in self.known.difference(&round.damage) {
            tracing::info!(finding, "scrubbing found damage before, and not any more");
        }
        let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.state = ScrubState {
            rounds: self.state.rounds + 1,
            ended_unix_ms: u64::try_from(ended.as_millis()).unwrap_or(u64::MAX),
            sets: round.sets,
            bytes: self.pace.bytes(),
            found: round.damage.len() as u64,
            findings: round.damage.iter().take(TOLD).cloned().collect(),
        };
        self.known = round.damage;
        self.unit.tell_scrub(self.state.clone());
    }

    fn round(&mut self) -> Result<Round, Broken> {
        let mut round = Round::default();
        let superblock = self.unit.volume().superblock_problems();
        round.damage.extend(superblock);
        let (id, extent) = self.catalog_extent();
        self.checkpoint("catalog", id, vec![extent], 0, extent.len, &mut round)?;
        let Some(catalog) = self.catalog()? else {
            return Ok(round);
        };
        for entry in catalog.regions_by_name() {
            let mut found = Round::default();
            let skip = METADATA_PAGE_BYTES as u64;
            if entry.kind == RegionKind::Checkpoint {
                self.checkpoint(
                    &entry.name,
                    entry.region,
                    entry.extents.clone(),
                    skip,
                    entry.size,
                    &mut found,
                )?;
            } else {
                self.raw(entry, &mut found)?;
            }
            // What was deleted or grown meanwhile was read where something else lies by now.
            let same = |now: &Catalog| {
                now.region_named(&entry.name)
                    .is_some_and(|now| same_place(now, entry))
            };
            if found.damage.is_empty() || self.catalog()?.as_ref().is_some_and(same) {
                round.damage.append(&mut found.damage);
            }
            round.sets += found.sets;
        }
        Ok(round)
    }

    fn catalog_extent(&self) -> (RegionId, Extent) {
        let geometry = self.unit.volume().geometry();
        let extent = Extent {
            start: geometry.catalog_data_start(),
            len: geometry.catalog_data_len(),
        };
        (RegionId(geometry.catalog_region), extent)
    }

    /// The catalog as it is now; `None` where it cannot be read, which scrubbing it has told.
    fn catalog(&mut self) -> Result<Option<Catalog>, Broken> {
        let (id, extent) = self.catalog_extent();
        let geometry = self.unit.volume().geometry();
        let allocatable = Extent {
            start: geometry.allocatable_start,
            len: geometry.allocatable_len,
        };
        let mut source = self.paced(vec![extent], 0);
        let read = Reader::open(&mut source, id, extent.len)
            .and_then(|mut reader| reader.read(&mut source, &ReadOptions::default()));
        match read {
            Ok(reading) => Ok(replay(reading.snapshot.as_ref(), &reading.updates, allocatable).ok()),
            Err(ReadError::Source { source, .. }) if !is_unreadable(&source) => Err(source),
            Err(_) => Ok(None),
        }
    }

    fn checkpoint(
        &mut self,
        name: &str,
        id: RegionId,
        extents: Vec<Extent>,
        skip: u64,
        size: u64,
        round: &mut Round,
    ) -> Result<(), Broken> {
        let mut source = self.paced(extents, skip);
        let scrubbed =
            Reader::open(&mut source, id, size).and_then(|mut reader| reader.scrub(&mut source, &mut |_| {}));
        match scrubbed {
            Ok(scrubbed) => {
                round.sets += scrubbed.sets;
                let damage = scrubbed.findings.iter().filter(|finding| !finding.is_harmless());
                round
                    .damage
                    .extend(damage.map(|finding| format!("{name}: {finding}")));
            }
            Err(ReadError::Source { source, .. }) if !is_unreadable(&source) => return Err(source),
            Err(error) => {
                round.damage.insert(format!("{name}: {error}"));
            }
        }
        Ok(())
    }

    /// Its bytes mean what its owner says: what can be said of them is whether they can be read.
    fn raw(&mut self, entry: &RegionEntry, round: &mut Round) -> Result<(), Broken> {
        let mut source = self.paced(entry.extents.clone(), METADATA_PAGE_BYTES as u64);
        let mut page = [0; METADATA_PAGE_BYTES];
        for offset in (0..entry.size).step_by(page.len()) {
            let len = usize::try_from(entry.size - offset)
                .unwrap_or(usize::MAX)
                .min(page.len());
            match source.read_at(offset, &mut page[..len]) {
                Ok(()) => {}
                Err(error) if is_unreadable(&error) => {
                    let finding = format!(
                        "{}: the device cannot read {len} bytes at offset {offset}",
                        entry.name
                    );
                    round.damage.insert(finding);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn paced(&mut self, extents: Vec<Extent>, skip: u64) -> PacedExtents<'_> {
        let medium: Arc<Medium> = Arc::clone(self.unit.volume().medium());
        PacedExtents {
            extents: Extents::new(medium, extents).behind(skip),
            pace: &mut self.pace,
            stop: &self.stop,
        }
    }
}

/// Extents that are read no faster than they may be.
struct PacedExtents<'a> {
    extents: Extents,
    pace: &'a mut Pace,
    stop: &'a AtomicBool,
}

impl Source for PacedExtents<'_> {
    type Error = Broken;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Broken> {
        let piece = usize::try_from(self.pace.piece()).expect("at most a MiB");
        let mut at = offset;
        for part in into.chunks_mut(piece) {
            let mut pause = self.pace.take(part.len() as u64, Instant::now());
            loop {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Broken::Stopped);
                }
                if pause.is_zero() {
                    break;
                }
                let now = pause.min(SLICE);
                std::thread::sleep(now);
                pause -= now;
            }
            self.extents.read_at(at, part).map_err(Broken::Media)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn is_unreadable(error: &Broken) -> bool {
        is_unreadable(error)
    }
}

fn is_unreadable(error: &Broken) -> bool {
    matches!(error, Broken::Media(error) if Extents::is_unreadable(error))
}

fn same_place(one: &RegionEntry, other: &RegionEntry) -> bool {
    (one.region, one.size, &one.extents) == (other.region, other.size, &other.extents)
}
