//! A model of the region as its unit and manager keep it: generations, one write connection, sets.

use std::collections::BTreeSet;

use crate::machine::Fed;

use super::Bug;

/// Number of a write connection; never used again.
pub(super) type Conn = u64;

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) generation: u64,
    pub(super) set: Vec<u8>,
    pub(super) persistent: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Covers every set of a lower sequence.
    pub(super) name: Name,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Region {
    pub(super) generation: u64,
    /// Member that owns it; `None` when it was closed.
    pub(super) owner: Option<usize>,
    /// The owner's write connection, while it is up.
    pub(super) writer: Option<Conn>,
    /// Every set that was ever placed and not lost, for checking; readers see those after the snapshot.
    pub(super) sets: Vec<Stored>,
    /// What it held and lost: some reader may know it still.
    lost: Vec<Stored>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) capacity: u64,
    next_conn: Conn,
    bug: Bug,
}

/// Names a set for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) sequence: u64,
    pub(super) generation: u64,
}

/// What a backup has read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    pub(super) last: Name,
    seen: BTreeSet<Name>,
}

/// What reading came to.
pub(super) struct Reading {
    pub(super) fed: Vec<Fed>,
    /// The reader has read more than the region still holds.
    pub(super) ahead: bool,
}

/// Why the unit stopped a write connection.
pub(super) struct Fenced(pub(super) Option<Conn>);

impl Region {
    pub(super) fn new(capacity: u64, bug: Bug) -> Self {
        Self {
            generation: 0,
            owner: None,
            writer: None,
            sets: Vec::new(),
            lost: Vec::new(),
            snapshot: None,
            capacity,
            next_conn: 1,
            bug,
        }
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.end().sequence
    }

    pub(super) fn used(&self) -> u64 {
        self.after(self.covered())
            .map(|stored| stored.set.len() as u64 + 128)
            .sum()
    }

    /// Makes `member` the owner under a new generation: the connection before is stopped, and then the new one granted.
    pub(super) fn grant(&mut self, member: usize) -> (Conn, Fenced) {
        self.generation += 1;
        self.owner = Some(member);
        let before = self.writer.take();
        for stored in &mut self.sets {
            stored.persistent = true;
        }
        (self.connect(), Fenced(before))
    }

    pub(super) fn connect(&mut self) -> Conn {
        let conn = self.next_conn;
        self.next_conn += 1;
        self.writer = Some(conn);
        conn
    }

    /// Whether an operation of this connection is carried out.
    pub(super) fn admits(&self, conn: Conn, generation: u64) -> bool {
        if self.bug == Bug::GrantBeforeFence {
            // The unit forgets to stop the old connection when a new one is granted.
            return generation <= self.generation && generation + 1 >= self.generation;
        }
        self.writer == Some(conn)
    }

    /// A set arrives.
    pub(super) fn place(&mut self, sequence: u64, generation: u64, set: Vec<u8>) {
        let known = |stored: &Stored| stored.sequence == sequence && stored.generation == generation;
        if !self.sets.iter().rev().take(64).any(known) {
            self.sets.push(Stored {
                sequence,
                generation,
                set,
                persistent: false,
            });
        }
    }

    pub(super) fn persist(&mut self) {
        for stored in self.sets.iter_mut().rev().take_while(|stored| !stored.persistent) {
            stored.persistent = true;
        }
    }

    pub(super) fn is_persistent(&self, sequence: u64, generation: u64) -> bool {
        let this = |stored: &&Stored| stored.sequence == sequence && stored.generation == generation;
        self.sets
            .iter()
            .rev()
            .find(this)
            .is_some_and(|stored| stored.persistent)
    }

    /// A snapshot is committed, and with it everything that it covers. What only its writer still
    /// knew (the unit had lost it) is part of the history again.
    pub(super) fn save(&mut self, snapshot: Snapshot, known_by_writer: &Reader) {
        let last = self.last_sequence();
        let back = |stored: &Stored| stored.sequence > last && known_by_writer.seen.contains(&stored.name());
        let (mut back, lost) = std::mem::take(&mut self.lost).into_iter().partition(back);
        self.sets.append(&mut back);
        self.lost = lost;
        self.persist();
        self.snapshot = Some(snapshot);
    }

    /// The unit loses power: of what is not persistent, only the first `kept` sets survive.
    pub(super) fn lose_power(&mut self, kept: usize) {
        let persistent = self.sets.iter().take_while(|stored| stored.persistent).count();
        let end = (persistent + kept).min(self.sets.len());
        self.lost.extend(self.sets.drain(end..));
        self.persist();
        self.writer = None;
    }

    /// What the reader has not read; everything, if the region's history is not the one that it has read.
    pub(super) fn read(&self, reader: &mut Reader) -> Reading {
        let end = self.end();
        let mut fed = Vec::new();
        if end == reader.last {
            return Reading { fed, ahead: false };
        }
        if end == Name::default() || reader.seen.contains(&end) {
            return Reading { fed, ahead: true };
        }
        let from = if self.holds(reader.last) {
            reader.last.sequence
        } else {
            *reader = Reader::default();
            fed.push(match &self.snapshot {
                Some(snapshot) => Fed::Snapshot(snapshot.bytes.clone()),
                None => Fed::Clear,
            });
            self.covered()
        };
        for stored in self.after(from) {
            fed.push(Fed::Update(stored.set.clone()));
            reader.seen.insert(stored.name());
        }
        reader.seen.insert(end);
        reader.last = end;
        Reading { fed, ahead: false }
    }

    fn holds(&self, name: Name) -> bool {
        let covered = self.covered();
        name.sequence >= covered
            && (self
                .snapshot
                .as_ref()
                .is_some_and(|snapshot| snapshot.name == name)
                || self
                    .after(name.sequence.saturating_sub(1))
                    .next()
                    .is_some_and(|s| s.name() == name))
    }

    fn end(&self) -> Name {
        let last = self.sets.last().map(Stored::name);
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.name);
        last.into_iter().chain(snapshot).max().unwrap_or_default()
    }

    fn covered(&self) -> u64 {
        self.snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.name.sequence)
    }

    fn after(&self, sequence: u64) -> impl Iterator<Item = &Stored> {
        let from = self.sets.partition_point(|stored| stored.sequence <= sequence);
        self.sets[from..].iter()
    }
}

impl Stored {
    pub(super) fn name(&self) -> Name {
        Name {
            sequence: self.sequence,
            generation: self.generation,
        }
    }
}
