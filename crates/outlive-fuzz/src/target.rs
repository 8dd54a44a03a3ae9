//! What a target is, and the list of them.

use crate::targets;

/// One way in for bytes from outside.
pub struct Target {
    /// Its name, and its corpus folder's.
    pub name: &'static str,
    /// What the bytes are given to.
    pub about: &'static str,
    /// Handles one input. Panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that reach far, made anew from today's encoders: with them a campaign begins, and a replay goes beyond the corpus.
    pub seeds: fn() -> Vec<Seed>,
    /// Bytes that one run may allocate whatever its input is: rigs, buffers of fixed size, bounds of the product.
    pub allowance_bytes: usize,
}

/// A named input to begin with.
pub type Seed = (&'static str, Vec<u8>);

/// Bytes that may be allocated for each byte of input, beside the target's allowance. A decoded value is larger than what
/// it was decoded from: a byte of a list becomes an entry of some words, and a growing vector stands twice while it moves.
pub const ALLOCATION_FACTOR: usize = 256;

impl Target {
    /// The most that a run over so many bytes may allocate.
    pub fn bound_bytes(&self, input: usize) -> usize {
        self.allowance_bytes
            .saturating_add(input.saturating_mul(ALLOCATION_FACTOR))
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    targets::operations::TARGET,
    targets::answers::TARGET,
    targets::greetings::TARGET,
    targets::connection::TARGET,
    targets::initiator::TARGET,
    targets::metadata::TARGET,
    targets::region_bytes::TARGET,
    targets::region_damage::TARGET,
    targets::catalog::TARGET,
    targets::medium::TARGET,
    targets::control::TARGET,
    targets::admin::TARGET,
    targets::batches::TARGET,
    targets::replica::TARGET,
    targets::resp_requests::TARGET,
    targets::resp_replies::TARGET,
    targets::kv_commands::TARGET,
    targets::kv_snapshot::TARGET,
    targets::certificates::TARGET,
    targets::settings::TARGET,
    targets::audit::TARGET,
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
