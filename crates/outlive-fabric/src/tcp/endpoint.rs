//! The initiator's side of a TCP connection.
//!
//! Small operations are gathered and sent together; a large write goes out from the caller's memory
//! without a copy. The socket never blocks: while sending has to wait, what arrives is taken in, so
//! that two sides that both want to send never wait for each other.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::ConnectOptions;
use super::answers::{Answers, Failure};
use super::frame::{Op, OpFrame};
use super::greeting;
use super::socket::{Interest, Received};
use super::spin::{INITIATOR_SPINNERS, Spinner};
use super::wire::Wire;
use crate::{Completion, Endpoint, FabricError, OpId, RemoteKey, SessionInfo, Ticket};

/// Writes up to this are gathered; longer ones are sent from where they lie.
const GATHER_BYTES: usize = 16 << 10;
/// What is gathered is sent at the latest at this size: larger sends gain nothing.
const SEND_BYTES: usize = 64 << 10;

/// Connects to the target at `address` (`host:port`) and uses up `ticket`, once each side has proven to the other
/// that it knows the ticket's secret.
///
/// # Errors
/// [`FabricError::Connect`] when nobody answers, [`FabricError::Refused`] with the target's reason,
/// [`FabricError::Impostor`] when whoever answers cannot prove to be the ticket's target.
pub fn connect(address: &str, ticket: &Ticket, options: &ConnectOptions) -> Result<TcpEndpoint, FabricError> {
    let greeted = greeting::connect(address, ticket, options)?;
    Ok(TcpEndpoint {
        wire: greeted.wire,
        session: greeted.session,
        max_op_bytes: greeted.max_op_bytes,
        answers: Answers::new(),
        gathered: Vec::with_capacity(SEND_BYTES + GATHER_BYTES),
        sent: 0,
        last_op: 0,
        on_way: 0,
        waiting_since: None,
        failed: None,
        spinner: Spinner::new(options.spin, &INITIATOR_SPINNERS),
        options: options.clone(),
    })
}

/// One connection to a target over TCP.
///
/// Used from one thread at a time. Completions that a post collected meanwhile are kept until
/// [`poll`](Endpoint::poll) or [`wait`](Endpoint::wait) delivers them: poll before waiting on
/// [`readiness`](Endpoint::readiness). Dropping it closes the connection; what was gathered is
/// sent as far as the socket takes it at once.
pub struct TcpEndpoint {
    wire: Wire,
    session: SessionInfo,
    max_op_bytes: u32,
    options: ConnectOptions,
    answers: Answers,
    gathered: Vec<u8>,
    /// Bytes of `gathered` that are on their way.
    sent: usize,
    last_op: u64,
    /// The last operation of which something was handed to the socket.
    on_way: u64,
    /// Since when something that is on its way is unanswered without any sign of progress.
    waiting_since: Option<Instant>,
    failed: Option<Failure>,
    spinner: Spinner,
}

impl TcpEndpoint {
    fn post(&mut self, op: Op, bytes: u64) -> Result<OpId, FabricError> {
        self.check()?;
        self.await_window(bytes)?;
        self.last_op += 1;
        let tag = u32::try_from(self.last_op & u64::from(u32::MAX)).expect("masked to 32 bits");
        self.gathered.extend_from_slice(&OpFrame { tag, op }.encode());
        self.answers.expect(self.last_op, op, bytes);
        Ok(OpId(self.last_op))
    }

    fn await_window(&mut self, bytes: u64) -> Result<(), FabricError> {
        let (ops, window) = (self.options.window_ops.max(1), self.options.window_bytes);
        while !self.answers.has_window(ops, window, bytes) {
            self.exchange()?;
        }
        Ok(())
    }

    /// Sends what is gathered when it is worth a system call; never lets it grow past that.
    fn send_if_worth(&mut self) -> Result<(), FabricError> {
        if self.gathered.len() < SEND_BYTES {
            return Ok(());
        }
        self.send_gathered()?;
        while self.gathered.len() >= SEND_BYTES {
            self.exchange()?;
        }
        Ok(())
    }

    /// Sends a large payload from where it lies, behind what is gathered.
    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> Result<(), FabricError> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let total = self.gathered.len() - self.sent + payload;
        let mut done = 0;
        while done < total {
            let unsent = unsent(&self.gathered[self.sent..], parts, done);
            match self.wire.send(&unsent) {
                Ok(0) => self.await_socket(Interest::Both)?,
                Ok(count) => {
                    done += count;
                    self.on_way = self.last_op;
                    self.waiting_since = Some(Instant::now());
                }
                Err(error) => return Err(self.fail_after_receiving(Failure::lost(&error))),
            }
        }
        // Whoever waits for answers only must find the system in possession of all of it.
        while self.wire.has_unsent() {
            self.await_socket(Interest::Both)?;
        }
        self.gathered.clear();
        self.sent = 0;
        Ok(())
    }

    /// Whether something that was posted is not on its way.
    fn has_unsent(&self) -> bool {
        self.sent < self.gathered.len() || self.wire.has_unsent()
    }

    /// Sends what the socket takes of what is gathered, without waiting.
    fn send_gathered(&mut self) -> Result<usize, FabricError> {
        if self.sent == self.gathered.len() {
            return Ok(0);
        }
        match self.wire.send(&[IoSlice::new(&self.gathered[self.sent..])]) {
            Ok(count) => {
                self.sent += count;
                if self.sent == self.gathered.len() {
                    self.gathered.clear();
                    self.sent = 0;
                }
                if count > 0 {
                    self.on_way = self.last_op;
                    self.waiting_since.get_or_insert_with(Instant::now);
                }
                Ok(count)
            }
            Err(error) => Err(self.fail_after_receiving(Failure::lost(&error))),
        }
    }

    /// Takes in what has arrived, without waiting. Whether anything had.
    fn receive(&mut self) -> Result<bool, FabricError> {
        let mut any = false;
        loop {
            match self.answers.receive(&mut self.wire) {
                Ok(Received::Bytes(_)) => any = true,
                Ok(Received::Nothing) => break,
                Ok(Received::End) => return Err(self.fail(Failure::ended())),
                Err(failure) => return Err(self.fail(failure)),
            }
            // What TLS has decrypted nobody is woken for.
            if self.answers.drained() && !self.wire.has_unread() {
                break;
            }
        }
        if any {
            self.waiting_since = self.answers.waits_for(self.on_way).then(Instant::now);
        }
        Ok(any)
    }

    /// One step of sending and receiving; waits until one of them moved, within the time-out.
    fn exchange(&mut self) -> Result<(), FabricError> {
        let sent = self.send_gathered()?;
        if self.receive()? || sent > 0 {
            return Ok(());
        }
        if !self.has_unsent() {
            return self.await_socket(Interest::Input);
        }
        self.await_socket(Interest::Both)?;
        if self.send_gathered()? > 0 {
            // Room that had to be waited for is progress: the other host took something.
            self.waiting_since = Some(Instant::now());
        }
        Ok(())
    }

    /// Waits until the socket is ready or the time-out has passed, and receives.
    fn await_socket(&mut self, interest: Interest) -> Result<(), FabricError> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let left = self.options.op_timeout.saturating_sub(since.elapsed());
        match self.wire.await_ready(interest, None, Some(left)) {
            Err(error) => Err(self.fail(Failure::lost(&error))),
            Ok(false) => Err(self.fail(self.timed_out())),
            Ok(true) => self.receive().map(|_| ()),
        }
    }

    /// Fails when something is on its way and nothing has moved for the time-out.
    fn check_progress(&mut self) -> Result<(), FabricError> {
        match self.waiting_since {
            Some(since) if since.elapsed() >= self.options.op_timeout => Err(self.fail(self.timed_out())),
            _ => Ok(()),
        }
    }

    fn timed_out(&self) -> Failure {
        Failure::TimedOut(self.options.op_timeout)
    }

    fn check(&self) -> Result<(), FabricError> {
        self.failed
            .as_ref()
            .map_or(Ok(()), |failure| Err(failure.error()))
    }

    /// A send that fails may have been overtaken by the target's reason: look for it first.
    fn fail_after_receiving(&mut self, failure: Failure) -> FabricError {
        while let Ok(Received::Bytes(_)) = self.answers.receive(&mut self.wire) {}
        self.fail(failure)
    }

    fn fail(&mut self, failure: Failure) -> FabricError {
        let failure = self
            .answers
            .stopped()
            .map_or(failure, |refusal| Failure::Stopped(refusal.clone()));
        self.failed.get_or_insert(failure).error()
    }

    /// Sends and receives once. An error waits until what arrived before it is delivered.
    fn advance(&mut self) -> Result<(), FabricError> {
        self.check()?;
        self.send_gathered()?;
        self.receive()?;
        self.check_progress()
    }

    fn deliver(
        &mut self,
        advanced: Result<(), FabricError>,
        completions: &mut Vec<Completion>,
    ) -> Result<usize, FabricError> {
        match self.answers.deliver(completions) {
            0 => advanced.map(|()| 0),
            count => Ok(count),
        }
    }

    /// Waits until completions are there or `timeout` has passed.
    fn await_completions(&mut self, timeout: Duration) -> Result<(), FabricError> {
        let begun = Instant::now();
        let turn = if self.answers.any_pending() {
            self.spinner.turn(begun)
        } else {
            None
        };
        if let Some(turn) = turn {
            while begun.elapsed() < timeout && turn.goes_on() {
                self.advance()?;
                if self.answers.any_ready() {
                    self.spinner.observe(begun.elapsed());
                    return Ok(());
                }
            }
        }
        while let Some(left) = timeout
            .checked_sub(begun.elapsed())
            .filter(|left| !left.is_zero())
        {
            let interest = if self.sent < self.gathered.len() {
                Interest::Both
            } else {
                Interest::Input
            };
            let until_lost = self
                .waiting_since
                .map(|since| self.options.op_timeout.saturating_sub(since.elapsed()));
            let left = until_lost.map_or(left, |lost| left.min(lost));
            if let Err(error) = self.wire.await_ready(interest, None, Some(left)) {
                return Err(self.fail(Failure::lost(&error)));
            }
            self.advance()?;
            if self.answers.any_ready() {
                self.spinner.observe(begun.elapsed());
                return Ok(());
            }
        }
        self.spinner.observe(begun.elapsed());
        Ok(())
    }
}

/// What is gathered and `parts`, without the first `done` bytes.
fn unsent<'a>(gathered: &'a [u8], parts: &'a [IoSlice<'_>], mut done: usize) -> Vec<IoSlice<'a>> {
    let mut unsent = Vec::with_capacity(parts.len() + 1);
    for part in std::iter::once(gathered).chain(parts.iter().map(|part| &**part)) {
        let skipped = done.min(part.len());
        done -= skipped;
        if skipped < part.len() {
            unsent.push(IoSlice::new(&part[skipped..]));
        }
    }
    unsent
}

impl Endpoint for TcpEndpoint {
    fn session(&self) -> &SessionInfo {
        &self.session
    }

    fn post_write(
        &mut self,
        key: RemoteKey,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<OpId, FabricError> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let len = total as u64;
        if len > u64::from(self.max_op_bytes) {
            return self.post(Op::Oversize { len }, 0);
        }
        let op = self.post(Op::Write { key, offset, len }, len)?;
        if total > GATHER_BYTES {
            self.send_parts(parts)?;
        } else {
            parts
                .iter()
                .for_each(|part| self.gathered.extend_from_slice(part));
            self.send_if_worth()?;
        }
        Ok(op)
    }

    fn post_read(&mut self, key: RemoteKey, offset: u64, len: u32) -> Result<OpId, FabricError> {
        // One that is too long is refused by the target and moves nothing.
        let bytes = if len > self.max_op_bytes {
            0
        } else {
            u64::from(len)
        };
        let op = self.post(
            Op::Read {
                key,
                offset,
                len: u64::from(len),
            },
            bytes,
        )?;
        self.send_if_worth()?;
        Ok(op)
    }

    fn post_persist(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<OpId, FabricError> {
        let op = self.post(Op::Persist { key, offset, len }, 0)?;
        self.send_if_worth()?;
        Ok(op)
    }

    fn flush(&mut self) -> Result<(), FabricError> {
        self.check()?;
        self.send_gathered()?;
        while self.has_unsent() {
            self.exchange()?;
        }
        Ok(())
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError> {
        let advanced = self.advance();
        self.deliver(advanced, completions)
    }

    fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> Result<usize, FabricError> {
        let mut advanced = self.advance();
        if advanced.is_ok() && !self.answers.any_ready() {
            advanced = self.await_completions(timeout);
        }
        self.deliver(advanced, completions)
    }

    fn outstanding(&self) -> usize {
        self.answers.undelivered()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wire.as_fd())
    }

    fn max_op_bytes(&self) -> u32 {
        self.max_op_bytes
    }
}

impl Drop for TcpEndpoint {
    fn drop(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let tag = u32::try_from((self.last_op + 1) & u64::from(u32::MAX)).expect("masked to 32 bits");
        self.gathered
            .extend_from_slice(&OpFrame { tag, op: Op::Close }.encode());
        let _ = self.wire.send(&[IoSlice::new(&self.gathered[self.sent..])]);
        if self.wire.direct().is_none() {
            let _ = self.wire.end();
        }
    }
}
