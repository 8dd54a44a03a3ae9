//! A snapshot on its way into a slot, phase by phase, between the appends.

use std::sync::{Arc, OnceLock};

use outlive_fabric::{FabricError, Outcome};
use outlive_layout::checksum::Checksum;
use outlive_layout::seal::SEAL_BYTES;
use outlive_layout::{SealedSnapshot, SnapshotPlan};

use super::bounds::SNAPSHOT_CHUNKS_IN_FLIGHT;
use super::engine::{Engine, Op};
use crate::link::{CHUNK_BYTES, LinkError};
use crate::{Error, Level, Result};

/// What one operation of a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SnapshotStep {
    Write,
    /// Covers journal sets too: those posted before it.
    Persist {
        covers: u64,
    },
    ReadSeal,
    ReadPayload,
}

/// What the snapshot's commit resolves to: the incarnation that confirmed.
pub(super) type SnapshotOutcome = Arc<OnceLock<Result<u64>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The slot's old seal is made invalid, at the region's level, before its first payload byte is overwritten.
    Invalidate,
    Payload,
    /// The seal is published only over a payload that is at the region's level.
    CommitPayload,
    Publish,
    /// Read back: only a verified snapshot frees the journal before it.
    Verify,
    /// It does not verify: its seal is taken back, so that readers find the snapshot before it and not damage.
    Withdraw,
}

/// One save.
pub(super) struct SnapshotRun {
    plan: SnapshotPlan,
    bytes: Vec<u8>,
    phase: Phase,
    /// Bytes of the phase that were posted.
    posted: usize,
    in_flight: usize,
    begun: bool,
    checksum: Checksum,
    sealed: Option<SealedSnapshot>,
    seal_read: Vec<u8>,
    /// The device cannot read some of what was written.
    unreadable: bool,
    outcome: SnapshotOutcome,
}

impl SnapshotRun {
    pub(super) fn new(plan: SnapshotPlan, bytes: Vec<u8>, outcome: SnapshotOutcome) -> Self {
        Self {
            checksum: plan.checksum(),
            plan,
            bytes,
            phase: Phase::Invalidate,
            posted: 0,
            in_flight: 0,
            begun: false,
            sealed: None,
            seal_read: Vec::new(),
            unreadable: false,
            outcome,
        }
    }

    /// Begins again from the first phase, in the same slot with the same sequence: whether anything of it was placed
    /// is not known.
    pub(super) fn restart(&mut self) {
        self.checksum = self.plan.checksum();
        self.sealed = None;
        self.seal_read.clear();
        self.unreadable = false;
        self.in_flight = 0;
        self.enter(Phase::Invalidate);
    }

    pub(super) fn fail(self, error: Error) {
        // Set once only: a run ends once.
        let _ = self.outcome.set(Err(error));
    }

    /// Whether what was read back is what was written.
    fn is_whole(&self) -> bool {
        let sealed = self.sealed.as_ref();
        !self.unreadable && sealed.is_some_and(|sealed| sealed.verify(&self.seal_read, &self.checksum))
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.posted = 0;
        self.begun = false;
    }
}

impl Engine {
    /// Posts what the snapshot's present phase still has to post.
    pub(super) fn advance_snapshot(&mut self) -> std::result::Result<(), LinkError> {
        while let Some(mut run) = self.snapshot.take() {
            let result = self.post_phase(&mut run);
            if result.is_err() || run.in_flight > 0 {
                self.snapshot = Some(run);
                return result;
            }
            // A phase may have nothing to do, as the payload phase of an empty snapshot.
            self.snapshot = self.next_phase(run);
        }
        Ok(())
    }

    fn post_phase(&mut self, run: &mut SnapshotRun) -> std::result::Result<(), LinkError> {
        match run.phase {
            Phase::Invalidate if !run.begun => {
                let (offset, bytes) = run.plan.invalidate();
                self.post_snapshot_write(run, offset, &bytes)?;
                self.post_snapshot_persist(run)?;
            }
            Phase::Payload => self.post_payload(run)?,
            Phase::CommitPayload if !run.begun => self.post_snapshot_persist(run)?,
            Phase::Publish if !run.begun => {
                let sealed = run.plan.seal(&run.checksum);
                let (offset, bytes) = sealed.publish();
                run.sealed = Some(sealed);
                self.post_snapshot_write(run, offset, &bytes)?;
                self.post_snapshot_persist(run)?;
            }
            Phase::Verify if !run.unreadable => self.post_read_back(run)?,
            Phase::Withdraw if !run.begun => {
                let (offset, bytes) = run.plan.invalidate();
                self.post_snapshot_write(run, offset, &bytes)?;
                self.post_snapshot_persist(run)?;
            }
            _ => {}
        }
        run.begun = true;
        Ok(())
    }

    fn post_payload(&mut self, run: &mut SnapshotRun) -> std::result::Result<(), LinkError> {
        while run.posted < run.bytes.len() && run.in_flight < SNAPSHOT_CHUNKS_IN_FLIGHT {
            let end = (run.posted + CHUNK_BYTES as usize).min(run.bytes.len());
            let chunk = &run.bytes[run.posted..end];
            run.checksum.update(chunk);
            let offset = run.plan.payload_offset() + run.posted as u64;
            self.post_write(offset, chunk, Op::Snapshot(SnapshotStep::Write))?;
            run.in_flight += 1;
            run.posted = end;
        }
        Ok(())
    }

    fn post_read_back(&mut self, run: &mut SnapshotRun) -> std::result::Result<(), LinkError> {
        if !run.begun {
            let (offset, _) = run.plan.invalidate();
            let len = u32::try_from(SEAL_BYTES).expect("88 bytes");
            self.post_read(offset, len, Op::Snapshot(SnapshotStep::ReadSeal))?;
            run.in_flight += 1;
        }
        while run.posted < run.bytes.len() && run.in_flight < SNAPSHOT_CHUNKS_IN_FLIGHT {
            let len = (run.bytes.len() - run.posted).min(CHUNK_BYTES as usize);
            let offset = run.plan.payload_offset() + run.posted as u64;
            let step = Op::Snapshot(SnapshotStep::ReadPayload);
            self.post_read(offset, u32::try_from(len).expect("a chunk"), step)?;
            run.in_flight += 1;
            run.posted += len;
        }
        Ok(())
    }

    fn post_snapshot_write(
        &mut self,
        run: &mut SnapshotRun,
        offset: u64,
        bytes: &[u8],
    ) -> std::result::Result<(), LinkError> {
        run.in_flight += 1;
        self.post_write(offset, bytes, Op::Snapshot(SnapshotStep::Write))
    }

    fn post_snapshot_persist(&mut self, run: &mut SnapshotRun) -> std::result::Result<(), LinkError> {
        if self.level == Level::Placed {
            return Ok(());
        }
        run.in_flight += 1;
        let covers = self.posted;
        self.post_persist_as(Op::Snapshot(SnapshotStep::Persist { covers }))
    }

    /// One operation of the snapshot has completed.
    pub(super) fn snapshot_step(
        &mut self,
        step: SnapshotStep,
        outcome: Outcome,
    ) -> std::result::Result<(), LinkError> {
        let Some(mut run) = self.snapshot.take() else {
            return Ok(());
        };
        run.in_flight -= 1;
        match (step, outcome) {
            (SnapshotStep::Write, Outcome::Placed)
            | (SnapshotStep::Persist { .. }, Outcome::Persistent(_)) => {}
            (SnapshotStep::ReadSeal, Outcome::Read(bytes)) => run.seal_read = bytes,
            (SnapshotStep::ReadPayload, Outcome::Read(bytes)) => run.checksum.update(&bytes),
            _ => {
                self.snapshot = Some(run);
                return Err(LinkError::Lost(FabricError::Protocol(
                    "a completion of another kind".into(),
                )));
            }
        }
        self.snapshot = self.next_phase(run);
        Ok(())
    }

    /// What was written cannot be read back: it does not verify, as if other bytes lay there.
    pub(super) fn snapshot_unreadable(&mut self) {
        if let Some(mut run) = self.snapshot.take() {
            run.in_flight -= 1;
            run.unreadable = true;
            self.snapshot = self.next_phase(run);
        }
    }

    /// Goes to the next phase when the present one is done; `None` when the snapshot is.
    fn next_phase(&mut self, mut run: SnapshotRun) -> Option<SnapshotRun> {
        loop {
            if !run.begun || run.in_flight > 0 {
                return Some(run);
            }
            match run.phase {
                Phase::Invalidate => run.enter(Phase::Payload),
                Phase::Payload if run.posted < run.bytes.len() => return Some(run),
                Phase::Payload if self.level == Level::Placed => run.enter(Phase::Publish),
                Phase::Payload => run.enter(Phase::CommitPayload),
                Phase::CommitPayload => run.enter(Phase::Publish),
                Phase::Publish => {
                    if let Some(sealed) = &run.sealed {
                        self.writer.snapshot_committed(sealed);
                        run.checksum = sealed.checksum();
                    }
                    run.enter(Phase::Verify);
                }
                Phase::Verify if !run.unreadable && run.posted < run.bytes.len() => return Some(run),
                Phase::Verify if !run.is_whole() => run.enter(Phase::Withdraw),
                Phase::Verify | Phase::Withdraw => {
                    self.finish_snapshot(&run);
                    return None;
                }
            }
        }
    }

    fn finish_snapshot(&mut self, run: &SnapshotRun) {
        let outcome = match &run.sealed {
            Some(sealed) if run.is_whole() => {
                self.writer.snapshot_verified(sealed);
                Ok(self.incarnation)
            }
            _ => {
                self.writer.snapshot_failed();
                Err(Error::Corrupt {
                    region: self.name.clone(),
                    sequence: run.plan.sequence(),
                    offset: run.plan.payload_offset(),
                })
            }
        };
        // Set once only: a run ends once.
        let _ = run.outcome.set(outcome);
        self.snapshots_done += 1;
    }
}
