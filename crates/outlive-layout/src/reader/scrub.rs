//! Verifying everything that a region holds, beside a writer that may be alive.
//!
//! What is wrong is looked at twice, with the seals in between: a set that is overwritten meanwhile is no damage. So a
//! finding is never the writer's doing. What the writer overwrites before it was read counts as not being there.

use super::walk::Stop;
use super::{MAX_ATTEMPTS, Reader, head_findings, start_of};
use crate::finding::{Finding, HeaderFault, PayloadFault};
use crate::head::Head;
use crate::journal::Place;
use crate::seal::SealState;
use crate::{ReadError, Seal, Set, SetHeader, SetKind, Source};

/// Snapshots are read in pieces of this size: no more is held, however large they are.
pub const SCRUB_CHUNK_BYTES: usize = 1 << 20;
/// What of the head seems broken counts once it was seen so often in a row: a writer may just be at it.
const LOOKS: usize = 3;

/// What verifying a region found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// Sets that verify, marks included.
    pub sets: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// What was found beside them.
    pub findings: Vec<Finding>,
    /// Generation and sequence of the newest snapshot that verifies.
    pub snapshot: Option<(u64, u64)>,
    /// Generation and sequence of the last set that readers reach: all before it verify, back to a snapshot or the beginning.
    pub last: (u64, u64),
    /// The writer was too fast for parts of the journal, each time it was tried.
    pub outrun: bool,
}

enum Slot {
    Whole,
    Damaged(PayloadFault),
    Overwritten,
}

impl Reader {
    /// Reads and verifies everything that is kept: control block copies, seals, snapshots, and the journal from the oldest
    /// set on that has surely not been overwritten. `visit` is told each set that verifies, without payload.
    ///
    /// # Errors
    /// [`ReadError::NotACheckpoint`]; the source's. Damage is among the findings.
    pub fn scrub<S: Source>(
        &mut self,
        source: &mut S,
        visit: &mut dyn FnMut(&Set),
    ) -> Result<Scrubbed, ReadError<S::Error>> {
        let (head, findings) = self.steady_head(source)?;
        let mut scrubbed = Scrubbed {
            findings,
            ..Scrubbed::default()
        };
        for seal in head.snapshots() {
            match self.check_slot(source, seal)? {
                Slot::Whole => {
                    scrubbed.snapshot = scrubbed.snapshot.max(Some(seal.order()));
                    scrubbed.pass(&seal.clone().into_set(Vec::new()), visit);
                }
                Slot::Damaged(fault) => scrubbed.findings.push(self.snapshot_finding(seal, fault)),
                Slot::Overwritten => {}
            }
        }
        self.scrub_journal(source, head, &mut scrubbed, visit)?;
        Ok(scrubbed)
    }

    /// The head, with what was wrong with it each time it was looked at.
    fn steady_head<S: Source>(
        &mut self,
        source: &mut S,
    ) -> Result<(Head, Vec<Finding>), ReadError<S::Error>> {
        let mut head = self.head(source)?;
        let mut findings = self.found_in(source, &head)?;
        for _ in 1..LOOKS {
            if findings.is_empty() {
                break;
            }
            head = self.head(source)?;
            let again = self.found_in(source, &head)?;
            findings.retain(|finding| again.contains(finding));
        }
        Ok((head, findings))
    }

    fn found_in<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
    ) -> Result<Vec<Finding>, ReadError<S::Error>> {
        let mut findings = head_findings(head);
        findings.extend(self.lost_finding(head));
        findings.extend(self.lost_seal_finding(source, head)?);
        Ok(findings)
    }

    /// Whether a snapshot's payload is what was sealed, read in pieces.
    fn check_slot<S: Source>(&mut self, source: &mut S, seal: &Seal) -> Result<Slot, ReadError<S::Error>> {
        let mut damage = Slot::Overwritten;
        // Twice: what was damaged on its way here is whole the second time.
        for _ in 0..2 {
            match self.sum(source, seal)? {
                Ok(()) => return Ok(Slot::Whole),
                Err(fault) => damage = Slot::Damaged(fault),
            }
            let slot = usize::try_from(seal.slot).expect("at most 64 slots");
            let now = self.head(source)?;
            if !matches!(now.seals.get(slot), Some(SealState::Sealed(now)) if now == seal) {
                return Ok(Slot::Overwritten);
            }
        }
        Ok(damage)
    }

    fn sum<S: Source>(
        &mut self,
        source: &mut S,
        seal: &Seal,
    ) -> Result<Result<(), PayloadFault>, ReadError<S::Error>> {
        let start = self.geometry().slot_offset(seal.slot);
        let mut sum = Seal::payload_checksum(self.region, seal.generation, seal.sequence);
        let mut piece = Vec::new();
        let mut done = 0;
        while done < seal.length {
            let len = (seal.length - done).min(SCRUB_CHUNK_BYTES as u64);
            piece.resize(usize::try_from(len).expect("at most a chunk"), 0);
            match source.read_at(start + done, &mut piece) {
                Ok(()) => sum.update(&piece),
                Err(error) if S::is_unreadable(&error) => return Ok(Err(PayloadFault::Unreadable)),
                Err(error) => {
                    return Err(ReadError::Source {
                        offset: start + done,
                        len,
                        source: error,
                    });
                }
            }
            done += len;
        }
        let whole = sum.value() == seal.payload_crc;
        Ok(if whole {
            Ok(())
        } else {
            Err(PayloadFault::Checksum)
        })
    }

    /// The journal behind the newest snapshot, then what is kept of it before.
    fn scrub_journal<S: Source>(
        &mut self,
        source: &mut S,
        mut head: Head,
        scrubbed: &mut Scrubbed,
        visit: &mut dyn FnMut(&Set),
    ) -> Result<(), ReadError<S::Error>> {
        for _ in 0..MAX_ATTEMPTS {
            let mut place = start_of(head.snapshots().first().copied());
            let bound = place.logical.saturating_add(self.geometry().ring_len);
            let walked = self.walk(source, &mut place, &mut |header, _| {
                scrubbed.pass_header(header, visit);
                header.logical + header.stride < bound
            });
            scrubbed.last = (place.generation, place.sequence);
            match walked {
                Ok(Stop::End) => {
                    return self.scrub_older(source, &head, &place, scrubbed, visit);
                }
                Ok(Stop::Full) => return Ok(()),
                Err(ReadError::Corrupt { finding }) => {
                    scrubbed.findings.push(finding);
                    return Ok(());
                }
                Ok(Stop::Overrun(_) | Stop::Diverged { .. }) | Err(ReadError::Busy { .. }) => {
                    head = self.head(source)?;
                }
                Err(error) => return Err(error),
            }
        }
        scrubbed.outrun = true;
        Ok(())
    }

    /// The sets before the newest snapshot that its journal still holds.
    fn scrub_older<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
        end: &Place,
        scrubbed: &mut Scrubbed,
        visit: &mut dyn FnMut(&Set),
    ) -> Result<(), ReadError<S::Error>> {
        let newest = start_of(head.snapshots().first().copied());
        let grown = self.geometry().sequence > 1;
        // In a ring that was never resized a set is kept until the head has gone round once more.
        let mut place = if grown {
            self.oldest_start(source, head)?
        } else {
            let kept = end.logical.saturating_sub(self.geometry().ring_len);
            let mut starts = head.snapshots();
            starts.reverse();
            let starts = std::iter::once(None).chain(starts.into_iter().map(Some));
            let mut starts = starts.map(start_of);
            starts.find(|start| start.logical >= kept).unwrap_or(newest)
        };
        self.journal().forget();
        while place.logical < newest.logical {
            let fault = match self.journal().step(source, &place)? {
                Ok(header) => {
                    scrubbed.pass_header(&header, visit);
                    place.pass(&header);
                    continue;
                }
                Err(fault) => fault,
            };
            if !grown && self.is_damage(source, head, &place, end, &fault)? {
                scrubbed.findings.push(Finding::Older {
                    offset: self.geometry().journal_offset(place.logical),
                    logical: place.logical,
                    after: place.sequence,
                    fault,
                });
            }
            break;
        }
        Ok(())
    }

    /// Whether what does not verify in an older part of the journal is damaged, and not overwritten by now.
    fn is_damage<S: Source>(
        &mut self,
        source: &mut S,
        head: &Head,
        place: &Place,
        end: &Place,
        fault: &HeaderFault,
    ) -> Result<bool, ReadError<S::Error>> {
        self.journal().forget();
        let same = self.journal().step(source, place)?.as_ref() == Err(fault);
        let later_lap = matches!(fault, HeaderFault::OtherLap { logical, .. } if *logical > place.logical);
        // Only after that: what is overwritten by now was begun at the journal's end before.
        self.journal().forget();
        let still = match self.journal().step(source, end)? {
            Err(HeaderFault::OtherLap { logical, .. }) => logical < end.logical,
            Err(HeaderFault::Foreign | HeaderFault::Void { .. }) => true,
            Ok(_) | Err(_) => false,
        };
        let unchanged = self.head(source)?.seals == head.seals;
        Ok(same && still && unchanged && !later_lap)
    }
}

impl Scrubbed {
    fn pass(&mut self, set: &Set, visit: &mut dyn FnMut(&Set)) {
        self.sets += 1;
        self.bytes += set.length;
        visit(set);
    }

    fn pass_header(&mut self, header: &SetHeader, visit: &mut dyn FnMut(&Set)) {
        if header.kind != SetKind::Wrap {
            self.pass(&header.clone().into_set(Vec::new()), visit);
        }
    }
}
