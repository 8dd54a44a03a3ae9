//! The `memory` backend: placed only.

use std::io;
use std::os::fd::BorrowedFd;

use crate::mapping::Mapping;
use crate::media::check_range;
use crate::{Media, MediaError, Persistence};

/// Anonymous memory. Its bytes survive the unit's clients and end with the unit.
pub struct MemoryMedia {
    mapping: Mapping,
    len: u64,
}

impl MemoryMedia {
    /// `len` zero bytes; memory is used as it is touched.
    ///
    /// # Errors
    /// [`MediaError::System`].
    pub fn new(len: u64) -> Result<Self, MediaError> {
        let size = usize::try_from(len).map_err(io::Error::other);
        let mapping = size
            .and_then(Mapping::anonymous)
            .map_err(|source| MediaError::System {
                action: "map memory for the medium",
                source,
            })?;
        Ok(Self { mapping, len })
    }

    /// Checks the range and gives it the platform's width, which holds it because the mapping exists.
    fn range(&self, at: u64, len: u64) -> Result<(usize, usize), MediaError> {
        check_range(at, len, self.len)?;
        let narrow = |value: u64| usize::try_from(value).expect("inside a mapping that exists");
        Ok((narrow(at), narrow(len)))
    }
}

impl Media for MemoryMedia {
    fn len(&self) -> u64 {
        self.len
    }

    fn persistence(&self) -> Persistence {
        Persistence::PlacedOnly
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        let (at, _) = self.range(at, bytes.len() as u64)?;
        self.mapping.store(at, bytes);
        Ok(())
    }

    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        let (at, _) = self.range(at, into.len() as u64)?;
        self.mapping.load(at, into);
        Ok(())
    }

    fn receive(
        &self,
        at: u64,
        len: u64,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<io::Result<usize>>, MediaError> {
        let (at, len) = self.range(at, len)?;
        Ok(Some(self.mapping.receive(at, len, socket)))
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        let (start, size) = self.range(at, len)?;
        (self.mapping.zero(start, size)).map_err(|source| MediaError::Store { at, len, source })
    }

    fn flush(&self) -> io::Result<()> {
        Err(io::Error::other("memory is not persistent"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_come_straight_from_a_socket() {
        let media = MemoryMedia::new(8192).unwrap();
        let (mut from, to) = UnixStream::pair().unwrap();
        from.write_all(b"straight").unwrap();
        assert_eq!(media.receive(4093, 100, to.as_fd()).unwrap().unwrap().unwrap(), 8);
        let mut found = [0; 10];
        media.load(4092, &mut found).unwrap();
        assert_eq!(&found, b"\0straight\0");
        drop(from);
        assert_eq!(media.receive(0, 100, to.as_fd()).unwrap().unwrap().unwrap(), 0);
    }

    #[test]
    fn nothing_outside_is_reached() {
        let media = MemoryMedia::new(8192).unwrap();
        let (_from, to) = UnixStream::pair().unwrap();
        let outside = |result| matches!(result, Err(MediaError::OutOfRange { .. }));
        assert!(outside(media.store(8190, &[0; 3])));
        assert!(outside(media.load(u64::MAX, &mut [0; 3])));
        assert!(outside(media.zero(1, 8192)));
        assert!(outside(media.receive(8192, 1, to.as_fd()).map(|_| ())));
    }

    #[test]
    fn persistence_is_not_promised() {
        let medium = crate::Medium::new(Box::new(MemoryMedia::new(8192).unwrap()));
        assert!(matches!(medium.persist(), Err(MediaError::NotPersistent)));
        medium.settle().unwrap();
        assert_eq!(medium.failure(), None);
    }
}
