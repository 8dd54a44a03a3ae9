//! A provider that breaks one rule: the simulated one, with a wrapper that lies at its endpoints, at its target's
//! table, or at its connections.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outlive_fabric::conformance::{Harness, Line, Settings, Unable};
use outlive_fabric::sim::SimEndpoint;
use outlive_fabric::testing::TestTarget;
use outlive_fabric::{
    Admission, Admitted, CloseReason, Completion, Connection, ConnectionId, Endpoint, Exposure, FabricError,
    OpId, Outcome, PersistMethod, Refusal, RemoteKey, SessionInfo, Ticket, TicketId,
};

use crate::sim::Sim;

/// One rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The wrapper alone.
    None,
    /// Every ninth write is acknowledged and not placed.
    DropsAWrite,
    /// A write is placed one byte further where its offset is odd and its length even.
    PlacesBesideIt,
    /// Whole words are written, from what the connection last saw of them.
    WritesWholeWords,
    /// Of several parts only the first is sent.
    ForgetsParts,
    /// Reads longer than 64 KiB end in zeroes.
    CutsLongReads,
    /// The longest operation is one byte shorter than was told.
    RefusesTheLongest,
    /// An operation of no bytes is refused.
    RefusesNothingAtAll,
    /// Two completions that arrive together are swapped.
    SwapsCompletions,
    /// Operations beyond 100 that are outstanding are lost.
    ForgetsBeyondItsWindow,
    /// A write completes when it is posted and goes out with what is posted next.
    AcknowledgesBeforePlacing,
    /// A read of what was read before returns that.
    ReadsStale,
    /// One byte behind the end can be reached.
    BoundsAreOneTooWide,
    /// The last byte cannot be reached.
    BoundsAreOneTooNarrow,
    /// Readers may write.
    ReadersMayWrite,
    /// Any key is good.
    AcceptsAnyKey,
    /// A refusal ends the connection.
    RefusalsEndConnections,
    /// A persist is acknowledged without a flush.
    PersistsNothing,
    /// Only a connection's first 32 KiB of each range are flushed.
    PersistsTooLittle,
    /// A persist that the medium cannot promise succeeds.
    PromisesPersistence,
    /// What the medium refuses is acknowledged.
    HidesFailedMedia,
    /// A failed flush is acknowledged; writes are refused.
    HidesFailedFlushes,
    /// A stop is confirmed before it is done.
    ConfirmsStopsEarly,
    /// A stop stops everybody.
    StopsEverybody,
    /// The initiator is not told why it was stopped.
    HidesWhyItStopped,
    /// What is in flight when a connection ends is reported placed.
    AssumesPlaced,
    /// Whoever waits with nothing in flight for longer than the time-out is told that the connection is lost.
    GivesUpIdle,
    /// A ticket is good twice.
    TicketsAreGoodTwice,
    /// The target's proof is not looked at.
    TrustsImpostors,
    /// The welcome tells the first incarnation for ever.
    TellsAnOldIncarnation,
    /// Dropping an endpoint leaves its connection open.
    LeavesConnectionsOpen,
    /// A wait without anything to wait for returns an error.
    FailsIdleWaits,
    /// Completions are delivered twice.
    CompletesTwice,
}

thread_local! {
    /// Every case runs in a thread of its own, and serves from there.
    static BUG: Cell<Bug> = const { Cell::new(Bug::None) };
}

/// From now on, what this thread serves has this bug.
pub(crate) fn switch_on(bug: Bug) {
    BUG.set(bug);
}

pub(crate) struct Broken {
    sim: Sim,
    target: Arc<Lying>,
}

impl Harness for Broken {
    type Endpoint = BrokenEndpoint;

    fn serve(target: Arc<TestTarget>, settings: Settings) -> Self {
        let target = Arc::new(Lying {
            bug: BUG.get(),
            target,
            twice: Mutex::default(),
            open: Arc::default(),
        });
        let admission: Arc<dyn Admission> = Arc::<Lying>::clone(&target);
        Self {
            sim: Sim::serving(admission, settings),
            target,
        }
    }

    fn connect(&self, ticket: &Ticket) -> Result<BrokenEndpoint, FabricError> {
        if self.target.bug == Bug::TrustsImpostors {
            let mut theirs = ticket.clone();
            theirs.secret = self.target.challenged(ticket);
            return Ok(BrokenEndpoint::new(self.sim.connect(&theirs)?, self.target.bug));
        }
        Ok(BrokenEndpoint::new(self.sim.connect(ticket)?, self.target.bug))
    }

    fn connect_blindly(&self, ticket: &Ticket) -> Result<(), FabricError> {
        self.sim.connect_blindly(ticket)
    }

    fn connect_on_a_line(&self, ticket: &Ticket) -> Result<(BrokenEndpoint, Box<dyn Line>), Unable> {
        let (endpoint, line) = self.sim.connect_on_a_line(ticket)?;
        Ok((BrokenEndpoint::new(endpoint, self.target.bug), line))
    }

    fn shut_down(&self) {
        self.sim.shut_down();
    }
}

/// The initiator's side.
pub(crate) struct BrokenEndpoint {
    /// `None` once it was left open.
    inner: Option<SimEndpoint>,
    bug: Bug,
    session: SessionInfo,
    /// Acknowledged, and not on its way yet.
    held: Option<(RemoteKey, u64, Vec<u8>)>,
    /// The number that the caller knows for each operation inside.
    numbers: VecDeque<OpId>,
    last_op: u64,
    made_up: Vec<Completion>,
    reads: VecDeque<(RemoteKey, u64, u32)>,
    seen: HashMap<(RemoteKey, u64, u32), Vec<u8>>,
    is_over: bool,
}

impl BrokenEndpoint {
    fn new(inner: SimEndpoint, bug: Bug) -> Self {
        let mut session = inner.session().clone();
        if bug == Bug::TellsAnOldIncarnation {
            session.incarnation = 1;
        }
        Self {
            inner: Some(inner),
            bug,
            session,
            held: None,
            numbers: VecDeque::new(),
            last_op: 0,
            made_up: Vec::new(),
            reads: VecDeque::new(),
            seen: HashMap::new(),
            is_over: false,
        }
    }

    fn inner(&mut self) -> &mut SimEndpoint {
        self.inner.as_mut().expect("it is taken when dropped")
    }

    fn number(&mut self, is_inside: bool) -> OpId {
        self.last_op += 1;
        let op = OpId(self.last_op);
        if is_inside {
            self.numbers.push_back(op);
        }
        op
    }

    /// Sends what was acknowledged before.
    fn send_held(&mut self) -> Result<(), FabricError> {
        if let Some((key, offset, bytes)) = self.held.take() {
            self.inner().post_write(key, offset, &[IoSlice::new(&bytes)])?;
            // Its caller knows of its completion.
            self.numbers.push_back(OpId(0));
        }
        Ok(())
    }

    fn before_a_post(&mut self) -> Result<(), FabricError> {
        if self.is_over {
            return Err(FabricError::Lost(std::io::ErrorKind::ConnectionReset.into()));
        }
        self.send_held()
    }

    fn deliver(
        &mut self,
        arrived: Result<usize, FabricError>,
        mut inside: Vec<Completion>,
        completions: &mut Vec<Completion>,
    ) -> Result<usize, FabricError> {
        let before = completions.len();
        completions.append(&mut self.made_up);
        if self.bug == Bug::SwapsCompletions && inside.len() > 1 {
            let last = inside.len() - 1;
            inside.swap(0, last);
            self.numbers.swap(0, last);
        }
        for mut completion in inside {
            completion.op = self.numbers.pop_front().expect("each was numbered");
            self.bend(&mut completion);
            if completion.op != OpId(0) {
                completions.push(completion.clone());
            }
            if self.bug == Bug::CompletesTwice {
                completions.push(completion);
            }
        }
        let arrived = arrived.map_err(|error| self.bend_error(error, completions));
        match completions.len() - before {
            0 => arrived.map(|_| 0),
            count => Ok(count),
        }
    }

    fn bend(&mut self, completion: &mut Completion) {
        if self.bug == Bug::RefusalsEndConnections && completion.result.is_err() {
            self.is_over = true;
        }
        let Ok(Outcome::Read(bytes)) = &mut completion.result else {
            return;
        };
        if self.bug == Bug::CutsLongReads && bytes.len() > 65_536 {
            bytes[65_536..].fill(0);
        }
        if self.bug == Bug::ReadsStale
            && let Some(asked) = self.reads.pop_front()
        {
            *bytes = self.seen.entry(asked).or_insert_with(|| bytes.clone()).clone();
        }
    }

    fn bend_error(&mut self, error: FabricError, completions: &mut Vec<Completion>) -> FabricError {
        match (self.bug, error) {
            (Bug::AssumesPlaced, error) => {
                let missing = self.numbers.drain(..);
                completions.extend(missing.map(|op| Completion {
                    op,
                    result: Ok(Outcome::Placed),
                }));
                error
            }
            (Bug::HidesWhyItStopped, FabricError::Stopped(_)) => {
                FabricError::Lost(std::io::ErrorKind::ConnectionReset.into())
            }
            (_, error) => error,
        }
    }
}

impl Endpoint for BrokenEndpoint {
    fn session(&self) -> &SessionInfo {
        &self.session
    }

    fn post_write(
        &mut self,
        key: RemoteKey,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<OpId, FabricError> {
        self.before_a_post()?;
        let bug = self.bug;
        let made_up = |this: &mut Self, result| {
            let op = this.number(false);
            this.made_up.push(Completion { op, result });
            Ok(op)
        };
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        match bug {
            Bug::DropsAWrite if (self.last_op + 1).is_multiple_of(9) => {
                return made_up(self, Ok(Outcome::Placed));
            }
            Bug::ForgetsBeyondItsWindow if self.numbers.len() > 100 => {
                return made_up(self, Ok(Outcome::Placed));
            }
            Bug::AcknowledgesBeforePlacing => {
                self.held = Some((key, offset, bytes));
                return made_up(self, Ok(Outcome::Placed));
            }
            Bug::RefusesNothingAtAll if bytes.is_empty() => {
                return made_up(self, Err(Refusal::Protocol("no bytes".into())));
            }
            Bug::RefusesTheLongest if bytes.len() == self.max_op_bytes() as usize => {
                let limit = u64::from(self.max_op_bytes());
                let what = "bytes in one operation".into();
                return made_up(self, Err(Refusal::Limit { what, limit }));
            }
            Bug::ForgetsParts => bytes.truncate(parts.first().map_or(0, |part| part.len())),
            _ => {}
        }
        self.inner().post_write(key, offset, &[IoSlice::new(&bytes)])?;
        Ok(self.number(true))
    }

    fn post_read(&mut self, key: RemoteKey, offset: u64, len: u32) -> Result<OpId, FabricError> {
        self.before_a_post()?;
        self.reads.push_back((key, offset, len));
        self.inner().post_read(key, offset, len)?;
        Ok(self.number(true))
    }

    fn post_persist(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<OpId, FabricError> {
        self.before_a_post()?;
        self.inner().post_persist(key, offset, len)?;
        Ok(self.number(true))
    }

    fn flush(&mut self) -> Result<(), FabricError> {
        self.inner().flush()
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError> {
        let mut inside = Vec::new();
        let polled = self.inner().poll(&mut inside);
        self.deliver(polled, inside, completions)
    }

    fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> Result<usize, FabricError> {
        let mut inside = Vec::new();
        let timeout = if self.made_up.is_empty() {
            timeout
        } else {
            Duration::ZERO
        };
        let is_idle = self.numbers.is_empty() && self.made_up.is_empty();
        let waited = self.inner().wait(&mut inside, timeout);
        let gives_up = match self.bug {
            Bug::FailsIdleWaits => is_idle,
            Bug::GivesUpIdle => is_idle && timeout > Duration::from_millis(300),
            _ => false,
        };
        if gives_up && matches!(waited, Ok(0)) {
            return Err(FabricError::TimedOut { ms: 0 });
        }
        self.deliver(waited, inside, completions)
    }

    fn outstanding(&self) -> usize {
        self.numbers.len() + self.made_up.len()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn max_op_bytes(&self) -> u32 {
        self.inner.as_ref().map_or(0, Endpoint::max_op_bytes)
    }
}

impl Drop for BrokenEndpoint {
    fn drop(&mut self) {
        if self.bug == Bug::LeavesConnectionsOpen {
            std::mem::forget(self.inner.take());
        }
    }
}

/// The target's side.
struct Lying {
    bug: Bug,
    target: Arc<TestTarget>,
    /// Tickets that were used once.
    twice: Mutex<HashMap<TicketId, Ticket>>,
    open: Arc<Mutex<Vec<Arc<dyn Connection>>>>,
}

impl Lying {
    /// What the target would challenge with: the secret that an impostor makes up.
    fn challenged(&self, ticket: &Ticket) -> outlive_fabric::TicketSecret {
        struct Nobody;
        impl Connection for Nobody {
            fn id(&self) -> ConnectionId {
                ConnectionId(0)
            }
            fn peer(&self) -> String {
                String::new()
            }
            fn stop(&self, _: Refusal) {}
            fn await_stopped(&self, _: Duration) -> bool {
                true
            }
        }
        let held = self.target.challenge(ticket.id, &Nobody);
        held.map_or_else(|_| ticket.secret.clone(), |held| held.secret)
    }
}

impl Admission for Lying {
    fn challenge(&self, ticket: TicketId, connection: &dyn Connection) -> Result<Ticket, Refusal> {
        let used = self.twice.lock().unwrap_or_else(PoisonError::into_inner);
        match used.get(&ticket) {
            Some(used) if self.bug == Bug::TicketsAreGoodTwice => Ok(used.clone()),
            _ => self.target.challenge(ticket, connection),
        }
    }

    fn failed(&self, ticket: TicketId, connection: &dyn Connection) {
        self.target.failed(ticket, connection);
    }

    fn admit(&self, ticket: &Ticket, connection: Arc<dyn Connection>) -> Result<Admitted, Refusal> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&connection));
        let connection: Arc<dyn Connection> = Arc::new(LyingConnection {
            inner: connection,
            bug: self.bug,
            open: Arc::clone(&self.open),
        });
        let mut used = self.twice.lock().unwrap_or_else(PoisonError::into_inner);
        let is_used = used.insert(ticket.id, ticket.clone()).is_some();
        let shown = if is_used && self.bug == Bug::TicketsAreGoodTwice {
            self.target.issue(ticket.terms.rights)
        } else {
            ticket.clone()
        };
        let mut admitted = self.target.admit(&shown, connection)?;
        admitted.exposure = Arc::new(LyingTable {
            persist: admitted.session.persist,
            limit: admitted.session.access[0].len,
            key: admitted.session.access[0].key,
            inner: admitted.exposure,
            bug: self.bug,
            writes: AtomicU64::new(0),
            words: Mutex::default(),
        });
        if self.bug == Bug::PromisesPersistence {
            admitted.session.persist = Some(PersistMethod::TargetFlush);
        }
        Ok(admitted)
    }

    fn closed(&self, connection: ConnectionId, reason: CloseReason) {
        self.target.closed(connection, reason);
    }
}

struct LyingConnection {
    inner: Arc<dyn Connection>,
    bug: Bug,
    open: Arc<Mutex<Vec<Arc<dyn Connection>>>>,
}

impl Connection for LyingConnection {
    fn id(&self) -> ConnectionId {
        self.inner.id()
    }

    fn peer(&self) -> String {
        self.inner.peer()
    }

    fn stop(&self, reason: Refusal) {
        match self.bug {
            Bug::ConfirmsStopsEarly => {
                let inner = Arc::clone(&self.inner);
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(300));
                    inner.stop(reason);
                });
            }
            Bug::StopsEverybody => {
                let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                open.iter().for_each(|connection| connection.stop(reason.clone()));
            }
            _ => self.inner.stop(reason),
        }
    }

    fn await_stopped(&self, timeout: Duration) -> bool {
        self.bug == Bug::ConfirmsStopsEarly || self.inner.await_stopped(timeout)
    }
}

struct LyingTable {
    inner: Arc<dyn Exposure>,
    bug: Bug,
    limit: u64,
    key: RemoteKey,
    persist: Option<PersistMethod>,
    writes: AtomicU64,
    /// What this connection last saw of each word.
    words: Mutex<HashMap<u64, [u8; 8]>>,
}

impl LyingTable {
    /// The key, offset and length that are looked at instead of those asked for.
    fn bent(&self, key: RemoteKey, offset: u64, len: u64) -> (RemoteKey, u64, u64) {
        let end = offset.checked_add(len);
        match self.bug {
            Bug::AcceptsAnyKey => (self.key, offset, len),
            Bug::BoundsAreOneTooWide if end == Some(self.limit + 1) => (key, offset.saturating_sub(1), len),
            Bug::BoundsAreOneTooNarrow if end == Some(self.limit) && len > 0 => (key, offset + 1, len),
            _ => (key, offset, len),
        }
    }

    fn write_words(&self, key: RemoteKey, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, byte) in (offset..).zip(bytes) {
            let begin = at / 8 * 8;
            if begin + 8 > self.limit {
                self.inner.write(key, at, &[*byte])?;
                continue;
            }
            let mut word = [0; 8];
            self.inner.read(key, begin, &mut word)?;
            let word = words.entry(begin).or_insert(word);
            word[usize::try_from(at - begin).expect("below 8")] = *byte;
            self.inner.write(key, begin, word)?;
        }
        Ok(())
    }
}

impl Exposure for LyingTable {
    fn check_write(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        let (key, offset, len) = self.bent(key, offset, len);
        match self.inner.check_write(key, offset, len) {
            Err(Refusal::ReadOnly) if self.bug == Bug::ReadersMayWrite => Ok(()),
            checked => checked,
        }
    }

    fn write(&self, key: RemoteKey, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let (key, offset, len) = self.bent(key, offset, bytes.len() as u64);
        let beside = self.bug == Bug::PlacesBesideIt && offset % 2 == 1 && len % 2 == 0;
        let written = if beside && offset + len < self.limit {
            self.inner.write(key, offset + 1, bytes)
        } else if self.bug == Bug::WritesWholeWords {
            self.write_words(key, offset, bytes)
        } else {
            self.inner.write(key, offset, bytes)
        };
        match written {
            Err(Refusal::ReadOnly) if self.bug == Bug::ReadersMayWrite => Ok(()),
            Err(Refusal::Media(_)) if self.bug == Bug::HidesFailedMedia => Ok(()),
            written => written,
        }
    }

    fn receive(
        &self,
        _: RemoteKey,
        _: u64,
        _: u64,
        _: BorrowedFd<'_>,
    ) -> Result<Option<std::io::Result<usize>>, Refusal> {
        Ok(None)
    }

    fn read(&self, key: RemoteKey, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        let (key, offset, _) = self.bent(key, offset, into.len() as u64);
        self.inner.read(key, offset, into)
    }

    fn persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        let (key, offset, len) = self.bent(key, offset, len);
        match self.bug {
            Bug::PersistsNothing => return self.inner.check_persist(key, offset, len),
            Bug::PersistsTooLittle => {
                self.inner.check_persist(key, offset, len)?;
                return self.inner.persist(key, offset, len.min(32 << 10));
            }
            Bug::PromisesPersistence if self.persist.is_none() => return Ok(()),
            _ => {}
        }
        match self.inner.persist(key, offset, len) {
            Err(Refusal::Media(_)) if matches!(self.bug, Bug::HidesFailedMedia | Bug::HidesFailedFlushes) => {
                Ok(())
            }
            persisted => persisted,
        }
    }
}
