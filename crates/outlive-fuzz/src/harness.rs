//! Runs one input, and measures what it allocates.
//!
//! The measure is that of the `peak_alloc` crate, for the whole process: who uses it makes [`PeakAlloc`] the global
//! allocator of its binary, and runs one input at a time.

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use thiserror::Error;

use crate::Target;

/// The longest that one input may take, on a machine that is busy with other things. What takes longer does not end soon.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);

/// A promise that an input broke without a panic.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Excess {
    /// More was allocated than such an input may cost.
    #[error("{peak_bytes} bytes were allocated for an input of {input_bytes}; at most {bound_bytes} may be")]
    Memory {
        /// At the worst moment.
        peak_bytes: usize,
        /// Length of the input.
        input_bytes: usize,
        /// What it may cost.
        bound_bytes: usize,
    },
    /// It took too long.
    #[error("an input of {input_bytes} bytes took {taken:?}; at most {TIME_LIMIT:?} are allowed")]
    Time {
        /// How long.
        taken: Duration,
        /// Length of the input.
        input_bytes: usize,
    },
    /// Nothing is measured: the process has another allocator.
    #[error("this process does not count what it allocates: make peak_alloc::PeakAlloc its global allocator")]
    Unmeasured,
}

/// Makes what a target makes once in a process, so that no input is charged for it.
///
/// # Errors
/// [`Excess::Unmeasured`].
pub fn prepare(target: &Target) -> Result<(), Excess> {
    if PeakAlloc.peak_usage() == 0 {
        return Err(Excess::Unmeasured);
    }
    (target.run)(&[]);
    Ok(())
}

/// Runs one input.
///
/// # Errors
/// [`Excess`].
///
/// # Panics
/// Where the target does.
pub fn run(target: &Target, input: &[u8]) -> Result<(), Excess> {
    let before_bytes = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    let begun = Instant::now();
    (target.run)(input);
    let taken = begun.elapsed();
    let peak_bytes = PeakAlloc.peak_usage().saturating_sub(before_bytes);
    let (input_bytes, bound_bytes) = (input.len(), target.bound_bytes(input.len()));
    if peak_bytes > bound_bytes {
        return Err(Excess::Memory {
            peak_bytes,
            input_bytes,
            bound_bytes,
        });
    }
    if taken > TIME_LIMIT {
        return Err(Excess::Time { taken, input_bytes });
    }
    Ok(())
}
