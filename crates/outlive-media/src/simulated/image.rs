//! The bytes of a medium as a value: cheap to copy, to change by a word, and to tell apart.

use std::sync::Arc;

use super::{WORD, Word};

/// Copies share what they have in common in pieces of this size.
const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

type Page = Arc<[u8; PAGE_BYTES]>;

/// What a medium holds. Pages that were never written are zero and take no memory.
#[derive(Clone, Debug)]
pub struct Image {
    pages: Vec<Option<Page>>,
    len: u64,
    fingerprint: u64,
}

impl Image {
    /// `len` zero bytes.
    pub fn zeroed(len: u64) -> Self {
        let pages = usize::try_from(len.div_ceil(PAGE)).expect("a simulated medium fits into memory");
        Self {
            pages: vec![None; pages],
            len,
            fingerprint: 0,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Two images of one length with the same fingerprint hold the same bytes, but for one chance in 2^64.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Copies the bytes at `at`.
    ///
    /// # Panics
    /// Outside the image.
    pub fn read(&self, at: u64, into: &mut [u8]) {
        assert!(at + into.len() as u64 <= self.len, "outside the image");
        let mut at = at;
        let mut rest = into;
        while !rest.is_empty() {
            let (page, from) = place(at);
            let len = (PAGE_BYTES - from).min(rest.len());
            let (piece, behind) = rest.split_at_mut(len);
            match &self.pages[page] {
                Some(bytes) => piece.copy_from_slice(&bytes[from..from + len]),
                None => piece.fill(0),
            }
            at += len as u64;
            rest = behind;
        }
    }

    /// Changes the bytes at `at`: behind everybody's back, as a failing device does.
    ///
    /// # Panics
    /// Outside the image.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= self.len, "outside the image");
        words_of(at, bytes, |index, from, piece| {
            let mut word = self.word(index);
            word[from..from + piece.len()].copy_from_slice(piece);
            self.set_word(index, word);
        });
    }

    pub(super) fn word(&self, index: u64) -> Word {
        let (page, from) = place(index * WORD);
        let found = self.pages[page].as_ref();
        let bytes = found.and_then(|page| page[from..].first_chunk().copied());
        bytes.unwrap_or_default()
    }

    pub(super) fn set_word(&mut self, index: u64, word: Word) {
        let old = self.word(index);
        if old == word {
            return;
        }
        self.fingerprint ^= mixed(index, old) ^ mixed(index, word);
        let (page, from) = place(index * WORD);
        let bytes = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        Arc::make_mut(bytes)[from..from + word.len()].copy_from_slice(&word);
    }

    /// Whether the page of this word is zero because nothing was ever written there.
    pub(super) fn is_untouched(&self, at: u64) -> bool {
        self.pages[place(at).0].is_none()
    }

    /// The words in which two images of one length differ, in order.
    pub(super) fn differences(&self, other: &Self) -> Vec<u64> {
        let same = |page: &usize| match (&self.pages[*page], &other.pages[*page]) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        };
        let words_in_page = PAGE / WORD;
        let pages = (0..self.pages.len()).filter(|page| !same(page));
        let words = pages.flat_map(|page| {
            let first = page as u64 * words_in_page;
            first..first + words_in_page
        });
        words
            .filter(|index| self.word(*index) != other.word(*index))
            .collect()
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.fingerprint == other.fingerprint && self.differences(other).is_empty()
    }
}

impl Eq for Image {}

/// Takes a range apart into words: each one's index, where in it the piece begins, and the piece.
pub(super) fn words_of<'a>(at: u64, bytes: &'a [u8], mut visit: impl FnMut(u64, usize, &'a [u8])) {
    let mut at = at;
    let mut rest = bytes;
    while !rest.is_empty() {
        let from = usize::try_from(at % WORD).expect("less than a word");
        let len = (size_of::<Word>() - from).min(rest.len());
        let (piece, behind) = rest.split_at(len);
        visit(at / WORD, from, piece);
        at += len as u64;
        rest = behind;
    }
}

fn place(at: u64) -> (usize, usize) {
    let page = usize::try_from(at / PAGE).expect("inside an image in memory");
    let from = usize::try_from(at % PAGE).expect("less than a page");
    (page, from)
}

/// A word's part of the fingerprint: zero for zero, so that an untouched image costs nothing.
fn mixed(index: u64, word: Word) -> u64 {
    let value = u64::from_le_bytes(word);
    if value == 0 {
        return 0;
    }
    super::random::mix(super::random::mix(value) ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_across_pages_and_copies_stay_as_they_were() {
        let mut image = Image::zeroed(3 * PAGE + 24);
        let before = image.clone();
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        image.write(4090, &bytes);
        let mut found = vec![9; 5010];
        image.read(4085, &mut found);
        assert_eq!((&found[..5], &found[5005..]), (&[0; 5][..], &[0; 5][..]));
        assert_eq!(found[5..5005], bytes);
        assert_eq!(before, Image::zeroed(3 * PAGE + 24));
        assert_ne!(image, before);
    }

    #[test]
    fn a_fingerprint_is_of_the_bytes_and_not_of_how_they_came_there() {
        let mut one = Image::zeroed(PAGE);
        let mut two = one.clone();
        one.write(3, b"abcdefghij");
        two.write(100, b"gone");
        two.write(3, b"abc");
        two.write(6, b"defghij");
        assert_ne!(one.fingerprint(), two.fingerprint());
        two.write(100, &[0; 4]);
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_eq!(one, two);
    }
}
