//! Operations carried out but not yet answered: what makes group commit natural.
//!
//! Everything drained from the socket together is answered together, in order. Small writes side by
//! side are staged and placed with one call, which for a file is one system call instead of many.
//! Persists wait until all that was drained is placed, and then share one flush for each key.

use crate::{Exposure, PersistMethod, Refusal, RemoteKey};

/// Staged bytes are placed at the latest when they reach this: a bigger copy gains nothing.
const STAGE_BYTES: usize = 64 << 10;
/// Answers are sent at the latest when this many stand in the batch, so that the initiator's window
/// moves on.
const MAX_ANSWERS: usize = 1024;
/// Answers are sent at the latest when this much was placed.
const MAX_PLACED_BYTES: u64 = 8 << 20;
/// And at the latest for this many writes: those of no bytes at all would else never fill a batch, and if it is
/// refused each has an answer of its own.
const MAX_WRITES: usize = 16 << 10;

/// An answer that stands ready, in order of its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// Every write not yet answered up to this number.
    Placed {
        through: u64,
    },
    Persistent {
        op: u64,
        method: PersistMethod,
    },
    Refused {
        op: u64,
        refusal: Refusal,
    },
}

enum Pending {
    /// `staged`: not placed yet, its bytes stand in the stage.
    Writes {
        first: u64,
        last: u64,
        staged: bool,
    },
    Persist(Persist),
    Refused {
        op: u64,
        refusal: Refusal,
    },
}

#[derive(Clone, Copy)]
struct Persist {
    op: u64,
    key: RemoteKey,
    offset: u64,
    end: u64,
}

#[derive(Default)]
pub(super) struct Batch {
    pending: Vec<Pending>,
    stage: Vec<u8>,
    /// Where the stage ends: the next byte of the same key would continue it.
    stage_end: Option<(RemoteKey, u64)>,
    /// Entries from here on may be staged.
    staged_from: usize,
    persists: usize,
    writes: usize,
    placed_bytes: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it is worth looking for more before it is settled: a flush is dear.
    pub(super) fn awaits_persist(&self) -> bool {
        self.persists > 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= MAX_ANSWERS
            || self.writes >= MAX_WRITES
            || self.placed_bytes >= MAX_PLACED_BYTES
    }

    /// Takes a small write whose bytes are all there.
    pub(super) fn write(
        &mut self,
        exposure: &dyn Exposure,
        op: u64,
        (key, offset): (RemoteKey, u64),
        bytes: &[u8],
    ) {
        let continues =
            self.stage_end == Some((key, offset)) && self.stage.len() + bytes.len() <= STAGE_BYTES;
        if !continues {
            self.place_staged(exposure);
        }
        if let Err(refusal) = exposure.check_write(key, offset, bytes.len() as u64) {
            self.refuse(exposure, op, refusal);
            return;
        }
        if self.stage_end.is_none() {
            self.staged_from = self.pending.len();
        }
        self.stage.extend_from_slice(bytes);
        // Checked: the range was let through, so its end exists.
        self.stage_end = Some((key, offset + bytes.len() as u64));
        self.push_write(op, true);
    }

    /// Notes a write that was placed by the caller.
    pub(super) fn placed(&mut self, op: u64, len: u64) {
        self.placed_bytes += len;
        self.push_write(op, false);
    }

    pub(super) fn refuse(&mut self, exposure: &dyn Exposure, op: u64, refusal: Refusal) {
        self.place_staged(exposure);
        self.pending.push(Pending::Refused { op, refusal });
    }

    /// Takes a persist, refused at once where its range or the rights do not allow it.
    pub(super) fn persist(
        &mut self,
        exposure: &dyn Exposure,
        op: u64,
        key: RemoteKey,
        offset: u64,
        len: u64,
    ) {
        match exposure.check_persist(key, offset, len) {
            Err(refusal) => self.refuse(exposure, op, refusal),
            Ok(()) => {
                let end = offset.saturating_add(len);
                self.pending
                    .push(Pending::Persist(Persist { op, key, offset, end }));
                self.persists += 1;
            }
        }
    }

    /// Places what is staged. Must be called before anything else touches memory.
    pub(super) fn place_staged(&mut self, exposure: &dyn Exposure) {
        let Some((key, end)) = self.stage_end.take() else {
            return;
        };
        let result = exposure.write(key, end - self.stage.len() as u64, &self.stage);
        self.placed_bytes += self.stage.len() as u64;
        self.stage.clear();
        match result {
            Ok(()) => self.mark_placed(),
            Err(refusal) => self.refuse_staged(&refusal),
        }
    }

    /// Places, persists, and appends every answer in order to `answers`. Afterwards the batch is empty.
    pub(super) fn settle(
        &mut self,
        exposure: &dyn Exposure,
        method: Option<PersistMethod>,
        answers: &mut Vec<Ready>,
    ) {
        self.place_staged(exposure);
        let outcomes = self.carry_out_persists(exposure);
        for pending in self.pending.drain(..) {
            answers.push(match pending {
                Pending::Writes { last, .. } => Ready::Placed { through: last },
                Pending::Refused { op, refusal } => Ready::Refused { op, refusal },
                Pending::Persist(Persist { op, key, .. }) => {
                    let outcome = outcomes
                        .iter()
                        .find(|(of, _)| *of == key)
                        .map(|(_, outcome)| outcome);
                    match (outcome, method) {
                        (Some(Err(refusal)), _) => Ready::Refused {
                            op,
                            refusal: refusal.clone(),
                        },
                        (Some(Ok(())), Some(method)) => Ready::Persistent { op, method },
                        _ => Ready::Refused {
                            op,
                            refusal: Refusal::NotPersistent,
                        },
                    }
                }
            });
        }
        self.persists = 0;
        self.writes = 0;
        self.placed_bytes = 0;
    }

    /// One persist for each key, over all that was asked for.
    fn carry_out_persists(&self, exposure: &dyn Exposure) -> Vec<(RemoteKey, Result<(), Refusal>)> {
        let mut covering: Vec<Persist> = Vec::new();
        if self.persists == 0 {
            return Vec::new();
        }
        for pending in &self.pending {
            let Pending::Persist(persist) = pending else {
                continue;
            };
            match covering.iter_mut().find(|cover| cover.key == persist.key) {
                None => covering.push(*persist),
                Some(cover) => {
                    cover.offset = cover.offset.min(persist.offset);
                    cover.end = cover.end.max(persist.end);
                }
            }
        }
        let persist = |cover: Persist| {
            (
                cover.key,
                exposure.persist(cover.key, cover.offset, cover.end - cover.offset),
            )
        };
        covering.into_iter().map(persist).collect()
    }

    fn push_write(&mut self, op: u64, now_staged: bool) {
        self.writes += 1;
        if let Some(Pending::Writes { last, staged, .. }) = self.pending.last_mut()
            && *staged == now_staged
        {
            *last = op;
        } else {
            self.pending.push(Pending::Writes {
                first: op,
                last: op,
                staged: now_staged,
            });
        }
    }

    /// Everything staged is placed now. Merges with the writes before, so that writes in any pattern
    /// cost one entry.
    fn mark_placed(&mut self) {
        for pending in &mut self.pending[self.staged_from..] {
            if let Pending::Writes { staged, .. } = pending {
                *staged = false;
            }
        }
        if let [
            ..,
            Pending::Writes { last: before, .. },
            Pending::Writes { last, .. },
        ] = self.pending.as_mut_slice()
        {
            *before = *last;
            self.pending.pop();
        }
    }

    fn refuse_staged(&mut self, refusal: &Refusal) {
        let mut kept = Vec::with_capacity(self.pending.len());
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Writes {
                    first,
                    last,
                    staged: true,
                } => {
                    kept.extend((first..=last).map(|op| Pending::Refused {
                        op,
                        refusal: refusal.clone(),
                    }));
                }
                other => kept.push(other),
            }
        }
        self.pending = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rights;
    use crate::testing::{KEY, Memory};

    #[test]
    fn writes_of_nothing_fill_a_batch_too() {
        let table = Memory::new(4096, false).table(&[(KEY, Rights::ReadWrite)]);
        let mut batch = Batch::default();
        batch.persist(&*table, 1, KEY, 0, 0);
        let mut op = 1;
        while !batch.is_full() {
            op += 1;
            assert!(op <= 1 << 20, "a batch that never fills is never answered");
            batch.write(&*table, op, (KEY, 0), &[]);
        }
        batch.settle(&*table, Some(PersistMethod::TargetFlush), &mut Vec::new());
        assert!(!batch.is_full());
    }
}
