//! The target's side: accepting connections.
//!
//! Nobody keeps others from being let in: unfinished handshakes are bounded and give way to newcomers
//! ([`lobby`](super::lobby)), failed attempts are rationed per source ([`failures`](super::failures)). Who has a valid ticket needs a free place among the admitted
//! only, and a moment.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Limits;
use super::connection::TcpConnection;
use super::failures::Failures;
use super::greet::{self, Challenged, Greeter, Unproven};
use super::hello::Reply;
use super::lobby::Lobby;
use super::serve::{CONNECTION_BYTES, has_room, serve};
use super::socket::{self, Interest, Wake};
use super::tls::Encryption;
use super::unfinished::{Source, Stage};
use crate::{Admission, Admitted, CloseReason, Connection, ConnectionId, Refusal};

/// A connection's thread holds nothing big on its stack.
const STACK_BYTES: usize = 256 << 10;
/// Connections that the system holds until they are accepted. When there are more, it drops a newcomer's first packet, and
/// the newcomer tries again only after a second: too long behind a flood that is gone in milliseconds.
const BACKLOG: i32 = 4096;
/// How long to leave the queue of connections alone when the system has no descriptor to spare.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections for one target, each served by a thread of its own.
///
/// Dropping it shuts it down and waits for its threads. May be used from any thread.
pub struct Listener {
    address: SocketAddr,
    hub: Arc<Hub>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What the accepting thread and the connections' threads share.
struct Hub {
    admission: Arc<dyn Admission>,
    limits: Limits,
    encryption: Option<Encryption>,
    closing: AtomicBool,
    wake: Wake,
    lobby: Lobby,
    failures: Mutex<Failures>,
    admitted: AtomicUsize,
    connections: Mutex<HashMap<ConnectionId, Slot>>,
}

struct Slot {
    connection: Arc<TcpConnection>,
    /// `None` until its thread was started.
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at `address`, without encryption; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says, when the address cannot be bound or no thread be started.
    pub fn bind(
        address: impl ToSocketAddrs,
        admission: Arc<dyn Admission>,
        limits: Limits,
    ) -> io::Result<Self> {
        Self::bind_with(address, admission, limits, None)
    }

    /// As [`bind`](Self::bind), encrypted as `encryption` says.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_with(
        address: impl ToSocketAddrs,
        admission: Arc<dyn Admission>,
        limits: Limits,
        encryption: Option<Encryption>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let hub = Arc::new(Hub {
            admission,
            closing: AtomicBool::new(false),
            wake: Wake::new()?,
            lobby: Lobby::new(limits.handshakes, limits.handshakes_per_source),
            failures: Mutex::default(),
            limits,
            encryption,
            admitted: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        let acceptor = thread::Builder::new()
            .name("outlive-accept".into())
            .stack_size(STACK_BYTES);
        let acceptor = acceptor.spawn({
            let hub = Arc::clone(&hub);
            move || accept_all(&hub, &listener)
        })?;
        Ok(Self {
            address,
            hub,
            acceptor: Mutex::new(Some(acceptor)),
        })
    }

    /// The address it listens at, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections admitted and not yet ended.
    pub fn connections(&self) -> usize {
        self.hub.admitted.load(Ordering::SeqCst)
    }

    /// Stops accepting, stops every connection, and returns when their threads have ended: no byte
    /// can land any more. Idempotent.
    pub fn shutdown(&self) {
        self.hub.closing.store(true, Ordering::SeqCst);
        self.hub.wake.wake();
        let acceptor = self
            .acceptor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(acceptor) = acceptor {
            join(acceptor);
        }
        let slots: Vec<Slot> = self.hub.connections().drain().map(|(_, slot)| slot).collect();
        for slot in &slots {
            slot.connection.stop(Refusal::ShuttingDown);
        }
        slots.into_iter().filter_map(|slot| slot.thread).for_each(join);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Hub {
    fn connections(&self) -> MutexGuard<'_, HashMap<ConnectionId, Slot>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a failed attempt is within its source's ration, and so worth an answer.
    fn is_worth_an_answer(&self, source: Source) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.note(source, Instant::now())
    }
}

/// A place in the lobby; given back when dropped.
struct Guest<'a> {
    hub: &'a Hub,
    id: ConnectionId,
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.hub.lobby.leave(self.id);
    }
}

/// One of a bounded number; given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let taken = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
            (count < limit).then_some(count + 1)
        });
        // Lazily: a place that was never taken must not be given back.
        taken.is_ok().then(|| Self(count))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn join(thread: JoinHandle<()>) {
    // An admission may drop the listener from a connection's own thread.
    if thread.thread().id() != thread::current().id() {
        let _ = thread.join();
    }
}

fn accept_all(hub: &Arc<Hub>, listener: &TcpListener) {
    let mut last_id = 0;
    // Said once, and not twenty times in a second for as long as it lasts.
    let (mut refused, mut unserved) = (false, false);
    while !hub.closing.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, peer)) => {
                if std::mem::take(&mut refused) {
                    tracing::info!("connections can be accepted again");
                }
                last_id += 1;
                match start(hub, stream, peer, ConnectionId(last_id)) {
                    Ok(()) => unserved = false,
                    Err(error) if !std::mem::replace(&mut unserved, true) => {
                        tracing::error!(%peer, %error, "cannot serve more connections: newcomers are turned away");
                    }
                    Err(error) => tracing::debug!(%peer, %error, "cannot serve a connection"),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = socket::await_ready(listener, Interest::Input, Some(&hub.wake), None);
            }
            Err(error) => {
                if !std::mem::replace(&mut refused, true) {
                    tracing::error!(%error, "cannot accept connections: newcomers wait until this is over");
                }
                let _ = socket::await_ready(&hub.wake, Interest::Input, None, Some(ACCEPT_PAUSE));
            }
        }
    }
}

/// Gives a connection its thread.
fn start(hub: &Arc<Hub>, stream: TcpStream, peer: SocketAddr, id: ConnectionId) -> io::Result<()> {
    let source = Source::of(peer.ip());
    // Meanwhile the system's queue holds newcomers.
    let Some(driven_out) = hub.lobby.enter(id, source, &hub.closing) else {
        return Ok(());
    };
    let guest = Guest { hub, id };
    if let Some(driven_out) = driven_out
        && let Some(slot) = hub.connections().get(&driven_out)
    {
        slot.connection.stop(limit("handshakes", hub.limits.handshakes));
    }
    socket::prepare(&stream)?;
    let connection = TcpConnection::new(id, peer.to_string())?;
    let slot = Slot {
        connection: Arc::clone(&connection),
        thread: None,
    };
    hub.connections().insert(id, slot);
    let thread = thread::Builder::new()
        .name(format!("outlive-data-{}", id.0))
        .stack_size(STACK_BYTES);
    let spawned = thread.spawn({
        let hub = Arc::clone(hub);
        move || {
            let mut newcomer = Newcomer {
                hub: &hub,
                connection: &connection,
                source,
                guest: Some(Guest { hub: &hub, id }),
            };
            newcomer.run(stream);
            drop(newcomer);
            hub.connections().remove(&id);
        }
    });
    match spawned {
        Ok(thread) => {
            // Its thread gives the place back.
            std::mem::forget(guest);
            // Absent: its thread has ended already.
            if let Some(slot) = hub.connections().get_mut(&id) {
                slot.thread = Some(thread);
            }
            Ok(())
        }
        Err(error) => {
            hub.connections().remove(&id);
            Err(error)
        }
    }
}

/// A connection, from being accepted to its end.
struct Newcomer<'a> {
    hub: &'a Hub,
    connection: &'a Arc<TcpConnection>,
    source: Source,
    /// Until it is admitted.
    guest: Option<Guest<'a>>,
}

impl Newcomer<'_> {
    fn run(&mut self, stream: TcpStream) {
        let deadline = Instant::now() + self.hub.limits.handshake_timeout;
        let (admission, encryption) = (self.hub.admission.as_ref(), self.hub.encryption.as_ref());
        let (mut greeter, opened) = Greeter::open(stream, self.connection, admission, encryption, deadline);
        match opened.and_then(|()| greeter.challenge()) {
            Err(unproven) => self.turn_away(&mut greeter, unproven, None),
            Ok(challenged) => {
                self.hub.lobby.reach(self.connection.id(), Stage::Challenged);
                if let Err(unproven) = self.admit_and_serve(&mut greeter, &challenged) {
                    self.turn_away(&mut greeter, unproven, Some(&challenged));
                }
            }
        }
    }

    /// Ends a connection that is not let in, and tells it why where that is worth it.
    fn turn_away(&self, greeter: &mut Greeter<'_>, unproven: Unproven, challenged: Option<&Challenged>) {
        self.hub.lobby.reach(self.connection.id(), Stage::Refused);
        self.connection.confirm_stopped();
        let refusal = match unproven {
            Unproven::Gone => return,
            Unproven::Denied(refusal) => refusal,
            Unproven::Refused(refusal) => {
                self.hub.admission.turned_away(&refusal, self.connection.as_ref());
                refusal
            }
        };
        tracing::debug!(peer = self.connection.peer(), %refusal, "connection refused");
        if !self.hub.is_worth_an_answer(self.source) {
            return;
        }
        let told = match challenged {
            None => greeter.refuse(refusal),
            Some(challenged) => greeter.conclude(challenged, &Reply::Refused(refusal)),
        };
        if told.is_ok() {
            greet::linger(&mut greeter.wire, Some(self.connection));
        }
    }

    /// Lets in who proves to know the ticket's secret.
    fn admit_and_serve(
        &mut self,
        greeter: &mut Greeter<'_>,
        challenged: &Challenged,
    ) -> Result<(), Unproven> {
        let Self { hub, connection, .. } = *self;
        greeter.await_proof(challenged)?;
        if !has_room() {
            let what = "memory for the buffers of a connection, in bytes".into();
            let limit = CONNECTION_BYTES as u64;
            return Err(Unproven::Refused(Refusal::Limit { what, limit }));
        }
        let place = Place::take(&hub.admitted, hub.limits.connections);
        let full = || Unproven::Refused(limit("connections", hub.limits.connections));
        let _place = place.ok_or_else(full)?;
        // From here on it gives way to nobody. Driven out a moment ago, it must not use its ticket up.
        if !hub.lobby.finish(connection.id()) {
            return Err(Unproven::Gone);
        }
        let named: Arc<dyn Connection> = Arc::<TcpConnection>::clone(connection);
        let admitted = hub.admission.admit(&challenged.ticket, named);
        let admitted = admitted.map_err(Unproven::Denied)?;
        let guest = self.guest.take();
        let serving = || {
            drop(guest);
            welcome_and_serve(hub, greeter, challenged, &admitted)
        };
        // A panic in an exposure must neither hang whoever fences nor end the unit.
        let reason = catch_unwind(AssertUnwindSafe(serving))
            .unwrap_or_else(|_| CloseReason::Broken("serving it panicked".into()));
        connection.confirm_stopped();
        tracing::debug!(peer = connection.peer(), ?reason, "connection ended");
        let said_why = reason != CloseReason::Closed;
        hub.admission.closed(connection.id(), reason);
        if said_why {
            greet::linger(&mut greeter.wire, None);
        }
        Ok(())
    }
}

fn welcome_and_serve(
    hub: &Hub,
    greeter: &mut Greeter<'_>,
    challenged: &Challenged,
    admitted: &Admitted,
) -> CloseReason {
    let connection = greeter.connection;
    let welcome = Reply::Welcome {
        session: admitted.session.clone(),
        max_op_bytes: hub.limits.max_op_bytes,
    };
    if greeter.conclude(challenged, &welcome).is_err() {
        return connection
            .stop_reason()
            .map_or(CloseReason::Closed, CloseReason::Stopped);
    }
    serve(&mut greeter.wire, connection, admitted, &hub.limits)
}

fn limit(what: &str, limit: usize) -> Refusal {
    Refusal::Limit {
        what: what.into(),
        limit: limit as u64,
    }
}
