//! Snapshots whose seals are gone: was anything lost with them?

use super::{Reader, start_of};
use crate::finding::{Finding, HeaderFault};
use crate::head::Head;
use crate::recovery::names_this_place;
use crate::source::LOOKS_AT_UNREADABLE;
use crate::{ReadError, Source};

impl Reader {
    /// The head. Where the device cannot read a piece of it, the head as it is after a few more looks.
    pub(crate) fn head_looked_at<S: Source>(&mut self, source: &mut S) -> Result<Head, ReadError<S::Error>> {
        let mut head = self.head(source)?;
        for _ in 1..LOOKS_AT_UNREADABLE {
            if head.unreadable.is_empty() {
                break;
            }
            source.pause();
            head = self.head(source)?;
        }
        Ok(head)
    }

    /// A snapshot that the floor record names and no seal does.
    pub(super) fn lost_finding(&self, head: &Head) -> Option<Finding> {
        let floor = head.lost_snapshot()?;
        Some(Finding::SnapshotLost {
            sequence: floor,
            offset: self.geometry().seal_offset(0),
            newest: head.snapshots().first().map_or(0, |seal| seal.sequence),
        })
    }

    /// A seal that the device cannot read and that may have been of the newest snapshot.
    pub(super) fn lost_seal_finding<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
    ) -> Result<Option<Finding>, ReadError<S::Error>> {
        let Some(slot) = head.unreadable_seal() else {
            return Ok(None);
        };
        for look in 0..LOOKS_AT_UNREADABLE {
            if look > 0 {
                // Beside a writer the journal's end is not always whole.
                source.pause();
            }
            if self.is_whole_without_unreadable_seals(source, head)? {
                return Ok(None);
            }
        }
        Ok(Some(Finding::SealLost {
            slot,
            offset: self.geometry().seal_offset(slot),
            newest: head.snapshots().first().map_or(0, |seal| seal.sequence),
        }))
    }

    /// Whether the journal leads from the newest snapshot that has a seal to its end, with nothing known committed behind.
    /// Then a snapshot whose seal is unreadable held nothing that is not here, whichever it was: had it freed the journal
    /// for sets that lie there now, they would lie first of all where this snapshot's journal begins.
    fn is_whole_without_unreadable_seals<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
    ) -> Result<bool, ReadError<S::Error>> {
        let mut place = start_of(head.snapshots().first().copied());
        let start = place.logical;
        let mut floor = head.best_floor();
        self.journal.forget();
        let fault = loop {
            match self.journal.step(source, &place)? {
                Ok(header) => {
                    floor = floor.max(header.floor);
                    place.pass(&header);
                }
                Err(fault) => break fault,
            }
        };
        let beyond = self.journal.scan(source, &place, u64::MAX)?;
        self.journal.forget();
        let unusable = matches!(
            fault,
            HeaderFault::Unreadable
                | HeaderFault::UnreadablePayload { .. }
                | HeaderFault::Version(_)
                | HeaderFault::Shape(_)
        );
        let begun = names_this_place(&fault, &place) || matches!(fault, HeaderFault::Payload { .. });
        let whole_begin = place.logical > start || !begun && beyond.sets == 0;
        Ok(!unusable && whole_begin && floor.max(beyond.floor) <= place.sequence)
    }
}
