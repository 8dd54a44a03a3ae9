//! The unit as the data network sees it: its own code, which runs on the threads of those who use the network.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outlive_fabric::{
    Admission, Admitted, CloseReason, Connection, ConnectionId, Exposure, Refusal, RegionId, RemoteKey,
    Ticket, TicketId,
};

use super::judge::Judge;
use crate::machine;

/// Lets nobody into a unit that is gone, and shows the judge what lands.
pub(super) struct Gate {
    unit: Arc<dyn Admission>,
    judge: Arc<Judge>,
    closed: AtomicBool,
    inside: AtomicUsize,
}

impl Gate {
    pub(super) fn new(unit: Arc<dyn Admission>, judge: Arc<Judge>) -> Self {
        Self {
            unit,
            judge,
            closed: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
        }
    }

    /// Lets nobody in any more, and waits until nobody is inside: the unit can then be killed with its locks free.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.inside.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_micros(1));
        }
    }

    fn enter<T>(&self, work: impl FnOnce(&dyn Admission) -> T) -> Option<T> {
        machine::uninterrupted(|| {
            self.inside.fetch_add(1, Ordering::SeqCst);
            let open = !self.closed.load(Ordering::SeqCst);
            let result = open.then(|| work(self.unit.as_ref()));
            self.inside.fetch_sub(1, Ordering::SeqCst);
            result
        })
    }
}

impl Admission for Gate {
    fn challenge(&self, ticket: TicketId, connection: &dyn Connection) -> Result<Ticket, Refusal> {
        let challenged = self.enter(|unit| unit.challenge(ticket, connection));
        challenged.unwrap_or(Err(Refusal::ShuttingDown))
    }

    fn failed(&self, ticket: TicketId, connection: &dyn Connection) {
        self.enter(|unit| unit.failed(ticket, connection));
    }

    fn admit(&self, ticket: &Ticket, connection: Arc<dyn Connection>) -> Result<Admitted, Refusal> {
        let id = connection.id();
        let (region, generation) = (ticket.terms.region, ticket.terms.generation);
        let shielded: Arc<dyn Connection> = Arc::new(Shielded(connection));
        let admitted = self.enter(|unit| unit.admit(ticket, shielded));
        let admitted = admitted.unwrap_or(Err(Refusal::ShuttingDown))?;
        if ticket.terms.rights.allows_write() {
            self.judge.admitted(region, generation, id);
        }
        Ok(Admitted {
            exposure: Arc::new(Landing {
                exposure: admitted.exposure,
                judge: Arc::clone(&self.judge),
                region,
                generation,
                connection: id,
            }),
            session: admitted.session,
        })
    }

    fn closed(&self, connection: ConnectionId, reason: CloseReason) {
        self.enter(|unit| unit.closed(connection, reason));
    }
}

/// A connection that the unit stops while others share the network.
struct Shielded(Arc<dyn Connection>);

impl Connection for Shielded {
    fn id(&self) -> ConnectionId {
        self.0.id()
    }

    fn peer(&self) -> String {
        self.0.peer()
    }

    fn stop(&self, reason: Refusal) {
        machine::uninterrupted(|| self.0.stop(reason));
    }

    fn await_stopped(&self, timeout: Duration) -> bool {
        machine::uninterrupted(|| self.0.await_stopped(timeout))
    }
}

/// A connection's table, with the judge in front.
struct Landing {
    exposure: Arc<dyn Exposure>,
    judge: Arc<Judge>,
    region: RegionId,
    generation: u64,
    connection: ConnectionId,
}

impl Exposure for Landing {
    fn check_write(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        self.exposure.check_write(key, offset, len)
    }

    fn check_persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        self.exposure.check_persist(key, offset, len)
    }

    fn write(&self, key: RemoteKey, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.exposure.write(key, offset, bytes)?;
        self.judge.landed(self.region, self.generation, self.connection);
        Ok(())
    }

    fn receive(
        &self,
        key: RemoteKey,
        offset: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<std::io::Result<usize>>, Refusal> {
        self.exposure.receive(key, offset, len, socket)
    }

    fn read(&self, key: RemoteKey, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        self.exposure.read(key, offset, into)
    }

    fn persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        self.exposure.persist(key, offset, len)
    }
}
