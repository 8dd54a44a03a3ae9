//! A region as one connection sees it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use outlive_audit::Act;
use outlive_fabric::{Exposure, Refusal, RemoteKey};
use outlive_media::{MediaError, Medium};

use crate::auditing::{Attempt, RefusedOperations};
use crate::counters::Counters;
use crate::events::Events;
use crate::table::{Access, Table};

/// The table of one connection over the medium. Shares no lock with any other connection.
pub(crate) struct ConnectionExposure {
    table: Table,
    medium: Arc<Medium>,
    gauges: Arc<Gauges>,
    events: Arc<Events>,
    refused: RefusedOperations,
}

/// What the unit keeps of an exposure that it gave away.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) counters: Counters,
    /// Operations refused for want of a right, a range or a key.
    pub(crate) refused: AtomicU64,
    /// Set once the connection is being stopped: nothing is let through any more. What stops its bytes for good is
    /// the confirmation by the provider.
    pub(crate) stopped: OnceLock<Refusal>,
}

impl ConnectionExposure {
    pub(crate) fn new(
        table: Table,
        medium: Arc<Medium>,
        gauges: Arc<Gauges>,
        events: Arc<Events>,
        refused: RefusedOperations,
    ) -> Self {
        Self {
            table,
            medium,
            gauges,
            events,
            refused,
        }
    }

    fn check_live(&self) -> Result<(), Refusal> {
        match self.gauges.stopped.get() {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    fn place(&self, key: RemoteKey, offset: u64, mut bytes: &[u8]) -> Result<(), Refusal> {
        self.check_live()?;
        for piece in self
            .table
            .translate(key, offset, bytes.len() as u64, Access::Write)?
        {
            let (now, rest) = bytes.split_at(in_memory(piece.len));
            self.medium
                .store(piece.start, now)
                .map_err(|error| self.media_refusal(&error))?;
            bytes = rest;
        }
        Ok(())
    }

    fn load(&self, key: RemoteKey, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        self.check_live()?;
        let mut rest = into;
        for piece in self
            .table
            .translate(key, offset, rest.len() as u64, Access::Read)?
        {
            let (now, behind) = rest.split_at_mut(in_memory(piece.len));
            self.medium
                .load(piece.start, now)
                .map_err(|error| self.media_refusal(&error))?;
            rest = behind;
        }
        Ok(())
    }

    fn media_refusal(&self, error: &MediaError) -> Refusal {
        self.events.note_media(error);
        match error {
            MediaError::NotPersistent => Refusal::NotPersistent,
            error if error.is_unreadable() => Refusal::Unreadable(with_causes(error)),
            error => Refusal::Media(with_causes(error)),
        }
    }

    fn counted<T>(&self, outcome: Result<T, Refusal>, act: Act, offset: u64, len: u64) -> Result<T, Refusal> {
        outcome.inspect_err(|refusal| {
            Counters::add(&self.gauges.counters.refusals, 1);
            self.refused.note(Attempt { act, offset, len }, refusal);
            tracing::debug!(%refusal, "an operation was refused");
        })
    }
}

impl Exposure for ConnectionExposure {
    fn check_write(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        let checked = self
            .check_live()
            .and_then(|()| self.table.translate(key, offset, len, Access::Write));
        self.counted(checked, Act::Write, offset, len)?;
        Counters::add(&self.gauges.counters.writes, 1);
        Ok(())
    }

    fn check_persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        let checked = self
            .check_live()
            .and_then(|()| self.table.translate(key, offset, len, Access::Write));
        self.counted(checked, Act::Persist, offset, len)?;
        Counters::add(&self.gauges.counters.persists, 1);
        Ok(())
    }

    fn write(&self, key: RemoteKey, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let placed = self.place(key, offset, bytes);
        self.counted(placed, Act::Write, offset, bytes.len() as u64)?;
        Counters::add(&self.gauges.counters.bytes_written, bytes.len() as u64);
        Ok(())
    }

    fn receive(
        &self,
        key: RemoteKey,
        offset: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<io::Result<usize>>, Refusal> {
        let checked = self
            .check_live()
            .and_then(|()| self.table.translate(key, offset, len, Access::Write));
        let Some(first) = self.counted(checked, Act::Write, offset, len)?.next() else {
            return Ok(None);
        };
        let received = self.medium.receive(first.start, first.len, socket);
        let received = received.map_err(|error| self.media_refusal(&error));
        let received = self.counted(received, Act::Write, offset, len)?;
        if let Some(Ok(bytes)) = &received {
            Counters::add(&self.gauges.counters.bytes_written, *bytes as u64);
        }
        Ok(received)
    }

    fn read(&self, key: RemoteKey, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        let loaded = self.load(key, offset, into);
        if loaded.is_err() {
            into.fill(0);
        }
        self.counted(loaded, Act::Read, offset, into.len() as u64)?;
        Counters::add(&self.gauges.counters.reads, 1);
        Counters::add(&self.gauges.counters.bytes_read, into.len() as u64);
        Ok(())
    }

    fn persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        let persisted = self.check_live().and_then(|()| {
            self.table.translate(key, offset, len, Access::Write)?;
            self.medium.persist().map_err(|error| self.media_refusal(&error))
        });
        self.counted(persisted, Act::Persist, offset, len)
    }
}

/// A piece is never longer than the buffer it was cut for.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a piece of a buffer in memory")
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
