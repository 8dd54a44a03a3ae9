//! Who there is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything that can be killed, stopped, or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The unit.
    Unit,
    /// The manager.
    Manager,
    /// A member of the pair.
    Member(u8),
    /// A process that wants to own the plain region.
    Writer(u8),
    /// A process that follows the plain region.
    Follower,
    /// The pair's clients.
    Clients,
}

/// Members of the pair.
pub(super) const MEMBERS: u8 = 3;
/// Processes that want to own the plain region.
pub(super) const WRITERS: u8 = 2;

impl Place {
    /// Those who call the manager and use the unit.
    pub(super) fn users() -> impl Iterator<Item = Self> {
        let members = (0..MEMBERS).map(Self::Member);
        members
            .chain((0..WRITERS).map(Self::Writer))
            .chain([Self::Follower])
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("the unit"),
            Self::Manager => f.write_str("the manager"),
            Self::Member(number) => write!(f, "member {number}"),
            Self::Writer(number) => write!(f, "writer {number}"),
            Self::Follower => f.write_str("the follower"),
            Self::Clients => f.write_str("the clients"),
        }
    }
}
