//! What the unit writes into the audit log. Nothing of it lies on the way of an operation that is allowed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use outlive_audit::{Act, Audit, Entry};
use outlive_fabric::{CloseReason, Refusal, RegionId};
use outlive_proto::ControlError;

use crate::core::Core;
use crate::exposure::Gauges;
use crate::registry::Live;

/// Refused operations of one connection that get a line each: what somebody tries first says what is wrong. The rest is
/// a number in the line that ends the connection.
const TOLD_ONE_BY_ONE: u64 = 8;

impl Live {
    /// The connection, as a line about it begins.
    pub(crate) fn entry(&self, entry: Entry) -> Entry {
        entry
            .by(&self.identity)
            .from(self.connection.peer())
            .region(self.region)
            .connection(self.connection.id().0)
    }

    /// The line that says that it was let in.
    pub(crate) fn connected(&self) -> Entry {
        let entry = self.entry(Entry::done(Act::Connect));
        entry.right(right(self.writable)).generation(self.generation)
    }

    /// The line that says that it has ended.
    pub(crate) fn disconnected(&self, told: Option<&CloseReason>) -> Entry {
        let mut entry = self.entry(Entry::done(Act::Disconnect));
        let refused = self.gauges.refused.load(Ordering::Relaxed);
        if refused > TOLD_ONE_BY_ONE {
            entry = entry.count(refused - TOLD_ONE_BY_ONE);
        }
        match (self.gauges.stopped.get(), told) {
            (Some(refusal), _) | (None, Some(CloseReason::Stopped(refusal))) => entry.because(refusal),
            (None, Some(CloseReason::Broken(why))) => entry.because(why),
            (None, Some(CloseReason::Closed) | None) => entry,
        }
    }
}

impl Core {
    /// Writes the end of a call that stops connections, whatever it is.
    pub(crate) fn audit_stop(
        &self,
        stopped: Result<u32, ControlError>,
        act: Act,
        describe: impl FnOnce(Entry) -> Entry,
    ) -> Result<u32, ControlError> {
        let entry = match &stopped {
            Ok(stopped) => Entry::done(act).count(u64::from(*stopped)),
            Err(error) => Entry::failed(act, &error.message),
        };
        self.options.audit.record(&describe(entry));
        stopped
    }
}

/// Tells what one connection was refused.
pub(crate) struct RefusedOperations {
    audit: Audit,
    identity: String,
    source: String,
    region: RegionId,
    connection: u64,
    gauges: Arc<Gauges>,
}

/// An operation, as its line names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) act: Act,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl RefusedOperations {
    pub(crate) fn of(live: &Live, audit: Audit) -> Self {
        Self {
            audit,
            identity: live.identity.clone(),
            source: live.connection.peer(),
            region: live.region,
            connection: live.connection.id().0,
            gauges: Arc::clone(&live.gauges),
        }
    }

    /// Counts one, and writes the first few.
    pub(crate) fn note(&self, attempt: Attempt, refusal: &Refusal) {
        // These say what the medium is or how it is, and nothing about rights.
        if matches!(
            refusal,
            Refusal::Media(_) | Refusal::Unreadable(_) | Refusal::NotPersistent
        ) {
            return;
        }
        let before = self.gauges.refused.fetch_add(1, Ordering::Relaxed);
        if before >= TOLD_ONE_BY_ONE {
            return;
        }
        let mut entry = Entry::refused(attempt.act, refusal)
            .by(&self.identity)
            .from(&self.source)
            .region(self.region)
            .connection(self.connection)
            .range(attempt.offset, attempt.len);
        if *refusal == Refusal::ReadOnly {
            entry = entry.right(right(true));
        }
        self.audit.record(&entry);
    }
}

/// What an access needs, by the unit's names.
pub(crate) fn right(writable: bool) -> &'static str {
    if writable { "write" } else { "read" }
}
