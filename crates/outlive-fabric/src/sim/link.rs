//! One simulated connection: what is on its way, and the piecewise carrying out at the target.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Network;
use crate::Exposure;
use crate::{Admission, Admitted, Completion, Connection, ConnectionId, OpId, Outcome, Refusal, RemoteKey};

/// What an initiator asked for.
pub(super) enum Request {
    Write {
        key: RemoteKey,
        offset: u64,
        bytes: Vec<u8>,
    },
    Read {
        key: RemoteKey,
        offset: u64,
        len: u32,
    },
    Persist {
        key: RemoteKey,
        offset: u64,
        len: u64,
    },
    Oversize,
}

pub(super) struct InFlight {
    pub(super) due_ns: u64,
    pub(super) op: OpId,
    pub(super) request: Request,
}

/// How a connection ended, as its initiator will learn.
#[derive(Clone)]
pub(super) enum End {
    Stopped(Refusal),
    Lost,
}

pub(super) struct Link {
    pub(super) target: u64,
    pub(super) admission: Arc<dyn Admission>,
    /// `None` while being admitted, and once nothing may be carried out any more.
    pub(super) admitted: Option<Admitted>,
    pub(super) requests: VecDeque<InFlight>,
    /// Bytes of the first request that are done.
    pub(super) done: usize,
    /// What a read in progress has read so far.
    pub(super) partial_read: Vec<u8>,
    pub(super) answers: VecDeque<(u64, Completion)>,
    /// When the last message of each direction arrives: none overtakes.
    pub(super) last_request_ns: u64,
    pub(super) last_answer_ns: u64,
    /// Since when no request travels.
    pub(super) requests_held_ns: Option<u64>,
    /// Whether no answer arrives.
    pub(super) answers_held: bool,
    pub(super) bytes_until_lost: Option<u64>,
    /// The initiator has closed; what it had sent is still carried out.
    pub(super) closing: bool,
    /// How it ended and when the initiator hears of it.
    pub(super) end: Option<(u64, End)>,
}

/// What one step of carrying out came to.
pub(super) enum Progress {
    Going,
    Done(Result<Outcome, Refusal>),
    Lost,
}

impl Link {
    pub(super) fn new(target: u64, admission: Arc<dyn Admission>) -> Self {
        Self {
            target,
            admission,
            admitted: None,
            requests: VecDeque::new(),
            done: 0,
            partial_read: Vec::new(),
            answers: VecDeque::new(),
            last_request_ns: 0,
            last_answer_ns: 0,
            requests_held_ns: None,
            answers_held: false,
            bytes_until_lost: None,
            closing: false,
            end: None,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// When the next request can be carried out.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        let due = self.requests.front().filter(|_| self.admitted.is_some())?.due_ns;
        match self.requests_held_ns {
            Some(since) if due > since => None,
            _ => Some(due),
        }
    }

    /// When the initiator next hears something.
    pub(super) fn next_news_ns(&self) -> Option<u64> {
        if self.answers_held {
            return None;
        }
        let answer = self.answers.front().map(|(due, _)| *due);
        answer.or_else(|| self.end.as_ref().map(|(due, _)| *due))
    }

    /// Carries out one piece of the first request: up to `piece` bytes, ending at an 8-byte border.
    pub(super) fn carry_out(&mut self, piece: u64, max_op_bytes: u32) -> Progress {
        let (Some(admitted), Some(first)) = (&self.admitted, self.requests.front()) else {
            return Progress::Going;
        };
        let exposure = &admitted.exposure;
        let done = self.done;
        let limit = || Refusal::Limit {
            what: "bytes in one operation".into(),
            limit: max_op_bytes.into(),
        };
        let result = match &first.request {
            Request::Oversize => Err(limit()),
            Request::Read { len, .. } if *len > max_op_bytes => Err(limit()),
            Request::Persist { key, offset, len } => match admitted.session.persist {
                Some(method) => exposure
                    .persist(*key, *offset, *len)
                    .map(|()| Some(Outcome::Persistent(method))),
                None => Err(Refusal::NotPersistent),
            },
            Request::Write { key, offset, bytes } => {
                let mut end = piece_end(*offset, done, bytes.len(), piece);
                let mut lost = false;
                if let Some(left) = &mut self.bytes_until_lost {
                    let allowed = piece_end(*offset, done, bytes.len(), *left);
                    lost = allowed < end || *left < 8;
                    end = if *left < 8 { done } else { end.min(allowed) };
                    *left -= (end - done) as u64;
                }
                let placed = exposure
                    .check_write(*key, *offset, bytes.len() as u64)
                    .and_then(|()| exposure.write(*key, *offset + done as u64, &bytes[done..end]));
                if lost {
                    return Progress::Lost;
                }
                self.done = end;
                placed.map(|()| (end == bytes.len()).then_some(Outcome::Placed))
            }
            Request::Read { key, offset, len } => {
                let len = *len as usize;
                let mut bytes = std::mem::take(&mut self.partial_read);
                bytes.resize(len, 0);
                let end = piece_end(*offset, done, len, piece);
                let read = if done == 0 {
                    probe_end(exposure.as_ref(), *key, *offset, len)
                } else {
                    Ok(())
                }
                .and_then(|()| exposure.read(*key, *offset + done as u64, &mut bytes[done..end]));
                self.done = end;
                match read {
                    Err(refusal) => Err(refusal),
                    Ok(()) if end == len => Ok(Some(Outcome::Read(bytes))),
                    Ok(()) => {
                        self.partial_read = bytes;
                        Ok(None)
                    }
                }
            }
        };
        match result {
            Ok(None) => Progress::Going,
            Ok(Some(outcome)) => Progress::Done(Ok(outcome)),
            Err(refusal) => Progress::Done(Err(refusal)),
        }
    }
}

/// Sees to it that a refusal names the whole range, and comes before the first piece is read.
fn probe_end(exposure: &dyn Exposure, key: RemoteKey, offset: u64, len: usize) -> Result<(), Refusal> {
    let len = len as u64;
    // An end that does not exist is probed at the highest address, where nothing can be.
    let last = offset.saturating_add(len.saturating_sub(1));
    let probed = exposure.read(key, last, &mut vec![0; usize::from(len > 0)]);
    probed.map_err(|refusal| match refusal {
        Refusal::OutOfRange { limit, .. } => Refusal::OutOfRange { offset, len, limit },
        other => other,
    })
}

/// Where a piece of at most about `piece` bytes that begins at `done` ends: at an 8-byte border of
/// the region, or at the operation's end. Always moves on where there is something left.
fn piece_end(offset: u64, done: usize, len: usize, piece: u64) -> usize {
    let begin = offset.wrapping_add(done as u64);
    let border = begin.saturating_add(piece.max(8)) & !7;
    let count = usize::try_from(border.saturating_sub(begin).max(1)).unwrap_or(usize::MAX);
    done.saturating_add(count).min(len)
}

/// A simulated connection as its target may stop it. Carrying out happens under the network's lock,
/// so a stop is complete when it returns.
pub(super) struct SimConnection {
    network: Network,
    id: ConnectionId,
}

impl SimConnection {
    pub(super) fn new(network: Network, id: ConnectionId) -> Self {
        Self { network, id }
    }
}

impl Connection for SimConnection {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn peer(&self) -> String {
        format!("sim:{}", self.id.0)
    }

    fn stop(&self, reason: Refusal) {
        self.network.stop(self.id, reason);
    }

    fn await_stopped(&self, _timeout: Duration) -> bool {
        self.network.world().has_ended(self.id)
    }
}
