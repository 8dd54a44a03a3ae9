//! From backup to primary.

use crate::{Certificate, Overrun, Primary, Set};

/// What a takeover gives.
#[non_exhaustive]
pub struct TakenOver {
    /// The region's new owner.
    pub primary: Primary,
    /// What the backup had not read yet, in order, as [`Fresh::sets`](crate::Fresh::sets).
    pub unread: Vec<Set>,
    /// Sets that were overwritten before they were read; then `unread` begins with a snapshot.
    pub overrun: Option<Overrun>,
    /// What was found and how long it took. When it says [`ahead`](Certificate::ahead), the caller's state is
    /// newer than the unit's: save it as a snapshot before anything else.
    pub certificate: Certificate,
}
