//! Serving one admitted connection, on its own thread.
//!
//! The loop carries out what has arrived, settles it (one flush for all persists, one send for all
//! answers), and waits for more: spinning briefly where that pays, then blocked. The socket never
//! blocks; every wait also ends when the connection is told to stop.

use std::io;
use std::time::{Duration, Instant};

use super::Limits;
use super::batch::{Batch, Ready};
use super::buffers::{Inbox, Outbox};
use super::connection::TcpConnection;
use super::frame::{ANSWER_HEADER_BYTES, Answer, MAX_ANSWER_PAYLOAD_BYTES, OP_HEADER_BYTES, Op, OpFrame};
use super::reason::{self, MAX_REASON_BYTES};
use super::socket::{Interest, Received};
use super::spin::{Spinner, TARGET_SPINNERS};
use super::wire::Wire;
use crate::{Admitted, CloseReason, Exposure, PersistMethod, Refusal, RemoteKey};

/// One receive takes up to this: thousands of small frames in one system call.
const INBOX_BYTES: usize = 256 << 10;
/// Replies stand here until they are sent, never more: two parts of a read. A connection that takes
/// nothing blocks its own thread.
const OUTBOX_BYTES: usize = 2 * (MAX_ANSWER_PAYLOAD_BYTES as usize + ANSWER_HEADER_BYTES);
/// A write at least this long is received straight into the region's memory.
const DIRECT_BYTES: u64 = 32 << 10;
/// One direct receive takes at most this, so that a stop is noticed soon.
const DIRECT_STEP_BYTES: u64 = 1 << 20;

const _: () = assert!(DIRECT_BYTES + OP_HEADER_BYTES as u64 <= INBOX_BYTES as u64 / 2);
const _: () = assert!(ANSWER_HEADER_BYTES + MAX_REASON_BYTES as usize <= OUTBOX_BYTES);

/// What a connection's buffers take, and as much again for everything else that comes along with it.
pub(super) const CONNECTION_BYTES: usize = 2 * (INBOX_BYTES + OUTBOX_BYTES);

/// Whether there is memory to serve one more connection with. Running out of it in the middle would end the process, and
/// everybody's connections; a moment before, it is one connection that is not let in.
pub(super) fn has_room() -> bool {
    Vec::<u8>::new().try_reserve_exact(CONNECTION_BYTES).is_ok()
}

/// Serves until the connection ends, and says why. Answers what it can on the way out; no byte is
/// placed after it returns.
pub(super) fn serve(
    wire: &mut Wire,
    connection: &TcpConnection,
    admitted: &Admitted,
    limits: &Limits,
) -> CloseReason {
    let mut server = Server {
        wire,
        connection,
        exposure: admitted.exposure.as_ref(),
        method: admitted.session.persist,
        limits,
        inbox: Inbox::new(INBOX_BYTES),
        body: None,
        batch: Batch::default(),
        answers: Vec::new(),
        outbox: Outbox::new(OUTBOX_BYTES),
        last_op: 0,
        spinner: Spinner::new(limits.spin, &TARGET_SPINNERS),
    };
    let Err(reason) = server.run();
    match &reason {
        // A process that dies right after it sent a write may well have meant it.
        CloseReason::Closed => server.batch.place_staged(server.exposure),
        CloseReason::Stopped(refusal) => server.say_why(refusal),
        CloseReason::Broken(why) => server.say_why(&Refusal::Protocol(why.clone())),
    }
    reason
}

struct Server<'a> {
    wire: &'a mut Wire,
    connection: &'a TcpConnection,
    exposure: &'a dyn Exposure,
    method: Option<PersistMethod>,
    limits: &'a Limits,
    inbox: Inbox,
    body: Option<Body>,
    batch: Batch,
    /// Kept between batches, so that none allocates.
    answers: Vec<Ready>,
    outbox: Outbox,
    last_op: u64,
    spinner: Spinner,
}

/// A large write whose payload is still coming in.
struct Body {
    op: u64,
    key: RemoteKey,
    offset: u64,
    len: u64,
    left: u64,
    /// Refused: the rest is taken from the wire and dropped.
    refusal: Option<Refusal>,
}

/// How a connection ends is what ends the loop.
type Step<T> = Result<T, CloseReason>;

impl Server<'_> {
    fn run(&mut self) -> Result<std::convert::Infallible, CloseReason> {
        loop {
            self.carry_out()?;
            if !self.batch.awaits_persist() {
                self.settle()?;
            }
            if !self.receive()? {
                self.settle()?;
                self.await_input()?;
            }
        }
    }

    /// Carries out every operation that is in the inbox whole, and what is there of a large write.
    fn carry_out(&mut self) -> Step<()> {
        loop {
            self.check_stop()?;
            if self.body.is_some() {
                if self.inbox.is_empty() {
                    return Ok(());
                }
                self.place_from_inbox();
                continue;
            }
            let frame = OpFrame::decode(self.inbox.bytes()).map_err(|error| broken(&error))?;
            let Some(frame) = frame else {
                return Ok(());
            };
            let op = self.check_tag(frame.tag)?;
            if let Op::Write { len, .. } = frame.op {
                if len > u64::from(self.limits.max_op_bytes) {
                    return Err(broken(&format_args!(
                        "a write of {len} bytes is longer than was agreed"
                    )));
                }
                let whole = OP_HEADER_BYTES + usize::try_from(len).expect("bounded by a u32");
                if len < DIRECT_BYTES && self.inbox.bytes().len() < whole {
                    return Ok(());
                }
            }
            self.last_op = op;
            self.begin(op, frame.op)?;
            if self.batch.is_full() {
                self.settle()?;
            }
        }
    }

    /// The number of the operation whose header stands first: the one after the last.
    fn check_tag(&self, tag: u32) -> Step<u64> {
        let op = self.last_op + 1;
        if (op & u64::from(u32::MAX)) == u64::from(tag) {
            return Ok(op);
        }
        Err(broken(&format_args!("operation {op} is tagged {tag}")))
    }

    /// The header is in the inbox, and a small write's payload behind it.
    fn begin(&mut self, op: u64, what: Op) -> Step<()> {
        match what {
            Op::Write { key, offset, len } if len < DIRECT_BYTES => {
                let whole = OP_HEADER_BYTES + usize::try_from(len).expect("bounded by DIRECT_BYTES");
                let payload = &self.inbox.bytes()[OP_HEADER_BYTES..whole];
                self.batch.write(self.exposure, op, (key, offset), payload);
                self.inbox.consume(whole);
            }
            Op::Write { key, offset, len } => {
                self.inbox.consume(OP_HEADER_BYTES);
                self.batch.place_staged(self.exposure);
                let refusal = self.exposure.check_write(key, offset, len).err();
                self.body = Some(Body {
                    op,
                    key,
                    offset,
                    len,
                    left: len,
                    refusal,
                });
            }
            Op::Read { key, offset, len } => {
                self.inbox.consume(OP_HEADER_BYTES);
                self.read(op, key, offset, len)?;
            }
            Op::Persist { key, offset, len } => {
                self.inbox.consume(OP_HEADER_BYTES);
                self.batch.persist(self.exposure, op, key, offset, len);
            }
            Op::Oversize { .. } => {
                self.inbox.consume(OP_HEADER_BYTES);
                let refusal = op_limit(self.limits);
                self.batch.refuse(self.exposure, op, refusal);
            }
            Op::Close => {
                self.settle()?;
                return Err(CloseReason::Closed);
            }
        }
        Ok(())
    }

    /// Places what the inbox holds of a large write.
    fn place_from_inbox(&mut self) {
        let Some(body) = &mut self.body else { return };
        let there = self.inbox.bytes().len();
        let count = usize::try_from(body.left).map_or(there, |left| left.min(there));
        if body.refusal.is_none() {
            let bytes = &self.inbox.bytes()[..count];
            body.refusal = self.exposure.write(body.key, body.offset, bytes).err();
        }
        self.inbox.consume(count);
        self.advance_body(count as u64);
    }

    fn advance_body(&mut self, count: u64) {
        let Some(body) = &mut self.body else { return };
        body.left = body.left.saturating_sub(count);
        body.offset = body.offset.wrapping_add(count);
        if body.left > 0 {
            return;
        }
        if let Some(body) = self.body.take() {
            match body.refusal {
                Some(refusal) => self.batch.refuse(self.exposure, body.op, refusal),
                None => self.batch.placed(body.op, body.len),
            }
        }
    }

    /// Answers a read in parts. What was posted before it is answered before it.
    fn read(&mut self, op: u64, key: RemoteKey, offset: u64, len: u64) -> Step<()> {
        self.settle_without_sending()?;
        if len > u64::from(self.limits.max_op_bytes) {
            let refusal = op_limit(self.limits);
            return self.push_refusal(op, &refusal);
        }
        let whole = |refusal| match refusal {
            Refusal::OutOfRange { limit, .. } => Refusal::OutOfRange { offset, len, limit },
            other => other,
        };
        if let Err(refusal) = self.probe_end(key, offset, len) {
            return self.push_refusal(op, &whole(refusal));
        }
        let mut at = 0;
        loop {
            let part = (len - at).min(u64::from(MAX_ANSWER_PAYLOAD_BYTES));
            let count = usize::try_from(part).expect("bounded by MAX_ANSWER_PAYLOAD_BYTES");
            self.make_room(ANSWER_HEADER_BYTES + count)?;
            self.check_stop()?;
            let last = at + part == len;
            let header = Answer::ReadPart {
                op,
                len: u32::try_from(part).expect("bounded by MAX_ANSWER_PAYLOAD_BYTES"),
                last,
            };
            self.outbox.push(&header.encode());
            let into = self.outbox.append(count);
            if let Err(refusal) = self.exposure.read(key, offset.wrapping_add(at), into) {
                self.outbox.take_back(ANSWER_HEADER_BYTES + count);
                return self.push_refusal(op, &whole(refusal));
            }
            at += part;
            if last {
                return Ok(());
            }
        }
    }

    /// Sees to it that a read of several parts is refused before its first part is sent, not after.
    fn probe_end(&self, key: RemoteKey, offset: u64, len: u64) -> Result<(), Refusal> {
        if len <= u64::from(MAX_ANSWER_PAYLOAD_BYTES) {
            return Ok(());
        }
        // An end that does not exist is probed at the highest address, where nothing can be.
        let last = offset.saturating_add(len - 1);
        self.exposure.read(key, last, &mut [0])
    }

    /// Places, persists and answers all that was carried out.
    fn settle(&mut self) -> Step<()> {
        self.settle_without_sending()?;
        self.send_all()
    }

    fn settle_without_sending(&mut self) -> Step<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.check_stop()?;
        let mut answers = std::mem::take(&mut self.answers);
        self.batch.settle(self.exposure, self.method, &mut answers);
        for answer in answers.drain(..) {
            match answer {
                Ready::Placed { through } => self.push_header(Answer::Placed { through })?,
                Ready::Persistent { op, method } => self.push_header(Answer::Persistent { op, method })?,
                Ready::Refused { op, refusal } => self.push_refusal(op, &refusal)?,
            }
        }
        self.answers = answers;
        Ok(())
    }

    fn push_header(&mut self, answer: Answer) -> Step<()> {
        self.make_room(ANSWER_HEADER_BYTES)?;
        self.outbox.push(&answer.encode());
        Ok(())
    }

    fn push_refusal(&mut self, op: u64, refusal: &Refusal) -> Step<()> {
        let text = reason::encode(refusal);
        self.make_room(ANSWER_HEADER_BYTES + text.len())?;
        let len = u32::try_from(text.len()).expect("bounded by MAX_REASON_BYTES");
        self.outbox.push(&Answer::Refused { op, len }.encode());
        self.outbox.push(&text);
        Ok(())
    }

    fn make_room(&mut self, count: usize) -> Step<()> {
        if self.outbox.room() < count {
            self.send_all()?;
        }
        Ok(())
    }

    /// Sends the outbox empty; waits for the other side to take it, within the send time-out.
    fn send_all(&mut self) -> Step<()> {
        while !self.outbox.is_empty() {
            self.check_stop()?;
            if self.outbox.send(self.wire).map_err(lost)? > 0 {
                continue;
            }
            let timeout = Some(self.limits.send_timeout);
            if !self.await_ready(Interest::Output, timeout)? {
                return Err(broken(&"the initiator takes nothing of what it asked for"));
            }
        }
        Ok(())
    }

    /// Receives once, a large write's payload straight into memory. False when nothing was there.
    fn receive(&mut self) -> Step<bool> {
        self.check_stop()?;
        if self.inbox.is_empty()
            && let Some(done) = self.receive_direct()?
        {
            return Ok(done);
        }
        match self.inbox.receive(self.wire).map_err(lost)? {
            Received::Bytes(_) => Ok(true),
            Received::Nothing => Ok(false),
            Received::End => Err(CloseReason::Closed),
        }
    }

    /// `None` where the payload has to go through the inbox.
    fn receive_direct(&mut self) -> Step<Option<bool>> {
        let Some(body) = self.body.as_mut().filter(|body| body.refusal.is_none()) else {
            return Ok(None);
        };
        let Some(socket) = self.wire.direct() else {
            return Ok(None);
        };
        let step = body.left.min(DIRECT_STEP_BYTES);
        match self.exposure.receive(body.key, body.offset, step, socket) {
            Err(refusal) => {
                body.refusal = Some(refusal);
                Ok(None)
            }
            Ok(None) => Ok(None),
            Ok(Some(Ok(0))) => Err(CloseReason::Closed),
            Ok(Some(Ok(count))) => {
                self.advance_body(count as u64);
                Ok(Some(true))
            }
            Ok(Some(Err(error))) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Some(false)),
                _ => Err(lost(error)),
            },
        }
    }

    /// Waits until something was received: spins where that pays, then blocks.
    fn await_input(&mut self) -> Step<()> {
        let begun = Instant::now();
        if let Some(turn) = self.spinner.turn(begun) {
            while turn.goes_on() {
                if self.receive()? {
                    self.spinner.observe(begun.elapsed());
                    return Ok(());
                }
            }
        }
        loop {
            let inside_frame = self.body.is_some() || !self.inbox.is_empty();
            let timeout = inside_frame.then_some(self.limits.frame_timeout);
            if !self.await_ready(Interest::Input, timeout)? {
                return Err(broken(&"the initiator fell silent inside a frame"));
            }
            if self.receive()? {
                self.spinner.observe(begun.elapsed());
                return Ok(());
            }
        }
    }

    fn await_ready(&mut self, interest: Interest, timeout: Option<Duration>) -> Step<bool> {
        let wake = Some(self.connection.wake());
        let ready = self.wire.await_ready(interest, wake, timeout).map_err(lost)?;
        self.check_stop()?;
        Ok(ready)
    }

    fn check_stop(&self) -> Step<()> {
        if !self.connection.is_stopping() {
            return Ok(());
        }
        Err(CloseReason::Stopped(
            self.connection.stop_reason().unwrap_or(Refusal::ShuttingDown),
        ))
    }

    /// Tells the reason as far as the socket takes it now; never waits.
    fn say_why(&mut self, refusal: &Refusal) {
        let text = reason::encode(refusal);
        let len = u32::try_from(text.len()).expect("bounded by MAX_REASON_BYTES");
        while !self.outbox.is_empty() {
            if !matches!(self.outbox.send(self.wire), Ok(1..)) {
                return;
            }
        }
        self.outbox.push(&Answer::Stopped { len }.encode());
        self.outbox.push(&text);
        let _ = self.outbox.send(self.wire);
    }
}

fn op_limit(limits: &Limits) -> Refusal {
    let limit = u64::from(limits.max_op_bytes);
    Refusal::Limit {
        what: "bytes in one operation".into(),
        limit,
    }
}

fn broken(why: &dyn std::fmt::Display) -> CloseReason {
    CloseReason::Broken(why.to_string())
}

/// A reset is how a dead process's connection looks; anything else is the network's or the host's fault.
fn lost(error: io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Closed,
        _ => CloseReason::Broken(error.to_string()),
    }
}
