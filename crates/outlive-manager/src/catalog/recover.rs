//! Opens the catalog as any backup that becomes primary: reads what is there, and goes on in a new generation.

use std::sync::Arc;

use outlive_fabric::tcp::{ConnectOptions, PinnedCertificate, TlsPolicy};
use outlive_fabric::{FabricError, RegionId, Ticket};
use outlive_layout::catalog::{Catalog as State, Extent, Record};
use outlive_layout::{ReadError, Reader, Recovery, RecoveryOptions, Settling, Start, Writer};
use outlive_proto::v1::{AttachResponse, DataTls};

use super::driver::{DriveError, Driver};
use super::writer::{CatalogWriter, Engine, now_ns};
use super::{Catalog, layout_id};
use crate::{AttachError, CatalogConnector};

/// A catalog that was recovered, with its writer ready to go on.
pub(crate) struct Recovered {
    driver: Driver,
    writer: Writer,
    state: State,
}

impl Recovered {
    /// Connects and recovers, in a thread of its own: the fabric blocks.
    pub(crate) async fn open(
        connect: CatalogConnector,
        response: &AttachResponse,
        region: RegionId,
        ticket: Ticket,
    ) -> Result<Self, AttachError> {
        let (address, generation) = (response.data_address.clone(), response.manager_generation);
        let options = ConnectOptions {
            tls: pinned(response),
            ..ConnectOptions::default()
        };
        let allocatable = Extent {
            start: response.allocatable_start,
            len: response.allocatable_len,
        };
        let opening = tokio::task::spawn_blocking(move || {
            let endpoint = connect(&address, &ticket, &options)?;
            let driver = Driver::new(endpoint).map_err(drive_error)?;
            recover(driver, region, generation, allocatable)
        });
        opening
            .await
            .map_err(|error| AttachError::Catalog(format!("recovering it was broken off: {error}")))?
    }

    /// Makes what was recovered the catalog, and starts its writer.
    pub(crate) fn install(self, catalog: &Arc<Catalog>) -> Result<CatalogWriter, AttachError> {
        let max_snapshot = self.writer.geometry().max_snapshot;
        catalog.replace(self.writer.generation(), self.state, max_snapshot);
        let engine = Engine {
            driver: self.driver,
            writer: self.writer,
            catalog: Arc::clone(catalog),
        };
        CatalogWriter::start(engine).map_err(AttachError::Thread)
    }
}

/// The unit's certificate, where the connection to it is encrypted.
fn pinned(response: &AttachResponse) -> Option<PinnedCertificate> {
    let policy = match response.data_tls() {
        DataTls::Require => TlsPolicy::Require,
        DataTls::Allow => TlsPolicy::Allow,
        DataTls::Off | DataTls::Unspecified => TlsPolicy::Off,
    };
    let certificate = || PinnedCertificate::new(response.data_certificate.clone());
    policy.encrypts(&response.data_address).then(certificate)
}

fn recover(
    mut driver: Driver,
    region: RegionId,
    generation: u64,
    allocatable: Extent,
) -> Result<Recovered, AttachError> {
    let region = layout_id(region);
    let len = driver.len();
    let mut reader = Reader::open(&mut driver, region, len).map_err(read_error)?;
    let found = reader.recover(&mut driver, Start::Everything, &RecoveryOptions::default());
    let found = found.map_err(read_error)?;
    if found.torn_sets > 0 {
        tracing::info!(
            sequence = found.last_sequence,
            "the catalog's last change was torn: it was never acknowledged"
        );
    }
    let mut state = state_of(&found, allocatable)?;
    settle(&mut driver, &found).map_err(drive_error)?;
    let resumed = Writer::resume(region, &found.point, generation, now_ns());
    let (mut writer, takeover) = resumed.map_err(|error| AttachError::Catalog(error.to_string()))?;
    driver.post_set(&takeover, &[]).map_err(drive_error)?;
    driver.commit().map_err(drive_error)?;
    writer.journal_committed(takeover.sequence);
    // In memory only: on the medium the takeover set says the same.
    state
        .apply(&Record::ManagerGeneration { generation })
        .map_err(|error| AttachError::Catalog(error.to_string()))?;
    Ok(Recovered {
        driver,
        writer,
        state,
    })
}

/// What the manager before may only have placed is durable before a repair rests on it, and that before the first change.
fn settle(driver: &mut Driver, found: &Recovery) -> Result<(), DriveError> {
    found.settling().try_for_each(|step| match step {
        Settling::Persist => driver.commit(),
        Settling::Write(offset, bytes) => driver.post(offset, &[bytes]),
    })
}

/// The newest snapshot with every change after it.
fn state_of(found: &Recovery, allocatable: Extent) -> Result<State, AttachError> {
    let damaged = |what: String| AttachError::Catalog(what);
    let mut state = match &found.snapshot {
        Some(set) => State::decode(&set.payload, allocatable)
            .map_err(|error| damaged(format!("set {}: {error}", set.sequence)))?,
        None => State::new(allocatable),
    };
    for set in &found.updates {
        let records = Record::decode_all(&set.payload)
            .map_err(|error| damaged(format!("set {}: {error}", set.sequence)))?;
        for record in records {
            state
                .apply(&record)
                .map_err(|error| damaged(format!("set {}: {error}", set.sequence)))?;
        }
    }
    Ok(state)
}

fn read_error(error: ReadError<DriveError>) -> AttachError {
    match error {
        ReadError::Source { source, .. } => drive_error(source),
        damage => AttachError::Catalog(damage.to_string()),
    }
}

fn drive_error(error: DriveError) -> AttachError {
    match error {
        DriveError::Fabric(error) => AttachError::Fabric(error),
        DriveError::Refused(refusal) => AttachError::Fabric(FabricError::Stopped(refusal)),
        other => AttachError::Catalog(other.to_string()),
    }
}
