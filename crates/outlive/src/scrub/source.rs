//! A link that is read no faster than it may be.

use std::ops::ControlFlow;
use std::time::Instant;

use outlive_layout::Source;

use super::pace::Pace;
use super::{ScrubProgress, sleep};
use crate::link::{Link, LinkError};

pub(super) struct Paced<'a, 'b> {
    pub(super) link: &'a mut Link,
    pub(super) pace: &'a mut Pace,
    pub(super) progress: &'a mut ScrubProgress<'b>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum PacedError {
    #[error(transparent)]
    Link(LinkError),
    /// Whoever was told of the progress ended it.
    #[error("it was ended")]
    Stopped,
}

impl Paced<'_, '_> {
    fn wait(&mut self, bytes: u64) -> ControlFlow<()> {
        let pause = self.pace.take(bytes, Instant::now());
        sleep(pause, self.progress)
    }
}

impl Source for Paced<'_, '_> {
    type Error = PacedError;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), PacedError> {
        let piece = usize::try_from(self.pace.piece()).expect("at most a MiB");
        let mut at = offset;
        for part in into.chunks_mut(piece) {
            let len = part.len() as u64;
            if self.wait(len).is_break() {
                return Err(PacedError::Stopped);
            }
            self.link.read(at, part).map_err(PacedError::Link)?;
            if (self.progress)(len).is_break() {
                return Err(PacedError::Stopped);
            }
            at += len;
        }
        Ok(())
    }

    fn is_unreadable(error: &PacedError) -> bool {
        matches!(error, PacedError::Link(error) if Link::is_unreadable(error))
    }
}
