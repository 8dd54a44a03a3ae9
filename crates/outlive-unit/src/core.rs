//! What a unit's parts share, and how connections come and go.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use outlive_audit::{Act, Entry};
use outlive_fabric::tcp::{Encryption, TlsPolicy};
use outlive_fabric::{
    self as fabric, AccessInfo, Admission, Admitted, CloseReason, Connection, ConnectionId, ExposedPart,
    PersistMethod, Refusal, RegionId, RemoteKey, Rights, SessionInfo, TicketId,
};
use outlive_media::{Persistence, Volume};
use outlive_proto::v1::{DataTls, LiveConnection, ScrubState};

use crate::auditing::RefusedOperations;
use crate::counters::{Counters, Totals};
use crate::events::{Event, Events};
use crate::exposure::{ConnectionExposure, Gauges};
use crate::gate::Gate;
use crate::options::UnitOptions;
use crate::registry::{Live, METADATA_LEN, Region, Registry};
use crate::table::Table;
use crate::tickets::{Ticket, Tickets};
use crate::translation::{Extent, Translation};

/// Connections kept free of clients: for the manager in charge and for the one that follows it, so that no crowd of clients
/// keeps a unit from being managed.
const MANAGERS_CONNECTIONS: usize = 2;

/// What is known of the data listener.
#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    /// Connections that clients may have, all together.
    max_clients: usize,
    /// How it encrypts.
    encryption: Option<Encryption>,
}

/// The unit, as its listener and its admin service share it.
pub(crate) struct Core {
    pub(crate) volume: Volume,
    pub(crate) options: UnitOptions,
    pub(crate) gate: Gate,
    pub(crate) events: Arc<Events>,
    registry: Mutex<Registry>,
    /// The data listener, once there is one.
    listening: OnceLock<Listening>,
    /// Counts of connections that have ended, and of those that were not let in.
    ended: Counters,
    scrub: Mutex<Option<ScrubState>>,
}

impl Core {
    pub(crate) fn new(volume: Volume, options: UnitOptions) -> Self {
        let mut registry = Registry::new(Tickets::new(
            options.max_tickets,
            options.max_tickets_per_identity,
        ));
        let catalog = catalog(&volume);
        registry.occupied.add(catalog_id(&volume), &catalog.translation);
        registry.regions.insert(catalog_id(&volume), catalog);
        Self {
            gate: Gate::new(volume.manager_generation()),
            volume,
            options,
            events: Arc::new(Events::new()),
            registry: Mutex::new(registry),
            listening: OnceLock::new(),
            ended: Counters::default(),
            scrub: Mutex::new(None),
        }
    }

    /// What scrubbing found last, where this process scrubs.
    pub(crate) fn scrub(&self) -> MutexGuard<'_, Option<ScrubState>> {
        self.scrub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing panics in between two changes that belong together.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog_id(&self) -> RegionId {
        catalog_id(&self.volume)
    }

    /// The connections that live, of all regions or of one.
    pub(crate) fn live(&self, region: Option<RegionId>) -> Vec<LiveConnection> {
        let registry = self.registry();
        let wanted = registry
            .connections
            .values()
            .filter(|live| region.is_none_or(|id| live.region == id));
        wanted.map(Live::describe).collect()
    }

    /// Notes where the data listener is bound, how many connections it takes and how it encrypts them. Once.
    pub(crate) fn set_listening(
        &self,
        address: SocketAddr,
        max_connections: usize,
        encryption: Option<Encryption>,
    ) {
        let max_clients = max_connections.saturating_sub(MANAGERS_CONNECTIONS).max(1);
        // It is only called by the one that started the listener.
        let _ = self.listening.set(Listening {
            address,
            max_clients,
            encryption,
        });
    }

    /// Where clients are told to connect to; empty while nothing listens.
    pub(crate) fn data_address(&self) -> String {
        let bound = || {
            self.listening
                .get()
                .map(|listening| listening.address.to_string())
        };
        self.options.advertise.clone().or_else(bound).unwrap_or_default()
    }

    /// Whether data connections are encrypted, and the certificate for it.
    pub(crate) fn data_tls(&self) -> (DataTls, Vec<u8>) {
        let encryption = self
            .listening
            .get()
            .and_then(|listening| listening.encryption.as_ref());
        let Some(Encryption { policy, certificate }) = encryption else {
            return (DataTls::Off, Vec::new());
        };
        let policy = match policy {
            TlsPolicy::Off => DataTls::Off,
            TlsPolicy::Allow => DataTls::Allow,
            TlsPolicy::Require => DataTls::Require,
        };
        (policy, certificate.pinned().der().to_vec())
    }

    /// Sums over all connections, those that have ended included.
    pub(crate) fn totals(&self) -> Totals {
        let registry = self.registry();
        let mut totals = self.ended.totals();
        for live in registry.connections.values() {
            totals.include(live.gauges.counters.totals());
        }
        totals
    }

    /// Forgets a connection of which no byte can land any more. `told`: why it ended, by its provider.
    pub(crate) fn forget(&self, id: ConnectionId, told: Option<&CloseReason>) {
        let mut registry = self.registry();
        let Some(live) = registry.connections.remove(&id) else {
            return;
        };
        self.ended.include(live.gauges.counters.totals());
        registry.settle(live.region);
        // Under the lock, so that events come in the order of what happened.
        self.events.send(Event::Closed(live.describe()));
        drop(registry);
        self.options.audit.record(&live.disconnected(told));
    }

    /// Everything about letting a ticket's connection in, in one step with respect to fences.
    fn let_in(
        &self,
        proven: &fabric::Ticket,
        connection: Arc<dyn Connection>,
    ) -> Result<(Admitted, Entry), Refusal> {
        let mut registry = self.registry();
        if registry.closing {
            return Err(Refusal::ShuttingDown);
        }
        let ticket = registry.tickets.take(proven.id, &proven.secret, Instant::now());
        let ticket = ticket.ok_or(Refusal::Ticket)?;
        let region = registry.regions.get(&ticket.region).ok_or(Refusal::Ticket)?;
        check_grant(&registry, region, &ticket)?;
        self.check_share(&registry, &ticket)?;
        let table = fill_table(region, &ticket)?;
        let session = SessionInfo {
            incarnation: self.volume.incarnation(),
            access: table.access(),
            persist: match self.volume.medium().persistence() {
                Persistence::AfterFlush => Some(PersistMethod::TargetFlush),
                Persistence::PlacedOnly => None,
            },
        };
        let gauges = Arc::new(Gauges::default());
        let medium = Arc::clone(self.volume.medium());
        let Ticket {
            region,
            identity,
            writable,
            generation,
            ..
        } = ticket;
        let live = Live {
            connection,
            gauges,
            region,
            identity,
            writable,
            generation,
        };
        tracing::info!(
            connection = live.connection.id().0, peer = %live.connection.peer(), %region,
            identity = %live.identity, writable, generation, "connection admitted"
        );
        let refused = RefusedOperations::of(&live, self.options.audit.clone());
        let (gauges, events) = (Arc::clone(&live.gauges), Arc::clone(&self.events));
        let exposure = ConnectionExposure::new(table, medium, gauges, events, refused);
        let connected = live.connected();
        self.events.send(Event::Opened(live.describe()));
        registry.connections.insert(live.connection.id(), live);
        let admitted = Admitted {
            exposure: Arc::new(exposure),
            session,
        };
        Ok((admitted, connected))
    }
}

impl Core {
    /// Counts and audits somebody who was not let in. `identity`: whose ticket it was.
    fn note_refused(&self, refusal: &Refusal, peer: String, identity: Option<String>) {
        Counters::add(&self.ended.refusals, 1);
        // The audit log bounds what one source can fill it with; this one does not.
        tracing::debug!(%peer, %refusal, "connection refused");
        let mut entry = Entry::refused(Act::Connect, refusal).from(peer);
        entry.identity = identity;
        self.options.audit.record(&entry);
    }

    /// Whether there is room for one more connection, of this identity and at all. The manager's own to the catalog always
    /// has it: there is one.
    fn check_share(&self, registry: &Registry, ticket: &Ticket) -> Result<(), Refusal> {
        let limit = |what: &str, limit: usize| Refusal::Limit {
            what: what.into(),
            limit: limit as u64,
        };
        let is_managers = |region, writable| writable && region == self.catalog_id();
        if is_managers(ticket.region, ticket.writable) {
            return Ok(());
        }
        let clients = || {
            let live = registry.connections.values();
            live.filter(|live| !is_managers(live.region, live.writable))
        };
        let bound = self.options.max_connections_per_identity;
        if clients().filter(|live| live.identity == ticket.identity).count() >= bound {
            return Err(limit("data connections of one identity", bound));
        }
        let bound = self
            .listening
            .get()
            .map_or(usize::MAX, |listening| listening.max_clients);
        if clients().count() >= bound {
            return Err(limit("connections", bound));
        }
        Ok(())
    }
}

impl Admission for Core {
    fn challenge(&self, id: TicketId, connection: &dyn Connection) -> Result<fabric::Ticket, Refusal> {
        let held = {
            let registry = self.registry();
            let held = registry.tickets.held(id, Instant::now());
            match held {
                _ if registry.closing => Err(Refusal::ShuttingDown),
                None => Err(Refusal::Ticket),
                Some(ticket) => Ok(fabric::Ticket {
                    id,
                    secret: ticket.secret.clone(),
                    terms: ticket.terms(self.volume.incarnation()),
                }),
            }
        };
        held.inspect_err(|refusal| self.note_refused(refusal, connection.peer(), None))
    }

    fn failed(&self, id: TicketId, connection: &dyn Connection) {
        let claimed = self.registry().tickets.failed(id);
        let claimed = claimed.map(|ticket| ticket.identity);
        self.note_refused(&Refusal::Ticket, connection.peer(), claimed);
    }

    fn turned_away(&self, refusal: &Refusal, connection: &dyn Connection) {
        self.note_refused(refusal, connection.peer(), None);
    }

    fn admit(&self, ticket: &fabric::Ticket, connection: Arc<dyn Connection>) -> Result<Admitted, Refusal> {
        let peer = connection.peer();
        // Written without the lock: a slow disk shall not hold up a fence.
        match self.let_in(ticket, connection) {
            Ok((admitted, connected)) => {
                self.options.audit.record(&connected);
                Ok(admitted)
            }
            Err(refusal) => {
                self.note_refused(&refusal, peer, Some(ticket.terms.identity.clone()));
                Err(refusal)
            }
        }
    }

    fn closed(&self, connection: ConnectionId, reason: CloseReason) {
        tracing::info!(connection = connection.0, ?reason, "connection ended");
        self.forget(connection, Some(&reason));
    }
}

/// Whether a valid ticket may be honoured now.
fn check_grant(registry: &Registry, region: &Region, ticket: &Ticket) -> Result<(), Refusal> {
    // Its manager says why when it is asked for another ticket.
    if region.withdrawn || region.unconfirmed {
        return Err(Refusal::Ticket);
    }
    if !ticket.writable {
        return Ok(());
    }
    #[cfg(feature = "deliberate-bugs")]
    if crate::bugs::Bug::TicketsOutliveFence.is_made() {
        return Ok(());
    }
    if ticket.generation < region.min_generation {
        return Err(Refusal::Fenced {
            generation: region.min_generation,
        });
    }
    #[cfg(feature = "deliberate-bugs")]
    if crate::bugs::Bug::ManyWriters.is_made() {
        return Ok(());
    }
    // A manager stops the writer before it admits another; this holds even if it forgets.
    if registry.of_region(ticket.region).any(|live| live.writable) {
        return Err(Refusal::Limit {
            what: "writers of one region".into(),
            limit: 1,
        });
    }
    Ok(())
}

fn fill_table(region: &Region, ticket: &Ticket) -> Result<Table, Refusal> {
    let rights = if ticket.writable {
        Rights::ReadWrite
    } else {
        Rights::Read
    };
    let parts = [
        (ExposedPart::Data, METADATA_LEN, region.data_len, rights),
        (ExposedPart::Metadata, 0, METADATA_LEN, Rights::Read),
    ];
    let mut table = Table::new();
    for (part, base, len, rights) in parts {
        let key = random_key()?;
        let generation = ticket.generation;
        let info = AccessInfo {
            region: ticket.region,
            part,
            key,
            len,
            rights,
            generation,
        };
        table.expose(info, base, Arc::clone(&region.translation));
    }
    Ok(table)
}

/// Random, so that nobody takes a key that works on one connection for one that works on another.
fn random_key() -> Result<RemoteKey, Refusal> {
    getrandom::u64()
        .map(RemoteKey)
        .map_err(|error| Refusal::Media(format!("no random bytes: {error}")))
}

fn catalog_id(volume: &Volume) -> RegionId {
    RegionId(volume.geometry().catalog_region)
}

fn catalog(volume: &Volume) -> Region {
    let geometry = volume.geometry();
    let extent = Extent {
        start: geometry.catalog_start,
        len: geometry.catalog_len,
    };
    Region {
        translation: Arc::new(Translation::new(&[extent]).expect("a sound geometry has a catalog")),
        data_len: geometry.catalog_data_len(),
        min_generation: volume.manager_generation(),
        unconfirmed: false,
        withdrawn: false,
    }
}
