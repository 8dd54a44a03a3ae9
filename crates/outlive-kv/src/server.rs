//! The server: one member of a pair, listening for Redis clients.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outlive::Session;
use outlive_pair::{Member, PairConfig, Role, RoleView, StartError};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::Kv;

mod clients;
mod command;
mod connection;
mod failure;
mod info;
mod local;
mod numbered;
mod resp3;
mod sentinel;

use clients::{Clients, Face};

/// How long a stopping server waits for clients to take the replies that they are owed; one that does
/// not read must not keep the pair from switching over.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long accepting pauses after it failed (out of file descriptors, usually), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How to serve.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KvOptions {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where to listen for Sentinel clients that insist on a sentinel (see `server/sentinel.rs`); all others may
    /// ask at `listen` as well.
    pub sentinel: Option<SocketAddr>,
    /// The pair. An empty `advertise` becomes the address that is listened on.
    pub pair: PairConfig,
    /// Clients at a time; the next one gets Redis's error for it. Redis's default.
    pub max_clients: usize,
    /// Listen on other addresses than loopback, although clients are not authenticated.
    pub insecure: bool,
}

impl KvOptions {
    /// The defaults for a pair.
    pub fn new(listen: SocketAddr, pair: PairConfig) -> Self {
        Self {
            listen,
            sentinel: None,
            pair,
            max_clients: 10_000,
            insecure: false,
        }
    }
}

/// A server could not be started, or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is reachable from outside and nobody would be asked who they are.
    #[error("{0} is not a loopback address and clients are not authenticated; allow it with --insecure")]
    NotLoopback(SocketAddr),
    /// Listening on all addresses says nothing about where clients find this member.
    #[error("{0} stands for every address of this host; say which one to advertise to clients")]
    NothingToAdvertise(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The member cannot be started.
    #[error("cannot start the pair's member")]
    Start(#[from] StartError),
    /// The member ended by itself.
    #[error("the member has stopped: {0}")]
    Stopped(String),
}

/// Serves until `stop` resolves (then hands over as planned) or the member ends by itself.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    session: Session,
    options: KvOptions,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let server = Server::start(session, options).await?;
    tokio::select! {
        () = stop => {}
        _ = server.ended() => {}
    }
    match server.stop().await.stopped {
        Some(why) => Err(ServeError::Stopped(why)),
        None => Ok(()),
    }
}

/// A running server. Dropping it without [`stop`](Self::stop) ends it as a crash would.
pub struct Server {
    address: SocketAddr,
    sentinel_address: Option<SocketAddr>,
    shared: Arc<Shared>,
    stopping: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

/// What all connections of a server have in common.
struct Shared {
    member: Member,
    /// The pair's name, by which Sentinel-aware clients ask for its primary.
    pair: String,
    clients: Clients,
    max_clients: usize,
}

impl Server {
    /// Listens, and starts this member of the pair. Clients are accepted at once; until the member
    /// is primary they are refused what only a primary can answer.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn start(session: Session, mut options: KvOptions) -> Result<Self, ServeError> {
        let listener = listen(options.listen, options.insecure).await?;
        let sentinel = match options.sentinel {
            Some(address) => Some(listen(address, options.insecure).await?),
            None => None,
        };
        let refused = |source| ServeError::Listen {
            address: options.listen,
            source,
        };
        let address = listener.local_addr().map_err(refused)?;
        let sentinel_address = sentinel.as_ref().and_then(|listener| listener.local_addr().ok());
        if options.pair.advertise.is_empty() {
            if address.ip().is_unspecified() {
                return Err(ServeError::NothingToAdvertise(address));
            }
            options.pair.advertise = address.to_string();
        }
        let pair = options.pair.pair.clone();
        let member = Member::start(session, options.pair, Kv::default())?;
        let clients = Clients::default();
        let shared = Arc::new(Shared {
            member,
            pair,
            clients,
            max_clients: options.max_clients,
        });
        let (stopping, stopped) = watch::channel(false);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Face::Member, shared.clone(), stopped.clone()));
        if let Some(sentinel) = sentinel {
            accepting.spawn(accept(sentinel, Face::Sentinel, shared.clone(), stopped));
        }
        tracing::info!(%address, pair = shared.pair, "listening");
        Ok(Self {
            address,
            sentinel_address,
            shared,
            stopping,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens as a sentinel.
    pub fn sentinel_address(&self) -> Option<SocketAddr> {
        self.sentinel_address
    }

    /// The member, for its role, its counters and a switchover.
    pub fn member(&self) -> &Member {
        &self.shared.member
    }

    /// Waits until the member has ended by itself.
    pub async fn ended(&self) -> RoleView {
        let mut changes = self.shared.member.changes();
        let ended = changes
            .wait_for(|view| view.role == Role::Stopped)
            .await
            .map(|view| view.clone());
        ended.unwrap_or_else(|_| self.shared.member.role())
    }

    /// Ends as planned: accepts nothing more, gives the replies that are owed, closes the region, so
    /// that the backup takes over at once.
    pub async fn stop(mut self) -> RoleView {
        // Connections keep a receiver each, so the channel closes when the last one is done.
        let _ = self.stopping.send(true);
        let finished = async {
            while self.accepting.join_next().await.is_some() {}
            self.stopping.closed().await;
        };
        if tokio::time::timeout(STOP_GRACE, finished).await.is_err() {
            tracing::warn!("some clients did not take their replies");
        }
        self.shared.member.leave().await
    }
}

async fn listen(address: SocketAddr, insecure: bool) -> Result<TcpListener, ServeError> {
    if !insecure && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServeError::Listen { address, source })
}

async fn accept(listener: TcpListener, face: Face, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(shared.max_clients.min(Semaphore::MAX_PERMITS)));
    // Said once, and not twenty times in a second for as long as it lasts.
    let mut refused = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !std::mem::replace(&mut refused, true) {
                    tracing::error!(%error, "cannot accept clients: newcomers wait until this is over");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if std::mem::take(&mut refused) {
            tracing::info!("clients can be accepted again");
        }
        match room.clone().try_acquire_owned() {
            Ok(place) => {
                let (shared, stopped) = (shared.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection::run(stream, peer, face, shared, stopped).await;
                    drop(place);
                });
            }
            Err(_) => {
                // One write into an empty socket buffer: it does not block, and may fail unheard.
                let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
            }
        }
    }
}
