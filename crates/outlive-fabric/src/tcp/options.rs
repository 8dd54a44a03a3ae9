//! Every bound of the TCP provider, with its reason.

use std::time::Duration;

use super::tls::PinnedCertificate;

/// The longest single read or write that a target takes by default: 16 MiB. Longer transfers are
/// split by the caller; at this size a split costs nothing measurable, and it bounds how long one
/// operation can hold up what was posted after it.
pub const MAX_OP_BYTES: u32 = 16 << 20;

/// How an initiator connects and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Bound on resolving to a connection and its handshake, each. 2 s: a live unit answers in
    /// microseconds, a slow network in tens of milliseconds.
    pub connect_timeout: Duration,
    /// While operations are outstanding and nothing at all arrives for this long, the connection
    /// counts as lost. 10 s: far above any flush of a healthy medium.
    pub op_timeout: Duration,
    /// How long [`wait`](crate::Endpoint::wait) spins before it blocks. 100 µs: a wake-up costs about as much.
    pub spin: Duration,
    /// Operations that may be in flight; a further post waits. 4096: enough to hide any round trip.
    pub window_ops: usize,
    /// Bytes that may be in flight (written, or asked for). 32 MiB: two of the longest operations.
    pub window_bytes: u64,
    /// Encrypt the connection, to a target with this certificate. `None`: not encrypted.
    pub tls: Option<PinnedCertificate>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            op_timeout: Duration::from_secs(10),
            spin: Duration::from_micros(100),
            window_ops: 4096,
            window_bytes: 2 * u64::from(MAX_OP_BYTES),
            tls: None,
        }
    }
}

/// What a target takes before it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Admitted connections. 1024: each costs a thread and up to about 700 KiB of buffers; encrypted, up to 300 KiB more.
    pub connections: usize,
    /// Connections that have not finished their handshake. 64: a flood of half-open connections must not exhaust
    /// threads. A newcomer beyond it drives out the oldest of the source that holds most.
    pub handshakes: usize,
    /// Of these, those from one address. 48: many clients may share an address, and one address must not have all.
    pub handshakes_per_source: usize,
    /// Bound on the whole handshake, however the bytes dribble. 2 s.
    pub handshake_timeout: Duration,
    /// Longest single read or write in bytes.
    pub max_op_bytes: u32,
    /// How long a connection may take nothing of what is being sent to it. 10 s: then it is closed.
    pub send_timeout: Duration,
    /// How long a connection may fall silent inside a frame. 30 s: then it is closed.
    pub frame_timeout: Duration,
    /// How long a connection's thread spins after activity before it blocks. 100 µs.
    pub spin: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshakes: 64,
            handshakes_per_source: 48,
            handshake_timeout: Duration::from_secs(2),
            max_op_bytes: MAX_OP_BYTES,
            send_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(30),
            spin: Duration::from_micros(100),
        }
    }
}
