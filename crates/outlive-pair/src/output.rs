//! Replies that wait for their commit.
//!
//! A reply leaves only when every set that the state behind it may reflect is committed, and an
//! operation of its own on the write connection, begun after the request arrived, has succeeded: a
//! commit is one, a batch of reads alone asks for a confirmation. Replies leave in the order in which
//! their requests were carried out.

use std::collections::VecDeque;

use crate::CallError;

/// Names a call under way in one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A reply, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub call: CallId,
    /// What to tell.
    pub result: Result<Vec<u8>, CallError>,
    /// Whether the request is journalled, so that its effect may survive even if nobody hears of it.
    pub journalled: bool,
}

/// The answers that are held back.
#[derive(Debug, Default)]
pub struct Output {
    held: VecDeque<Held>,
    answers: usize,
    last_appended: u64,
    next_confirm: u64,
    committed: u64,
    confirmed: u64,
}

#[derive(Debug)]
struct Held {
    /// Everything up to this sequence must be committed.
    after: u64,
    /// This confirmation must have succeeded, for answers that no commit of their own stands behind.
    confirm: Option<u64>,
    answers: Vec<Answer>,
}

impl Output {
    /// Holds `answers` until `sequence`, which was just appended for them, is committed.
    pub fn hold_for_commit(&mut self, sequence: u64, answers: Vec<Answer>) {
        self.last_appended = self.last_appended.max(sequence);
        self.answers += answers.len();
        self.held.push_back(Held {
            after: sequence,
            confirm: None,
            answers,
        });
    }

    /// Holds `answers` until everything appended so far is committed and a confirmation, which is
    /// to be posted now, has succeeded. Returns the number of that confirmation.
    pub fn hold_for_confirm(&mut self, answers: Vec<Answer>) -> u64 {
        self.next_confirm += 1;
        self.answers += answers.len();
        self.held.push_back(Held {
            after: self.last_appended,
            confirm: Some(self.next_confirm),
            answers,
        });
        self.next_confirm
    }

    /// Everything up to `sequence` is committed. Returns what may leave now.
    pub fn committed(&mut self, sequence: u64) -> Vec<Answer> {
        self.committed = self.committed.max(sequence);
        self.release()
    }

    /// A confirmation, and so every one before it, has succeeded. Returns what may leave now.
    pub fn confirmed(&mut self, confirm: u64) -> Vec<Answer> {
        self.confirmed = self.confirmed.max(confirm);
        self.release()
    }

    /// The role is lost. Returns what to tell those who wait: that the outcome is unknown where the
    /// request was journalled, that nothing happened where it was not. Empties the whole.
    pub fn fail(&mut self, primary: Option<&str>) -> Vec<Answer> {
        let primary = primary.map(str::to_owned);
        let held = std::mem::take(self).held;
        held.into_iter()
            .flat_map(|held| held.answers)
            .map(|answer| {
                let primary = primary.clone();
                let error = if answer.journalled {
                    CallError::OutcomeUnknown { primary }
                } else {
                    CallError::NotPrimary { primary }
                };
                Answer {
                    result: Err(error),
                    ..answer
                }
            })
            .collect()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Answers held.
    pub fn len(&self) -> usize {
        self.answers
    }

    /// Highest sequence known committed.
    pub fn committed_sequence(&self) -> u64 {
        self.committed
    }

    fn release(&mut self) -> Vec<Answer> {
        let mut free = Vec::new();
        while let Some(held) = self.held.pop_front_if(|held| {
            held.after <= self.committed && held.confirm.is_none_or(|confirm| confirm <= self.confirmed)
        }) {
            free.extend(held.answers);
        }
        self.answers -= free.len();
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(call: u64, journalled: bool) -> Vec<Answer> {
        vec![Answer {
            call: CallId(call),
            result: Ok(vec![]),
            journalled,
        }]
    }

    fn calls(answers: &[Answer]) -> Vec<u64> {
        answers.iter().map(|answer| answer.call.0).collect()
    }

    #[test]
    fn replies_leave_in_order_and_never_before_their_commit() {
        let mut output = Output::default();
        output.hold_for_commit(7, answer(1, true));
        let confirm = output.hold_for_confirm(answer(2, false));
        output.hold_for_commit(9, answer(3, true));
        assert_eq!(output.len(), 3);
        assert!(
            output.confirmed(confirm).is_empty(),
            "the read saw set 7, which is not committed"
        );
        assert_eq!(calls(&output.committed(7)), [1, 2]);
        assert_eq!(calls(&output.committed(9)), [3]);
        assert!(output.is_empty());
    }

    #[test]
    fn a_read_waits_for_its_confirmation_though_all_is_committed() {
        let mut output = Output::default();
        output.hold_for_commit(7, vec![]);
        assert!(output.committed(7).is_empty());
        let first = output.hold_for_confirm(answer(1, false));
        let second = output.hold_for_confirm(answer(2, false));
        assert!(output.committed(7).is_empty());
        assert_eq!(calls(&output.confirmed(first)), [1]);
        assert_eq!(calls(&output.confirmed(second)), [2]);
    }

    #[test]
    fn a_lost_role_tells_what_may_have_happened() {
        let mut output = Output::default();
        output.hold_for_commit(7, answer(1, true));
        output.hold_for_confirm(answer(2, false));
        let told: Vec<_> = output
            .fail(Some("b:1"))
            .into_iter()
            .map(|answer| answer.result)
            .collect();
        let primary = Some("b:1".to_owned());
        assert_eq!(
            told,
            [
                Err(CallError::OutcomeUnknown {
                    primary: primary.clone()
                }),
                Err(CallError::NotPrimary { primary })
            ]
        );
        assert_eq!((output.is_empty(), output.len()), (true, 0));
        assert!(output.committed(100).is_empty());
    }
}
