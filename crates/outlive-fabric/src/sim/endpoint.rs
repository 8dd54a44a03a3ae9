//! The initiator's side of a simulated connection.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::link::{End, Request};
use super::world::News;
use super::{Network, nanos};
use crate::{Completion, ConnectionId, Endpoint, FabricError, OpId, RemoteKey, SessionInfo};

/// One connection in a [`Network`]. Waiting moves the network's virtual time, or sleeps where it has a clock's.
pub struct SimEndpoint {
    network: Network,
    id: ConnectionId,
    session: SessionInfo,
    max_op_bytes: u32,
    window_ops: usize,
    op_timeout_ns: u64,
    step_ns: u64,
    last_op: u64,
    in_flight: usize,
    ready: Vec<Completion>,
    /// When something was last heard, or first waited for.
    heard_ns: u64,
    failed: Option<Failure>,
}

enum Failure {
    Ended(End),
    TimedOut,
}

impl SimEndpoint {
    pub(super) fn new(network: Network, id: ConnectionId, session: SessionInfo) -> Self {
        let options = network.world().options().clone();
        Self {
            network,
            id,
            session,
            max_op_bytes: options.max_op_bytes,
            window_ops: options.window_ops.max(1),
            op_timeout_ns: nanos(options.op_timeout),
            step_ns: nanos(options.step).max(1),
            last_op: 0,
            in_flight: 0,
            ready: Vec::new(),
            heard_ns: 0,
            failed: None,
        }
    }

    /// Its number at the target and in the network.
    pub fn connection(&self) -> ConnectionId {
        self.id
    }

    /// When something next happens on this connection, on the network's clock: for who waits by other means than
    /// [`wait`](Endpoint::wait). `None`: nothing is on its way, or it is held up.
    pub fn next_due(&self) -> Option<Duration> {
        self.network.world().next_of(self.id).map(Duration::from_nanos)
    }

    fn post(&mut self, request: Request) -> Result<OpId, FabricError> {
        self.network.catch_up();
        self.hear()?;
        while self.in_flight >= self.window_ops {
            self.network.pass(self.id, self.give_up_ns());
            self.hear()?;
        }
        if self.in_flight == 0 {
            self.heard_ns = self.now_ns();
        }
        self.last_op += 1;
        self.in_flight += 1;
        let op = OpId(self.last_op);
        self.network.world().post(self.id, op, request);
        Ok(op)
    }

    /// Collects what has arrived.
    fn hear(&mut self) -> Result<(), FabricError> {
        while self.failed.is_none() {
            let now = self.now_ns();
            let mut world = self.network.world();
            match world.hear(self.id) {
                News::Completion(completion) => {
                    self.ready.push(completion);
                    self.in_flight -= 1;
                    self.heard_ns = now;
                }
                News::Ended(end) => self.failed = Some(Failure::Ended(end)),
                News::Nothing if self.in_flight > 0 && now >= self.give_up_ns() => {
                    self.failed = Some(Failure::TimedOut);
                }
                News::Nothing => break,
            }
        }
        self.failed
            .as_ref()
            .map_or(Ok(()), |failure| Err(self.error(failure)))
    }

    fn now_ns(&self) -> u64 {
        let carried_out_ns = self.network.world().now_ns();
        self.network
            .clock_ns()
            .map_or(carried_out_ns, |clock| clock.max(carried_out_ns))
    }

    fn give_up_ns(&self) -> u64 {
        self.heard_ns.saturating_add(self.op_timeout_ns)
    }

    fn error(&self, failure: &Failure) -> FabricError {
        match failure {
            Failure::Ended(End::Stopped(refusal)) => FabricError::Stopped(refusal.clone()),
            Failure::Ended(End::Lost) => FabricError::Lost(io::ErrorKind::ConnectionReset.into()),
            Failure::TimedOut => FabricError::TimedOut {
                ms: self.op_timeout_ns / 1_000_000,
            },
        }
    }

    fn deliver(
        &mut self,
        heard: Result<(), FabricError>,
        completions: &mut Vec<Completion>,
    ) -> Result<usize, FabricError> {
        match self.ready.len() {
            0 => heard.map(|()| 0),
            count => {
                completions.append(&mut self.ready);
                Ok(count)
            }
        }
    }
}

impl Endpoint for SimEndpoint {
    fn session(&self) -> &SessionInfo {
        &self.session
    }

    fn post_write(
        &mut self,
        key: RemoteKey,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<OpId, FabricError> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > self.max_op_bytes as usize {
            return self.post(Request::Oversize);
        }
        let bytes = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.post(Request::Write { key, offset, bytes })
    }

    fn post_read(&mut self, key: RemoteKey, offset: u64, len: u32) -> Result<OpId, FabricError> {
        self.post(Request::Read { key, offset, len })
    }

    fn post_persist(&mut self, key: RemoteKey, offset: u64, len: u64) -> Result<OpId, FabricError> {
        self.post(Request::Persist { key, offset, len })
    }

    fn flush(&mut self) -> Result<(), FabricError> {
        self.failed
            .as_ref()
            .map_or(Ok(()), |failure| Err(self.error(failure)))
    }

    /// Lets one step happen, so that whoever only polls gets on too.
    fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, FabricError> {
        self.network.catch_up();
        let mut heard = self.hear();
        if heard.is_ok() && self.ready.is_empty() && self.network.clock_ns().is_none() {
            let now_ns = self.network.world().now_ns();
            self.network.step(now_ns.saturating_add(self.step_ns));
            heard = self.hear();
        }
        self.deliver(heard, completions)
    }

    fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> Result<usize, FabricError> {
        self.network.catch_up();
        let mut heard = self.hear();
        let until_ns = self.now_ns().saturating_add(nanos(timeout));
        while heard.is_ok() && self.ready.is_empty() && self.now_ns() < until_ns {
            let limit_ns = if self.in_flight > 0 {
                until_ns.min(self.give_up_ns())
            } else {
                until_ns
            };
            self.network.pass(self.id, limit_ns);
            heard = self.hear();
        }
        self.deliver(heard, completions)
    }

    fn outstanding(&self) -> usize {
        self.in_flight + self.ready.len()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn max_op_bytes(&self) -> u32 {
        self.max_op_bytes
    }
}

impl Drop for SimEndpoint {
    fn drop(&mut self) {
        self.network.abandon(self.id);
    }
}
