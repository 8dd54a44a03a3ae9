//! Tickets: what lets one connection in, once, and what it is bound to.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::{RegionId, Rights, TicketId};

/// Bytes of a ticket's secret.
pub const SECRET_BYTES: usize = 32;

/// A single-use ticket, as the target and the one initiator that may use it know it. Its id crosses the
/// data network in the clear; its secret never does.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Which ticket.
    pub id: TicketId,
    /// What both sides prove to know.
    pub secret: TicketSecret,
    /// What it is good for. Both sides must have the same in mind, or neither believes the other.
    pub terms: Terms,
}

/// What a ticket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who may use it.
    pub identity: String,
    /// The region it opens.
    pub region: RegionId,
    /// The generation of ownership that it was made for.
    pub generation: u64,
    /// What its connection may do.
    pub rights: Rights,
    /// The target's incarnation: a ticket does not outlive a restart.
    pub incarnation: u64,
}

/// A ticket's secret. Wiped when dropped, compared in constant time, never printed.
#[derive(Clone)]
pub struct TicketSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl Ticket {
    /// A new ticket for `terms`, with a random id and a random secret.
    ///
    /// # Errors
    /// The operating system's, where it has no randomness.
    pub fn random(terms: Terms) -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Self {
            id: TicketId(id),
            secret: TicketSecret::random()?,
            terms,
        })
    }

    /// Whether it is the very same ticket: id, secret and terms.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.secret.is(&other.secret) && self.terms == other.terms
    }
}

impl TicketSecret {
    /// Uses the given bytes.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A random secret.
    ///
    /// # Errors
    /// The operating system's, where it has no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = Self::new([0; SECRET_BYTES]);
        getrandom::fill(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    /// Takes the secret out of a message, which is wiped; `None` where it has another length.
    pub fn take_from(mut bytes: Vec<u8>) -> Option<Self> {
        let secret = bytes.as_slice().try_into().ok().map(Self::new);
        bytes.zeroize();
        secret
    }

    /// The bytes, to be told to the two that may know them.
    pub fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    pub fn is(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0.iter());
        pairs.fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b))) == 0
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_to_nobody_who_prints_it() {
        let secret = TicketSecret::new([0xab; SECRET_BYTES]);
        assert_eq!(format!("{secret:?}"), "TicketSecret(…)");
        assert!(!format!("{:?}", ticket(secret)).contains("171"));
    }

    #[test]
    fn only_the_whole_secret_is_the_same() {
        let secret = TicketSecret::new([7; SECRET_BYTES]);
        assert!(secret.is(&secret.clone()));
        for at in [0, 15, SECRET_BYTES - 1] {
            let mut other = [7; SECRET_BYTES];
            other[at] ^= 1;
            assert!(!secret.is(&TicketSecret::new(other)));
            assert!(!ticket(secret.clone()).is(&ticket(TicketSecret::new(other))));
        }
    }

    #[test]
    fn a_secret_of_another_length_is_none() {
        for len in [0, SECRET_BYTES - 1, SECRET_BYTES + 1] {
            assert!(TicketSecret::take_from(vec![1; len]).is_none());
        }
        let taken = TicketSecret::take_from(vec![1; SECRET_BYTES]).expect("the right length");
        assert_eq!(taken.as_bytes(), &[1; SECRET_BYTES]);
    }

    fn ticket(secret: TicketSecret) -> Ticket {
        Ticket {
            id: TicketId([1; 16]),
            secret,
            terms: Terms {
                identity: "someone".into(),
                region: RegionId([2; 16]),
                generation: 3,
                rights: Rights::Read,
                incarnation: 4,
            },
        }
    }
}
