//! The service that the simulated pairs run.

use crate::{Moment, RestoreError, Service};

/// A sum: `+` and 8 bytes adds, anything else reads. The reply is the sum and the time, 8 bytes each.
///
/// Only positive numbers are added, so a sum names a point in the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sum: u64,
}

/// A request that adds.
pub(super) fn add(number: u64) -> Vec<u8> {
    let mut request = vec![b'+'];
    request.extend_from_slice(&number.to_le_bytes());
    request
}

/// A request that reads.
pub(super) fn read() -> Vec<u8> {
    b"?".to_vec()
}

/// What an adding request adds.
pub(super) fn added(request: &[u8]) -> Option<u64> {
    let (b'+', number) = request.split_first()? else {
        return None;
    };
    Some(u64::from_le_bytes(number.try_into().ok()?))
}

/// Sum and time of a reply.
pub(super) fn parse(reply: &[u8]) -> Option<(u64, u64)> {
    let (sum, at_ms) = reply.split_at_checked(8)?;
    Some((
        u64::from_le_bytes(sum.try_into().ok()?),
        u64::from_le_bytes(at_ms.try_into().ok()?),
    ))
}

impl Tally {
    fn reply(&self, at: Moment) -> Vec<u8> {
        [self.sum.to_le_bytes(), at.unix_ms.to_le_bytes()].concat()
    }
}

impl Service for Tally {
    fn is_read_only(&self, request: &[u8]) -> bool {
        added(request).is_none()
    }

    fn apply(&mut self, request: &[u8], at: Moment) -> Vec<u8> {
        self.sum += added(request).unwrap_or(0);
        self.reply(at)
    }

    fn query(&self, _request: &[u8], at: Moment) -> Vec<u8> {
        self.reply(at)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.sum.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.sum = match snapshot {
            [] => 0,
            bytes => u64::from_le_bytes(bytes.try_into().map_err(RestoreError::new)?),
        };
        Ok(())
    }
}
