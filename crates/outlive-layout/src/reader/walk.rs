//! Walking the journal beside a writer that may be alive, and judging where the walk stops.

use super::{MAX_ATTEMPTS, Reader, corrupt_finding, start_of};
use crate::finding::HeaderFault;
use crate::head::Head;
use crate::journal::Place;
use crate::{ReadError, Seal, SetHeader, Source};

/// How a walk beside a live writer ended.
pub(super) enum Stop {
    End,
    Full,
    Overrun(Seal),
    Diverged { common: u64, generation: u64 },
}

/// How a reader's place relates to the history of a newer generation.
enum History {
    /// It lies on it.
    Same,
    /// It does not.
    Other { common: u64 },
}

/// Where a walk began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// At a snapshot, in the region's own history.
    Snapshot,
    /// Where a reader stood, whose history may since have been lost.
    Cursor,
}

enum Verdict {
    Again,
    Stop(Stop),
}

impl Reader {
    /// Walks from `place` until nothing follows, or `visit` returns false: then it has not taken that set, and `place` stays in front of it.
    pub(super) fn walk<S: Source>(
        &mut self,
        source: &mut S,
        place: &mut Place,
        visit: &mut dyn FnMut(&SetHeader, &[u8]) -> bool,
    ) -> Result<Stop, ReadError<S::Error>> {
        self.journal.forget();
        self.walk_from(source, place, Origin::Snapshot, visit)
    }

    pub(super) fn walk_from<S: Source>(
        &mut self,
        source: &mut S,
        place: &mut Place,
        origin: Origin,
        visit: &mut dyn FnMut(&SetHeader, &[u8]) -> bool,
    ) -> Result<Stop, ReadError<S::Error>> {
        let mut attempts = 0;
        loop {
            match self.journal.step(source, place)? {
                Ok(header) => {
                    attempts = 0;
                    if !visit(&header, self.journal.payload(&header)) {
                        return Ok(Stop::Full);
                    }
                    place.pass(&header);
                }
                Err(fault) => match self.judge(source, place, fault, origin)? {
                    Verdict::Again if attempts < MAX_ATTEMPTS => attempts += 1,
                    Verdict::Again => return Err(ReadError::Busy { attempts }),
                    Verdict::Stop(stop) => return Ok(stop),
                },
            }
        }
    }

    /// Nothing whole follows at `place`: why?
    fn judge<S: Source>(
        &mut self,
        source: &mut S,
        place: &Place,
        fault: HeaderFault,
        origin: Origin,
    ) -> Result<Verdict, ReadError<S::Error>> {
        let beyond = self.journal.scan_buffered(place);
        let geometry = self.geometry().sequence;
        let head = self.head(source)?;
        if self.geometry().sequence != geometry {
            return Ok(Verdict::Again);
        }
        let floor = head.best_floor().max(beyond.floor);
        let generation = head.generation().max(beyond.generation);
        let other_history = origin == Origin::Cursor && generation > place.generation;
        let sealed_beyond = is_no_end(&fault);
        if floor <= place.sequence && !overtaken(&head, place) && !other_history && !sealed_beyond {
            return Ok(Verdict::Stop(Stop::End));
        }
        #[cfg(feature = "deliberate-bugs")]
        if crate::bugs::Bug::NoSecondLook.is_made() && floor > place.sequence {
            let finding = corrupt_finding(self.geometry(), place, floor, fault);
            return Err(ReadError::Corrupt { finding });
        }
        // Something is known to have been committed here, or overwritten. What is buffered may be older
        // than that knowledge: look again, and only then at the seals again.
        if fault.is_unreadable() {
            source.pause();
        }
        self.journal.forget();
        let fault = match self.journal.step(source, place)? {
            Ok(_) => return Ok(Verdict::Again),
            Err(fault) => fault,
        };
        let head = self.head(source)?;
        if self.geometry().sequence != geometry {
            return Ok(Verdict::Again);
        }
        if overtaken(&head, place) {
            let newest = head.snapshots().first().map(|seal| (*seal).clone());
            return Ok(newest.map_or(Verdict::Again, |seal| Verdict::Stop(Stop::Overrun(seal))));
        }
        // Asked anew each time, until the newer generation's takeover set is passed: as long as that is in
        // flight it may make a torn one whole that lies in its place, for a moment.
        if other_history && let History::Other { common } = self.reconcile(source, &head, place)? {
            let generation = head.generation().max(generation);
            return Ok(Verdict::Stop(Stop::Diverged { common, generation }));
        }
        if floor > place.sequence || is_no_end(&fault) {
            let finding = corrupt_finding(self.geometry(), place, floor, fault);
            return Err(ReadError::Corrupt { finding });
        }
        Ok(Verdict::Stop(Stop::End))
    }

    /// A newer generation owns the region. Walks its history from the newest snapshot: does it pass
    /// through `place`, where a reader of an older generation stands? When it ends before, what the reader
    /// saw there whole is gone, whether or not the newer generation's takeover set lies there already.
    fn reconcile<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
        place: &Place,
    ) -> Result<History, ReadError<S::Error>> {
        let mut at = start_of(head.snapshots().first().copied());
        let mut common = at.sequence;
        self.journal.forget();
        while at.logical < place.logical {
            match self.journal.step(source, &at)? {
                Ok(header) => {
                    at.pass(&header);
                    if header.generation <= place.generation {
                        common = header.sequence;
                    }
                }
                Err(_) => break,
            }
        }
        self.journal.forget();
        // The newest snapshot may begin just where the reader stands, and be of the same writer's making.
        // Sequences alone do not tell: one that was lost with its set is given again by a later generation.
        let newest = start_of(head.snapshots().first().copied());
        let begins_here = newest.logical == place.logical && newest.generation == place.generation;
        Ok(if at == *place || begins_here {
            History::Same
        } else {
            History::Other { common }
        })
    }

    /// Where a walk over everything kept begins: at the journal's very beginning or behind the oldest
    /// snapshot, where the journal still leads from there to the newest one; else behind the newest.
    pub(super) fn oldest_start<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
    ) -> Result<Place, ReadError<S::Error>> {
        let seals = head.snapshots();
        let newest = start_of(seals.first().copied());
        for seal in std::iter::once(None).chain(seals.iter().skip(1).rev().copied().map(Some)) {
            let start = start_of(seal);
            let mut place = start;
            self.journal.forget();
            while place.logical < newest.logical {
                match self.journal.step(source, &place)? {
                    Ok(header) => place.pass(&header),
                    Err(_) => break,
                }
            }
            if place.logical == newest.logical {
                return Ok(start);
            }
        }
        Ok(newest)
    }
}

/// Whether something lies there that no crash leaves behind, so that it may have been acknowledged: what is sealed and makes no
/// sense, and what the device cannot read.
pub(crate) fn is_no_end(fault: &HeaderFault) -> bool {
    matches!(
        fault,
        HeaderFault::Version(_)
            | HeaderFault::Shape(_)
            | HeaderFault::Unreadable
            | HeaderFault::UnreadablePayload { .. }
    )
}

/// Whether a snapshot covers `place`, so that its space may have been reused.
fn overtaken(head: &Head, place: &Place) -> bool {
    head.snapshots()
        .iter()
        .any(|seal| seal.journal_start > place.logical)
}
