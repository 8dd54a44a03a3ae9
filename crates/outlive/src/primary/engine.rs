//! The writer's state and what is in flight; everything here runs under the primary's lock.
//!
//! Operations complete in the order in which they were posted, so a queue of what each was for is all
//! the bookkeeping there is. Sets are numbered by *index* in the order of appending; a set is committed when
//! the persist that was posted behind it (or, at level *placed*, its own write) has completed.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;

use outlive_fabric::{Completion, FabricError, OpId, Outcome, PersistMethod, Refusal};
use outlive_layout::heartbeat::{FLOOR_OFFSET, WORD_OFFSET};
use outlive_layout::{SetPlan, Writer};

use super::bounds::{
    APPENDS_COALESCED, BYTES_COALESCED, CONFIRM_BYTES, CONFIRMS_IN_FLIGHT, INCARNATIONS_KEPT, KEPT_BYTES,
    KEPT_SETS, PERSISTS_IN_FLIGHT,
};
use super::snapshot::{SnapshotRun, SnapshotStep};
use crate::link::{Link, LinkError, describe};
use crate::set::now_ns;
use crate::{Error, Level, Result};

/// What an operation in flight is for.
#[derive(Debug)]
pub(super) enum Op {
    /// A part of a set that is not its last.
    SetPart,
    /// The last part of the set of this index.
    SetEnd(u64),
    /// Covers all sets up to this index.
    Persist(u64),
    Snapshot(SnapshotStep),
    Confirm,
    Heartbeat,
}

/// A set that may have to be written again.
pub(super) struct Kept {
    pub(super) index: u64,
    pub(super) sequence: u64,
    /// Where the journal stands behind it.
    pub(super) head: u64,
    /// A wrap first, where there is one; then header and payload.
    pub(super) writes: Vec<(u64, Vec<u8>)>,
    pub(super) bytes: usize,
}

/// Who is to be woken when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The set of this index is committed.
    Set(u64),
    /// This many confirmations are done.
    Confirm(u64),
    /// The snapshot of this number is done.
    Snapshot(u64),
}

/// See the module.
pub(super) struct Engine {
    pub(super) name: String,
    pub(super) level: Level,
    pub(super) writer: Writer,
    /// `None` while the connection is lost.
    pub(super) link: Option<Link>,
    pub(super) method: Option<PersistMethod>,
    pub(super) incarnation: u64,
    /// From which index on sets were committed in which incarnation.
    incarnations: VecDeque<(u64, u64)>,
    in_flight: VecDeque<(OpId, Op)>,
    pub(super) kept: VecDeque<Arc<Kept>>,
    kept_bytes: usize,
    appended: u64,
    pub(super) posted: u64,
    pub(super) committed: u64,
    /// Where the journal stands behind the last committed set.
    pub(super) committed_head: u64,
    persist_posted: u64,
    persists_in_flight: usize,
    confirms_asked: u64,
    confirms_posted: u64,
    confirms_done: u64,
    pub(super) snapshot: Option<SnapshotRun>,
    pub(super) snapshots_begun: u64,
    pub(super) snapshots_done: u64,
    heartbeat: u64,
    appends_unsent: usize,
    bytes_unsent: usize,
    pub(super) ended: Option<Error>,
    pub(super) wakers: BTreeMap<Target, Waker>,
    completions: Vec<Completion>,
    /// Counts completions.
    completed: u64,
    /// Somebody drives the connection.
    pub(super) led: bool,
    /// Whoever leads blocks on the connection; who makes progress meanwhile wakes it through this.
    pub(super) blocked: bool,
    pub(super) wake: Arc<OwnedFd>,
    /// Appends and saves wait: the region is being resized, or closed.
    pub(super) paused: bool,
    /// A resize makes the next connection itself: the driver must not, for only one write connection can be.
    pub(super) reconnects_itself: bool,
}

impl Engine {
    pub(super) fn new(link: Link, writer: Writer, level: Level, wake: OwnedFd) -> Self {
        let wake = Arc::new(wake);
        let committed_head = writer.head();
        Self {
            name: link.region.name.clone(),
            level,
            writer,
            method: if level == Level::Persistent {
                link.persist
            } else {
                None
            },
            incarnation: link.incarnation,
            incarnations: VecDeque::from([(0, link.incarnation)]),
            link: Some(link),
            in_flight: VecDeque::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            appended: 0,
            posted: 0,
            committed: 0,
            committed_head,
            persist_posted: 0,
            persists_in_flight: 0,
            confirms_asked: 0,
            confirms_posted: 0,
            confirms_done: 0,
            snapshot: None,
            snapshots_begun: 0,
            snapshots_done: 0,
            heartbeat: 0,
            appends_unsent: 0,
            bytes_unsent: 0,
            ended: None,
            wakers: BTreeMap::new(),
            completions: Vec::new(),
            completed: 0,
            led: false,
            blocked: false,
            wake,
            paused: false,
            reconnects_itself: false,
        }
    }

    /// Whether a set of that many bytes has to wait until others are committed.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        !self.kept.is_empty() && (self.kept.len() >= KEPT_SETS || self.kept_bytes + bytes > KEPT_BYTES)
    }

    /// Whether another confirmation may be asked for.
    pub(super) fn takes_confirm(&self) -> bool {
        self.confirms_asked - self.confirms_done < CONFIRMS_IN_FLIGHT
    }

    /// Whether anything is on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.kept.is_empty() || self.snapshot.is_some() || self.confirms_done < self.confirms_asked
    }

    /// Whether something is to be driven even though no thread waits for it.
    pub(super) fn wants_driver(&self) -> bool {
        self.snapshot.is_some() || !self.wakers.is_empty()
    }

    /// Takes a planned set: keeps it, and posts it when there is a connection. Returns its index.
    pub(super) fn take(&mut self, plan: &SetPlan, payload: &[u8]) -> u64 {
        self.appended += 1;
        let mut set = Vec::with_capacity(plan.header.len() + payload.len());
        set.extend_from_slice(&plan.header);
        set.extend_from_slice(payload);
        let bytes = set.len();
        let wrap = plan.wrap.as_ref().map(|wrap| (wrap.offset, wrap.header.to_vec()));
        let kept = Arc::new(Kept {
            index: self.appended,
            sequence: plan.sequence,
            head: self.writer.head(),
            writes: wrap.into_iter().chain([(plan.offset, set)]).collect(),
            bytes,
        });
        self.kept_bytes += bytes;
        self.appends_unsent += 1;
        self.bytes_unsent += bytes;
        self.kept.push_back(Arc::clone(&kept));
        if self.link.is_some() {
            self.attempt(|engine| engine.post_set(&kept));
            if self.appends_unsent >= APPENDS_COALESCED || self.bytes_unsent >= BYTES_COALESCED {
                self.turn();
            }
        }
        self.appended
    }

    /// Takes the takeover set for which there was no room when the region was opened, once there is.
    pub(super) fn take_owed(&mut self) {
        if let Some(plan) = self.writer.owed_takeover() {
            self.take(&plan, &[]);
        }
    }

    /// Asks for a confirmation; returns its number, or `None` when too many are under way.
    pub(super) fn ask_confirm(&mut self) -> Option<u64> {
        if !self.takes_confirm() {
            return None;
        }
        self.confirms_asked += 1;
        if self.link.is_some() {
            self.attempt(Self::post_confirms);
        }
        Some(self.confirms_asked)
    }

    /// Posts the heartbeat word, and with it what is known to be committed.
    pub(super) fn beat(&mut self) {
        self.heartbeat += 1;
        let pad = usize::try_from(FLOOR_OFFSET - WORD_OFFSET - 8).expect("a cache line");
        let record = self.writer.floor_record(now_ns()).encode(self.writer.region());
        let mut block = self.heartbeat.to_le_bytes().to_vec();
        block.resize(8 + pad, 0);
        block.extend_from_slice(&record);
        self.attempt(|engine| engine.post_write(WORD_OFFSET, &block, Op::Heartbeat));
    }

    /// As [`beat`](Self::beat), at the level of the commits: the next who reads the region, online or not, then
    /// knows of a damaged last set that it was committed.
    pub(super) fn beat_durably(&mut self) {
        self.beat();
        if self.level == Level::Persistent {
            let posted = self.posted;
            self.attempt(|engine| engine.post_persist_as(Op::Persist(posted)));
        }
    }

    /// Posts what is to be posted, sends it, takes what has completed, and posts what follows from
    /// that. Returns whether anything completed.
    pub(super) fn turn(&mut self) -> bool {
        let mut progress = false;
        while self.link.is_some() && self.ended.is_none() {
            let before = self.completed;
            self.attempt(Self::advance_snapshot);
            self.attempt(Self::post_persist);
            let mut completions = std::mem::take(&mut self.completions);
            self.attempt(|engine| {
                let Some(link) = engine.link.as_mut() else {
                    return Ok(());
                };
                // What arrived before a loss still counts.
                let polled = link.endpoint.poll(&mut completions);
                for completion in completions.drain(..) {
                    engine.complete(completion)?;
                }
                polled.map(|_| ()).map_err(LinkError::from)
            });
            completions.clear();
            self.completions = completions;
            self.appends_unsent = 0;
            self.bytes_unsent = 0;
            if self.completed == before {
                break;
            }
            progress = true;
        }
        if progress || self.ended.is_some() || self.link.is_none() {
            self.wake_futures();
            self.wake_leader();
        }
        progress
    }

    /// What became of a target: `None` while it is open.
    pub(super) fn outcome(&self, target: Target) -> Option<Result<()>> {
        let done = match target {
            Target::Set(index) => index <= self.committed,
            Target::Confirm(number) => number <= self.confirms_done,
            Target::Snapshot(number) => number <= self.snapshots_done,
        };
        if done {
            Some(Ok(()))
        } else {
            self.ended.clone().map(Err)
        }
    }

    /// The incarnation in which the set of that index was committed.
    pub(super) fn incarnation_of(&self, index: u64) -> u64 {
        let of = self.incarnations.iter().rev().find(|(from, _)| *from <= index);
        of.map_or(self.incarnation, |(_, incarnation)| *incarnation)
    }

    /// Ends it for good. The first reason stays.
    pub(super) fn end(&mut self, error: Error) {
        self.ended.get_or_insert(error);
        self.drop_link();
        if let Some(run) = self.snapshot.take() {
            run.fail(self.ended.clone().unwrap_or(Error::Closed));
        }
        self.wake_futures();
        self.wake_leader();
    }

    /// Goes on with a new connection. Sets before index `first_missing` were read back and are in the unit;
    /// those from it on are written again, in order.
    pub(super) fn resume(&mut self, link: Link, first_missing: u64) {
        if link.incarnation != self.incarnation {
            self.incarnation = link.incarnation;
            self.incarnations
                .push_back((self.committed + 1, link.incarnation));
            if self.incarnations.len() > INCARNATIONS_KEPT {
                self.incarnations.pop_front();
            }
        }
        if self.level == Level::Persistent {
            self.method = link.persist;
        }
        self.link = Some(link);
        self.persist_posted = self.committed;
        self.posted = first_missing - 1;
        self.confirms_posted = self.confirms_done;
        if self.level == Level::Placed {
            self.commit_to(self.posted);
        }
        let missing: Vec<_> = self
            .kept
            .iter()
            .filter(|set| set.index >= first_missing)
            .cloned()
            .collect();
        for set in missing {
            self.attempt(|engine| engine.post_set(&set));
        }
        self.attempt(Self::post_confirms);
        self.turn();
    }

    /// Gives the connection up. What was in flight has an unknown outcome.
    pub(super) fn drop_link(&mut self) {
        drop(self.part_link());
    }

    /// As [`drop_link`](Self::drop_link), without closing the connection yet.
    pub(super) fn part_link(&mut self) -> Option<Link> {
        let link = self.link.take();
        self.in_flight.clear();
        self.persists_in_flight = 0;
        if let Some(run) = &mut self.snapshot {
            run.restart();
        }
        link
    }

    /// Does something with the connection; a lost one is dropped, a refusal ends everything.
    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> std::result::Result<(), LinkError>) {
        if self.link.is_none() {
            return;
        }
        match act(self) {
            Ok(()) => {}
            Err(LinkError::Lost(error)) => {
                tracing::warn!(region = self.name, error = describe(&error), "connection lost");
                self.drop_link();
            }
            Err(LinkError::Refused(refusal)) => self.end(Error::from_refusal(&refusal, &self.name)),
        }
    }

    fn post_set(&mut self, set: &Kept) -> std::result::Result<(), LinkError> {
        for (number, (offset, bytes)) in set.writes.iter().enumerate() {
            let last = number + 1 == set.writes.len();
            let chunk = self.link.as_ref().map_or(1, |link| link.endpoint.max_op_bytes()) as usize;
            let mut at = 0;
            while at < bytes.len() {
                let end = (at + chunk).min(bytes.len());
                let op = if last && end == bytes.len() {
                    Op::SetEnd(set.index)
                } else {
                    Op::SetPart
                };
                self.post_write(offset + at as u64, &bytes[at..end], op)?;
                at = end;
            }
        }
        self.posted = set.index;
        Ok(())
    }

    /// One persist covers every set posted before it. It is posted as late as possible, so that it covers many.
    fn post_persist(&mut self) -> std::result::Result<(), LinkError> {
        let due = self.level == Level::Persistent
            && self.posted > self.persist_posted
            && self.persists_in_flight < PERSISTS_IN_FLIGHT;
        if due {
            self.post_persist_as(Op::Persist(self.posted))?;
        }
        Ok(())
    }

    /// Posts a persist of everything posted before.
    pub(super) fn post_persist_as(&mut self, op: Op) -> std::result::Result<(), LinkError> {
        let Some(link) = self.link.as_mut() else {
            return Ok(());
        };
        let id = link.endpoint.post_persist(link.data.key, 0, link.data.len)?;
        self.in_flight.push_back((id, op));
        self.persist_posted = self.posted;
        self.persists_in_flight += 1;
        Ok(())
    }

    pub(super) fn post_write(
        &mut self,
        offset: u64,
        bytes: &[u8],
        op: Op,
    ) -> std::result::Result<(), LinkError> {
        let Some(link) = self.link.as_mut() else {
            return Ok(());
        };
        let id = link
            .endpoint
            .post_write(link.data.key, offset, &[IoSlice::new(bytes)])?;
        self.in_flight.push_back((id, op));
        Ok(())
    }

    pub(super) fn post_read(&mut self, offset: u64, len: u32, op: Op) -> std::result::Result<(), LinkError> {
        let Some(link) = self.link.as_mut() else {
            return Ok(());
        };
        let id = link.endpoint.post_read(link.data.key, offset, len)?;
        self.in_flight.push_back((id, op));
        Ok(())
    }

    fn post_confirms(&mut self) -> std::result::Result<(), LinkError> {
        while self.confirms_posted < self.confirms_asked {
            self.post_read(WORD_OFFSET, CONFIRM_BYTES, Op::Confirm)?;
            self.confirms_posted += 1;
        }
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> std::result::Result<(), LinkError> {
        let broken = |what: &str| LinkError::Lost(FabricError::Protocol(what.to_owned()));
        let Some((id, op)) = self.in_flight.pop_front() else {
            return Err(broken("a completion of nothing"));
        };
        self.completed += 1;
        if id != completion.op {
            return Err(broken("a completion out of order"));
        }
        let is_read_back = matches!(
            op,
            Op::Snapshot(SnapshotStep::ReadSeal | SnapshotStep::ReadPayload)
        );
        if is_read_back && let Err(Refusal::Unreadable(reason)) = &completion.result {
            tracing::warn!(
                region = self.name,
                reason,
                "a snapshot cannot be read back; it is taken back"
            );
            self.snapshot_unreadable();
            return Ok(());
        }
        let outcome = completion.result.map_err(|refusal| self.refused(&op, refusal))?;
        match (op, outcome) {
            (Op::SetPart | Op::Heartbeat, Outcome::Placed) => {}
            (Op::SetEnd(index), Outcome::Placed) => {
                if self.level == Level::Placed {
                    self.commit_to(index);
                }
                #[cfg(feature = "deliberate-bugs")]
                if crate::bugs::Bug::CommitBeforePersist.is_made() {
                    self.commit_to(index);
                }
            }
            (Op::Persist(index), Outcome::Persistent(_)) => {
                self.persists_in_flight -= 1;
                self.commit_to(index);
            }
            (Op::Confirm, Outcome::Read(_)) => self.confirms_done += 1,
            (Op::Snapshot(step), outcome) => {
                if let SnapshotStep::Persist { covers } = step {
                    self.persists_in_flight -= 1;
                    self.commit_to(covers);
                }
                self.snapshot_step(step, outcome)?;
            }
            _ => return Err(broken("a completion of another kind")),
        }
        Ok(())
    }

    /// The refusal of one operation ends the primary: its set can never be committed, nor any behind it.
    fn refused(&self, op: &Op, refusal: Refusal) -> LinkError {
        tracing::warn!(region = self.name, ?op, %refusal, "refused");
        LinkError::Refused(refusal)
    }

    fn commit_to(&mut self, index: u64) {
        while self.kept.front().is_some_and(|set| set.index <= index) {
            if let Some(set) = self.kept.pop_front() {
                self.kept_bytes -= set.bytes;
                self.committed = set.index;
                self.committed_head = set.head;
                self.writer.journal_committed(set.sequence);
            }
        }
    }

    /// Wakes whoever blocks on the connection, because somebody else has taken from it what it waits for.
    fn wake_leader(&mut self) {
        if std::mem::take(&mut self.blocked) {
            // It fails only when so many wake-ups are there already that one more says nothing.
            let _ = rustix::io::write(&self.wake, &1u64.to_le_bytes());
        }
    }

    /// Wakes the futures whose target is decided.
    fn wake_futures(&mut self) {
        if self.wakers.is_empty() {
            return;
        }
        let decided: Vec<_> = self
            .wakers
            .keys()
            .copied()
            .filter(|target| self.outcome(*target).is_some())
            .collect();
        for target in decided {
            if let Some(waker) = self.wakers.remove(&target) {
                waker.wake();
            }
        }
    }
}
