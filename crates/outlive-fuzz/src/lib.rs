//! Every byte that comes from outside, as functions of bytes.
//!
//! Each [`Target`] feeds arbitrary bytes to one decoder, or to one machine that such bytes drive, through the code that the
//! product uses. The list [`TARGETS`] exists once: `cargo verify` replays the committed corpus of each and cheap seeded
//! mutations of it (`tests/corpus.rs`), and `cargo xtask fuzz` hands the same functions to libFuzzer (`fuzz/`).
//!
//! What every target promises, whatever the bytes are ([`harness`]):
//! - nothing panics, in no thread; nothing overflows;
//! - nothing allocates what a length says before it was checked: the peak while an input is handled stays below a small
//!   multiple of its length and a constant of the target's;
//! - it ends soon.
//!
//! What a target asserts beyond that stands in its file.

pub mod corpus;
pub mod harness;
pub mod mutation;
pub mod target;
mod targets;

pub use target::{Seed, TARGETS, Target, target};
