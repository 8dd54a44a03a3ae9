//! Fixed buffers between a socket and the frames: nothing here grows.

use std::io::{self, IoSlice};

use super::socket::Received;
use super::wire::Wire;

/// Bytes that arrived and were not yet used. Pages are touched only as far as bytes arrive.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            start: 0,
            end: 0,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn consume(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "only what is there is consumed");
        self.start += count;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Receives once. Moves an unfinished frame to the front when it stands in the way: callers
    /// leave at most one frame, shorter than the buffer.
    pub(super) fn receive(&mut self, wire: &mut Wire) -> io::Result<Received> {
        if self.start > self.bytes.len() / 2 || self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            return Ok(Received::Nothing);
        }
        let received = wire.receive(&mut self.bytes[self.end..])?;
        if let Received::Bytes(count) = received {
            self.end += count;
        }
        Ok(received)
    }
}

/// Answers that are not yet on their way.
pub(super) struct Outbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Outbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            start: 0,
            end: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn room(&self) -> usize {
        self.bytes.len() - self.end
    }

    /// Room for `count` bytes at the end, to be filled.
    pub(super) fn append(&mut self, count: usize) -> &mut [u8] {
        let begin = self.end;
        self.end += count;
        &mut self.bytes[begin..self.end]
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.append(bytes.len()).copy_from_slice(bytes);
    }

    /// Takes back the last `count` bytes, none of which was sent.
    pub(super) fn take_back(&mut self, count: usize) {
        self.end -= count;
    }

    /// Sends what the socket takes; 0 when it takes nothing now.
    pub(super) fn send(&mut self, wire: &mut Wire) -> io::Result<usize> {
        let sent = wire.send(&[IoSlice::new(&self.bytes[self.start..self.end])])?;
        self.start += sent;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        Ok(sent)
    }
}
