//! The initiator's side of a TCP connection.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::ConnectOptions;
use crate::{Completion, Endpoint, FabricError, OpId, RemoteKey, SessionInfo, TicketId};

/// Connects to the target at `address` (`host:port`) and presents `ticket`, which is used up by it.
///
/// # Errors
/// [`FabricError::Connect`] when nobody answers, [`FabricError::Refused`] with the target's reason.
pub fn connect(
    _address: &str,
    _ticket: TicketId,
    _options: &ConnectOptions,
) -> Result<TcpEndpoint, FabricError> {
    unimplemented!()
}

/// One connection to a target over TCP.
pub struct TcpEndpoint {}

impl Endpoint for TcpEndpoint {
    fn session(&self) -> &SessionInfo {
        unimplemented!()
    }
    fn post_write(&mut self, _: RemoteKey, _: u64, _: &[IoSlice<'_>]) -> Result<OpId, FabricError> {
        unimplemented!()
    }
    fn post_read(&mut self, _: RemoteKey, _: u64, _: u32) -> Result<OpId, FabricError> {
        unimplemented!()
    }
    fn post_persist(&mut self, _: RemoteKey, _: u64, _: u64) -> Result<OpId, FabricError> {
        unimplemented!()
    }
    fn flush(&mut self) -> Result<(), FabricError> {
        unimplemented!()
    }
    fn poll(&mut self, _: &mut Vec<Completion>) -> Result<usize, FabricError> {
        unimplemented!()
    }
    fn wait(&mut self, _: &mut Vec<Completion>, _: Duration) -> Result<usize, FabricError> {
        unimplemented!()
    }
    fn outstanding(&self) -> usize {
        unimplemented!()
    }
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        unimplemented!()
    }
    fn max_op_bytes(&self) -> u32 {
        unimplemented!()
    }
}
