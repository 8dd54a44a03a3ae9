//! Accepts connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::Stream;

use super::accept::{Accepted, Failed, accept};
use super::connection::Connection;
use super::open::{Full, Open};
use super::rejected::{Rejected, Telling};
use super::tls::ServerTls;
use super::unfinished::Unfinished;
use crate::Caller;

/// Connections that wait for the server to take them: it does so at once.
const QUEUE: usize = 64;
/// How often expired certificates are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Files are looked at every second sweep.
const SWEEPS_PER_LOOK: u64 = 2;
/// Connections in all: each is a few ten KiB of buffers.
const MAX_CONNECTIONS: usize = 4096;
/// How many identities it takes to fill every place.
const IDENTITIES_THAT_FILL: usize = 16;
/// Pause after the system would not accept a connection (most often: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Bounds of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Handshakes in progress; beyond it the oldest of the source that holds most is broken off.
    pub max_unfinished: usize,
    /// Connections in all; beyond it the oldest of the identity that holds most is ended, if that is more than the
    /// newcomer's identity holds.
    pub max_connections: usize,
    /// Connections of one identity.
    pub max_connections_per_identity: usize,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            max_unfinished: 256,
            max_connections: MAX_CONNECTIONS,
            max_connections_per_identity: MAX_CONNECTIONS / IDENTITIES_THAT_FILL,
        }
    }
}

/// What a listener tells, for logs and audit.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenEvent<'a> {
    /// Somebody was let in.
    Connected(&'a Caller),
    /// Somebody was not.
    Rejected(&'a Rejected),
}

/// Who is told.
type Tell = Arc<dyn Fn(ListenEvent<'_>) + Send + Sync>;

/// The connections that were let in, for tonic's `serve_with_incoming`. Stops listening when dropped.
pub struct Incoming {
    connections: mpsc::Receiver<Connection>,
    address: SocketAddr,
    tasks: [AbortHandle; 2],
}

/// Serves mutual TLS on `listener`: handshakes run side by side, and each connection that comes out knows its caller.
/// `tell` is called from the runtime's threads and must not block for long. Call it inside a tokio runtime.
///
/// # Errors
/// The system's, when the listener has no address.
pub fn listen(
    listener: TcpListener,
    tls: ServerTls,
    options: ListenOptions,
    tell: impl Fn(ListenEvent<'_>) + Send + Sync + 'static,
) -> io::Result<Incoming> {
    let address = listener.local_addr()?;
    let (sender, connections) = mpsc::channel(QUEUE);
    let unfinished = Mutex::new(Unfinished::new(options.max_unfinished));
    let door = Arc::new(Door {
        tls,
        options,
        tell: Arc::new(tell),
        telling: Mutex::default(),
        unfinished,
        open: Arc::default(),
        sender,
    });
    let tasks = [
        tokio::spawn(Arc::clone(&door).accept_all(listener)).abort_handle(),
        tokio::spawn(door.sweep()).abort_handle(),
    ];
    Ok(Incoming {
        connections,
        address,
        tasks,
    })
}

impl Incoming {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections.poll_recv(cx).map(|next| next.map(Ok))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What the tasks of one listener share.
struct Door {
    tls: ServerTls,
    options: ListenOptions,
    tell: Tell,
    telling: Mutex<Telling>,
    unfinished: Mutex<Unfinished>,
    open: Arc<Open>,
    sender: mpsc::Sender<Connection>,
}

impl Door {
    async fn accept_all(self: Arc<Self>, listener: TcpListener) {
        // Said once, and not fifty times in a second for as long as it lasts.
        let mut refused = false;
        loop {
            match listener.accept().await {
                Ok((stream, source)) => {
                    if std::mem::take(&mut refused) {
                        tracing::info!("control connections can be accepted again");
                    }
                    self.begin(stream, source);
                }
                Err(error) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::error!(%error, "cannot accept control connections: newcomers wait until this is over");
                    }
                    // Out of files, perhaps: one that has not proven anything gives its own back.
                    lock(&self.unfinished).evict();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, stream: TcpStream, source: SocketAddr) {
        let mut unfinished = lock(&self.unfinished);
        let evicted = unfinished.add(source.ip(), |number| {
            let door = Arc::clone(self);
            tokio::spawn(async move {
                door.handshake(stream, source).await;
                lock(&door.unfinished).remove(number);
            })
            .abort_handle()
        });
        drop(unfinished);
        if let Some(evicted) = evicted {
            let failed = Failed {
                claimed: None,
                reason: "too many handshakes in progress: the oldest was broken off".to_owned(),
            };
            self.reject(SocketAddr::new(evicted, 0), failed);
        }
    }

    async fn handshake(&self, stream: TcpStream, source: SocketAddr) {
        match accept(&self.tls, stream, self.options.handshake_timeout).await {
            Ok(accepted) => self.enter(accepted, source).await,
            Err(failed) => self.reject(source, failed),
        }
    }

    async fn enter(&self, accepted: Accepted, source: SocketAddr) {
        let Accepted {
            stream,
            certificate,
            chain,
            edition,
        } = accepted;
        let limits = (
            self.options.max_connections,
            self.options.max_connections_per_identity,
        );
        let entered = self
            .open
            .enter(&certificate.name, certificate.expires, chain, limits);
        let (place, ended) = match entered {
            Ok(entered) => entered,
            Err(full) => {
                let reason = match full {
                    Full::InAll(limit) => format!("{limit} connections are open, which is the limit"),
                    Full::OfIdentity(limit) => {
                        format!("this identity has {limit} connections open, which is the limit")
                    }
                };
                let claimed = Some(certificate.name);
                return self.reject(source, Failed { claimed, reason });
            }
        };
        let caller = Caller {
            name: certificate.name,
            serial: certificate.serial,
            source: Some(source),
        };
        (self.tell)(ListenEvent::Connected(&caller));
        let number = place.number();
        let connection = Connection::new(stream, caller, place, ended);
        // What was reloaded during the handshake counts for this one, too. The sweep may have missed it, and it alone.
        let trust = self.tls.trust();
        if trust.edition != edition {
            self.open.end_if_untrusted(number, &*trust.verifier);
        }
        // The receiver is gone only with the whole listener.
        let _ = self.sender.send(connection).await;
    }

    fn reject(&self, source: SocketAddr, failed: Failed) {
        let Some(untold) = lock(&self.telling).tell(source.ip(), Instant::now()) else {
            return;
        };
        let rejected = Rejected {
            source,
            claimed: failed.claimed,
            reason: failed.reason,
            untold,
        };
        tracing::info!(
            %source,
            claimed = rejected.claimed.as_ref().map(tracing::field::display),
            reason = rejected.reason,
            untold,
            "not let in"
        );
        (self.tell)(ListenEvent::Rejected(&rejected));
    }

    /// Ends connections whose certificates do not count any more, and looks whether files were replaced.
    async fn sweep(self: Arc<Self>) {
        let mut edition = self.tls.trust().edition;
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count: u64 = 0;
        loop {
            ticks.tick().await;
            count += 1;
            if count.is_multiple_of(SWEEPS_PER_LOOK) {
                self.tls.reload_if_replaced();
            }
            self.open.end_expired(SystemTime::now());
            let trust = self.tls.trust();
            if trust.edition != edition {
                edition = trust.edition;
                self.open.end_untrusted(&*trust.verifier);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
