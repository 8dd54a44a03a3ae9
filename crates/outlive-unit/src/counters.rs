//! What was done, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one connection, or of all that have ended. Relaxed: for people and metrics, never for decisions.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_written: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) persists: AtomicU64,
    pub(crate) refusals: AtomicU64,
}

/// A moment's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes placed.
    pub bytes_written: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Writes let through.
    pub writes: u64,
    /// Reads carried out; a long one counts once for each part that is sent.
    pub reads: u64,
    /// Persist requests let through.
    pub persists: u64,
    /// Operations and connections refused.
    pub refusals: u64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds the final counts of a connection.
    pub(crate) fn include(&self, ended: Totals) {
        Self::add(&self.bytes_written, ended.bytes_written);
        Self::add(&self.bytes_read, ended.bytes_read);
        Self::add(&self.writes, ended.writes);
        Self::add(&self.reads, ended.reads);
        Self::add(&self.persists, ended.persists);
        Self::add(&self.refusals, ended.refusals);
    }

    pub(crate) fn totals(&self) -> Totals {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            bytes_written: value(&self.bytes_written),
            bytes_read: value(&self.bytes_read),
            writes: value(&self.writes),
            reads: value(&self.reads),
            persists: value(&self.persists),
            refusals: value(&self.refusals),
        }
    }
}

impl Totals {
    pub(crate) fn include(&mut self, other: Totals) {
        self.bytes_written += other.bytes_written;
        self.bytes_read += other.bytes_read;
        self.writes += other.writes;
        self.reads += other.reads;
        self.persists += other.persists;
        self.refusals += other.refusals;
    }
}
