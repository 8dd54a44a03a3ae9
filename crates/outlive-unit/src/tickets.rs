//! Tickets: each lets one connection in, once, soon.

use std::collections::HashMap;
use std::time::Instant;

use outlive_fabric::{RegionId, Rights, Terms, TicketId, TicketSecret};

/// Wrong answers that a ticket survives: whoever saw its id pass by cannot take it from its owner with a few, and
/// the secret's 256 bits are not guessed with as few.
const SURVIVED_WRONG_ANSWERS: u8 = 3;

/// What a ticket grants.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    /// What both sides of its connection prove to know.
    pub(crate) secret: TicketSecret,
    pub(crate) region: RegionId,
    pub(crate) identity: String,
    pub(crate) writable: bool,
    pub(crate) generation: u64,
    pub(crate) expires: Instant,
    pub(crate) wrong_answers: u8,
}

impl Ticket {
    /// What both sides of its connection must mean alike.
    pub(crate) fn terms(&self, incarnation: u64) -> Terms {
        Terms {
            identity: self.identity.clone(),
            region: self.region,
            generation: self.generation,
            rights: if self.writable {
                Rights::ReadWrite
            } else {
                Rights::Read
            },
            incarnation,
        }
    }
}

/// The tickets that were admitted and not yet used. Bounded.
#[derive(Debug)]
pub(crate) struct Tickets {
    waiting: HashMap<TicketId, Ticket>,
    bound: usize,
    bound_per_identity: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TicketError {
    Full,
    /// This identity has as many as one may have.
    FullForIdentity,
    /// The id is in use; whoever made it did not make it at random.
    Taken,
}

impl Tickets {
    pub(crate) fn new(bound: usize, bound_per_identity: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            bound,
            bound_per_identity,
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
        let of_identity = self
            .waiting
            .values()
            .filter(|held| held.identity == ticket.identity);
        if of_identity.filter(|held| held.expires > now).count() >= self.bound_per_identity {
            return Err(TicketError::FullForIdentity);
        }
        self.waiting.insert(id, ticket);
        Ok(())
    }

    /// A ticket that is still good.
    pub(crate) fn held(&self, id: TicketId, now: Instant) -> Option<&Ticket> {
        self.waiting.get(&id).filter(|ticket| ticket.expires > now)
    }

    /// Uses up the ticket whose secret was proven, even where it has expired.
    pub(crate) fn take(&mut self, id: TicketId, proven: &TicketSecret, now: Instant) -> Option<Ticket> {
        // By the secret as well: an id that a manager gave twice names another ticket.
        self.waiting.get(&id).filter(|ticket| ticket.secret.is(proven))?;
        self.waiting.remove(&id).filter(|ticket| ticket.expires > now)
    }

    /// Counts a wrong answer to a ticket's challenge; one too many voids it. Whose ticket it was, if it is one.
    pub(crate) fn failed(&mut self, id: TicketId) -> Option<Ticket> {
        let ticket = self.waiting.get_mut(&id)?;
        ticket.wrong_answers += 1;
        if ticket.wrong_answers > SURVIVED_WRONG_ANSWERS {
            return self.waiting.remove(&id);
        }
        Some(ticket.clone())
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

    fn secret() -> TicketSecret {
        TicketSecret::new([1; 32])
    }

    fn ticket(expires: Instant) -> Ticket {
        Ticket {
            secret: secret(),
            region: RegionId([0; 16]),
            identity: String::new(),
            writable: false,
            generation: 0,
            expires,
            wrong_answers: 0,
        }
    }

    #[test]
    fn a_ticket_counts_once_and_not_after_its_time() {
        let (now, mut tickets) = (Instant::now(), Tickets::new(8, 8));
        let (first, second) = (TicketId([1; 16]), TicketId([2; 16]));
        tickets
            .add(first, ticket(now + Duration::from_secs(1)), now)
            .unwrap();
        tickets
            .add(second, ticket(now + Duration::from_secs(1)), now)
            .unwrap();
        assert_eq!(tickets.add(first, ticket(now), now), Err(TicketError::Taken));
        assert!(tickets.take(first, &secret(), now).is_some());
        assert!(tickets.take(first, &secret(), now).is_none());
        assert!(
            tickets
                .take(second, &secret(), now + Duration::from_secs(1))
                .is_none()
        );
        assert!(
            tickets.take(second, &secret(), now).is_none(),
            "an expired ticket is used up as well"
        );
    }

    #[test]
    fn only_the_secret_takes_a_ticket() {
        let (now, mut tickets) = (Instant::now(), Tickets::new(8, 8));
        let id = TicketId([1; 16]);
        tickets
            .add(id, ticket(now + Duration::from_secs(1)), now)
            .unwrap();
        assert!(tickets.take(id, &TicketSecret::new([2; 32]), now).is_none());
        assert!(tickets.held(id, now).is_some());
        assert!(tickets.held(id, now + Duration::from_secs(1)).is_none());
        assert!(tickets.take(id, &secret(), now).is_some());
        assert!(tickets.held(id, now).is_none());
    }

    #[test]
    fn the_fourth_wrong_answer_voids_a_ticket() {
        let (now, mut tickets) = (Instant::now(), Tickets::new(8, 8));
        let id = TicketId([1; 16]);
        tickets
            .add(id, ticket(now + Duration::from_secs(1)), now)
            .unwrap();
        for _ in 0..3 {
            assert!(tickets.failed(id).is_some());
            assert!(tickets.held(id, now).is_some());
        }
        assert!(tickets.failed(id).is_some());
        assert!(tickets.held(id, now).is_none());
        assert!(tickets.failed(id).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_expired_tickets_make_room() {
        let (now, mut tickets) = (Instant::now(), Tickets::new(2, 2));
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

    #[test]
    fn one_identity_does_not_take_every_place() {
        let (now, mut tickets) = (Instant::now(), Tickets::new(8, 1));
        let of = |identity: &str, secs| Ticket {
            identity: identity.into(),
            ..ticket(now + Duration::from_secs(secs))
        };
        tickets.add(TicketId([1; 16]), of("greedy", 1), now).unwrap();
        let refused = tickets.add(TicketId([2; 16]), of("greedy", 9), now);
        assert_eq!(refused, Err(TicketError::FullForIdentity));
        tickets.add(TicketId([3; 16]), of("modest", 9), now).unwrap();
        // What has expired does not count.
        let later = now + Duration::from_secs(2);
        tickets.add(TicketId([4; 16]), of("greedy", 9), later).unwrap();
    }
}
