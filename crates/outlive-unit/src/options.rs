//! How a unit is set up.

use std::fmt;
use std::time::Duration;

use outlive_audit::Audit;
use outlive_fabric::tcp::TlsPolicy;

/// Settings of a [`Unit`](crate::Unit).
#[derive(Clone, Debug)]
pub struct UnitOptions {
    /// What a manager in the same process must prove to know before it may program this unit.
    pub secret: AttachSecret,
    /// Address that clients are told to connect to; `None`: the one the data listener is bound to.
    pub advertise: Option<String>,
    /// Whether data connections are encrypted; `None`: all are, unless the listener and what clients are told are loopback
    /// addresses.
    pub data_tls: Option<TlsPolicy>,
    /// How long a fence or a withdrawal waits for the connections it stops.
    pub stop_timeout: Duration,
    /// Most tickets that are admitted and not yet used.
    pub max_tickets: usize,
    /// Most of them that one identity may hold.
    pub max_tickets_per_identity: usize,
    /// Most data connections that one identity may have at once.
    pub max_connections_per_identity: usize,
    /// Where attachments, connections, fences and refusals are written.
    pub audit: Audit,
}

impl UnitOptions {
    /// Long enough for a connection whose thread is inside a slow flush, short enough that a takeover
    /// that cannot be confirmed is told so while somebody still waits for it.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
    /// A manager that grants a thousand opens a second for five seconds each, and a crowd that reconnects, fit; at
    /// about 200 bytes each.
    pub const MAX_TICKETS: usize = 8192;
    /// Twice the connections that one identity may have: all of them may reconnect at once, and again.
    pub const MAX_TICKETS_PER_IDENTITY: usize = 1024;
    /// Half of what the data listener takes by default: one tenant alone cannot shut the others out.
    pub const MAX_CONNECTIONS_PER_IDENTITY: usize = 512;

    /// The defaults, for managers that know `secret`.
    pub fn new(secret: AttachSecret) -> Self {
        Self {
            secret,
            advertise: None,
            data_tls: None,
            stop_timeout: Self::STOP_TIMEOUT,
            max_tickets: Self::MAX_TICKETS,
            max_tickets_per_identity: Self::MAX_TICKETS_PER_IDENTITY,
            max_connections_per_identity: Self::MAX_CONNECTIONS_PER_IDENTITY,
            audit: Audit::off(),
        }
    }
}

/// A secret that a unit shares with the manager in its own process.
#[derive(Clone)]
pub struct AttachSecret(Vec<u8>);

impl AttachSecret {
    /// Uses the given bytes; nobody can attach with an empty secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// One that nobody knows, for a unit whose managers come over the network.
    pub fn of_nobody() -> Self {
        Self(Vec::new())
    }

    /// 32 random bytes, for a manager in the same process.
    ///
    /// # Errors
    /// The operating system's, where it has no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// What a manager sends as proof.
    pub fn proof(&self) -> &[u8] {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    pub(crate) fn accepts(&self, proof: &[u8]) -> bool {
        let differences =
            (self.0.iter().zip(proof)).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        !self.0.is_empty() && self.0.len() == proof.len() && differences == 0
    }
}

impl fmt::Debug for AttachSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_accepted() {
        let secret = AttachSecret::new(*b"secret");
        assert!(secret.accepts(b"secret"));
        for wrong in [&b"secreT"[..], b"Secret", b"secre", b"secrets", b""] {
            assert!(!secret.accepts(wrong));
        }
        assert!(!AttachSecret::new([]).accepts(b""));
        assert!(!format!("{secret:?}").contains("secret"));
    }
}
