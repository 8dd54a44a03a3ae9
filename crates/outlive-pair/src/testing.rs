//! A small service for this crate's own tests.

use crate::{Moment, RestoreError, Service};

/// A counter: `add N` returns the new value, `get` the present one.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) value: i64,
    /// How often anything was added: part of the state.
    pub(crate) additions: u64,
}

impl Service for Counter {
    fn is_read_only(&self, request: &[u8]) -> bool {
        request == b"get"
    }

    fn apply(&mut self, request: &[u8], _at: Moment) -> Vec<u8> {
        let text = String::from_utf8_lossy(request);
        let Some(by) = text.strip_prefix("add ").and_then(|by| by.parse::<i64>().ok()) else {
            return b"error: add N or get".to_vec();
        };
        self.value = self.value.wrapping_add(by);
        self.additions += 1;
        self.value.to_string().into_bytes()
    }

    fn query(&self, _request: &[u8], _at: Moment) -> Vec<u8> {
        self.value.to_string().into_bytes()
    }

    fn snapshot(&self) -> Vec<u8> {
        format!("{} {}", self.value, self.additions).into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = Self::default();
        if snapshot.is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(snapshot).map_err(RestoreError::new)?;
        let (value, additions) = text
            .split_once(' ')
            .ok_or_else(|| RestoreError::new("no space"))?;
        self.value = value.parse().map_err(RestoreError::new)?;
        self.additions = additions.parse().map_err(RestoreError::new)?;
        Ok(())
    }
}
