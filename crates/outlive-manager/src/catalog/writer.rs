//! The catalog's writer: one thread that makes changes durable, several with one flush, and only then applies
//! them. One attachment has one writer; after its first failure it does nothing any more.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use outlive_layout::Source as _;
use outlive_layout::catalog::Record;
use outlive_layout::{WriteError, Writer};
use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::Catalog;
use super::driver::{DriveError, Driver};
use crate::limits;

/// Changes that share one flush at most: more would only make the first of them wait.
const BATCH: usize = 256;

/// Hands changes to the catalog's thread. The thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(crate) struct CatalogWriter {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    change: Record,
    done: oneshot::Sender<Result<(), CommitError>>,
}

/// Why a change is not known to be durable.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// It was not written at all.
    Refused(ControlError),
    /// Nobody can say until the catalog has been recovered.
    Unknown(String),
}

impl CatalogWriter {
    /// Starts the thread.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let (requests, received) = mpsc::channel(limits::CATALOG_QUEUE);
        std::thread::Builder::new()
            .name("outlive-catalog".into())
            .spawn(move || engine.run(received))?;
        Ok(Self { requests })
    }

    /// Makes a change durable and applies it.
    pub(crate) async fn commit(&self, change: Record) -> Result<(), CommitError> {
        let (done, outcome) = oneshot::channel();
        let gone = || CommitError::Unknown("the connection to the catalog was lost".into());
        self.requests
            .send(Request { change, done })
            .await
            .map_err(|_| gone())?;
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// A change that was posted and not applied yet.
struct Planned {
    sequence: u64,
    /// What it will take of a snapshot.
    snapshot_bytes: u64,
}

/// What the thread owns.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) driver: Driver,
    pub(crate) writer: Writer,
    pub(crate) catalog: Arc<Catalog>,
}

impl Engine {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        // Attaching adds to the journal, too: many restarts in a row must not fill it.
        if let Err(error) = self.make_room() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the catalog's writer ends"
            );
            return;
        }
        while let Some(first) = requests.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            let outcome = self.write_batch(batch);
            let outcome = outcome.and_then(|()| self.make_room());
            if let Err(error) = outcome {
                // What is queued is dropped with the receiver: its outcome is unknown to whoever waits.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the catalog's writer ends"
                );
                return;
            }
        }
    }

    /// Writes every change of a batch, makes them durable together, applies them, answers.
    fn write_batch(&mut self, batch: Vec<Request>) -> Result<(), DriveError> {
        let mut written = Vec::with_capacity(batch.len());
        for request in batch {
            match self.write(&mut written, &request.change) {
                Ok(planned) => written.push((request, planned)),
                Err(Failure::Refused(error)) => drop(request.done.send(Err(CommitError::Refused(error)))),
                Err(Failure::Drive(error)) => return Err(error),
            }
        }
        self.settle(&mut written)
    }

    /// Posts one change. A full journal is emptied by a snapshot first; what was posted before is settled
    /// ahead of that, since the snapshot stands for every set planned so far.
    fn write(&mut self, written: &mut Vec<(Request, Planned)>, change: &Record) -> Result<Planned, Failure> {
        let before = written.iter().map(|(_, planned)| planned.snapshot_bytes).sum();
        let snapshot_bytes = self.catalog.check(change, before).map_err(Failure::Refused)?;
        self.catalog.try_apply(change).map_err(Failure::Refused)?;
        let payload = Record::encode_all(std::slice::from_ref(change));
        let plan = match self.writer.append(&payload, now_ns()) {
            Err(WriteError::JournalFull { .. }) => {
                self.settle(written)?;
                self.save_snapshot()?;
                self.writer.append(&payload, now_ns())
            }
            planned => planned,
        };
        let plan = plan.map_err(|error| Failure::Refused(full(&error)))?;
        self.driver.post_set(&plan, &payload)?;
        Ok(Planned {
            sequence: plan.sequence,
            snapshot_bytes,
        })
    }

    /// Makes what was posted durable, applies it and answers.
    fn settle(&mut self, written: &mut Vec<(Request, Planned)>) -> Result<(), DriveError> {
        let Some((_, last)) = written.last() else {
            return Ok(());
        };
        self.driver.commit()?;
        self.writer.journal_committed(last.sequence);
        self.tell_floor()?;
        for (request, _) in written.drain(..) {
            let applied = self.catalog.apply(self.writer.generation(), &request.change);
            // The caller may have gone; the change stands all the same.
            drop(request.done.send(applied));
        }
        Ok(())
    }

    /// Says on the medium up to where changes are committed, and which snapshot was verified.
    fn tell_floor(&mut self) -> Result<(), DriveError> {
        let record = self.writer.floor_record(now_ns());
        self.driver.tell_floor(&record.encode(self.writer.region()))
    }

    /// Takes a snapshot when the journal is more than half full, so that appends seldom wait for one.
    fn make_room(&mut self) -> Result<(), DriveError> {
        let usage = self.writer.usage();
        if usage.used <= usage.capacity / 2 {
            return Ok(());
        }
        match self.save_snapshot() {
            Ok(()) => Ok(()),
            Err(Failure::Drive(error)) => Err(error),
            Err(Failure::Refused(error)) => {
                tracing::error!(%error, "no snapshot of the catalog; changes are refused once its journal is full");
                Ok(())
            }
        }
    }

    /// Saves the whole state into a slot, verifies it, and so frees the journal behind it.
    fn save_snapshot(&mut self) -> Result<(), Failure> {
        let payload = self.catalog.snapshot();
        let plan = match self.writer.begin_snapshot(payload.len() as u64, now_ns()) {
            Ok(plan) => plan,
            Err(error) => return Err(Failure::Refused(full(&error))),
        };
        let sealed = self.driver.write_snapshot(&plan, &payload)?;
        self.writer.snapshot_committed(&sealed);
        let verified = match self.driver.verify_snapshot(&sealed) {
            Err(error) if Driver::is_unreadable(&error) => false,
            verified => verified?,
        };
        if verified {
            self.writer.snapshot_verified(&sealed);
            self.tell_floor()?;
            tracing::debug!(
                bytes = payload.len(),
                sequence = sealed.sequence(),
                "saved a snapshot of the catalog"
            );
            return Ok(());
        }
        self.driver.withdraw_snapshot(&sealed)?;
        self.writer.snapshot_failed();
        let message = "the catalog's snapshot did not read back as it was written: check the medium";
        Err(Failure::Refused(ControlError::new(
            ErrorCode::MediaFailed,
            message,
        )))
    }
}

enum Failure {
    Refused(ControlError),
    Drive(DriveError),
}

impl From<DriveError> for Failure {
    fn from(error: DriveError) -> Self {
        Self::Drive(error)
    }
}

fn full(error: &WriteError) -> ControlError {
    ControlError::new(
        ErrorCode::Limit,
        format!("the catalog has no room for the change: {error}"),
    )
}

/// Nanoseconds since the Unix epoch; for people only, nothing rests on it.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch; for people, and for telling whether a certificate has expired.
pub(crate) fn now_ms() -> u64 {
    now_ns() / 1_000_000
}
