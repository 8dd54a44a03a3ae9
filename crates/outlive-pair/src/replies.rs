//! The replies that clients may ask for again.
//!
//! Part of the replicated state: it changes only when a journalled request is applied, in the same
//! way in every member, and travels in snapshots. Bounded in sessions, in replies per session and
//! in bytes; what is dropped is dropped for good, and asking for it fails instead of carrying the
//! request out again.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{ReplyBounds, SessionId};

/// The client sessions and their latest replies.
#[derive(Clone, Debug)]
pub struct Replies {
    bounds: ReplyBounds,
    sessions: HashMap<SessionId, ClientSession>,
    /// Sessions by when they were last used: the first is the next to be evicted.
    by_use: BTreeMap<u64, SessionId>,
    next_use: u64,
    bytes: usize,
}

/// What the table says about a numbered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// The session's next: carry it out.
    Next,
    /// Carried out before; this was the reply.
    Remembered(&'a [u8]),
    /// Carried out before; the reply was dropped.
    Forgotten,
    /// Neither carried out nor next.
    OutOfOrder {
        /// What the next must be.
        expected: u64,
    },
    /// No such session: never opened, or evicted.
    Unknown,
}

#[derive(Clone, Debug)]
struct ClientSession {
    used: u64,
    last_number: u64,
    /// The latest replies, ending with `last_number`'s.
    replies: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// One session as it stands in a snapshot. Sessions are listed in the order of their last use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    id: SessionId,
    last_number: u64,
    replies: Vec<Vec<u8>>,
}

impl Replies {
    /// An empty table.
    pub fn new(bounds: ReplyBounds) -> Self {
        Self {
            bounds,
            sessions: HashMap::new(),
            by_use: BTreeMap::new(),
            next_use: 0,
            bytes: 0,
        }
    }

    /// Changes the bounds from here on, evicting what is too much.
    pub fn rebound(&mut self, bounds: ReplyBounds) {
        self.bounds = bounds;
        let ids: Vec<_> = self.by_use.values().copied().collect();
        for id in ids {
            self.trim(id);
        }
        self.evict(None);
    }

    /// The bounds in force.
    pub fn bounds(&self) -> ReplyBounds {
        self.bounds
    }

    /// Opens a session; one that is open stays as it is.
    pub fn open(&mut self, id: SessionId) {
        if self.sessions.contains_key(&id) {
            return;
        }
        let session = ClientSession {
            used: 0,
            last_number: 0,
            replies: VecDeque::new(),
            bytes: 0,
        };
        self.sessions.insert(id, session);
        let used = self.stamp();
        self.by_use.insert(used, id);
        self.sessions.entry(id).and_modify(|session| session.used = used);
        self.evict(Some(id));
    }

    /// What is to be done with request `number` of session `id`.
    pub fn look(&self, id: SessionId, number: u64) -> Look<'_> {
        let Some(session) = self.sessions.get(&id) else {
            return Look::Unknown;
        };
        let Some(age) = session.last_number.checked_sub(number) else {
            // `number` is above `last_number`, so adding one cannot overflow.
            let expected = session.last_number + 1;
            return if number == expected {
                Look::Next
            } else {
                Look::OutOfOrder { expected }
            };
        };
        if number == 0 {
            return Look::OutOfOrder {
                expected: session.last_number.saturating_add(1),
            };
        }
        let newest_first = usize::try_from(age).unwrap_or(usize::MAX);
        match session.replies.iter().rev().nth(newest_first) {
            Some(reply) => Look::Remembered(reply),
            None => Look::Forgotten,
        }
    }

    /// Notes that the session's next request was carried out with this reply. Does nothing for a
    /// session that is unknown.
    pub fn remember(&mut self, id: SessionId, reply: &[u8]) {
        let used = self.stamp();
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.by_use.remove(&session.used);
        self.by_use.insert(used, id);
        session.used = used;
        session.last_number += 1;
        session.bytes += reply.len();
        self.bytes += reply.len();
        session.replies.push_back(reply.to_vec());
        self.trim(id);
        self.evict(Some(id));
    }

    /// Sessions remembered.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is remembered.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Bytes of all remembered replies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything, for a snapshot.
    pub fn save(&self) -> Vec<SavedSession> {
        self.by_use
            .values()
            .filter_map(|id| self.sessions.get(id).map(|session| (id, session)))
            .map(|(id, session)| SavedSession {
                id: *id,
                last_number: session.last_number,
                replies: session.replies.iter().cloned().collect(),
            })
            .collect()
    }

    /// The table that was saved.
    pub fn restore(bounds: ReplyBounds, saved: Vec<SavedSession>) -> Self {
        let mut table = Self::new(bounds);
        for SavedSession {
            id,
            last_number,
            replies,
        } in saved
        {
            let used = table.stamp();
            let bytes = replies.iter().map(Vec::len).sum();
            table.bytes += bytes;
            table.by_use.insert(used, id);
            let session = ClientSession {
                used,
                last_number,
                replies: replies.into(),
                bytes,
            };
            // No table was saved with a session in it twice. Bytes that say so anyway make a table that is sound: the last one counts.
            if let Some(earlier) = table.sessions.insert(id, session) {
                table.by_use.remove(&earlier.used);
                table.bytes -= earlier.bytes;
            }
        }
        table
    }

    fn stamp(&mut self) -> u64 {
        self.next_use += 1;
        self.next_use
    }

    /// Drops a session's oldest replies until it holds no more than one session may.
    fn trim(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        while session.replies.len() > self.bounds.replies_per_session || session.bytes > self.bounds.bytes {
            let Some(dropped) = session.replies.pop_front() else {
                break;
            };
            session.bytes -= dropped.len();
            self.bytes -= dropped.len();
        }
    }

    /// Evicts the sessions that were idle longest until the whole is within its bounds; `keep` stays.
    fn evict(&mut self, keep: Option<SessionId>) {
        while self.sessions.len() > self.bounds.sessions || self.bytes > self.bounds.bytes {
            let Some((&used, &id)) = self.by_use.iter().find(|(_, id)| Some(**id) != keep) else {
                break;
            };
            self.by_use.remove(&used);
            if let Some(session) = self.sessions.remove(&id) {
                self.bytes -= session.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);
    const C: SessionId = SessionId(3);

    fn bounds(sessions: usize, replies_per_session: usize, bytes: usize) -> ReplyBounds {
        ReplyBounds {
            sessions,
            replies_per_session,
            bytes,
        }
    }

    #[test]
    fn a_reply_is_given_again_and_the_order_is_kept() {
        let mut table = Replies::new(bounds(10, 2, 100));
        assert_eq!(table.look(A, 1), Look::Unknown);
        table.open(A);
        assert_eq!(table.look(A, 0), Look::OutOfOrder { expected: 1 });
        assert_eq!(table.look(A, 2), Look::OutOfOrder { expected: 1 });
        assert_eq!(table.look(A, 1), Look::Next);
        table.remember(A, b"one");
        table.open(A);
        assert_eq!(table.look(A, 1), Look::Remembered(b"one"));
        table.remember(A, b"two");
        table.remember(A, b"three");
        assert_eq!(table.look(A, 1), Look::Forgotten);
        assert_eq!(table.look(A, 2), Look::Remembered(b"two"));
        assert_eq!(table.look(A, 3), Look::Remembered(b"three"));
        assert_eq!(table.look(A, 4), Look::Next);
        assert_eq!(table.look(A, u64::MAX), Look::OutOfOrder { expected: 4 });
    }

    #[test]
    fn the_session_that_was_idle_longest_is_evicted_and_stays_unknown() {
        let mut table = Replies::new(bounds(2, 4, 100));
        table.open(A);
        table.open(B);
        table.remember(A, b"a");
        table.open(C);
        assert_eq!(table.look(B, 1), Look::Unknown);
        assert_eq!(table.look(A, 1), Look::Remembered(b"a"));
    }

    #[test]
    fn bytes_are_bounded_and_one_huge_reply_is_forgotten_rather_than_repeated() {
        let mut table = Replies::new(bounds(10, 4, 10));
        table.open(A);
        table.open(B);
        table.remember(A, b"123456");
        table.remember(B, b"123456");
        assert_eq!(
            table.look(A, 1),
            Look::Unknown,
            "evicted for the bytes of the other"
        );
        table.remember(B, &[0; 100]);
        assert_eq!(table.look(B, 2), Look::Forgotten);
        assert_eq!(table.look(B, 3), Look::Next);
        assert_eq!(table.bytes(), 0);
    }

    #[test]
    fn a_session_that_was_saved_twice_counts_once() {
        let saved = |last_number, reply: &[u8]| SavedSession {
            id: A,
            last_number,
            replies: vec![reply.to_vec()],
        };
        let table = Replies::restore(bounds(3, 3, 100), vec![saved(1, b"first"), saved(2, b"then")]);
        assert_eq!((table.len(), table.bytes(), table.by_use.len()), (1, 4, 1));
        assert_eq!(table.save(), [saved(2, b"then")]);
        assert_eq!(table.look(A, 2), Look::Remembered(b"then"));
    }

    proptest! {
        #[test]
        fn a_saved_table_goes_on_as_the_one_that_was_not_saved(
            steps in proptest::collection::vec((0u8..3, 1u128..12, 0usize..9), 1..200),
            cut in 0usize..200,
        ) {
            let bounds = bounds(5, 3, 24);
            let mut straight = Replies::new(bounds);
            let mut restored = Replies::new(bounds);
            for (i, (what, id, len)) in steps.into_iter().enumerate() {
                let id = SessionId(id);
                if i == cut {
                    restored = Replies::restore(bounds, straight.save());
                }
                for table in [&mut straight, &mut restored] {
                    if what == 0 { table.open(id) } else { table.remember(id, &vec![what; len]) }
                    prop_assert!(table.len() <= 5 && table.bytes() <= 24);
                    prop_assert_eq!(table.bytes(), table.sessions.values().map(|s| s.bytes).sum::<usize>());
                    prop_assert_eq!(table.by_use.len(), table.len());
                }
                if i >= cut {
                    prop_assert_eq!(straight.save(), restored.save());
                }
            }
        }
    }
}
