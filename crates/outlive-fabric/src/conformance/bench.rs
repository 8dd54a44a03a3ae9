//! A target, a provider in front of it, and what cases do with the two.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use super::{Harness, Line, Settings, Unable};
use crate::testing::{Memory, TestTarget};
use crate::{Completion, Endpoint, FabricError, OpId, Outcome, Refusal, RemoteKey, Rights};

/// Longer than anything here takes on a healthy provider; only reached by a hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// As much memory as most cases need.
pub(super) const MEMORY_BYTES: usize = 1 << 20;

pub(super) struct Bench<H: Harness> {
    pub(super) target: Arc<TestTarget>,
    pub(super) harness: H,
}

impl<H: Harness> Bench<H> {
    pub(super) fn new(len: usize) -> Self {
        Self::with(len, Settings::default())
    }

    pub(super) fn with(len: usize, settings: Settings) -> Self {
        let target = TestTarget::new(Memory::new(len, true));
        Self {
            harness: H::serve(Arc::clone(&target), settings),
            target,
        }
    }

    pub(super) fn connect(&self, rights: Rights) -> H::Endpoint {
        self.harness
            .connect(&self.target.issue(rights))
            .expect("a valid ticket lets in")
    }

    /// As [`connect`](Self::connect), over a line that can be interfered with.
    pub(super) fn connect_on_a_line(&self) -> Result<(H::Endpoint, Box<dyn Line>), Unable> {
        self.harness
            .connect_on_a_line(&self.target.issue(Rights::ReadWrite))
    }

    pub(super) fn placed(&self) -> Vec<u8> {
        self.target.memory().placed()
    }
}

/// Waits for `count` completions.
pub(super) fn collect(endpoint: &mut impl Endpoint, count: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < count {
        let arrived = endpoint
            .wait(&mut completions, PATIENCE)
            .expect("the connection lives");
        assert!(
            arrived > 0,
            "{} of {count} completions arrived",
            completions.len()
        );
    }
    assert_eq!(completions.len(), count, "each operation completes once");
    completions
}

pub(super) fn only(endpoint: &mut impl Endpoint, op: OpId) -> Result<Outcome, Refusal> {
    let completion = collect(endpoint, 1).remove(0);
    assert_eq!(completion.op, op);
    completion.result
}

pub(super) fn write(
    endpoint: &mut impl Endpoint,
    key: RemoteKey,
    offset: u64,
    bytes: &[u8],
) -> Result<Outcome, Refusal> {
    let op = endpoint
        .post_write(key, offset, &[IoSlice::new(bytes)])
        .expect("posted");
    only(endpoint, op)
}

pub(super) fn read(
    endpoint: &mut impl Endpoint,
    key: RemoteKey,
    offset: u64,
    len: u32,
) -> Result<Outcome, Refusal> {
    let op = endpoint.post_read(key, offset, len).expect("posted");
    only(endpoint, op)
}

pub(super) fn persist(
    endpoint: &mut impl Endpoint,
    key: RemoteKey,
    offset: u64,
    len: u64,
) -> Result<Outcome, Refusal> {
    let op = endpoint.post_persist(key, offset, len).expect("posted");
    only(endpoint, op)
}

/// Bytes that differ from place to place and from seed to seed.
pub(super) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(len);
    bytes
}

pub(super) fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset in memory")
}

/// Whatever still arrives, until the connection ends; and how it ended.
pub(super) fn collect_to_the_end(endpoint: &mut impl Endpoint) -> (Vec<Completion>, FabricError) {
    let mut completions = Vec::new();
    loop {
        match endpoint.wait(&mut completions, PATIENCE) {
            Ok(0) => panic!("the connection neither answers nor ends"),
            Ok(_) => {}
            Err(error) => return (completions, error),
        }
    }
}

/// A number's last byte, to mark memory with.
pub(super) fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}
