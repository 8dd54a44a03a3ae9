//! Clients: each asks one thing at a time, and asks again, elsewhere, until it is answered.

use crate::machine::Ask;
use crate::{CallError, Request, SessionId};

use super::Bug;
use super::random::Random;
use super::tally;
use super::world::MEMBERS;

/// Requests that a client makes in its life.
const REQUESTS: u64 = 24;

pub(super) struct Client {
    pub(super) id: usize,
    session: Option<SessionId>,
    /// Number of the session's latest request.
    number: u64,
    pub(super) doing: Doing,
    done: u64,
    /// Raised with each message, so that an answer to an earlier one of a read is told apart.
    pub(super) attempt: u64,
    /// Member that it asks.
    pub(super) target: usize,
    /// What had been acknowledged to anybody when this was asked first (a read: asked last).
    pub(super) floor: Seen,
    pub(super) asked_again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Opening,
    /// Under the session.
    Adding(u64),
    /// Under the session.
    NumberedRead,
    Reading,
    Finished,
}

/// A point in the history that somebody has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sum: u64,
    pub(super) at_ms: u64,
}

/// What a client makes of an answer.
#[derive(Debug)]
pub(super) enum Heard {
    /// It got what it asked for.
    Reply(Vec<u8>),
    /// It has a session.
    Opened,
    /// It must ask again.
    Again,
    /// Its session was evicted: what it asked may have happened.
    Evicted,
}

impl Client {
    pub(super) fn new(id: usize, random: &mut Random) -> Self {
        Self {
            id,
            session: None,
            number: 0,
            doing: Doing::Opening,
            done: 0,
            attempt: 0,
            target: random.index(2),
            floor: Seen::default(),
            asked_again: false,
        }
    }

    /// Goes on to the next thing.
    pub(super) fn next(&mut self, random: &mut Random, seen: Seen) {
        self.asked_again = false;
        self.floor = seen;
        if self.done == REQUESTS {
            self.doing = Doing::Finished;
            return;
        }
        if self.session.is_none() {
            self.number = 0;
            self.doing = Doing::Opening;
            return;
        }
        if random.chance(150) {
            // Some connection that it still has, to whoever it is by now.
            self.target = random.index(MEMBERS);
        }
        self.done += 1;
        self.doing = match random.between(0, 10) {
            0..=5 => {
                self.number += 1;
                // No two requests add the same, so each names itself in the journal.
                Doing::Adding(1 + self.id as u64 + 16 * self.done)
            }
            6 => {
                self.number += 1;
                Doing::NumberedRead
            }
            _ => Doing::Reading,
        };
    }

    /// The message for what it does now.
    pub(super) fn ask(&mut self, bug: Bug, seen: Seen) -> Option<Ask> {
        self.attempt += 1;
        let numbered = |body: Vec<u8>| match (bug, self.session) {
            (Bug::NotOnce, _) | (_, None) => Request::plain(body),
            (_, Some(session)) => Request::numbered(session, self.number, body),
        };
        let ask = match self.doing {
            // Each message asks for a session of its own, as each call of the library does.
            Doing::Opening => Ask::OpenSession(self.session_of(self.attempt)),
            Doing::Adding(number) => Ask::Request(numbered(tally::add(number))),
            Doing::NumberedRead => Ask::Request(numbered(tally::read())),
            Doing::Reading => {
                self.floor = seen;
                Ask::Request(Request::plain(tally::read()))
            }
            Doing::Finished => return None,
        };
        Some(ask)
    }

    /// Whether an answer to `attempt` still counts: the latest of a read, any of what is carried out once.
    pub(super) fn expects(&self, attempt: u64, first: u64) -> bool {
        match self.doing {
            Doing::Reading => attempt == self.attempt,
            Doing::Finished => false,
            _ => attempt > first,
        }
    }

    fn session_of(&self, attempt: u64) -> SessionId {
        SessionId(u128::from(self.id as u64) << 64 | u128::from(attempt))
    }

    pub(super) fn hear(&mut self, attempt: u64, answer: Result<Vec<u8>, CallError>) -> Result<Heard, String> {
        match (answer, self.doing) {
            (Ok(_), Doing::Opening) => {
                self.session = Some(self.session_of(attempt));
                Ok(Heard::Opened)
            }
            (Ok(reply), _) => Ok(Heard::Reply(reply)),
            (Err(error), _) if error.is_retryable() => Ok(Heard::Again),
            (Err(CallError::UnknownSession { .. }), _) => {
                self.session = None;
                Ok(Heard::Evicted)
            }
            (Err(error), doing) => Err(format!("client {} doing {doing:?} was told: {error}", self.id)),
        }
    }
}
