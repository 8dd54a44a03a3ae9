//! Keeps the manager attached: follows the unit's events and, when the unit is lost, attaches again.

use std::collections::HashSet;
use std::sync::Arc;

use outlive_audit::{Act, Entry};
use outlive_fabric::{RegionId, Rights, Terms};
use outlive_layout::catalog::Record;
use outlive_proto::ControlError;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::unit_event::Event;
use outlive_proto::v1::{AttachResponse, ErrorCode, LiveConnection, UnitEvent};
use tokio::time::Instant;
use tonic::Streaming;

use crate::access::Leave;
use crate::catalog::{Catalog, CatalogWriter, CommitError, Recovered, now_ms};
use crate::live::region_of;
use crate::shared::{Attachment, Loss, Shared};
use crate::unit::{self, UnitLink};
use crate::{AttachError, ManagerOptions, identities, limits};

/// An attachment that is ready for work, and what must be followed.
pub(crate) struct Attached {
    pub(crate) attachment: Attachment,
    pub(crate) events: Streaming<UnitEvent>,
    pub(crate) connections: Vec<LiveConnection>,
}

/// Attaches: fences the manager before, recovers the catalog, reconciles the connections that are alive with
/// it. Nothing is granted before all of it has succeeded.
pub(crate) async fn attach(
    options: &ManagerOptions,
    catalog: &Arc<Catalog>,
) -> Result<Attached, AttachError> {
    let attached = UnitLink::attach(options.unit.clone(), options.proof.clone(), options.name.clone()).await;
    let (unit, response) = attached.map_err(AttachError::Unit)?;
    // Events first, connections after: what happens between the two is seen twice rather than never.
    let events = unit.events().await.map_err(AttachError::Unit)?;
    let catalog_region = catalog_region(&response)?;
    let generation = unit.manager_generation();
    let ticket = crate::grant::new_ticket(Terms {
        identity: options.name.clone(),
        region: catalog_region,
        generation,
        rights: Rights::ReadWrite,
        incarnation: response.incarnation,
    });
    let ticket = ticket.map_err(AttachError::Unit)?;
    unit.admit(&ticket).await.map_err(AttachError::Unit)?;
    let recovered = Recovered::open(options.connect.clone(), &response, catalog_region, ticket).await?;
    let writer = recovered.install(catalog)?;
    found(options, catalog, &writer).await?;
    let connections = reconcile(options, &unit, catalog, catalog_region)
        .await
        .map_err(AttachError::Unit)?;
    let attachment = Attachment {
        unit,
        unit_id: response.unit.clone(),
        incarnation: response.incarnation,
        data_address: response.data_address.clone(),
        data_tls: response.data_tls(),
        data_certificate: response.data_certificate.clone(),
        strongest: response.strongest(),
        catalog_region,
        catalog_len: response.catalog_len,
        since: Instant::now(),
        writer,
        loss: Loss::default(),
    };
    tracing::info!(
        manager_generation = generation,
        incarnation = attachment.incarnation,
        regions = catalog.count(),
        connections = connections.len(),
        "attached to the unit"
    );
    let entry = Entry::done(Act::Attach).by(&options.name);
    options.audit.record(&entry.generation(generation));
    Ok(Attached {
        attachment,
        events,
        connections,
    })
}

/// Makes the administrators of the options administrators, where they are not.
async fn found(
    options: &ManagerOptions,
    catalog: &Catalog,
    writer: &CatalogWriter,
) -> Result<(), AttachError> {
    for (name, serial) in &options.administrators {
        let known = catalog.identity(name.as_str());
        if known
            .as_ref()
            .is_some_and(|known| known.revoked || !known.administrator)
        {
            tracing::warn!(%name, "was revoked or lost the role, and so is not made an administrator at start");
        }
        let Some(identity) = identities::founded(known.as_ref(), name, serial.as_ref(), now_ms()) else {
            continue;
        };
        let founded = writer.commit(Record::IdentitySet { identity }).await;
        founded.map_err(|error| match error {
            CommitError::Refused(error) => AttachError::Unit(error),
            CommitError::Unknown(why) => {
                AttachError::Unit(ControlError::new(ErrorCode::UnitUnreachable, why))
            }
        })?;
        tracing::info!(%name, "made an administrator");
        let entry = Entry::done(Act::AdmitIdentity).by(&options.name);
        options
            .audit
            .record(&entry.about(name.as_str()).right("+administrator"));
    }
    Ok(())
}

/// Stops what the catalog does not allow: connections to regions it does not know, write connections below their
/// region's generation, and those of identities that lack the right. Returns the connections that remain.
async fn reconcile(
    options: &ManagerOptions,
    unit: &UnitLink,
    catalog: &Catalog,
    catalog_region: RegionId,
) -> Result<Vec<LiveConnection>, ControlError> {
    let mut withdrawn = HashSet::new();
    let mut fenced = HashSet::new();
    let mut confined = HashSet::new();
    for connection in unit.all_connections().await? {
        let Some(region) = region_of(&connection) else {
            continue;
        };
        match verdict(catalog, catalog_region, region, &connection) {
            Verdict::Allowed => {}
            Verdict::NoRight { keep_readers } => {
                let identity = &connection.identity;
                if confined.insert((region, identity.clone())) {
                    tracing::warn!(%region, identity, "stopping connections whose identity lost the right to them");
                    let revoked = unit.revoke(Some(region), identity, keep_readers).await;
                    let entry = stopped(options, Act::Disconnect, catalog, region, &revoked);
                    options.audit.record(&entry.about(identity.as_str()));
                    unconfirmed_is_known(region, revoked)?;
                }
            }
            Verdict::Unknown => {
                if withdrawn.insert(region) {
                    tracing::warn!(%region, "stopping connections to a region that the catalog does not know");
                    unit.withdraw(region).await?;
                }
            }
            Verdict::Stale { generation } => {
                if fenced.insert(region) {
                    tracing::warn!(%region, generation, "stopping write connections of an older generation");
                    let fenced = unit.fence(region, generation, false).await;
                    let entry = stopped(options, Act::Fence, catalog, region, &fenced);
                    options.audit.record(&entry.generation(generation));
                    unconfirmed_is_known(region, fenced)?;
                }
            }
        }
    }
    unit.all_connections().await
}

/// What the audit log says of connections that a manager stops when it takes charge.
fn stopped(
    options: &ManagerOptions,
    act: Act,
    catalog: &Catalog,
    region: RegionId,
    stopped: &Result<u32, ControlError>,
) -> Entry {
    let entry = match stopped {
        Ok(count) => Entry::done(act).count(u64::from(*count)),
        Err(error) => Entry::failed(act, error),
    };
    let name = catalog.identified(region).map(|record| record.name.clone());
    entry.by(&options.name).region(name.unwrap_or_default())
}

/// Connections that did not confirm that they stopped keep their own region from being granted: the unit grants nothing
/// for it. The others need not wait.
fn unconfirmed_is_known(region: RegionId, stopped: Result<u32, ControlError>) -> Result<(), ControlError> {
    match stopped {
        Err(error) if error.code == ErrorCode::FenceUnconfirmed => {
            tracing::error!(%region, %error, "connections that must not be are not stopped yet");
            Ok(())
        }
        stopped => stopped.map(drop),
    }
}

/// What the catalog says about a live connection.
enum Verdict {
    Allowed,
    /// Its identity may not have it.
    NoRight {
        keep_readers: bool,
    },
    /// Its region does not exist, or never had that generation.
    Unknown,
    /// It may write, and its generation has passed.
    Stale {
        generation: u64,
    },
}

fn verdict(
    catalog: &Catalog,
    catalog_region: RegionId,
    region: RegionId,
    connection: &LiveConnection,
) -> Verdict {
    let is_of_catalog = region == catalog_region;
    if is_of_catalog && connection.writable {
        // The manager's own.
        return Verdict::Allowed;
    }
    let no_right = match catalog.leave(&connection.identity, (!is_of_catalog).then_some(region)) {
        Leave::All => None,
        Leave::Readers if !connection.writable => None,
        left => Some(Verdict::NoRight {
            keep_readers: left == Leave::Readers,
        }),
    };
    if is_of_catalog {
        return no_right.unwrap_or(Verdict::Allowed);
    }
    match catalog.identified(region) {
        None => Verdict::Unknown,
        Some(record) if connection.generation > record.generation => Verdict::Unknown,
        Some(record) if connection.writable && connection.generation < record.generation => Verdict::Stale {
            generation: record.generation,
        },
        Some(_) => no_right.unwrap_or(Verdict::Allowed),
    }
}

fn catalog_region(response: &AttachResponse) -> Result<RegionId, AttachError> {
    let id = response.catalog_region.as_slice().try_into();
    id.map(RegionId)
        .map_err(|_| AttachError::Catalog("the unit names no catalog region".into()))
}

/// Keeps the manager attached until it is superseded or dropped.
pub(crate) async fn keep(shared: Arc<Shared>, first: Streaming<UnitEvent>) {
    let mut events = first;
    loop {
        let Some(attachment) = shared.attached() else {
            return;
        };
        let why = tokio::select! {
            why = follow(&shared, &attachment, &mut events) => why,
            why = attachment.loss.wait() => why,
        };
        let manager_generation = attachment.manager_generation();
        drop(attachment);
        if is_final(&why, manager_generation) {
            tracing::error!(%why, "this manager is not in charge any more");
            shared.set_ended(why);
            return;
        }
        tracing::warn!(%why, "the unit was lost; attaching again");
        shared.set_away(&why);
        match attach_again(&shared, manager_generation).await {
            Some(new) => events = new,
            None => return,
        }
    }
}

/// Attaches again and again, with growing pauses; `None` when that cannot succeed any more.
async fn attach_again(shared: &Arc<Shared>, before: u64) -> Option<Streaming<UnitEvent>> {
    let mut pause = limits::ATTACH_PAUSE_MIN;
    loop {
        match attach(&shared.options, &shared.catalog).await {
            Ok(attached) => return Some(enter(shared, attached)),
            Err(AttachError::Unit(why)) if is_final(&why, before) => {
                shared.set_ended(why);
                return None;
            }
            Err(error) => {
                let medium_failed =
                    matches!(&error, AttachError::Unit(why) if why.code == ErrorCode::MediaFailed);
                shared.set_still_away(with_causes(&error), medium_failed);
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "attaching failed; trying again");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::ATTACH_PAUSE_MAX);
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &AttachError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Begins work under a new attachment.
pub(crate) fn enter(shared: &Arc<Shared>, attached: Attached) -> Streaming<UnitEvent> {
    shared
        .live
        .forget_unless(|region| shared.catalog.identified(region).is_some());
    let manager_generation = attached.attachment.manager_generation();
    shared
        .live
        .replace_connections(manager_generation, attached.connections);
    shared.set_up(Arc::new(attached.attachment));
    for region in shared.live.watched() {
        shared.live.tell(region, Kind::Present);
    }
    tokio::spawn(end_grace(Arc::clone(shared)));
    attached.events
}

/// When the time to reconnect is over, tells the watchers of regions whose owners did not come back.
async fn end_grace(shared: Arc<Shared>) {
    let Some(generation) = shared
        .attached()
        .map(|attachment| attachment.manager_generation())
    else {
        return;
    };
    tokio::time::sleep(limits::RECONNECT_GRACE).await;
    if shared
        .attached()
        .is_none_or(|attachment| attachment.manager_generation() != generation)
    {
        return;
    }
    for region in shared.live.watched() {
        shared.tell_if_lost(region);
    }
}

/// Takes the unit's events in until they end.
async fn follow(
    shared: &Arc<Shared>,
    attachment: &Attachment,
    events: &mut Streaming<UnitEvent>,
) -> ControlError {
    loop {
        match events.message().await {
            Ok(Some(UnitEvent { event: Some(event) })) => take_in(shared, attachment, event),
            Ok(Some(UnitEvent { event: None })) => {}
            Ok(None) => return ControlError::new(ErrorCode::UnitUnreachable, "the unit ended its events"),
            Err(status) => {
                let why = unit::reason(&status);
                // Only a unit that is alive ends a stream with this, so a later manager is there.
                let is_superseded = why.code == ErrorCode::Superseded;
                let later = attachment.manager_generation() + u64::from(is_superseded);
                return why.at_generation(later);
            }
        }
    }
}

fn take_in(shared: &Arc<Shared>, attachment: &Attachment, event: Event) {
    match event {
        Event::Opened(connection) => {
            let Some(region) = region_of(&connection) else {
                return;
            };
            opened(shared, attachment, region, connection);
        }
        Event::Closed(connection) => {
            let Some(region) = region_of(&connection) else {
                return;
            };
            if shared.live.closed(region, connection.connection) && connection.writable {
                shared.tell_if_lost(region);
            }
        }
        Event::MediaFailed(why) => tracing::error!(
            why,
            "the unit's medium failed: it refuses everything until restarted"
        ),
    }
}

fn opened(shared: &Arc<Shared>, attachment: &Attachment, region: RegionId, connection: LiveConnection) {
    let is_of_catalog = region == attachment.catalog_region;
    let verdict = verdict(&shared.catalog, attachment.catalog_region, region, &connection);
    let is_owner = connection.writable && !is_of_catalog;
    let identity = connection.identity.clone();
    if !is_of_catalog && !matches!(verdict, Verdict::Unknown) {
        shared
            .live
            .opened(region, attachment.manager_generation(), connection);
    }
    match verdict {
        Verdict::Allowed if is_owner => shared.live.tell(region, Kind::OwnerConnected),
        Verdict::Allowed => {}
        Verdict::NoRight { keep_readers } => {
            let unit = attachment.unit.clone();
            tokio::spawn(async move { unit.revoke(Some(region), &identity, keep_readers).await });
        }
        Verdict::Unknown => {
            // Its ticket outlived the region; withdrawing waits for connections, so it gets a task of its own.
            let unit = attachment.unit.clone();
            tokio::spawn(async move { unit.withdraw(region).await });
        }
        Verdict::Stale { generation } => {
            let unit = attachment.unit.clone();
            tokio::spawn(async move { unit.fence(region, generation, false).await });
        }
    }
}

/// Whether another manager is in charge. A unit that was restarted answers `SUPERSEDED` as well, until somebody
/// attaches, but names no later generation than ours.
fn is_final(why: &ControlError, manager_generation: u64) -> bool {
    why.code == ErrorCode::Superseded && why.generation > manager_generation
}
