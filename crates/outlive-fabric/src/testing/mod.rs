//! A target to test against: memory with a table, and tickets.
//!
//! For tests and for the [conformance suite](crate::conformance) only: it trusts its caller, counts
//! what is done to it, keeps a second image of what was persisted, and can be told to fail.

pub mod line;
pub mod raw;

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use crate::access::check_access;
use crate::{
    AccessInfo, Admission, Admitted, CloseReason, Connection, ConnectionId, ExposedPart, Exposure,
    PersistMethod, Refusal, RegionId, RemoteKey, Rights, SessionInfo, Terms, Ticket, TicketId, TicketSecret,
};

/// What was done to a [`Memory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `write`.
    pub writes: u64,
    /// Calls of `receive` that brought bytes.
    pub receives: u64,
    /// Calls of `persist`.
    pub persists: u64,
}

/// Memory that several connections share.
pub struct Memory {
    images: Mutex<Images>,
    /// Whether `receive` takes bytes straight from the socket.
    direct: bool,
    failed: AtomicBool,
    flushes_fail: AtomicBool,
    writes: AtomicU64,
    receives: AtomicU64,
    persists: AtomicU64,
}

struct Images {
    placed: Vec<u8>,
    persistent: Vec<u8>,
}

impl Memory {
    /// `len` zero bytes. With `direct`, payload is received straight into them where it can be.
    pub fn new(len: usize, direct: bool) -> Arc<Self> {
        Arc::new(Self {
            images: Mutex::new(Images {
                placed: vec![0; len],
                persistent: vec![0; len],
            }),
            direct,
            failed: AtomicBool::new(false),
            flushes_fail: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            receives: AtomicU64::new(0),
            persists: AtomicU64::new(0),
        })
    }

    /// What is placed now.
    pub fn placed(&self) -> Vec<u8> {
        self.images().placed.clone()
    }

    /// What would survive a loss of power now.
    pub fn persistent(&self) -> Vec<u8> {
        self.images().persistent.clone()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        Counts {
            writes: self.writes.load(Ordering::SeqCst),
            receives: self.receives.load(Ordering::SeqCst),
            persists: self.persists.load(Ordering::SeqCst),
        }
    }

    /// From now on writes and persists fail, as a broken medium's do.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// The next flush fails, and with it the medium.
    pub fn fail_flushes(&self) {
        self.flushes_fail.store(true, Ordering::SeqCst);
    }

    /// A table over all of it: each key with its rights.
    pub fn table(self: &Arc<Self>, keys: &[(RemoteKey, Rights)]) -> Arc<Table> {
        Arc::new(Table {
            memory: Arc::clone(self),
            keys: keys.iter().copied().collect(),
        })
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_medium(&self) -> Result<(), Refusal> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(Refusal::Media("told to fail".into()));
        }
        Ok(())
    }
}

/// One connection's view of a [`Memory`].
pub struct Table {
    memory: Arc<Memory>,
    keys: HashMap<RemoteKey, Rights>,
}

impl Table {
    fn range(
        &self,
        images: &Images,
        key: RemoteKey,
        write: bool,
        offset: u64,
        len: u64,
    ) -> Result<std::ops::Range<usize>, Refusal> {
        let rights = self.keys.get(&key).ok_or(Refusal::UnknownKey { key: key.0 })?;
        let range = check_access(*rights, write, offset, len, images.placed.len() as u64)?;
        let index = |at| usize::try_from(at).expect("checked against a length in memory");
        Ok(index(range.start)..index(range.end))
    }
}

impl Exposure for Table {
    fn check_write(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        self.range(&self.memory.images(), key, true, offset, len)
            .map(|_| ())
    }

    fn write(&self, key: RemoteKey, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut images = self.memory.images();
        let range = self.range(&images, key, true, offset, bytes.len() as u64)?;
        self.memory.check_medium()?;
        self.memory.writes.fetch_add(1, Ordering::SeqCst);
        images.placed[range].copy_from_slice(bytes);
        Ok(())
    }

    fn receive(
        &self,
        key: RemoteKey,
        offset: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<std::io::Result<usize>>, Refusal> {
        if !self.memory.direct {
            return Ok(None);
        }
        let mut images = self.memory.images();
        let range = self.range(&images, key, true, offset, len)?;
        self.memory.check_medium()?;
        let received = rustix::net::recv(socket, &mut images.placed[range], RecvFlags::empty());
        if received.is_ok() {
            self.memory.receives.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Some(received.map(|(count, _)| count).map_err(Into::into)))
    }

    fn read(&self, key: RemoteKey, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        let images = self.memory.images();
        let range = self.range(&images, key, false, offset, into.len() as u64)?;
        into.copy_from_slice(&images.placed[range]);
        Ok(())
    }

    fn persist(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        let mut images = self.memory.images();
        let range = self.range(&images, key, true, offset, len)?;
        self.memory.check_medium()?;
        self.memory.persists.fetch_add(1, Ordering::SeqCst);
        if self.memory.flushes_fail.load(Ordering::SeqCst) {
            self.memory.fail();
            return self.memory.check_medium();
        }
        let Images { placed, persistent } = &mut *images;
        persistent[range.clone()].copy_from_slice(&placed[range]);
        Ok(())
    }
}

/// The region that a [`TestTarget`]'s tickets are for.
pub const REGION: RegionId = RegionId([7; 16]);
/// The key under which a [`TestTarget`] exposes its memory, unless it was asked for another.
pub const KEY: RemoteKey = RemoteKey(0x4b45_5931);

/// Wrong answers that a [`TestTarget`]'s ticket survives.
pub const SURVIVED_WRONG_ANSWERS: u32 = 3;

struct Waiting {
    ticket: Ticket,
    key: RemoteKey,
    wrong_answers: u32,
}

/// An admission that gives each ticket's holder the whole memory.
pub struct TestTarget {
    memory: Arc<Memory>,
    state: Mutex<TargetState>,
    changed: Condvar,
}

struct TargetState {
    incarnation: u64,
    persist: Option<PersistMethod>,
    last_ticket: u64,
    tickets: HashMap<TicketId, Waiting>,
    is_impostor: bool,
    wrong_answers: u64,
    connections: Vec<Arc<dyn Connection>>,
    closed: HashMap<ConnectionId, CloseReason>,
}

impl TestTarget {
    /// A target over `memory`; nobody may come in yet.
    pub fn new(memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            memory,
            state: Mutex::new(TargetState {
                incarnation: 1,
                persist: Some(PersistMethod::TargetFlush),
                last_ticket: 0,
                tickets: HashMap::new(),
                is_impostor: false,
                wrong_answers: 0,
                connections: Vec::new(),
                closed: HashMap::new(),
            }),
            changed: Condvar::new(),
        })
    }

    /// What it exposes.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// A target over the same memory after a restart: in the next incarnation, without anybody's ticket.
    pub fn restarted(&self) -> Arc<Self> {
        let next = Self::new(Arc::clone(&self.memory));
        next.state().incarnation = self.state().incarnation + 1;
        next
    }

    /// From now on it tells that its medium cannot promise persistence.
    pub fn promise_no_persistence(&self) {
        self.state().persist = None;
    }

    /// Makes a single-use ticket.
    pub fn issue(&self, rights: Rights) -> Ticket {
        self.issue_under(KEY, rights)
    }

    /// Makes a single-use ticket of which the connection gets the memory under a key of its own.
    pub fn issue_under(&self, key: RemoteKey, rights: Rights) -> Ticket {
        let mut state = self.state();
        state.last_ticket += 1;
        let (mut id, mut secret) = ([0xa5; 16], [0x5c; 32]);
        id[..8].copy_from_slice(&state.last_ticket.to_le_bytes());
        secret[..8].copy_from_slice(&state.last_ticket.to_be_bytes());
        let ticket = Ticket {
            id: TicketId(id),
            secret: TicketSecret::new(secret),
            terms: Terms {
                identity: "tester".into(),
                region: REGION,
                generation: 1,
                rights,
                incarnation: state.incarnation,
            },
        };
        let waiting = Waiting {
            key,
            ticket: ticket.clone(),
            wrong_answers: 0,
        };
        state.tickets.insert(ticket.id, waiting);
        ticket
    }

    /// Voids a ticket, as its expiry does.
    pub fn void(&self, ticket: TicketId) {
        self.state().tickets.remove(&ticket);
    }

    /// From now on it challenges as one that saw tickets pass by and does not know their secrets.
    pub fn impersonate(&self) {
        self.state().is_impostor = true;
    }

    /// Wrong answers to challenges so far.
    pub fn wrong_answers(&self) -> u64 {
        self.state().wrong_answers
    }

    /// Connections admitted so far, in order; those that ended too.
    pub fn connections(&self) -> Vec<Arc<dyn Connection>> {
        self.state().connections.clone()
    }

    /// The connection admitted last.
    ///
    /// # Panics
    /// When none was admitted.
    pub fn newest(&self) -> Arc<dyn Connection> {
        self.connections().pop().expect("a connection was admitted")
    }

    /// Waits until a connection has been reported closed, and why.
    pub fn await_closed(&self, connection: ConnectionId, timeout: Duration) -> Option<CloseReason> {
        let begun = Instant::now();
        let mut state = self.state();
        loop {
            if let Some(reason) = state.closed.get(&connection) {
                return Some(reason.clone());
            }
            let left = timeout.checked_sub(begun.elapsed())?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn state(&self) -> MutexGuard<'_, TargetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission for TestTarget {
    fn challenge(&self, ticket: TicketId, _: &dyn Connection) -> Result<Ticket, Refusal> {
        let state = self.state();
        let mut ticket = state.tickets.get(&ticket).ok_or(Refusal::Ticket)?.ticket.clone();
        if state.is_impostor {
            ticket.secret = TicketSecret::new([0; 32]);
        }
        Ok(ticket)
    }

    fn failed(&self, ticket: TicketId, _: &dyn Connection) {
        let mut state = self.state();
        state.wrong_answers += 1;
        let is_void = state.tickets.get_mut(&ticket).is_some_and(|waiting| {
            waiting.wrong_answers += 1;
            waiting.wrong_answers > SURVIVED_WRONG_ANSWERS
        });
        if is_void {
            state.tickets.remove(&ticket);
        }
    }

    fn admit(&self, ticket: &Ticket, connection: Arc<dyn Connection>) -> Result<Admitted, Refusal> {
        let mut state = self.state();
        let waiting = state
            .tickets
            .get(&ticket.id)
            .filter(|waiting| waiting.ticket.is(ticket));
        let waiting = waiting.ok_or(Refusal::Ticket)?;
        let (key, rights) = (waiting.key, waiting.ticket.terms.rights);
        state.tickets.remove(&ticket.id);
        state.connections.push(connection);
        let access = AccessInfo {
            region: REGION,
            part: ExposedPart::Data,
            key,
            len: self.memory.images().placed.len() as u64,
            rights,
            generation: 1,
        };
        let session = SessionInfo {
            incarnation: state.incarnation,
            access: vec![access],
            persist: state.persist,
        };
        Ok(Admitted {
            exposure: self.memory.table(&[(key, rights)]),
            session,
        })
    }

    fn closed(&self, connection: ConnectionId, reason: CloseReason) {
        self.state().closed.insert(connection, reason);
        self.changed.notify_all();
    }
}
