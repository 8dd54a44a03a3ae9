//! The reading side of a checkpoint region, beside a writer that may be alive.
//!
//! The writer never waits for a reader, so a reader may find a set half placed, or overwritten under
//! it. Whatever does not verify is looked at again after the region's head was read anew, and only then
//! judged: the journal's end (perhaps not for long), overtaken, another history, or corrupt. Retries are bounded.

mod gathered;
mod lost;
mod scrub;
mod walk;

use gathered::Gathered;
pub use scrub::{SCRUB_CHUNK_BYTES, Scrubbed};
use walk::{Origin, Stop};

use crate::finding::{Finding, HeaderFault, PayloadFault};
use crate::head::Head;
use crate::journal::{Journal, Place};
use crate::set::{SET_HEADER_BYTES, SetKind};
use crate::source::{LOOKS_AT_UNREADABLE, zeroed};
use crate::{Geometry, ReadError, RegionId, Seal, Set, Source};

/// The journal is read in pieces of this size: large enough that a network's round trip does not count,
/// small enough that the end of a short journal is not paid for with megabytes of old laps.
pub const READ_CHUNK_BYTES: u64 = 1 << 20;
/// The first piece that a reader asks for when it looks whether there is something new: mostly there is nothing,
/// or a set or two. Where there is more, larger pieces follow.
pub const FOLLOW_CHUNK_BYTES: u64 = 4 << 10;
/// One call of [`Reader::follow`] returns after about this much, so that a backup far behind applies
/// and frees what it read before it reads on.
pub const FOLLOW_BATCH_BYTES: u64 = 64 << 20;
/// How often in a row a region may change under a reader before it gives up. Each time a snapshot was
/// verified, or a slot overwritten, during one read; a region too small for its load is the cause.
pub const MAX_ATTEMPTS: u32 = 16;

/// Reads one region. Keeps its geometry and a buffer between calls; used from one thread at a time.
#[derive(Debug)]
pub struct Reader {
    region: RegionId,
    data_len: u64,
    journal: Journal,
    quiet: Option<Quiet>,
}

/// What lay behind a place where a follower found nothing new.
#[derive(Debug)]
struct Quiet {
    place: Place,
    geometry: u64,
    header: [u8; SET_HEADER_BYTES],
}

/// Where a reader stands: it has seen everything up to here. A plain value, to be kept and given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) place: Place,
    pub(crate) snapshot: Option<(u64, u64)>,
}

/// What of the region is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// What the primary last left: behind the last clear mark.
    #[default]
    Current,
    /// The last verified snapshot and its updates up to the clear mark that took them out of sight.
    Cleared,
}

/// How to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// What is asked for.
    pub view: View,
    /// Consent to a loss: where a committed snapshot or set is damaged, return what comes before it (an
    /// older snapshot, the updates up to the damage) and say so in the findings, instead of failing.
    pub accept_loss: bool,
}

/// What was in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The full set, where there is one (and it was not cleared).
    pub snapshot: Option<Set>,
    /// The updates after it, in order.
    pub updates: Vec<Set>,
    /// Sequence of the last clear mark that was passed.
    pub cleared: Option<u64>,
    /// What was found beside them.
    pub findings: Vec<Finding>,
    /// Go on from here with [`Reader::follow`].
    pub cursor: Cursor,
}

/// Every set that is kept, by generation and sequence and without payloads, takeover and clear marks
/// among them; and what was found beside them.
pub type Log = (Vec<Set>, Vec<Finding>);

/// What came since a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// The sets since then, in order: updates, and the takeover and clear marks between them. After a
    /// clear mark everything before it is gone. The cursor has moved behind them.
    Sets {
        /// The sets.
        sets: Vec<Set>,
        /// Call again at once: this batch reached its bound, or what comes next is not a set.
        more: bool,
    },
    /// The primary saved a snapshot and reused the space in which the reader stood. The cursor has not
    /// moved: read all, and go on from there.
    Overrun {
        /// Last sequence the reader saw.
        from: u64,
        /// Sequence of the snapshot that covers the gap.
        to: u64,
    },
    /// The reader has seen sets that are not in the region any more (they had not been made persistent
    /// when the unit lost power), and a later primary went on without them. The cursor has not moved.
    Diverged {
        /// Last sequence the reader saw.
        from: u64,
        /// Last sequence that both have in common, as far as the region knows.
        common: u64,
        /// Generation that went on.
        generation: u64,
    },
}

impl Reader {
    /// Opens a region of `data_len` bytes for reading.
    ///
    /// # Errors
    /// [`ReadError::NotACheckpoint`], or the source's.
    pub fn open<S: Source>(
        source: &mut S,
        region: RegionId,
        data_len: u64,
    ) -> Result<Self, ReadError<S::Error>> {
        let head = Head::read(source, region, data_len)?;
        let journal = Journal::new(region, head.control.geometry, READ_CHUNK_BYTES);
        Ok(Self {
            region,
            data_len,
            journal,
            quiet: None,
        })
    }

    /// The geometry that was last seen.
    pub fn geometry(&self) -> &Geometry {
        self.journal.geometry()
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The region grew: from now on `data_len` bytes may be read.
    pub fn grown(&mut self, data_len: u64) {
        self.data_len = data_len;
    }

    /// Reads the region's head: geometry, heartbeat, floor, seals.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn head<S: Source>(&mut self, source: &mut S) -> Result<Head, ReadError<S::Error>> {
        let head = Head::read(source, self.region, self.data_len)?;
        if head.control.geometry != *self.journal.geometry() {
            self.journal.remap(head.control.geometry.clone());
        }
        Ok(head)
    }

    /// Reads everything: the newest snapshot and the updates after it.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] naming the first damaged set, unless the loss is accepted;
    /// [`ReadError::Busy`]; the source's.
    pub fn read<S: Source>(
        &mut self,
        source: &mut S,
        options: &ReadOptions,
    ) -> Result<Reading, ReadError<S::Error>> {
        for _ in 0..MAX_ATTEMPTS {
            let Some((seal, payload, mut findings)) = self.newest_snapshot(source, options.accept_loss)?
            else {
                continue;
            };
            let mut gathered = Gathered::from_snapshot(seal.map(|seal| seal.into_set(payload)), options.view);
            let mut place = gathered.start();
            let end = place.logical.saturating_add(self.geometry().ring_len);
            let walked = self.walk(source, &mut place, &mut |header, payload| {
                let within = header.logical + header.stride <= end;
                if within {
                    gathered.take(header, payload);
                }
                within
            });
            match walked {
                Ok(Stop::End | Stop::Full) => {}
                // The snapshot that covers the rest is the damaged one: what is left ends here.
                Ok(Stop::Overrun(seal)) if findings.iter().any(|finding| is_of(finding, &seal)) => {
                    findings.push(Finding::Missing {
                        after: place.sequence,
                        to: seal.sequence,
                    });
                }
                Ok(Stop::Overrun(_) | Stop::Diverged { .. }) | Err(ReadError::Busy { .. }) => continue,
                Err(ReadError::Corrupt { finding }) if options.accept_loss => findings.push(finding),
                Err(error) => return Err(error),
            }
            return Ok(gathered.into_reading(place, findings));
        }
        Err(ReadError::Busy {
            attempts: MAX_ATTEMPTS,
        })
    }

    /// Reads what came since `cursor`, which moves on behind it. Cheap when nothing did: two small reads.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when a set that is known committed does not verify; the sets before it
    /// were returned by the call before. [`ReadError::Busy`]; the source's.
    pub fn follow<S: Source>(
        &mut self,
        source: &mut S,
        cursor: &mut Cursor,
    ) -> Result<Fresh, ReadError<S::Error>> {
        self.quiet = None;
        self.journal.forget();
        self.journal.set_chunk(FOLLOW_CHUNK_BYTES);
        let mut sets = Vec::new();
        let mut bytes = 0;
        let mut place = cursor.place;
        let mut ahead = None;
        let from = cursor.place.sequence;
        let stop = self.walk_from(source, &mut place, Origin::Cursor, &mut |header, payload| {
            if header.kind == SetKind::Takeover && header.continues < from {
                ahead = Some((header.continues, header.generation));
                return false;
            }
            // What is not taken now is met again by the next call.
            if bytes >= FOLLOW_BATCH_BYTES {
                return false;
            }
            bytes += header.stride;
            if header.kind != SetKind::Wrap {
                sets.push(header.clone().into_set(payload.to_vec()));
            }
            true
        });
        self.journal.set_chunk(READ_CHUNK_BYTES);
        if let Some((common, generation)) = ahead {
            return Ok(Fresh::Diverged {
                from,
                common,
                generation,
            });
        }
        // What was read before damage or an overrun is good: hand it out, the next call meets the rest.
        let more = !matches!(stop, Ok(Stop::End));
        let stop = match stop {
            _ if !sets.is_empty() => Stop::End,
            stop => stop?,
        };
        match stop {
            Stop::End | Stop::Full => {
                cursor.place = place;
                if !more {
                    self.quiet = self.quiet_at(source, place)?;
                }
                Ok(Fresh::Sets { sets, more })
            }
            Stop::Overrun(seal) => Ok(Fresh::Overrun {
                from,
                to: seal.sequence,
            }),
            Stop::Diverged { common, generation } => Ok(Fresh::Diverged {
                from,
                common,
                generation,
            }),
        }
    }

    /// Whether the journal behind `cursor` still looks as it did when the last [`follow`](Self::follow) found nothing
    /// there: one read of one header. `false` says to follow, not that there is something.
    ///
    /// `true` is what the journal shows at that place, and no more: a new set there is noticed, while a snapshot,
    /// a growth of the region, damage, and an overrun or another history that left these very bytes are not. So a
    /// follower that asks this between follows must still follow at a pace of its own.
    ///
    /// # Errors
    /// The source's.
    pub fn is_quiet<S: Source>(
        &mut self,
        source: &mut S,
        cursor: &Cursor,
    ) -> Result<bool, ReadError<S::Error>> {
        let geometry = self.journal.geometry();
        let known = self
            .quiet
            .as_ref()
            .filter(|quiet| quiet.place == cursor.place && quiet.geometry == geometry.sequence);
        let Some(known) = known else {
            return Ok(false);
        };
        let offset = geometry.journal_offset(cursor.place.logical);
        let mut header = [0; SET_HEADER_BYTES];
        match source.read_at(offset, &mut header) {
            Ok(()) => Ok(header == known.header),
            Err(error) if S::is_unreadable(&error) => Ok(false),
            Err(error) => Err(ReadError::Source {
                offset,
                len: SET_HEADER_BYTES as u64,
                source: error,
            }),
        }
    }

    /// Every set that is kept, oldest first, described without payload: the snapshots in their slots and
    /// everything in the journal, marks included, with the findings.
    ///
    /// # Errors
    /// The source's. Damage is among the findings.
    pub fn log<S: Source>(&mut self, source: &mut S) -> Result<Log, ReadError<S::Error>> {
        let mut sets = Vec::new();
        let scrubbed = self.scrub(source, &mut |set| sets.push(set.clone()))?;
        sets.sort_by_key(|set| (set.generation, set.sequence));
        Ok((sets, scrubbed.findings))
    }

    /// Reads one set that is kept: a snapshot in a slot, or an update in the journal.
    ///
    /// # Errors
    /// [`ReadError::NoSuchSet`]; [`ReadError::Corrupt`] when it is kept and damaged; the source's.
    pub fn set<S: Source>(&mut self, source: &mut S, sequence: u64) -> Result<Set, ReadError<S::Error>> {
        let head = self.head(source)?;
        if let Some(seal) = head
            .snapshots()
            .into_iter()
            .find(|seal| seal.sequence == sequence)
        {
            return match self.load(source, seal)? {
                Ok(payload) => Ok(seal.clone().into_set(payload)),
                Err(fault) => Err(ReadError::Corrupt {
                    finding: self.snapshot_finding(seal, fault),
                }),
            };
        }
        for _ in 0..MAX_ATTEMPTS {
            let mut found = None;
            let head = self.head(source)?;
            let mut place = self.oldest_start(source, &head)?;
            let stop = self.walk(source, &mut place, &mut |header, payload| {
                if header.sequence == sequence && header.kind == SetKind::Update {
                    found = Some(header.clone().into_set(payload.to_vec()));
                }
                header.sequence < sequence
            })?;
            match (found, stop) {
                (Some(set), _) => return Ok(set),
                (None, Stop::Overrun(_)) => {}
                (None, _) => return Err(ReadError::NoSuchSet { sequence }),
            }
        }
        Err(ReadError::Busy {
            attempts: MAX_ATTEMPTS,
        })
    }

    /// What a walk that ended at `place` found there, where it can only be followed by a set that changes it: a whole
    /// header whose payload is still in flight stays as it is when the set gets whole.
    fn quiet_at<S: Source>(
        &mut self,
        source: &mut S,
        place: Place,
    ) -> Result<Option<Quiet>, ReadError<S::Error>> {
        let Some(header) = self.journal.buffered_header(&place) else {
            return Ok(None);
        };
        // What is buffered is looked at once more: the walk's last step was made on it, so nothing is read.
        let may_get_whole = match self.journal.step(source, &place)? {
            Ok(_) | Err(HeaderFault::Payload { .. }) => true,
            Err(_) => false,
        };
        Ok((!may_get_whole).then(|| Quiet {
            place,
            geometry: self.geometry().sequence,
            header,
        }))
    }

    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// The newest snapshot that verifies, with its payload; `Ok(None)`: the region changed meanwhile,
    /// try again. With consent older ones are tried, and the findings name what was passed over.
    #[expect(clippy::type_complexity, reason = "private, and taken apart at once")]
    pub(crate) fn newest_snapshot<S: Source>(
        &mut self,
        source: &mut S,
        accept_loss: bool,
    ) -> Result<Option<(Option<Seal>, Vec<u8>, Vec<Finding>)>, ReadError<S::Error>> {
        let head = self.head_looked_at(source)?;
        let mut findings = head_findings(&head);
        if let Some(finding) = self.lost_finding(&head) {
            // Record and seals were not read at one moment: ask again before believing it.
            let again = self.head(source)?;
            if again.seals != head.seals {
                return Ok(None);
            }
            if !accept_loss {
                return Err(ReadError::Corrupt { finding });
            }
            findings.push(finding);
        }
        if let Some(finding) = self.lost_seal_finding(source, &head)? {
            if !accept_loss {
                return Err(ReadError::Corrupt { finding });
            }
            findings.push(finding);
        }
        for seal in head.snapshots() {
            let fault = match self.load(source, seal)? {
                Ok(payload) => return Ok(Some((Some(seal.clone()), payload, findings))),
                Err(fault) => fault,
            };
            if self.head(source)?.seals != head.seals {
                return Ok(None);
            }
            let finding = self.snapshot_finding(seal, fault);
            if !accept_loss {
                return Err(ReadError::Corrupt { finding });
            }
            findings.push(finding);
        }
        Ok(Some((None, Vec::new(), findings)))
    }

    /// A snapshot's payload, or why it is not what was sealed.
    pub(crate) fn load<S: Source>(
        &mut self,
        source: &mut S,
        seal: &Seal,
    ) -> Result<Result<Vec<u8>, PayloadFault>, ReadError<S::Error>> {
        let offset = self.geometry().slot_offset(seal.slot);
        let length = usize::try_from(seal.length).expect("a valid seal's length lies within its slot");
        let mut payload = zeroed(length)?;
        let mut read = source.read_at(offset, &mut payload);
        for _ in 1..LOOKS_AT_UNREADABLE {
            if !read.as_ref().is_err_and(S::is_unreadable) {
                break;
            }
            source.pause();
            read = source.read_at(offset, &mut payload);
        }
        match read {
            Ok(()) if seal.covers(self.region, &payload) => Ok(Ok(payload)),
            Ok(()) => Ok(Err(PayloadFault::Checksum)),
            Err(error) if S::is_unreadable(&error) => Ok(Err(PayloadFault::Unreadable)),
            Err(error) => Err(ReadError::Source {
                offset,
                len: seal.length,
                source: error,
            }),
        }
    }

    fn snapshot_finding(&self, seal: &Seal, fault: PayloadFault) -> Finding {
        Finding::SnapshotCorrupt {
            slot: seal.slot,
            offset: self.geometry().slot_offset(seal.slot),
            generation: seal.generation,
            sequence: seal.sequence,
            fault,
        }
    }
}

impl Cursor {
    /// A cursor at the beginning of a region in which nothing was ever written.
    pub fn beginning() -> Self {
        Self::new(start_of(None), None)
    }

    pub(crate) fn new(place: Place, snapshot: Option<(u64, u64)>) -> Self {
        Self { place, snapshot }
    }

    /// Last sequence that the reader has seen.
    pub fn sequence(&self) -> u64 {
        self.place.sequence
    }

    /// Generation of that set.
    pub fn generation(&self) -> u64 {
        self.place.generation
    }

    /// Logical journal offset at which it goes on.
    pub fn logical(&self) -> u64 {
        self.place.logical
    }
}

/// Where the journal begins behind a snapshot, or at its very beginning.
pub(crate) fn start_of(seal: Option<&Seal>) -> Place {
    seal.map_or(
        Place {
            logical: 0,
            generation: 0,
            sequence: 0,
        },
        |seal| Place {
            logical: seal.journal_start,
            generation: seal.generation,
            sequence: seal.sequence,
        },
    )
}

pub(crate) fn corrupt_finding(geometry: &Geometry, place: &Place, floor: u64, fault: HeaderFault) -> Finding {
    Finding::Corrupt {
        offset: geometry.journal_offset(place.logical),
        logical: place.logical,
        after: place.sequence,
        floor,
        fault,
    }
}

/// Whether it says that this snapshot's payload is damaged.
fn is_of(finding: &Finding, seal: &Seal) -> bool {
    matches!(finding, Finding::SnapshotCorrupt { slot, generation, sequence, .. }
        if *slot == seal.slot && (*generation, *sequence) == seal.order())
}

/// What the head itself shows of damage and interrupted overwrites.
pub(crate) fn head_findings(head: &Head) -> Vec<Finding> {
    let control = head.control.damaged_copy.map(|copy| Finding::ControlCopy {
        copy,
        offset: crate::geometry::CONTROL_OFFSETS[copy],
    });
    let seals = (0u32..)
        .zip(&head.seals)
        .filter(|(_, state)| **state == crate::seal::SealState::Broken);
    let seals = seals.map(|(slot, _)| Finding::SealBroken {
        slot,
        offset: head.control.geometry.seal_offset(slot),
    });
    let floor = head.floor_broken.then_some(Finding::FloorBroken {
        offset: crate::heartbeat::FLOOR_OFFSET,
    });
    let unreadable = head.unreadable.iter();
    let unreadable = unreadable.map(|(offset, len)| Finding::Unreadable {
        offset: *offset,
        len: *len,
    });
    control
        .into_iter()
        .chain(floor)
        .chain(seals)
        .chain(unreadable)
        .collect()
}
