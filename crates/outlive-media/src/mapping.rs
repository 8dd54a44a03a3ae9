//! Memory that several threads and the kernel write and read at the same time. The crate's only unsafe code.
//!
//! No reference to the mapped bytes as plain data ever exists. Copies go through relaxed atomic words, so
//! that an overlapping store and load of two clients yields some mix of their bytes (which the layouts detect by
//! checksum) and never undefined behaviour in this process. At ragged edges an access may be one byte wide where a concurrent one
//! is a word wide; all hardware that we run on defines that as bytewise.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// What `madvise` works in; a multiple of the page size on every platform we run on would do as well.
const PAGE: usize = 4096;
const WORD: usize = 8;

/// A private anonymous mapping, zero at first, unmapped on drop.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and every access to its bytes is atomic or made by the kernel.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out a pointer or a reference to the bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes; memory is used as it is touched.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: mmap(2) with a null hint and without MAP_FIXED replaces no existing mapping.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), len, protection, flags)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, len })
    }

    /// Copies `bytes` to `at`. Panics outside the mapping.
    pub(crate) fn store(&self, at: usize, bytes: &[u8]) {
        let start = self.pointer(at, bytes.len());
        let (head, rest) = bytes.split_at(start.align_offset(WORD).min(bytes.len()));
        let (words, tail) = rest.as_chunks::<WORD>();
        for (index, byte) in head.iter().enumerate() {
            self.byte(at + index).store(*byte, Ordering::Relaxed);
        }
        let at = at + head.len();
        for (index, word) in words.iter().enumerate() {
            // Keeps the bytes' order in memory on either endianness.
            self.word(at + index * WORD)
                .store(u64::from_le_bytes(*word).to_le(), Ordering::Relaxed);
        }
        let at = at + words.len() * WORD;
        for (index, byte) in tail.iter().enumerate() {
            self.byte(at + index).store(*byte, Ordering::Relaxed);
        }
    }

    /// Copies from `at` into `into`. Panics outside the mapping.
    pub(crate) fn load(&self, at: usize, into: &mut [u8]) {
        let start = self.pointer(at, into.len());
        let (head, rest) = into.split_at_mut(start.align_offset(WORD).min(into.len()));
        let (words, tail) = rest.as_chunks_mut::<WORD>();
        for (index, byte) in head.iter_mut().enumerate() {
            *byte = self.byte(at + index).load(Ordering::Relaxed);
        }
        let at = at + head.len();
        for (index, word) in words.iter_mut().enumerate() {
            *word = u64::from_le(self.word(at + index * WORD).load(Ordering::Relaxed)).to_le_bytes();
        }
        let at = at + words.len() * WORD;
        for (index, byte) in tail.iter_mut().enumerate() {
            *byte = self.byte(at + index).load(Ordering::Relaxed);
        }
    }

    /// Receives up to `len` bytes from `socket` to `at` with one `recv`. Panics outside the mapping.
    pub(crate) fn receive(&self, at: usize, len: usize, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let start = self.pointer(at, len);
        // SAFETY: recv(2) writes at most `len` bytes at `start`; they lie inside the mapping, which lives as
        // long as `self`, and no Rust reference to them exists. The descriptor is open while borrowed.
        let received = unsafe { libc::recv(socket.as_raw_fd(), start.cast(), len, 0) };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// Makes a range zero, giving whole pages back to the system. Panics outside the mapping.
    pub(crate) fn zero(&self, at: usize, len: usize) -> io::Result<()> {
        let end = self.pointer(at, len) as usize - self.start.as_ptr() as usize + len;
        let (first_page, last_page) = (at.next_multiple_of(PAGE).min(end), end / PAGE * PAGE);
        if first_page >= last_page {
            self.store_zeros(at, len);
            return Ok(());
        }
        self.store_zeros(at, first_page - at);
        self.store_zeros(last_page, end - last_page);
        let pages = self.pointer(first_page, last_page - first_page);
        // SAFETY: the pages lie inside this private anonymous mapping, for which madvise(2) says that
        // MADV_DONTNEED makes later accesses see zeros; no Rust reference to them exists.
        unsafe { madvise(pages.cast(), last_page - first_page, Advice::LinuxDontNeed) }?;
        Ok(())
    }

    fn store_zeros(&self, at: usize, len: usize) {
        const ZEROS: [u8; PAGE] = [0; PAGE];
        for done in (0..len).step_by(PAGE) {
            self.store(at + done, &ZEROS[..PAGE.min(len - done)]);
        }
    }

    fn byte(&self, at: usize) -> &AtomicU8 {
        // SAFETY: AtomicU8::from_ptr asks for a valid pointer (`pointer` checks the range; the mapping lives as
        // long as the reference), for alignment (1), and that the byte is accessed atomically only (see the module).
        unsafe { AtomicU8::from_ptr(self.pointer(at, 1)) }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        let word = self.pointer(at, WORD).cast::<u64>();
        assert!(word.is_aligned(), "callers step from an aligned address");
        // SAFETY: as for `byte`; alignment was just checked.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// The address of `at`, which has `len` bytes behind it.
    fn pointer(&self, at: usize, len: usize) -> *mut u8 {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "callers check the range");
        // SAFETY: `at` is at most `self.len`, so the result stays inside the mapped object or one past its end.
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `anonymous` with this length, and nothing borrows from it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        if let Err(error) = unmapped {
            tracing::error!(%error, "a mapping could not be unmapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEN: usize = 4 * PAGE;

    proptest! {
        #[test]
        fn behaves_as_an_array(operations in prop::collection::vec(
            (0..LEN, 0..LEN, 0_u8..4, any::<u8>()), 1..20,
        )) {
            let mapping = Mapping::anonymous(LEN).unwrap();
            let mut model = vec![0; LEN];
            for (at, len, kind, seed) in operations {
                let len = len.min(LEN - at);
                if kind == 0 {
                    mapping.zero(at, len).unwrap();
                    model[at..at + len].fill(0);
                } else {
                    let bytes: Vec<u8> = (0..=250).cycle().map(|byte: u8| seed.wrapping_add(byte)).take(len).collect();
                    mapping.store(at, &bytes);
                    model[at..at + len].copy_from_slice(&bytes);
                }
                let mut found = vec![0xAA; len];
                mapping.load(at, &mut found);
                prop_assert_eq!(&found, &model[at..at + len]);
            }
            let mut all = vec![0; LEN];
            mapping.load(0, &mut all);
            prop_assert_eq!(all, model);
        }
    }

    #[test]
    #[should_panic(expected = "callers check the range")]
    fn nothing_outside_is_reached() {
        Mapping::anonymous(PAGE).unwrap().store(PAGE - 1, &[1, 2]);
    }
}
