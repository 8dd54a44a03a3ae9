//! The replicated state: the service, the remembered replies, the journalled time, and when primaries began.
//!
//! Every member that applies the same sets, from the start or from a snapshot, has the same replica.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batch::{self, BatchError, Body, Bounds, Entry, Record};
use crate::replies::{Look, Replies, SavedSession};
use crate::{CallError, Moment, ReplyBounds, RestoreError, Service, SessionId};

/// Version of a snapshot's encoding.
const VERSION: u8 = 1;

/// Beginnings remembered: the most that a limit on crash loops can count.
pub const MAX_BEGINNINGS: usize = 256;

/// The replicated state of a pair.
pub struct Replica<S> {
    service: S,
    replies: Replies,
    at_ms: u64,
    tenure: Tenure,
}

/// What the journal says about who served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tenure {
    /// Generation that served last; 0 before the first.
    generation: u64,
    /// Whether it ended by handing over.
    ended: bool,
    /// When members began to serve though the one before had not ended, in milliseconds since 1970.
    unclean_ms: VecDeque<u64>,
}

#[derive(Serialize, Deserialize)]
struct Saved<'a> {
    at_ms: u64,
    tenure: Tenure,
    bounds: Bounds,
    sessions: Vec<SavedSession>,
    #[serde(borrow)]
    service: Body<'a>,
}

/// What carrying out one request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed the state (or might have): it must be journalled.
    Applied(Vec<u8>),
    /// It left the state as it was: a read, or a reply given again.
    Unchanged(Result<Vec<u8>, CallError>),
}

impl<S: Service> Replica<S> {
    /// The state before the first request. `service` is in its initial state.
    pub fn new(service: S, bounds: ReplyBounds) -> Self {
        Self {
            service,
            replies: Replies::new(bounds),
            at_ms: 0,
            tenure: Tenure::default(),
        }
    }

    /// The journalled time.
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Moves the journalled time to a primary's clock. It never goes back.
    pub fn advance(&mut self, now_ms: u64) -> u64 {
        self.at_ms = self.at_ms.max(now_ms);
        self.at_ms
    }

    /// Whether `entry` reads and changes nothing, not even a session.
    pub fn is_plain_read(&self, entry: &Entry<'_>) -> bool {
        matches!(entry, Entry::Plain(body) if self.service.is_read_only(body.0))
    }

    /// Carries out a client's request now, as primary.
    pub fn carry_out(&mut self, entry: &Entry<'_>) -> Outcome {
        match entry {
            Entry::Plain(body) if self.service.is_read_only(body.0) => {
                Outcome::Unchanged(Ok(self.service.query(body.0, self.moment())))
            }
            Entry::Numbered { session, number, .. } => match self.replies.look(*session, *number) {
                Look::Next => Outcome::Applied(self.apply_entry(entry)),
                Look::Remembered(reply) => Outcome::Unchanged(Ok(reply.to_vec())),
                Look::Forgotten => Outcome::Unchanged(Err(CallError::ReplyForgotten { number: *number })),
                Look::OutOfOrder { expected } => Outcome::Unchanged(Err(CallError::OutOfOrder {
                    number: *number,
                    expected,
                })),
                Look::Unknown => Outcome::Unchanged(Err(CallError::UnknownSession { session: *session })),
            },
            Entry::Plain(_) | Entry::Open(_) => Outcome::Applied(self.apply_entry(entry)),
        }
    }

    /// Applies a journalled set, as backup or while restoring.
    ///
    /// # Errors
    /// [`ReplicaError`]; the replica is then of no use until it is restored.
    pub fn apply_set(&mut self, set: &[u8]) -> Result<(), ReplicaError> {
        match batch::decode(set)? {
            Record::Began {
                at_ms,
                generation,
                bounds,
            } => self.begin(at_ms, generation, bounds.into()),
            Record::Requests { at_ms, entries } => {
                self.advance(at_ms);
                for entry in &entries {
                    self.check_next(entry)?;
                    self.apply_entry(entry);
                }
            }
            Record::Ended { at_ms } => self.end(at_ms),
        }
        Ok(())
    }

    /// A member begins to serve.
    pub fn begin(&mut self, at_ms: u64, generation: u64, bounds: ReplyBounds) {
        let at_ms = self.advance(at_ms);
        if self.would_be_unclean() {
            self.tenure.unclean_ms.push_back(at_ms);
            if self.tenure.unclean_ms.len() > MAX_BEGINNINGS {
                self.tenure.unclean_ms.pop_front();
            }
        }
        self.tenure.generation = generation;
        self.tenure.ended = false;
        self.replies.rebound(bounds);
    }

    /// The primary hands over.
    pub fn end(&mut self, at_ms: u64) {
        self.advance(at_ms);
        self.tenure.ended = true;
    }

    /// Whether a member that begins now does so though the one before has not ended.
    pub fn would_be_unclean(&self) -> bool {
        self.tenure.generation != 0 && !self.tenure.ended
    }

    /// How many members began uncleanly after `since_ms`.
    pub fn unclean_since(&self, since_ms: u64) -> usize {
        self.tenure
            .unclean_ms
            .iter()
            .filter(|at_ms| **at_ms > since_ms)
            .count()
    }

    /// The whole as bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let service = self.service.snapshot();
        let saved = Saved {
            at_ms: self.at_ms,
            tenure: self.tenure.clone(),
            bounds: self.replies.bounds().into(),
            #[cfg(feature = "deliberate-bugs")]
            sessions: match crate::bugs::Bug::RepliesForgotten.is_made() {
                true => Vec::new(),
                false => self.replies.save(),
            },
            #[cfg(not(feature = "deliberate-bugs"))]
            sessions: self.replies.save(),
            service: Body(&service),
        };
        postcard::to_extend(&saved, vec![VERSION]).expect("encoding into memory does not fail")
    }

    /// Replaces the whole by a snapshot, or by the state before the first request.
    ///
    /// # Errors
    /// [`ReplicaError`]; the replica is then of no use until it is restored.
    pub fn restore(&mut self, snapshot: Option<&[u8]>) -> Result<(), ReplicaError> {
        let Some(snapshot) = snapshot else {
            self.service.restore(&[])?;
            self.replies = Replies::new(self.replies.bounds());
            self.at_ms = 0;
            self.tenure = Tenure::default();
            return Ok(());
        };
        let (&version, rest) = snapshot.split_first().ok_or(BatchError::Empty)?;
        if version != VERSION {
            return Err(BatchError::Version(version).into());
        }
        let saved: Saved<'_> = postcard::from_bytes(rest).map_err(BatchError::Malformed)?;
        self.service.restore(saved.service.0)?;
        self.replies = Replies::restore(saved.bounds.into(), saved.sessions);
        self.at_ms = saved.at_ms;
        self.tenure = saved.tenure;
        Ok(())
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// Client sessions remembered.
    pub fn sessions(&self) -> usize {
        self.replies.len()
    }

    fn moment(&self) -> Moment {
        Moment { unix_ms: self.at_ms }
    }

    fn apply_entry(&mut self, entry: &Entry<'_>) -> Vec<u8> {
        match entry {
            Entry::Plain(body) => self.run(body.0),
            Entry::Numbered { session, body, .. } => {
                let reply = self.run(body.0);
                self.replies.remember(*session, &reply);
                reply
            }
            Entry::Open(session) => {
                self.replies.open(*session);
                Vec::new()
            }
        }
    }

    /// A numbered request is journalled even if it is read-only, because its number counts.
    fn run(&mut self, body: &[u8]) -> Vec<u8> {
        if self.service.is_read_only(body) {
            self.service.query(body, self.moment())
        } else {
            self.service.apply(body, self.moment())
        }
    }

    fn check_next(&self, entry: &Entry<'_>) -> Result<(), ReplicaError> {
        match entry {
            Entry::Numbered { session, number, .. } if self.replies.look(*session, *number) != Look::Next => {
                Err(ReplicaError::Diverged {
                    session: *session,
                    number: *number,
                })
            }
            _ => Ok(()),
        }
    }
}

/// A set or a snapshot cannot become state.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The bytes are not a pair's.
    #[error("the pair's region holds {0}")]
    Batch(#[from] BatchError),
    /// The service refuses its snapshot.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The journal carries out a request that this member's state does not expect: the members'
    /// programs differ, or the service is not deterministic.
    #[error("this member's state has diverged from the journal at request {number} of session {session}")]
    Diverged {
        /// The session.
        session: SessionId,
        /// The number.
        number: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Counter;

    const BOUNDS: ReplyBounds = ReplyBounds {
        sessions: 4,
        replies_per_session: 4,
        bytes: 1000,
    };

    fn numbered(number: u64) -> Entry<'static> {
        Entry::Numbered {
            session: SessionId(9),
            number,
            body: Body(b"add 1"),
        }
    }

    #[test]
    fn a_request_is_carried_out_once_and_answered_again_also_after_a_snapshot() {
        let mut replica = Replica::new(Counter::default(), BOUNDS);
        replica.begin(10, 1, BOUNDS);
        assert_eq!(
            replica.carry_out(&numbered(1)),
            Outcome::Unchanged(Err(CallError::UnknownSession {
                session: SessionId(9)
            }))
        );
        assert_eq!(
            replica.carry_out(&Entry::Open(SessionId(9))),
            Outcome::Applied(vec![])
        );
        assert_eq!(replica.carry_out(&numbered(1)), Outcome::Applied(b"1".to_vec()));
        assert_eq!(
            replica.carry_out(&numbered(1)),
            Outcome::Unchanged(Ok(b"1".to_vec()))
        );

        let mut other = Replica::new(Counter::default(), BOUNDS);
        other
            .restore(Some(&replica.snapshot()))
            .expect("its own snapshot");
        assert_eq!(
            other.carry_out(&numbered(1)),
            Outcome::Unchanged(Ok(b"1".to_vec()))
        );
        assert_eq!(
            other.carry_out(&Entry::Plain(Body(b"get"))),
            Outcome::Unchanged(Ok(b"1".to_vec()))
        );
        assert_eq!(other.at_ms(), 10);
        assert_eq!(other.snapshot(), replica.snapshot());
    }

    #[test]
    fn time_never_goes_back() {
        let mut replica = Replica::new(Counter::default(), BOUNDS);
        replica.begin(1000, 1, BOUNDS);
        replica.begin(400, 2, BOUNDS);
        assert_eq!(replica.advance(900), 1000);
        assert_eq!(replica.advance(1001), 1001);
    }

    #[test]
    fn only_beginnings_without_an_end_count_as_unclean() {
        let mut replica = Replica::new(Counter::default(), BOUNDS);
        replica.begin(10, 1, BOUNDS);
        assert_eq!(replica.unclean_since(0), 0, "the first is clean");
        replica.begin(20, 2, BOUNDS);
        replica.end(30);
        replica.begin(40, 3, BOUNDS);
        replica.begin(50, 4, BOUNDS);
        assert_eq!((replica.unclean_since(0), replica.unclean_since(20)), (2, 1));
    }

    #[test]
    fn a_set_that_does_not_follow_is_divergence_and_hostile_snapshots_are_refused() {
        let mut replica = Replica::new(Counter::default(), BOUNDS);
        let set = batch::encode(&Record::Requests {
            at_ms: 1,
            entries: vec![numbered(1)],
        });
        assert!(matches!(
            replica.apply_set(&set),
            Err(ReplicaError::Diverged { number: 1, .. })
        ));
        assert!(replica.restore(Some(&[])).is_err());
        assert!(replica.restore(Some(&[7, 7])).is_err());
        assert!(replica.restore(Some(&[VERSION, 0xff, 0xff])).is_err());
    }
}
