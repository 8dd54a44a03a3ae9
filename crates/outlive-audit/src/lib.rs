//! The audit log: who did what, and who was refused what, as JSON lines.
//!
//! Manager and unit each write one. A line is one [`Entry`] with its time; it names identity, source, region, range and
//! the right that was missing as far as they matter. It never holds a key, a ticket's secret or payload.
//!
//! Invariants:
//! - A line is written whole or not at all, and in the order of the calls.
//! - Refusals are bounded per source; what was left out is counted in the next line of that source.
//! - The file is bounded: full ones are renamed and only the newest are kept. So is every line, and every table.
//!
//! It never fails its caller: what cannot be written is counted ([`Audit::lost`]), logged, and told in the next line that
//! can be written. Each line is one system call without a flush: it survives the process, not a power cut.

mod bounded;
mod entry;
mod file;
mod line;
mod log;

pub use bounded::RefusalBounds;
pub use entry::{Act, Entry, Outcome};
pub use log::{Audit, AuditOptions};
