//! What an initiator expects, and what has become of it: answers in, completions out.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::buffers::Inbox;
use super::frame::{ANSWER_HEADER_BYTES, Answer, Op};
use super::reason;
use super::socket::Received;
use super::wire::Wire;
use crate::{Completion, FabricError, OpId, Outcome, Refusal};

/// One receive takes up to this.
const INBOX_BYTES: usize = 256 << 10;
/// The rest of a read's part at least this long is received straight into its place.
const DIRECT_BYTES: usize = 16 << 10;

/// Why an endpoint is of no more use; given again to whoever asks again.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Stopped(Refusal),
    Lost(io::ErrorKind, String),
    TimedOut(Duration),
    Protocol(String),
}

impl Failure {
    pub(super) fn lost(error: &io::Error) -> Self {
        Self::Lost(error.kind(), error.to_string())
    }

    pub(super) fn ended() -> Self {
        Self::Lost(io::ErrorKind::UnexpectedEof, "the other side closed it".into())
    }

    pub(super) fn error(&self) -> FabricError {
        match self {
            Self::Stopped(refusal) => FabricError::Stopped(refusal.clone()),
            Self::Lost(kind, text) => FabricError::Lost(io::Error::new(*kind, text.clone())),
            Self::TimedOut(after) => FabricError::TimedOut {
                ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            },
            Self::Protocol(text) => FabricError::Protocol(text.clone()),
        }
    }
}

/// The answers that one connection's operations wait for.
pub(super) struct Answers {
    inbox: Inbox,
    pending: VecDeque<Pending>,
    pending_bytes: u64,
    ready: VecDeque<Completion>,
    /// Bytes of the current part of a read that are still to come.
    part: Option<Part>,
    stopped: Option<Refusal>,
}

struct Pending {
    op: u64,
    kind: Kind,
    /// Bytes it takes of the window.
    bytes: u64,
}

enum Kind {
    Write,
    /// The bytes come in parts; `into` is made when the first does.
    Read {
        len: usize,
        filled: usize,
        into: Vec<u8>,
    },
    Persist,
    Oversize,
}

#[derive(Clone, Copy)]
struct Part {
    left: usize,
    last: bool,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            inbox: Inbox::new(INBOX_BYTES),
            pending: VecDeque::new(),
            pending_bytes: 0,
            ready: VecDeque::new(),
            part: None,
            stopped: None,
        }
    }

    /// Expects the answer of operation `op`, which takes `bytes` of the window.
    pub(super) fn expect(&mut self, op: u64, what: Op, bytes: u64) {
        let kind = match what {
            Op::Write { .. } => Kind::Write,
            Op::Read { len, .. } => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                Kind::Read {
                    len,
                    filled: 0,
                    into: Vec::new(),
                }
            }
            Op::Persist { .. } => Kind::Persist,
            Op::Oversize { .. } => Kind::Oversize,
            Op::Close => return,
        };
        self.pending_bytes += bytes;
        self.pending.push_back(Pending { op, kind, bytes });
    }

    /// Whether one more operation of `bytes` fits; alone, any does.
    pub(super) fn has_window(&self, ops: usize, window_bytes: u64, bytes: u64) -> bool {
        let fits = self.pending.len() < ops && self.pending_bytes.saturating_add(bytes) <= window_bytes;
        fits || self.pending.is_empty()
    }

    pub(super) fn any_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether an operation up to `op` is unanswered.
    pub(super) fn waits_for(&self, op: u64) -> bool {
        self.pending.front().is_some_and(|pending| pending.op <= op)
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn undelivered(&self) -> usize {
        self.pending.len() + self.ready.len()
    }

    pub(super) fn stopped(&self) -> Option<&Refusal> {
        self.stopped.as_ref()
    }

    /// Whether nothing is half-way in: another receive would likely find nothing.
    pub(super) fn drained(&self) -> bool {
        self.part.is_none() && self.inbox.is_empty()
    }

    pub(super) fn deliver(&mut self, completions: &mut Vec<Completion>) -> usize {
        let count = self.ready.len();
        completions.extend(self.ready.drain(..));
        count
    }

    /// Receives once and takes in every answer that is whole.
    pub(super) fn receive(&mut self, wire: &mut Wire) -> Result<Received, Failure> {
        let received = match self.direct_room() {
            Some(into) => {
                let received = wire.receive(into).map_err(|error| Failure::lost(&error))?;
                if let Received::Bytes(count) = received {
                    self.advance_part(count);
                }
                received
            }
            None => self.inbox.receive(wire).map_err(|error| Failure::lost(&error))?,
        };
        self.take_in()?;
        Ok(received)
    }

    /// The place that the current part's next bytes belong to, where it is worth receiving there.
    fn direct_room(&mut self) -> Option<&mut [u8]> {
        let part = self
            .part
            .filter(|part| self.inbox.is_empty() && part.left >= DIRECT_BYTES)?;
        match self.pending.front_mut() {
            Some(Pending {
                kind: Kind::Read { filled, into, .. },
                ..
            }) => into.get_mut(*filled..*filled + part.left),
            _ => None,
        }
    }

    fn take_in(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(part) = self.part {
                let there = self.inbox.bytes().len().min(part.left);
                if there > 0 {
                    self.copy_part(there);
                }
                if self.part.is_some() {
                    return Ok(());
                }
            }
            let answer = Answer::decode(self.inbox.bytes());
            let Some(answer) = answer.map_err(|error| Failure::Protocol(error.to_string()))? else {
                return Ok(());
            };
            if !self.take(answer)? {
                return Ok(());
            }
        }
    }

    /// Takes one answer whose header is in the inbox. False until what follows it is there too.
    fn take(&mut self, answer: Answer) -> Result<bool, Failure> {
        match answer {
            Answer::Placed { through } => self.take_placed(through)?,
            Answer::Persistent { op, method } => {
                let pending = self.finish(op)?;
                if !matches!(pending.kind, Kind::Persist) {
                    return Err(out_of_step("a persist", op));
                }
                self.complete(op, Ok(Outcome::Persistent(method)));
            }
            Answer::ReadPart { op, len, last } => {
                self.begin_part(op, len as usize, last)?;
            }
            Answer::Refused { len, .. } | Answer::Stopped { len } => {
                let whole = ANSWER_HEADER_BYTES + len as usize;
                let Some(text) = self.inbox.bytes().get(ANSWER_HEADER_BYTES..whole) else {
                    return Ok(false);
                };
                let refusal = reason::decode(text).map_err(|error| Failure::Protocol(error.to_string()))?;
                self.inbox.consume(whole);
                return match answer {
                    Answer::Refused { op, .. } => {
                        self.finish(op)?;
                        self.complete(op, Err(refusal));
                        Ok(true)
                    }
                    _ => {
                        self.stopped = Some(refusal.clone());
                        Err(Failure::Stopped(refusal))
                    }
                };
            }
        }
        self.inbox.consume(ANSWER_HEADER_BYTES);
        Ok(true)
    }

    fn take_placed(&mut self, through: u64) -> Result<(), Failure> {
        let mut any = false;
        while let Some(pending) = self.pending.front().filter(|pending| pending.op <= through) {
            if !matches!(pending.kind, Kind::Write) {
                break;
            }
            let (op, bytes) = (pending.op, pending.bytes);
            self.pending.pop_front();
            self.pending_bytes -= bytes;
            self.complete(op, Ok(Outcome::Placed));
            any = op == through;
        }
        if any {
            Ok(())
        } else {
            Err(out_of_step("writes", through))
        }
    }

    /// Notes the part's extent; its bytes follow the header.
    fn begin_part(&mut self, op: u64, part: usize, last: bool) -> Result<(), Failure> {
        let Some(Pending {
            op: front,
            kind: Kind::Read { len, filled, into },
            ..
        }) = self.pending.front_mut()
        else {
            return Err(out_of_step("a read", op));
        };
        let end = *filled + part;
        // An empty part that is not the last would let a target keep us busy for nothing.
        if *front != op || end > *len || last != (end == *len) || (part == 0 && !last) {
            return Err(out_of_step("a read", op));
        }
        if into.len() < *len {
            // A process that may have less memory than it asks to read loses its connection, not its life.
            if Vec::<u8>::new().try_reserve_exact(*len).is_err() {
                return Err(Failure::lost(&std::io::ErrorKind::OutOfMemory.into()));
            }
            *into = vec![0; *len];
        }
        if part == 0 {
            self.finish_read(last);
        } else {
            self.part = Some(Part { left: part, last });
        }
        Ok(())
    }

    fn copy_part(&mut self, count: usize) {
        if let Some(Pending {
            kind: Kind::Read { filled, into, .. },
            ..
        }) = self.pending.front_mut()
        {
            into[*filled..*filled + count].copy_from_slice(&self.inbox.bytes()[..count]);
        }
        self.inbox.consume(count);
        self.advance_part(count);
    }

    fn advance_part(&mut self, count: usize) {
        if let Some(Pending {
            kind: Kind::Read { filled, .. },
            ..
        }) = self.pending.front_mut()
        {
            *filled += count;
        }
        let Some(part) = &mut self.part else { return };
        part.left -= count;
        if part.left == 0 {
            let last = part.last;
            self.part = None;
            self.finish_read(last);
        }
    }

    fn finish_read(&mut self, last: bool) {
        if !last {
            return;
        }
        if let Some(Pending {
            op,
            kind: Kind::Read { into, .. },
            bytes,
        }) = self.pending.pop_front()
        {
            self.pending_bytes -= bytes;
            self.complete(op, Ok(Outcome::Read(into)));
        }
    }

    fn finish(&mut self, op: u64) -> Result<Pending, Failure> {
        match self.pending.pop_front() {
            Some(pending) if pending.op == op => {
                self.pending_bytes -= pending.bytes;
                Ok(pending)
            }
            _ => Err(out_of_step("an operation", op)),
        }
    }

    fn complete(&mut self, op: u64, result: Result<Outcome, Refusal>) {
        self.ready.push_back(Completion { op: OpId(op), result });
    }
}

fn out_of_step(what: &str, op: u64) -> Failure {
    Failure::Protocol(format!("an answer to {what} numbered {op} that was not next"))
}
