//! The audit log: who did what, and who was refused what, as JSON lines.
//!
//! Manager and unit each write one. A line is one [`Entry`]; it names identity, source, region, range and the right
//! that was missing as far as they matter. It never holds a key, a ticket's secret or payload.
//!
//! Invariants:
//! - A line is written whole or not at all, and in the order of the calls.
//! - Refusals are bounded per source; what was left out is counted in the next line of that source.
//! - The file is bounded: full ones are renamed and only the newest are kept.
//!
//! It never fails its caller: what cannot be written is counted ([`Audit::lost`]) and logged.

mod entry;
mod log;

pub use entry::{Act, Entry, Outcome};
pub use log::{Audit, AuditOptions};
