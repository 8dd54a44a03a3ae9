//! How a stream of bytes arrives: in pieces, of lengths that the input itself says.

/// Bytes of an input that say how the rest is split.
pub(super) const SPLIT_BYTES: usize = 4;

/// The pieces of what stands behind the first [`SPLIT_BYTES`]. Their lengths go round through those bytes; a zero byte asks
/// for a long piece.
pub(super) fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let (lengths, mut rest) = input.split_at(input.len().min(SPLIT_BYTES));
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let length = match length {
            0 => rest.len(),
            some => usize::from(*some).min(rest.len()),
        };
        let (piece, more) = rest.split_at(length);
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// An input whose bytes arrive in pieces of these lengths.
pub(super) fn split(lengths: [u8; SPLIT_BYTES], bytes: &[u8]) -> Vec<u8> {
    [&lengths, bytes].concat()
}
