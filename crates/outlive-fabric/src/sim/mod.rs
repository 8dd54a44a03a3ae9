//! A deterministic fabric in one process: virtual time, no threads, no sockets.
//!
//! A [`Network`] holds targets and connections. Operations travel for a seeded time and are carried
//! out in steps: a write is placed piece by piece at 8-byte borders, so that a stop, a lost
//! connection or another connection's read can fall into the middle of it. Time moves only while
//! somebody waits, polls, or [`advances`](Network::advance) it; the same seed and the same calls
//! give the same run.
//!
//! Faults: [`lose`](Network::lose), [`lose_after`](Network::lose_after) some bytes,
//! [`partition`](Network::partition) and [`heal`](Network::heal), [`shut_down`](Network::shut_down).
//! An exposure must not stop connections from inside its calls.

mod endpoint;
mod link;
mod world;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use endpoint::SimEndpoint;
use link::SimConnection;
use world::World;

use crate::proof::{Transcript, UNBOUND};
use crate::tcp::hello::VERSION;
use crate::{Admission, Connection, ConnectionId, FabricError, Refusal, Ticket};

/// How a simulated network behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How long a message travels, one way.
    pub latency: RangeInclusive<Duration>,
    /// How long one step of carrying out takes.
    pub step: Duration,
    /// A step places or reads at most this many bytes.
    pub piece_bytes: u64,
    /// Without an answer for this long, an endpoint gives up.
    pub op_timeout: Duration,
    /// Operations that may be in flight.
    pub window_ops: usize,
    /// Longest single read or write.
    pub max_op_bytes: u32,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            latency: Duration::from_micros(2)..=Duration::from_micros(20),
            step: Duration::from_nanos(500),
            piece_bytes: 16 << 10,
            op_timeout: Duration::from_secs(10),
            window_ops: 4096,
            max_op_bytes: 16 << 20,
        }
    }
}

/// Names a target in a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SimAddress(pub u64);

/// Whether an initiator has the target prove itself first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Proven,
    Blind,
}

/// The simulated network. Clones are the same network.
#[derive(Clone)]
pub struct Network {
    world: Arc<Mutex<World>>,
}

impl Network {
    /// A network without targets, at time 0.
    pub fn new(options: SimOptions) -> Self {
        Self {
            world: Arc::new(Mutex::new(World::new(options))),
        }
    }

    /// Makes `admission` reachable.
    pub fn serve(&self, admission: Arc<dyn Admission>) -> SimAddress {
        self.world().add_target(admission)
    }

    /// Connects to a target and uses up a ticket, with the same proofs as on a network.
    ///
    /// # Errors
    /// [`FabricError::Connect`] when the target is gone, [`FabricError::Refused`] with its reason,
    /// [`FabricError::Impostor`] when it cannot prove to be the ticket's target.
    pub fn connect(&self, address: SimAddress, ticket: &Ticket) -> Result<SimEndpoint, FabricError> {
        self.greet(address, ticket, Trust::Proven)
    }

    /// As [`connect`](Self::connect), as a hostile initiator does it: gives its own proof whatever the target's is.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect), never [`FabricError::Impostor`].
    pub fn connect_blindly(&self, address: SimAddress, ticket: &Ticket) -> Result<SimEndpoint, FabricError> {
        self.greet(address, ticket, Trust::Blind)
    }

    fn greet(&self, address: SimAddress, ticket: &Ticket, trust: Trust) -> Result<SimEndpoint, FabricError> {
        let gone = || FabricError::Connect {
            address: format!("sim:{}", address.0),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        };
        let (admission, id) = self.world().reserve(address).ok_or_else(gone)?;
        let connection: Arc<dyn Connection> = Arc::new(SimConnection::new(self.clone(), id));
        // Outside the lock: an admission may stop other connections.
        let admitted = self
            .prove(admission.as_ref(), ticket, &connection, trust)
            .and_then(|proven| {
                let admitted = admission.admit(&proven, connection);
                admitted.map_err(FabricError::Refused)
            });
        match admitted {
            Err(error) => {
                self.world().forget(id);
                Err(error)
            }
            Ok(admitted) => {
                let session = admitted.session.clone();
                self.world().open(id, admitted);
                Ok(SimEndpoint::new(self.clone(), id, session))
            }
        }
    }

    /// Both sides' proofs. The ticket as the target knows it.
    fn prove(
        &self,
        admission: &dyn Admission,
        ticket: &Ticket,
        connection: &Arc<dyn Connection>,
        trust: Trust,
    ) -> Result<Ticket, FabricError> {
        let held = admission.challenge(ticket.id, connection.as_ref());
        let held = held.map_err(FabricError::Refused)?;
        let [client_nonce, unit_nonce] = self.world().nonces();
        let theirs = Transcript {
            version: VERSION,
            ticket: &held,
            client_nonce,
            unit_nonce,
            connection: connection.id(),
            binding: UNBOUND,
        };
        let ours = Transcript {
            ticket,
            ..theirs.clone()
        };
        if trust == Trust::Proven && !ours.accepts_unit(&theirs.unit_proof()) {
            return Err(FabricError::Impostor {
                address: connection.peer(),
            });
        }
        if !theirs.accepts_client(&ours.client_proof()) {
            admission.failed(ticket.id, connection.as_ref());
            return Err(FabricError::Refused(Refusal::Ticket));
        }
        Ok(held)
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world().now_ns())
    }

    /// Lets `time` pass: whatever falls due is carried out.
    pub fn advance(&self, time: Duration) {
        let until = {
            let world = self.world();
            world.now_ns().saturating_add(nanos(time))
        };
        while self.now() < Duration::from_nanos(until) {
            self.step(until);
        }
        self.tell_closed();
    }

    /// Breaks a connection now: what was on its way is lost, in both directions.
    pub fn lose(&self, connection: ConnectionId) {
        self.world().lose(connection);
        self.tell_closed();
    }

    /// Breaks a connection once it has placed `bytes` more, rounded down to an 8-byte border: in the
    /// middle of a write if that is where it falls.
    pub fn lose_after(&self, connection: ConnectionId, bytes: u64) {
        self.world().lose_after(connection, bytes);
    }

    /// From now on nothing travels between the two sides, silently. What has arrived at the target
    /// is still carried out.
    pub fn partition(&self, connection: ConnectionId) {
        self.world().partition(connection);
    }

    /// Ends a partition: what was held up arrives.
    pub fn heal(&self, connection: ConnectionId) {
        self.world().heal(connection);
    }

    /// Takes a target away: stops its connections, refuses new ones.
    pub fn shut_down(&self, address: SimAddress) {
        self.world().shut_down(address);
        self.tell_closed();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step, at most up to `until_ns`.
    fn step(&self, until_ns: u64) {
        self.world().step(until_ns);
        self.tell_closed();
    }

    /// Tells admissions which connections have ended, outside the lock.
    fn tell_closed(&self) {
        let notices = self.world().take_notices();
        for notice in notices {
            notice.admission.closed(notice.connection, notice.reason);
        }
    }

    fn stop(&self, connection: ConnectionId, reason: Refusal) {
        self.world().stop(connection, reason);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
