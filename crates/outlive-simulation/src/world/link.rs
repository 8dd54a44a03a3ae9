//! A data connection that somebody may die on, and that checks what its owner claims.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use outlive_fabric::sim::SimEndpoint;
use outlive_fabric::{Completion, Endpoint, ExposedPart, FabricError, OpId, Outcome, RemoteKey, SessionInfo};
use outlive_layout::SetHeader;
use outlive_layout::set::{SET_HEADER_BYTES, SET_MAGIC};

use super::judge::violation;
use crate::machine;

/// Longest sleep between two looks: others may stop the connection meanwhile.
const LONGEST_NAP: Duration = Duration::from_micros(300);
/// Shortest sleep: while a transfer is carried out piece by piece, looking after each piece would be most of a run.
const SHORTEST_NAP: Duration = Duration::from_micros(15);

pub(super) struct Watched {
    inner: SimEndpoint,
    key: Option<RemoteKey>,
    floors: Floors,
}

/// What of the journal this connection has sent, and what it knows to be committed: a floor in a later set may
/// name no more.
#[derive(Default)]
struct Floors {
    /// Sets that were sent and whose placement was not yet told.
    sent: BTreeMap<OpId, u64>,
    /// Placed, and not yet persistent.
    placed: BTreeMap<u64, OpId>,
    /// Persists that were sent.
    persists: BTreeMap<OpId, ()>,
    /// This connection has asked for a persist at all: it works at that level.
    persistent: bool,
}

impl Watched {
    pub(super) fn new(inner: SimEndpoint) -> Self {
        let data = inner
            .session()
            .access
            .iter()
            .find(|access| access.part == ExposedPart::Data);
        let key = data
            .filter(|access| access.rights.allows_write())
            .map(|access| access.key);
        Self {
            inner,
            key,
            floors: Floors::default(),
        }
    }

    fn poll_shielded(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError> {
        let before = completions.len();
        let polled = machine::uninterrupted(|| self.inner.poll(completions));
        for completion in &completions[before..] {
            self.floors.completed(completion);
        }
        polled
    }
}

impl Floors {
    fn posted(&mut self, op: OpId, first: &[u8]) {
        let Some(header) = first
            .get(..SET_HEADER_BYTES)
            .filter(|bytes| bytes.starts_with(&SET_MAGIC))
        else {
            return;
        };
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        // Behind magic, version, kind, flags, four reserved bytes, region and generation.
        let (sequence, floor) = (number(40), number(80));
        let unplaced = self.sent.values().copied().min();
        let unpersisted = self.placed.keys().next().copied().filter(|_| self.persistent);
        if let Some(open) = unplaced
            .into_iter()
            .chain(unpersisted)
            .min()
            .filter(|open| *open <= floor)
        {
            violation(
                "floor-above-commit",
                format!("set {sequence} carries floor {floor}, and set {open} is not committed"),
            );
        }
        self.sent.insert(op, sequence);
    }

    fn completed(&mut self, completion: &Completion) {
        match &completion.result {
            Ok(Outcome::Placed) => {
                if let Some(sequence) = self.sent.remove(&completion.op) {
                    self.placed.insert(sequence, completion.op);
                }
            }
            Ok(Outcome::Persistent(_)) => {
                self.persists.remove(&completion.op);
                self.placed.retain(|_, op| *op > completion.op);
            }
            _ => {}
        }
    }
}

const _: () = {
    // The offsets above are those of the format.
    assert!(SET_HEADER_BYTES == 112);
    let _ = size_of::<SetHeader>();
};

impl Endpoint for Watched {
    fn session(&self) -> &SessionInfo {
        self.inner.session()
    }

    fn post_write(
        &mut self,
        key: RemoteKey,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<OpId, FabricError> {
        let op = machine::uninterrupted(|| self.inner.post_write(key, offset, parts))?;
        if self.key == Some(key) {
            let first: Vec<u8> = parts
                .iter()
                .flat_map(|part| part.iter().copied())
                .take(SET_HEADER_BYTES)
                .collect();
            self.floors.posted(op, &first);
        }
        Ok(op)
    }

    fn post_read(&mut self, key: RemoteKey, offset: u64, len: u32) -> Result<OpId, FabricError> {
        machine::uninterrupted(|| self.inner.post_read(key, offset, len))
    }

    fn post_persist(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<OpId, FabricError> {
        let op = machine::uninterrupted(|| self.inner.post_persist(key, offset, len))?;
        self.floors.persistent = true;
        self.floors.persists.insert(op, ());
        Ok(op)
    }

    fn flush(&mut self) -> Result<(), FabricError> {
        machine::uninterrupted(|| self.inner.flush())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError> {
        self.poll_shielded(completions)
    }

    /// Sleeps outside of the network's lock, so that who waits can be killed.
    fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> Result<usize, FabricError> {
        let deadline = machine::now().saturating_add(timeout);
        loop {
            let count = self.poll_shielded(completions)?;
            let now = machine::now();
            if count > 0 || now >= deadline {
                return Ok(count);
            }
            let due = machine::uninterrupted(|| self.inner.next_due());
            let nap = due.map_or(LONGEST_NAP, |due| due.saturating_sub(now));
            let nap = nap.clamp(SHORTEST_NAP, LONGEST_NAP);
            std::thread::sleep(nap.min(deadline - now));
        }
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn max_op_bytes(&self) -> u32 {
        self.inner.max_op_bytes()
    }
}
