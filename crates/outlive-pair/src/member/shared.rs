//! What the handles and the threads of one member share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use crate::machine::{Ask, Event};
use crate::output::{Answer, CallId};
use crate::{CallError, MemberMetrics, RoleView};

/// A call on its way to the core.
pub(super) struct Queued {
    pub(super) ask: Ask,
    pub(super) reply: Reply,
}

/// Where an answer goes.
pub(super) type Reply = oneshot::Sender<Result<Vec<u8>, CallError>>;

/// What the core is told beside calls.
#[derive(Debug)]
pub(super) enum Input {
    /// Something happened to what the core began in this epoch; of no interest in a later one.
    Event { epoch: u64, event: Event },
    /// A person or the manager asks to hand over.
    Switchover,
    /// The member is asked to end.
    Leave,
    /// The last handle was dropped.
    Dropped,
}

/// The part of a member that every thread of it knows.
pub(super) struct Shared {
    pub(super) advertise: String,
    pub(super) view: watch::Sender<RoleView>,
    /// Few and small: commands, and one event for each thing under way.
    pub(super) inputs: mpsc::UnboundedSender<Input>,
    pub(super) callers: Callers,
    pub(super) counters: Counters,
}

impl Shared {
    /// Sends answers to whom they belong.
    pub(super) fn answer(&self, answers: Vec<Answer>) {
        if answers.is_empty() {
            return;
        }
        let taken = self.callers.take(answers);
        let count = |wanted: fn(&Result<Vec<u8>, CallError>) -> bool| {
            taken.iter().filter(|(_, result)| wanted(result)).count() as u64
        };
        let unknown = count(|result| matches!(result, Err(CallError::OutcomeUnknown { .. })));
        self.counters
            .replies
            .fetch_add(count(Result::is_ok), Ordering::Relaxed);
        self.counters
            .outcomes_unknown
            .fetch_add(unknown, Ordering::Relaxed);
        for (reply, result) in taken {
            // Nobody may be waiting any more, which changes nothing.
            let _ = reply.send(result);
        }
    }

    /// Names the primary in an error that does not, where another member is known to be it.
    pub(super) fn name_primary(&self, error: CallError) -> CallError {
        let known = || {
            self.view
                .borrow()
                .primary
                .clone()
                .filter(|at| *at != self.advertise)
        };
        match error {
            CallError::NotPrimary { primary: None } => CallError::NotPrimary { primary: known() },
            CallError::OutcomeUnknown { primary: None } => CallError::OutcomeUnknown { primary: known() },
            other => other,
        }
    }
}

/// Those who wait for an answer, by the numbers that their calls got.
#[derive(Default)]
pub(super) struct Callers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Number of the first slot.
    first: u64,
    /// Answers leave nearly in order, so the slots in front empty first.
    slots: VecDeque<Option<Reply>>,
}

impl Callers {
    /// Numbers callers one after the other.
    pub(super) fn enter(&self, replies: impl Iterator<Item = Reply>) -> u64 {
        let mut waiting = lock(&self.0);
        let first = waiting.first + waiting.slots.len() as u64;
        waiting.slots.extend(replies.map(Some));
        first
    }

    /// Gives all of them up: each is told that the outcome is unknown.
    pub(super) fn give_up(&self) {
        let mut waiting = lock(&self.0);
        waiting.first += waiting.slots.len() as u64;
        waiting.slots.clear();
    }

    fn take(&self, answers: Vec<Answer>) -> Vec<(Reply, Result<Vec<u8>, CallError>)> {
        let mut waiting = lock(&self.0);
        let mut taken = Vec::with_capacity(answers.len());
        for Answer {
            call: CallId(id),
            result,
            ..
        } in answers
        {
            let first = waiting.first;
            let slot = id
                .checked_sub(first)
                .and_then(|index| usize::try_from(index).ok());
            if let Some(reply) = slot
                .and_then(|index| waiting.slots.get_mut(index))
                .and_then(Option::take)
            {
                taken.push((reply, result));
            }
        }
        while waiting.slots.pop_front_if(|slot| slot.is_none()).is_some() {
            waiting.first += 1;
        }
        taken
    }
}

/// Counters behind [`MemberMetrics`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) confirms: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) outcomes_unknown: AtomicU64,
    pub(super) held_replies: AtomicU64,
    pub(super) applied: AtomicU64,
    pub(super) snapshots: AtomicU64,
    pub(super) takeovers: AtomicU64,
    pub(super) sequence: AtomicU64,
    pub(super) journal_used_bytes: AtomicU64,
    pub(super) journal_capacity_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> MemberMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MemberMetrics {
            requests: read(&self.requests),
            reads: read(&self.reads),
            batches: read(&self.batches),
            confirms: read(&self.confirms),
            replies: read(&self.replies),
            outcomes_unknown: read(&self.outcomes_unknown),
            held_replies: read(&self.held_replies),
            applied: read(&self.applied),
            snapshots: read(&self.snapshots),
            takeovers: read(&self.takeovers),
            sequence: read(&self.sequence),
            journal_used_bytes: read(&self.journal_used_bytes),
            journal_capacity_bytes: read(&self.journal_capacity_bytes),
        }
    }
}

/// Locks, also after a panic of another thread: what these locks guard is consistent between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_their_own_answers_and_slots_are_freed() {
        let callers = Callers::default();
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel()).unzip();
        let first = callers.enter(senders.into_iter());
        let answer = |i: u64| Answer {
            call: CallId(first + i),
            result: Ok(vec![u8::try_from(i).expect("small")]),
            journalled: false,
        };
        for i in [2, 0, 1, 1, 9] {
            for (reply, result) in callers.take(vec![answer(i)]) {
                reply.send(result).expect("received");
            }
        }
        for i in 0..3u8 {
            assert_eq!(receivers[usize::from(i)].try_recv(), Ok(Ok(vec![i])));
        }
        assert!(receivers[3].try_recv().is_err());
        assert_eq!(lock(&callers.0).slots.len(), 1, "only the one that waits");
        let (sender, _receiver) = oneshot::channel();
        assert_eq!(callers.enter(std::iter::once(sender)), first + 4);
        callers.give_up();
        assert!(matches!(
            receivers[3].try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        let (sender, _receiver) = oneshot::channel();
        assert_eq!(callers.enter(std::iter::once(sender)), first + 5);
    }
}
