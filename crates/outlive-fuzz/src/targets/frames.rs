//! How several byte strings stand in one input: each behind its length.

/// Cuts an input into byte strings, each behind its length in two bytes. The last one is what is left.
pub(super) struct Frames<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (frame, rest) = rest.split_at(len);
        self.0 = rest;
        Some(frame)
    }
}

/// An input of these byte strings.
pub(super) fn framed<T: AsRef<[u8]>>(frames: &[T]) -> Vec<u8> {
    let framed = |frame: &T| {
        let bytes = frame.as_ref();
        let len = u16::try_from(bytes.len()).expect("a small frame");
        [&len.to_le_bytes(), bytes].concat()
    };
    frames.iter().flat_map(framed).collect()
}
