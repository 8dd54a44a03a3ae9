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
use outlive_layout::{ReadError, ReadOptions, Reader, RegionId, RegionKind, Source, raw};
use outlive_media::{MediaError, Medium};
use outlive_proto::v1::ScrubState;
use outlive_unit::Unit;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::fsck::{Extents, replay};
use crate::quantity::{parse_interval, parse_size};

/// Longest time in which the end of the process goes unnoticed.
const SLICE: Duration = Duration::from_millis(50);
/// Findings that status tells in words; the log has all of them.
const TOLD: usize = 16;

/// How often the catalog is tried while a manager writes to it: each try is several already.
const CATALOG_TRIES: u32 = 20;

/// How a unit scrubs in the background.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ScrubArguments {
    /// Verify everything on the medium in the background, so long after the last round began; default: never, since it
    /// costs device time and cache that only you can spare. Of a file it reads what the kernel caches from the cache and
    /// not from the device
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
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
            complete: BTreeSet::new(),
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
            // One that panicked has said so, in status, too.
            let _ = thread.join();
        }
    }
}

struct Task {
    unit: Unit,
    pace: Pace,
    stop: Arc<AtomicBool>,
    state: ScrubState,
    /// What was told last, so that the log tells each thing once.
    known: BTreeSet<String>,
    /// What the last round found that read everything: one that did not disproves none of it.
    complete: BTreeSet<String>,
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the unit ends")]
    Stopped,
    #[error(transparent)]
    Media(MediaError),
    /// This part of the medium was not, for a reason that is none of the medium's; others can be.
    #[error("{0}")]
    Unread(String),
}

/// What a round found.
#[derive(Default)]
struct Round {
    sets: u64,
    outrun: u64,
    damage: BTreeSet<String>,
    /// The first reason why not everything was read.
    incomplete: Option<String>,
}

impl Round {
    /// Notes what was not read, unless nothing else can be either.
    fn go_on(&mut self, outcome: Result<(), Broken>) -> Result<(), Broken> {
        match outcome {
            Err(Broken::Unread(reason)) => {
                self.incomplete.get_or_insert(reason);
                Ok(())
            }
            outcome => outcome,
        }
    }
}

impl Task {
    fn run(&mut self, every: Duration) {
        self.unit.tell_scrub(self.state.clone());
        loop {
            let began = Instant::now();
            let mut round = Round::default();
            match self.round(&mut round) {
                Ok(()) => {}
                Err(Broken::Stopped) => return,
                Err(error) => round.incomplete = Some(format!("broken off: {error}")),
            }
            self.tell(round);
            while began.elapsed() < every {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(SLICE.min(every.saturating_sub(began.elapsed())));
            }
        }
    }

    fn tell(&mut self, mut round: Round) {
        if let Some(reason) = &round.incomplete {
            tracing::error!(reason, "scrubbing did not read everything");
            round.damage.extend(self.complete.iter().cloned());
        } else {
            self.complete.clone_from(&round.damage);
        }
        for finding in round.damage.difference(&self.known) {
            tracing::error!(finding, "scrubbing found damage");
        }
        for finding in self.known.difference(&round.damage) {
            tracing::info!(finding, "scrubbing found damage before, and not any more");
        }
        let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let incomplete = u64::from(round.incomplete.is_some());
        self.state = ScrubState {
            rounds: self.state.rounds + 1 - incomplete,
            ended_unix_ms: u64::try_from(ended.as_millis()).unwrap_or(u64::MAX),
            sets: round.sets,
            bytes: self.pace.bytes(),
            found: round.damage.len() as u64,
            findings: round.damage.iter().take(TOLD).cloned().collect(),
            incomplete: round.incomplete.unwrap_or_default(),
            incomplete_rounds: self.state.incomplete_rounds + incomplete,
            outrun: round.outrun,
        };
        self.known = round.damage;
        self.unit.tell_scrub(self.state.clone());
    }

    fn round(&mut self, round: &mut Round) -> Result<(), Broken> {
        let superblock = self.unit.volume().superblock_problems();
        round.damage.extend(superblock);
        let (id, extent) = self.catalog_extent();
        let scrubbed = self.checkpoint("catalog", id, vec![extent], 0, extent.len, round);
        round.go_on(scrubbed)?;
        let catalog = match self.catalog(round) {
            Ok(catalog) => catalog,
            // Which regions there are is not known.
            Err(error) => return round.go_on(Err(error)),
        };
        for entry in catalog.regions_by_name() {
            let mut found = Round::default();
            let scrubbed = self.region(entry, &mut found);
            found.go_on(scrubbed)?;
            let moved =
                (!found.damage.is_empty() || found.incomplete.is_some()) && self.has_moved(entry, round)?;
            round.sets += found.sets;
            if !moved {
                round.outrun += found.outrun;
                round.damage.append(&mut found.damage);
                round.incomplete = round.incomplete.take().or(found.incomplete);
            }
        }
        Ok(())
    }

    fn region(&mut self, entry: &RegionEntry, found: &mut Round) -> Result<(), Broken> {
        if entry.kind == RegionKind::Checkpoint {
            let skip = METADATA_PAGE_BYTES as u64;
            let extents = entry.extents.clone();
            self.checkpoint(&entry.name, entry.region, extents, skip, entry.size, found)
        } else {
            self.raw(entry, found)
        }
    }

    /// Whether a region was deleted or grown meanwhile: then it was read where something else lies by now.
    fn has_moved(&mut self, entry: &RegionEntry, round: &mut Round) -> Result<bool, Broken> {
        match self.catalog(round) {
            Ok(now) => Ok(now
                .region_named(&entry.name)
                .is_none_or(|now| !same_place(now, entry))),
            // What was found stands where nothing disproves it.
            Err(error) => round.go_on(Err(error)).map(|()| false),
        }
    }

    fn catalog_extent(&self) -> (RegionId, Extent) {
        let geometry = self.unit.volume().geometry();
        let extent = Extent {
            start: geometry.catalog_data_start(),
            len: geometry.catalog_data_len(),
        };
        (RegionId(geometry.catalog_region), extent)
    }

    /// The catalog as it is now. That it is damaged is found, too.
    fn catalog(&mut self, round: &mut Round) -> Result<Catalog, Broken> {
        let (id, extent) = self.catalog_extent();
        let geometry = self.unit.volume().geometry();
        let allocatable = Extent {
            start: geometry.allocatable_start,
            len: geometry.allocatable_len,
        };
        for _ in 0..CATALOG_TRIES {
            let mut source = self.paced(vec![extent], 0);
            let read = Reader::open(&mut source, id, extent.len)
                .and_then(|mut reader| reader.read(&mut source, &ReadOptions::default()));
            let problem = match read {
                Ok(reading) => match replay(reading.snapshot.as_ref(), &reading.updates, allocatable) {
                    Ok(catalog) => return Ok(catalog),
                    Err(problem) => problem,
                },
                // A manager writes to it.
                Err(ReadError::Busy { .. }) => {
                    self.pause(SLICE)?;
                    continue;
                }
                Err(error) => problem_of("catalog", error)?,
            };
            round.damage.insert(format!("catalog: {problem}"));
            let reason = format!("no region was read, since the catalog cannot be: {problem}");
            return Err(Broken::Unread(reason));
        }
        let reason = "no region was read, since the catalog changed faster than it could be read";
        Err(Broken::Unread(reason.to_owned()))
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
                round.outrun += u64::from(scrubbed.outrun);
                let damage = scrubbed.findings.iter().filter(|finding| !finding.is_harmless());
                round
                    .damage
                    .extend(damage.map(|finding| format!("{name}: {finding}")));
            }
            Err(error) => {
                let problem = problem_of(name, error)?;
                round.damage.insert(format!("{name}: {problem}"));
            }
        }
        Ok(())
    }

    fn raw(&mut self, entry: &RegionEntry, round: &mut Round) -> Result<(), Broken> {
        let mut source = self.paced(entry.extents.clone(), METADATA_PAGE_BYTES as u64);
        let name = &entry.name;
        let unread = match raw::scan(&mut source, entry.size) {
            Ok(unread) => unread,
            Err(error) => {
                let problem = problem_of(name, error)?;
                round.damage.insert(format!("{name}: {problem}"));
                return Ok(());
            }
        };
        let messages = unread.messages();
        round
            .damage
            .extend(messages.iter().map(|(_, message)| format!("{name}: {message}")));
        match unread.gave_up_at {
            Some(offset) => Err(Broken::Unread(format!(
                "{name}: given up at offset {offset}, since the device fails"
            ))),
            None => Ok(()),
        }
    }

    fn pause(&self, mut pause: Duration) -> Result<(), Broken> {
        while !pause.is_zero() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Broken::Stopped);
            }
            let now = pause.min(SLICE);
            std::thread::sleep(now);
            pause -= now;
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

impl Drop for Task {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The last good round must not stand for those to come.
            self.state.incomplete =
                "scrubbing has ended by a panic, which the log has: restart the unit, and report it"
                    .to_owned();
            self.unit.tell_scrub(self.state.clone());
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

/// What is wrong with the bytes of a region that could not be read, where it is them.
fn problem_of(name: &str, error: ReadError<Broken>) -> Result<String, Broken> {
    match error {
        ReadError::Source { source, .. } if !is_unreadable(&source) => Err(source),
        error @ (ReadError::Source { .. } | ReadError::Corrupt { .. } | ReadError::NotACheckpoint) => {
            Ok(error.to_string())
        }
        // Busy, or a limit of this process: nothing is known of the region.
        error => Err(Broken::Unread(format!("{name}: {error}"))),
    }
}

fn same_place(one: &RegionEntry, other: &RegionEntry) -> bool {
    (one.region, one.size, &one.extents) == (other.region, other.size, &other.extents)
}

#[cfg(test)]
mod tests {
    use outlive_media::MediaSpec;
    use outlive_unit::{AttachSecret, UnitOptions};

    use super::*;

    fn task() -> Task {
        let spec: MediaSpec = "memory:size=16MiB".parse().unwrap();
        let options = UnitOptions::new(AttachSecret::of_nobody());
        Task {
            unit: Unit::on(spec.open_volume().unwrap(), options),
            pace: Pace::new(None),
            stop: Arc::default(),
            state: ScrubState::default(),
            known: BTreeSet::new(),
            complete: BTreeSet::new(),
        }
    }

    fn round(task: &mut Task) {
        let mut round = Round::default();
        task.round(&mut round).unwrap();
        task.tell(round);
    }

    #[test]
    fn a_round_without_a_catalog_is_none_and_says_why() {
        let mut task = task();
        round(&mut task);
        let clean = task.state.clone();
        let (_, extent) = task.catalog_extent();
        let medium = Arc::clone(task.unit.volume().medium());
        medium
            .store(extent.start, &vec![0x5a; usize::try_from(extent.len).unwrap()])
            .unwrap();
        round(&mut task);
        assert_eq!(
            (task.state.rounds, task.state.incomplete_rounds),
            (clean.rounds, clean.incomplete_rounds + 1)
        );
        assert!(task.state.incomplete.contains("catalog"), "{:?}", task.state);
        assert!(task.state.found > 0, "{:?}", task.state);
    }

    #[test]
    fn what_was_found_stands_until_a_whole_round_disproves_it() {
        let mut task = task();
        let found = |damage: &[&str], incomplete: Option<&str>| Round {
            damage: damage.iter().map(|&text| text.to_owned()).collect(),
            incomplete: incomplete.map(str::to_owned),
            ..Round::default()
        };
        task.tell(found(&["a"], None));
        for _ in 0..3 {
            task.tell(found(&["b"], Some("broken off")));
        }
        assert_eq!(task.state.findings, ["a", "b"]);
        assert_eq!((task.state.rounds, task.state.incomplete_rounds), (1, 3));
        assert_eq!(task.state.incomplete, "broken off");
        task.tell(found(&[], None));
        assert_eq!(
            (
                task.state.found,
                task.state.rounds,
                task.state.incomplete.as_str()
            ),
            (0, 2, "")
        );
    }

    #[test]
    fn busy_is_no_damage() {
        let busy = problem_of("orders", ReadError::Busy { attempts: 8 });
        assert!(matches!(busy, Err(Broken::Unread(reason)) if reason.starts_with("orders: ")));
        let damaged = problem_of("orders", ReadError::NotACheckpoint);
        assert!(damaged.is_ok());
    }

    #[test]
    fn a_panic_shows_in_status() {
        let task = task();
        let unit = task.unit.clone();
        let panicked = std::thread::spawn(move || {
            let _task = task;
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        let told = unit.scrub_told().unwrap();
        assert!(told.incomplete.contains("ended by a panic"), "{told:?}");
    }
}
