//! Tickets: each lets one connection in, once, soon.

use std::collections::HashMap;
use std::time::Instant;

use outlive_fabric::{RegionId, TicketId};

/// What a ticket grants.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) region: RegionId,
    pub(crate) identity: String,
    pub(crate) writable: bool,
    pub(crate) generation: u64,
    pub(crate) expires: Instant,
}

/// The tickets that were admitted and not yet used. Bounded.
#[derive(Debug)]
pub(crate) struct Tickets {
    waiting: HashMap<TicketId, Ticket>,
    bound: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TicketError {
    Full,
    /// The id is in use; whoever made it did not make it at random.
    Taken,
}

impl Tickets {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            bound,
        }
    }

    pub(crate) fn add(&mut self, id: TicketId, ticket: Ticket, now: Instant) -> Result<(), TicketError> {
        if self.waiting.len() >= self.bound {
            self.waiting.retain(|_, ticket| ticket.expires > now);
        }
        if self.waiting.contains_key(&id) {
            return Err(TicketError::Taken);
        }
        if self.waiting.len() >= self.bound {
            return Err(TicketError::Full);
        }
        self.waiting.insert(id, ticket);
        Ok(())
    }

    /// Uses up a ticket, even where it has expired.
    pub(crate) fn take(&mut self, id: TicketId, now: Instant) -> Option<Ticket> {
        self.waiting.remove(&id).filter(|ticket| ticket.expires > now)
    }

    /// Voids the tickets that `of` chooses.
    pub(crate) fn void(&mut self, of: impl Fn(&Ticket) -> bool) {
        self.waiting.retain(|_, ticket| !of(ticket));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ticket(expires: Instant) -> Ticket {
        Ticket {
            region: RegionId([0; 16]),
            identity: String::new(),
            writable: false,
            generation: 0,
            expires,
        }
    }

    #[test]
    fn a_ticket_counts_once_and_not_after_its_time() {
        let (now, mut tickets) = (Instant::now(), Tickets::new(8));
        let (first, second) = (TicketId([1; 16]), TicketId([2; 16]));
        tickets
            .add(first, ticket(now + Duration::from_secs(1)), now)
            .unwrap();
        tickets
            .add(second, ticket(now + Duration::from_secs(1)), now)
            .unwrap();
        assert_eq!(tickets.add(first, ticket(now), now), Err(TicketError::Taken));
        assert!(tickets.take(first, now).is_some());
        assert!(tickets.take(first, now).is_none());
        assert!(tickets.take(second, now + Duration::from_secs(1)).is_none());
        assert!(
            tickets.take(second, now).is_none(),
            "an expired ticket is used up as well"
        );
    }

    #[test]
    fn the_table_is_bounded_and_expired_tickets_make_room() {
        let (now, mut tickets) = (Instant::now(), Tickets::new(2));
        let expires = |secs| ticket(now + Duration::from_secs(secs));
        tickets.add(TicketId([1; 16]), expires(1), now).unwrap();
        tickets.add(TicketId([2; 16]), expires(9), now).unwrap();
        assert_eq!(
            tickets.add(TicketId([3; 16]), expires(9), now),
            Err(TicketError::Full)
        );
        tickets
            .add(TicketId([3; 16]), expires(9), now + Duration::from_secs(2))
            .unwrap();
    }
}
