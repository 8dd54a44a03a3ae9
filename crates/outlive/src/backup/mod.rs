//! The reading side of a checkpoint region, and the takeover.

mod connection;
mod liveness;
mod options;
mod takeover;

pub use options::{BackupOptions, Follow, LoadOptions, TakeoverOptions};
pub use takeover::TakenOver;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use outlive_layout::{Cursor, Fresh as Followed, ReadOptions, Reading, View};

use self::connection::Connection;
use self::liveness::Liveness;
use crate::control::Watch;
use crate::link::Link;
use crate::set::findings;
use crate::{Error, RegionMetadata, RegionView, Result, Session, Set, SetInfo, SetKind, Sets};

/// What a backup had not read before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fresh {
    /// Snapshots, updates and clears in order of sequence: whoever applies them in turn (a snapshot
    /// replaces, an update changes, a clear empties) has the primary's state. Updates that come after a new
    /// snapshot in that order are returned behind it even if they were returned before.
    pub sets: Vec<Set>,
    /// Sets that were overwritten before they were read. Then `sets` goes on with the snapshot that covers them.
    pub overrun: Option<Overrun>,
    /// Sets that were read and that the region does not hold any more: the unit had lost them (they were only
    /// placed) and a later primary went on without. Then `sets` begins anew: with the snapshot if there is one, else
    /// with a clear.
    pub diverged: Option<Overrun>,
    /// Whether more is there already: one call returns a bounded number of bytes.
    pub more: bool,
}

/// Sequences that were overwritten before a backup read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The last sequence read before the gap, plus one.
    pub from: u64,
    /// The last sequence that is missing.
    pub to: u64,
}

/// Why the primary seems to have failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suspicion {
    /// Its connection to the unit broke: its process is gone, or its network is.
    OwnerLost,
    /// It has not written its heartbeat word for this long, though the unit could be read.
    Silent {
        /// Since its last sign of life.
        since: Duration,
    },
    /// It gave the region up in good order.
    Closed,
}

/// A reader of a checkpoint region. The primary never notices it. Used from one thread at a time.
///
/// It keeps a cursor: [`read_new`](Self::read_new) returns what came after it. A lost connection is made again by
/// the next call, tried for `retry_for`.
pub struct Backup {
    session: Session,
    name: String,
    options: BackupOptions,
    connection: Connection,
    watch: Watch,
    liveness: Liveness,
    cursor: Option<Cursor>,
    /// Incarnation in which everything before the cursor was read: another one may have lost some of it, which
    /// following does not notice as long as no later primary goes on without.
    cursor_incarnation: u64,
    /// Newest snapshot that was returned: generation and sequence.
    snapshot_seen: (u64, u64),
    /// Read and not yet returned, where one read brought more than a batch.
    ready: VecDeque<Set>,
}

impl Backup {
    pub(crate) fn open(session: &Session, name: &str, options: &BackupOptions) -> Result<Self> {
        let retry_for = options.retry_for.unwrap_or(session.options().retry_for);
        let connection = Connection::open(session, name, retry_for)?;
        let mut liveness = Liveness::new(options);
        liveness.connected(connection.incarnation());
        Ok(Self {
            session: session.clone(),
            name: name.to_owned(),
            options: options.clone(),
            connection,
            watch: session.control().watch(name),
            liveness,
            cursor: None,
            cursor_incarnation: 0,
            snapshot_seen: (0, 0),
            ready: VecDeque::new(),
        })
    }

    /// The newest snapshot and all updates after it. Sets the cursor behind them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the set that does not verify; [`Error::Overwritten`] when the primary overwrote
    /// it each time; [`Error::Unreachable`].
    pub fn read_all(&mut self) -> Result<Sets> {
        let reading = self.read(View::Current)?;
        self.ready.clear();
        Ok(self.accept(reading))
    }

    /// What came after the cursor, which moves behind it. The first call begins with the newest snapshot.
    ///
    /// ```
    /// # mod server { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/server.rs")); }
    /// # fn main() -> Result<(), outlive::Error> {
    /// # use outlive::{OpenOptions, RegionSpec, TakeoverOptions, RawOptions};
    /// # let server = server::Server::in_memory("64MiB");
    /// # let session = server.session();
    /// # session.create("r", &RegionSpec::checkpoint(1 << 20))?;
    /// let primary = session.primary("r", &OpenOptions::default())?;
    /// let mut backup = session.backup("r")?;
    /// primary.append(b"one")?.wait()?;
    /// assert_eq!(backup.read_new()?.sets[0].bytes, b"one");
    /// primary.append(b"two")?.wait()?;
    /// assert_eq!(backup.read_new()?.sets[0].bytes, b"two");
    /// assert!(backup.read_new()?.sets.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`read_all`](Self::read_all).
    pub fn read_new(&mut self) -> Result<Fresh> {
        let mut fresh = if self.ready.is_empty() {
            self.follow()?
        } else {
            Fresh::default()
        };
        self.ready.extend(fresh.sets.drain(..));
        let mut bytes = 0;
        while let Some(set) = self.ready.front() {
            bytes += set.bytes.len() as u64;
            if !fresh.sets.is_empty() && bytes > self.options.batch_bytes {
                break;
            }
            fresh.sets.extend(self.ready.pop_front());
        }
        fresh.more |= !self.ready.is_empty();
        Ok(fresh)
    }

    /// Whether nothing seems to have come after the cursor since [`read_new`](Self::read_new) last found nothing there:
    /// one read of one set's header, where `read_new` also reads the region's head. For who asks often.
    ///
    /// `false` says to call `read_new`. `true` speaks of the journal at the cursor only: a snapshot, a region that has
    /// grown, damage, and sets that were overwritten or lost may go unseen, so call `read_new` now and then all the same.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn is_quiet(&mut self) -> Result<bool> {
        match &self.cursor {
            Some(cursor) if self.ready.is_empty() => {
                self.connection.with(|reader, link| reader.is_quiet(link, cursor))
            }
            _ => Ok(false),
        }
    }

    /// Loads without touching the cursor: an earlier set, only what is after a sequence, or what was cleared.
    ///
    /// # Errors
    /// [`Error::NoSuchSet`], and as for [`read_all`](Self::read_all).
    pub fn load(&mut self, options: &LoadOptions) -> Result<Sets> {
        if let Some(sequence) = options.sequence {
            let set = Set::from(self.connection.with(|reader, link| reader.set(link, sequence))?);
            let mut sets = Sets::default();
            match set.kind {
                SetKind::Snapshot => sets.snapshot = Some(set),
                _ => sets.updates.push(set),
            }
            return Ok(sets);
        }
        let reading = self.read(if options.cleared {
            View::Cleared
        } else {
            View::Current
        })?;
        let mut sets = sets_of(reading);
        if let Some(after) = options.after {
            sets.snapshot = sets.snapshot.filter(|set| set.sequence > after);
            sets.updates.retain(|set| set.sequence > after);
        }
        Ok(sets)
    }

    /// Every set that is kept, snapshots and journal, with what checking it found, in order of sequence.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Overwritten`]. Broken sets are findings, not errors.
    pub fn log(&mut self) -> Result<Vec<SetInfo>> {
        let (sets, found) = self.connection.with(|reader, link| reader.log(link))?;
        let mut infos: Vec<_> = sets.into_iter().map(SetInfo::verified).collect();
        infos.extend(found.iter().filter_map(findings));
        infos.sort_by_key(|info| info.sequence);
        Ok(infos)
    }

    /// Whether the primary seems to have failed, from what is known now: never blocks.
    pub fn suspicion(&mut self) -> Option<Suspicion> {
        self.liveness.judge(&self.watch.now())
    }

    /// Waits up to `timeout` for a reason to suspect the primary, reading its heartbeat word meanwhile.
    /// A broken connection of the primary ends the wait at once.
    ///
    /// # Errors
    /// [`Error::NoSuchRegion`] when the region was deleted; [`Error::Unreachable`] when the backup itself
    /// cannot read for longer than `retry_for`: then nothing can be said about the primary.
    pub fn await_failure(&mut self, timeout: Duration) -> Result<Option<Suspicion>> {
        let deadline = Instant::now() + timeout;
        loop {
            let known = self.watch.now();
            if known.deleted {
                return Err(Error::NoSuchRegion {
                    region: self.name.clone(),
                });
            }
            if self.liveness.wants_look(&known) {
                self.look()?;
            }
            let suspicion = self.liveness.judge(&known);
            let left = deadline.saturating_duration_since(Instant::now());
            if suspicion.is_some() || left.is_zero() {
                return Ok(suspicion);
            }
            self.watch.wait(known.events, left.min(self.liveness.next_look()));
        }
    }

    /// The last sequence behind the cursor.
    pub fn sequence(&self) -> u64 {
        let read = self.cursor.as_ref().map_or(0, Cursor::sequence);
        self.ready
            .front()
            .map_or(read, |set| set.sequence.saturating_sub(1))
    }

    /// The region as the manager last told it: owner, generation, and so on.
    pub fn region(&self) -> RegionView {
        self.watch
            .now()
            .region
            .map_or_else(|| self.connection.region(), RegionView::from)
    }

    /// The unit's incarnation that it is connected to, or was last.
    pub fn incarnation(&self) -> u64 {
        self.connection.incarnation()
    }

    /// What the region's metadata page says, read one-sidedly from the unit's memory.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn metadata(&mut self) -> Result<RegionMetadata> {
        self.connection
            .with_link(Link::read_metadata)
            .map(RegionMetadata::from)
    }
}

impl Backup {
    fn read(&mut self, view: View) -> Result<Reading> {
        let options = ReadOptions {
            view,
            accept_loss: false,
        };
        self.connection.with(|reader, link| reader.read(link, &options))
    }

    /// Moves the cursor behind a reading, and the snapshot that was seen.
    fn accept(&mut self, reading: Reading) -> Sets {
        if reading.cursor.sequence() > self.cursor.as_ref().map_or(0, Cursor::sequence) {
            self.liveness.sign_of_life();
        }
        self.cursor = Some(reading.cursor.clone());
        self.cursor_incarnation = self.connection.incarnation();
        if let Some(snapshot) = &reading.snapshot {
            self.snapshot_seen = (snapshot.generation, snapshot.sequence);
        }
        sets_of(reading)
    }

    /// What is new, however much one read brings.
    fn follow(&mut self) -> Result<Fresh> {
        let Some(mut cursor) = self.cursor.clone() else {
            return Ok(Fresh {
                sets: in_order(self.read_all()?),
                ..Fresh::default()
            });
        };
        let followed = self
            .connection
            .with(|reader, link| reader.follow(link, &mut cursor))?;
        let mut fresh = Fresh::default();
        match followed {
            Followed::Sets { sets, more } => {
                if !sets.is_empty() {
                    self.liveness.sign_of_life();
                }
                self.cursor = Some(cursor);
                fresh.sets = sets
                    .into_iter()
                    .map(Set::from)
                    .filter(|set| set.kind != SetKind::Takeover)
                    .collect();
                fresh.more = more;
            }
            Followed::Overrun { from, to } => {
                fresh.overrun = Some(Overrun {
                    from: from + 1,
                    to: to.saturating_sub(1),
                });
                fresh.sets = self.begin_anew()?;
            }
            Followed::Diverged { from, common, .. } => {
                fresh.diverged = Some(Overrun {
                    from: common + 1,
                    to: from,
                });
                fresh.sets = self.begin_anew()?;
            }
        }
        if self.options.follow == Follow::Everything && !fresh.more {
            self.add_snapshot(&mut fresh)?;
        }
        Ok(fresh)
    }

    /// Everything, for a caller who has a state already: what does not begin with a snapshot begins with a clear.
    fn begin_anew(&mut self) -> Result<Vec<Set>> {
        let stood = self
            .cursor
            .as_ref()
            .map_or((0, 0), |cursor| (cursor.sequence(), cursor.generation()));
        let sets = self.read_all()?;
        let emptied = sets
            .snapshot
            .is_none()
            .then(|| takeover::clear_mark(stood.0, stood.1));
        Ok(emptied.into_iter().chain(in_order(sets)).collect())
    }

    /// Puts a snapshot that is new in its place among the sets, and the updates that come after it behind it.
    fn add_snapshot(&mut self, fresh: &mut Fresh) -> Result<()> {
        let head = self.connection.with(|reader, link| reader.head(link))?;
        let newest = head.snapshots().first().map_or((0, 0), |seal| seal.order());
        if newest <= self.snapshot_seen {
            return Ok(());
        }
        let reading = self.read(View::Current)?;
        let begin = reading.snapshot.as_ref().map(|snapshot| snapshot.sequence);
        if let Some(begin) = begin {
            fresh.sets.retain(|set| set.sequence < begin);
            fresh.sets.extend(in_order(self.accept(reading)));
        }
        #[cfg(feature = "deliberate-bugs")]
        if begin.is_none() && crate::bugs::Bug::ClearIsMissed.is_made() {
            self.read_all()?;
        }
        // A snapshot that was cleared again is not returned; it is not new any more either. Nor is the cursor moved then: the
        // clear, and what came after it, may have come only now.
        self.snapshot_seen = self.snapshot_seen.max(newest);
        Ok(())
    }

    /// Reads the heartbeat word. A lost connection is made again; meanwhile nothing is known about the primary.
    fn look(&mut self) -> Result<()> {
        let word = self.connection.heartbeat();
        self.liveness.connected(self.connection.incarnation());
        match word {
            Err(Error::Unreadable { .. }) => self.liveness.blind(),
            word => self.liveness.saw(word?),
        }
        Ok(())
    }
}

fn sets_of(reading: Reading) -> Sets {
    Sets {
        snapshot: reading.snapshot.map(Set::from),
        updates: reading.updates.into_iter().map(Set::from).collect(),
    }
}

fn in_order(sets: Sets) -> Vec<Set> {
    sets.snapshot.into_iter().chain(sets.updates).collect()
}
