//! The unit's host: it starts the real unit on the simulated medium, kills it, and loses power.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use outlive_fabric::sim::SimAddress;
use outlive_media::simulated::{SimulatedMedia, Survival};
use outlive_media::{Media, MediaError, Medium, Persistence, Stored, Volume};
use outlive_proto::v1::unit_admin_server::UnitAdminServer;
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::admission::Gate;
use super::judge::violation;
use super::place::Place;
use super::roads::Roads;
use super::{SECRET, runtime};
use crate::machine::{self, Process};

/// Room for the catalog and both regions, grown.
const MEDIUM_BYTES: u64 = 8 << 20;

pub(super) struct UnitHost {
    roads: Arc<Roads>,
    media: SimulatedMedia,
    stored: Stored,
    running: Option<Running>,
    pub(super) power_cuts: u64,
}

/// Where it is served, and what is in front of it.
type Served = (Arc<Gate>, SimAddress);

struct Running {
    process: Process,
    /// There once it serves.
    served: Arc<Mutex<Option<Served>>>,
}

impl UnitHost {
    pub(super) fn new(roads: Arc<Roads>) -> Self {
        Self {
            roads,
            media: SimulatedMedia::new(MEDIUM_BYTES),
            stored: Stored::New,
            running: None,
            power_cuts: 0,
        }
    }

    pub(super) fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let served = Arc::new(Mutex::new(None));
        let (roads, media, stored, place) = (
            Arc::clone(&self.roads),
            self.media.clone(),
            self.stored,
            Arc::clone(&served),
        );
        let process = machine::start("unit", move || serve(&roads, media, stored, &place));
        self.running = Some(Running { process, served });
    }

    /// Kills the unit's process; with `power`, its host loses power, too, and that survives of what was only placed.
    pub(super) fn kill(&mut self, power: Option<Survival>) {
        let Some(Running { process, served }) = self.running.take() else {
            return;
        };
        let served = machine::uninterrupted(|| served.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.roads.set_unit(None);
        self.roads.set_door(Place::Unit, None);
        if let Some((gate, address)) = &served {
            machine::uninterrupted(|| self.roads.network.shut_down(*address));
            gate.close();
        }
        machine::kill(process);
        self.roads.cut(Place::Unit);
        self.media = machine::uninterrupted(|| match power {
            Some(survival) => SimulatedMedia::of(self.media.survivors(survival)),
            None => SimulatedMedia::left(self.media.persistent(), self.media.placed()),
        });
        self.power_cuts += u64::from(power.is_some());
        // Killed while it made the medium, it begins anew.
        if served.is_some() {
            self.stored = Stored::Before;
        } else if self.stored == Stored::New {
            self.media = SimulatedMedia::new(MEDIUM_BYTES);
        }
    }
}

fn serve(roads: &Arc<Roads>, media: SimulatedMedia, stored: Stored, place: &Mutex<Option<Served>>) {
    let volume = Volume::start(Medium::new(Box::new(Shared(media))), stored);
    let volume = volume.unwrap_or_else(|error| violation("unit-does-not-start", format!("{error:?}")));
    let mut options = UnitOptions::new(AttachSecret::new(SECRET));
    options.advertise = Some("unit:7781".into());
    let unit = Unit::on(volume, options);
    roads.judge.incarnation(unit.incarnation());
    machine::trace(|| format!("serves as incarnation {}", unit.incarnation()));
    let runtime = runtime();
    let (door, incoming) = tokio::sync::mpsc::unbounded_channel();
    machine::uninterrupted(|| {
        let gate = Arc::new(Gate::new(unit.admission(), Arc::clone(&roads.judge)));
        let address = roads.network.serve(Arc::<Gate>::clone(&gate));
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some((gate, address));
        roads.set_unit(Some(address));
        roads.set_door(Place::Unit, Some(door));
    });
    let incoming = UnboundedReceiverStream::new(incoming).map(Ok::<_, io::Error>);
    let service = UnitAdminServer::new(unit.admin());
    let served = runtime.block_on(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    // The door is closed only by who kills it.
    drop(served);
}

/// The medium, which outlives those who use it: nobody is killed inside.
struct Shared(SimulatedMedia);

impl Media for Shared {
    fn len(&self) -> u64 {
        Media::len(&self.0)
    }

    fn persistence(&self) -> Persistence {
        self.0.persistence()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        machine::uninterrupted(|| self.0.store(at, bytes))
    }

    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        machine::uninterrupted(|| self.0.load(at, into))
    }

    fn receive(
        &self,
        at: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<io::Result<usize>>, MediaError> {
        self.0.receive(at, len, socket)
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        machine::uninterrupted(|| self.0.zero(at, len))
    }

    fn flush(&self) -> io::Result<()> {
        machine::uninterrupted(|| self.0.flush())
    }
}
