//! Turning calls into sets and answers.

use crate::batch::{self, Body, Entry, Record};
use crate::output::Answer;
use crate::replica::{Outcome, Replica};
use crate::{CallError, Service};

use super::event::{Ask, Call, Effect};

/// How far the journalled time may lag behind the clock when reads are answered. A read sees the
/// journalled time, so that a successor whose clock is behind can never show an earlier one; a set
/// that journals nothing but the time is appended for it at most this often.
pub(super) const TIME_GRAIN_MS: u64 = 10;

/// Bytes that a call may take in a set.
pub(super) fn bound_bytes(call: &Call) -> usize {
    entry(&call.ask).bound_bytes()
}

/// Carries out `calls` in order, now, and says what has to reach the region before they are answered.
pub(super) fn serve<S: Service>(replica: &mut Replica<S>, calls: &[Call], unix_ms: u64) -> Effect {
    let stale = unix_ms.saturating_sub(replica.at_ms()) >= TIME_GRAIN_MS;
    // Time moves only together with a set: whether there is one is decided before the first read sees it.
    let journal = stale || calls.iter().any(|call| !replica.is_plain_read(&entry(&call.ask)));
    if journal {
        replica.advance(unix_ms);
    }
    let mut entries = Vec::new();
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        let entry = entry(&call.ask);
        let (result, journalled) = match replica.carry_out(&entry) {
            Outcome::Applied(reply) => {
                entries.push(entry);
                (Ok(reply), true)
            }
            Outcome::Unchanged(result) => (result, false),
        };
        answers.push(Answer {
            call: call.id,
            result,
            journalled,
        });
    }
    if !journal {
        return Effect::Confirm { answers };
    }
    let set = batch::encode(&Record::Requests {
        at_ms: replica.at_ms(),
        entries,
    });
    Effect::Append { set, answers }
}

/// Answers that nothing was carried out, because of `error`.
pub(super) fn refuse(calls: impl IntoIterator<Item = Call>, error: &CallError) -> Effect {
    let answer = |call: Call| Answer {
        call: call.id,
        result: Err(error.clone()),
        journalled: false,
    };
    Effect::Answer(calls.into_iter().map(answer).collect())
}

fn entry(ask: &Ask) -> Entry<'_> {
    match ask {
        Ask::Request(request) => match request.session {
            Some((session, number)) => Entry::Numbered {
                session,
                number,
                body: Body(&request.body),
            },
            None => Entry::Plain(Body(&request.body)),
        },
        Ask::OpenSession(session) => Entry::Open(*session),
    }
}
