//! A deterministic fabric in one process: no threads, no sockets, and virtual time or a clock's.
//!
//! A [`Network`] holds targets and connections. Operations travel for a seeded time and are carried
//! out in steps: a write is placed piece by piece at 8-byte borders, so that a stop, a lost
//! connection or another connection's read can fall into the middle of it. Time moves only while
//! somebody waits, polls, or [`advances`](Network::advance) it; the same seed and the same calls
//! give the same run. A network [`in_real_time`](Network::in_real_time) follows the system's clock instead: who waits sleeps until the
//! next thing is due, and whoever uses it carries out what fell due. Under a simulated clock that is deterministic, too.
//!
//! Faults: [`lose`](Network::lose), [`lose_after`](Network::lose_after) some bytes, [`abandon`](Network::abandon) as a killed
//! initiator does, [`partition`](Network::partition), [`hold`](Network::hold) one direction and [`heal`](Network::heal),
//! [`shut_down`](Network::shut_down), and [`Stray`] messages that travel far longer than others.
//! An exposure must not stop connections from inside its calls.

mod endpoint;
mod link;
mod world;

use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use endpoint::SimEndpoint;
use link::SimConnection;
use world::World;

use crate::proof::{Transcript, UNBOUND};
use crate::tcp::hello::VERSION;
use crate::{Admission, Connection, ConnectionId, FabricError, Refusal, Ticket};

/// A wait in real time is never shorter, so that time passes under a clock that moves only while all wait.
const SHORTEST_NAP: Duration = Duration::from_micros(1);

/// How a simulated network behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How long a message travels, one way.
    pub latency: RangeInclusive<Duration>,
    /// Messages that travel far longer.
    pub stray: Option<Stray>,
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
            stray: None,
            step: Duration::from_nanos(500),
            piece_bytes: 16 << 10,
            op_timeout: Duration::from_secs(10),
            window_ops: 4096,
            max_op_bytes: 16 << 20,
        }
    }
}

/// Some messages travel far longer than the others. None is overtaken by a later one of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// About one message of so many.
    pub one_in: u64,
    /// How long it travels, one way.
    pub latency: RangeInclusive<Duration>,
}

/// One way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Requests.
    ToTarget,
    /// Answers, and the news that it ended.
    ToInitiator,
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
    shared: Arc<Shared>,
}

type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

struct Shared {
    world: Mutex<World>,
    /// Told when a connection ended, or can go on, out of turn.
    changed: Condvar,
    /// What a network in real time follows.
    clock: Option<Clock>,
}

impl Network {
    /// A network without targets, at time 0.
    pub fn new(options: SimOptions) -> Self {
        Self::with(options, None)
    }

    /// A network whose time is the system clock's.
    pub fn in_real_time(options: SimOptions) -> Self {
        let began = Instant::now();
        Self::following(options, move || began.elapsed())
    }

    /// A network whose time is that of `clock`, which never goes back. Those who wait sleep by their own.
    pub fn following(options: SimOptions, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self::with(options, Some(Box::new(clock)))
    }

    fn with(options: SimOptions, clock: Option<Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                world: Mutex::new(World::new(options)),
                changed: Condvar::new(),
                clock,
            }),
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
        // A word and its answer pass before both sides believe each other.
        self.let_travel();
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
                self.let_travel();
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

    /// Virtual time since the start; in real time, how far things have been carried out.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world().now_ns())
    }

    /// In real time: carries out whatever has fallen due. Everybody who uses an endpoint does it, too.
    pub fn catch_up(&self) {
        if let Some(clock_ns) = self.clock_ns() {
            self.world().catch_up(clock_ns);
            self.tell_closed();
        }
    }

    /// Lets `time` pass: whatever falls due is carried out. For virtual time only.
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
        self.catch_up();
        self.world().lose(connection);
        self.tell_changed();
    }

    /// The initiator is gone without a word to anybody: what it had sent arrives up to a point that is left to chance.
    pub fn abandon(&self, connection: ConnectionId) {
        self.catch_up();
        self.world().close(connection);
        self.tell_changed();
    }

    /// Breaks a connection once it has placed `bytes` more, rounded down to an 8-byte border: in the
    /// middle of a write if that is where it falls.
    pub fn lose_after(&self, connection: ConnectionId, bytes: u64) {
        self.world().lose_after(connection, bytes);
    }

    /// From now on nothing travels between the two sides, silently. What has arrived at the target
    /// is still carried out.
    pub fn partition(&self, connection: ConnectionId) {
        self.hold(connection, Way::ToTarget);
        self.hold(connection, Way::ToInitiator);
    }

    /// As [`partition`](Self::partition), one way only.
    pub fn hold(&self, connection: ConnectionId, way: Way) {
        self.catch_up();
        self.world().hold(connection, way);
    }

    /// Ends a partition: what was held up arrives.
    pub fn heal(&self, connection: ConnectionId) {
        self.world().heal(connection);
        self.tell_changed();
    }

    /// Takes a target away: stops its connections, refuses new ones.
    pub fn shut_down(&self, address: SimAddress) {
        self.catch_up();
        self.world().shut_down(address);
        self.tell_changed();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
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
        // Carried out, not told: a target stops connections while it holds locks of its own.
        if let Some(clock_ns) = self.clock_ns() {
            self.world().catch_up(clock_ns);
        }
        self.world().stop(connection, reason);
        self.shared.changed.notify_all();
    }

    /// Tells admissions what has ended, and those who wait that something changed.
    fn tell_changed(&self) {
        self.tell_closed();
        self.shared.changed.notify_all();
    }

    /// What the clock says, where there is one.
    fn clock_ns(&self) -> Option<u64> {
        self.shared.clock.as_ref().map(|clock| nanos(clock()))
    }

    /// In real time: sleeps for as long as a message travels.
    fn let_travel(&self) {
        if self.clock_ns().is_some() {
            let travel_ns = self.world().travel_ns();
            std::thread::sleep(Duration::from_nanos(travel_ns));
        }
    }

    /// In real time: sleeps until the connection's next thing is due, at most until `until_ns`, or something changed.
    /// Else lets one step happen.
    fn pass(&self, connection: ConnectionId, until_ns: u64) {
        let Some(clock_ns) = self.clock_ns() else {
            self.step(until_ns);
            return;
        };
        let world = self.world();
        let due_ns = world
            .next_of(connection)
            .map_or(until_ns, |due| due.min(until_ns));
        let nap = Duration::from_nanos(due_ns.saturating_sub(clock_ns)).max(SHORTEST_NAP);
        let waited = self.shared.changed.wait_timeout(world, nap);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.catch_up();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
