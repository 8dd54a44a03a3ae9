//! From a stream of bytes to requests.
//!
//! Decoding is the `redis-protocol` crate's. What stands before it here is a guard against hostile
//! input, with Redis's own error texts: it lets through only flat arrays of bulk strings within the
//! bounds below (so nothing can nest, or make us reserve memory that was not sent), remembers how far
//! it has looked (so a request that dribbles in costs no more than one that comes at once), and turns
//! inline commands into the same form. What it hands on is the request's own bytes, which is also what
//! the pair journals.

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::resp2::{
    decode::decode_range,
    encode::extend_encode_borrowed,
    types::{BorrowedFrame, RangeFrame},
};

use crate::error::CommandError;
use crate::number::integer;

/// Words in one request: Redis's bound of old.
pub const MAX_WORDS: i64 = 1 << 20;
/// Bytes of one request. More than a pair's batch takes by default, so that a request that is a little
/// too large for the pair gets an error and not a closed connection.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Bytes of a line: an inline command, or a length. As in Redis.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Bytes that are no request. The connection is closed after telling.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// An inline command without end.
    #[error("ERR Protocol error: too big inline request")]
    InlineTooBig,
    /// An inline command whose quotes do not pair.
    #[error("ERR Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// Behind `*` stands no number, or one that is too high.
    #[error("ERR Protocol error: invalid multibulk length")]
    ArrayLength,
    /// Behind `*` stands a line without end.
    #[error("ERR Protocol error: too big mbulk count string")]
    ArrayLengthTooBig,
    /// An array holds something else than bulk strings.
    #[error("ERR Protocol error: expected '$', got '{0}'")]
    NotABulk(char),
    /// Behind `$` stands no number, or one that is too high.
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    /// Behind `$` stands a line without end.
    #[error("ERR Protocol error: too big bulk count string")]
    BulkLengthTooBig,
    /// A bulk string is longer than its length says.
    #[error("ERR Protocol error: bulk string does not end where it should")]
    BulkEnd,
    /// All of it together is too long.
    #[error("ERR Protocol error: request exceeds {MAX_REQUEST_BYTES} bytes")]
    TooBig,
}

/// Cuts requests out of a connection's input.
#[derive(Debug, Default)]
pub struct Framer {
    /// How many bytes of the buffer were found good.
    checked: usize,
    /// How many words of the array that began are still to come.
    words_left: Option<i64>,
}

impl Framer {
    /// Takes the next request off the buffer, if it is there whole: a RESP array of bulk strings.
    ///
    /// # Errors
    /// [`ProtocolError`]; nothing that follows can be made sense of.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, ProtocolError> {
        loop {
            if self.words_left.is_none() {
                match buffer.first() {
                    None => return Ok(None),
                    Some(b'*') => {}
                    Some(_) => match take_inline(buffer)? {
                        Some(words) if words.is_empty() => continue,
                        words => return Ok(words.map(|words| encode(&words))),
                    },
                }
                let limits = (ProtocolError::ArrayLength, ProtocolError::ArrayLengthTooBig);
                let Some((count, end)) = length(buffer, 0, limits)? else {
                    return Ok(None);
                };
                if count > MAX_WORDS {
                    return Err(ProtocolError::ArrayLength);
                }
                if count <= 0 {
                    buffer.advance(end);
                    continue;
                }
                (self.words_left, self.checked) = (Some(count), end);
            }
            if !self.check_words(buffer)? {
                return Ok(None);
            }
            let whole = buffer.split_to(self.checked).freeze();
            *self = Self::default();
            return Ok(Some(whole));
        }
    }

    /// Whether all words of the array are there.
    fn check_words(&mut self, buffer: &[u8]) -> Result<bool, ProtocolError> {
        while self.words_left > Some(0) {
            match buffer.get(self.checked) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(&other) => return Err(ProtocolError::NotABulk(char::from(other))),
            }
            let limits = (ProtocolError::BulkLength, ProtocolError::BulkLengthTooBig);
            let Some((len, start)) = length(buffer, self.checked, limits)? else {
                return Ok(false);
            };
            let len = usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?;
            if len > MAX_REQUEST_BYTES {
                return Err(ProtocolError::BulkLength);
            }
            let end = start + len + 2;
            if end > MAX_REQUEST_BYTES {
                return Err(ProtocolError::TooBig);
            }
            match buffer.get(end - 2..end) {
                None => return Ok(false),
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::BulkEnd),
            }
            self.checked = end;
            self.words_left = self.words_left.map(|left| left - 1);
        }
        Ok(true)
    }
}

/// A request's words.
///
/// # Errors
/// [`CommandError::NotACommand`] where the bytes are not one flat array of bulk strings.
pub fn words(request: &[u8]) -> Result<Vec<&[u8]>, CommandError> {
    // A nested array would make the decoder recurse. The framer lets none through, others might.
    let frames = match is_flat(request).then(|| decode_range(request)) {
        Some(Ok(Some((RangeFrame::Array(frames), used)))) if used == request.len() => frames,
        _ => return Err(CommandError::NotACommand),
    };
    let word = |frame| match frame {
        RangeFrame::BulkString((start, end)) => Ok(&request[start..end]),
        _ => Err(CommandError::NotACommand),
    };
    frames.into_iter().map(word).collect()
}

fn is_flat(request: &[u8]) -> bool {
    let limits = (ProtocolError::ArrayLength, ProtocolError::ArrayLengthTooBig);
    match request.first().map(|first| (first, length(request, 0, limits))) {
        Some((b'*', Ok(Some((count @ 1.., start))))) => {
            let mut framer = Framer {
                checked: start,
                words_left: Some(count),
            };
            framer.check_words(request) == Ok(true)
        }
        _ => false,
    }
}

/// Makes a request of words.
pub fn encode<T: AsRef<[u8]>>(words: &[T]) -> Bytes {
    let frames: Vec<_> = words
        .iter()
        .map(|word| BorrowedFrame::BulkString(word.as_ref()))
        .collect();
    let mut out = BytesMut::new();
    extend_encode_borrowed(&mut out, &BorrowedFrame::Array(&frames), false)
        .expect("an extensible buffer has room for any frame");
    out.freeze()
}

/// The number behind the type byte at `at`, and where its line ends; `None` if the line is not there whole.
fn length(
    buffer: &[u8],
    at: usize,
    (invalid, too_big): (ProtocolError, ProtocolError),
) -> Result<Option<(i64, usize)>, ProtocolError> {
    let line = &buffer[at + 1..];
    let Some(len) = line.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\r') else {
        return if line.len() >= MAX_LINE_BYTES {
            Err(too_big)
        } else {
            Ok(None)
        };
    };
    match line.get(len + 1) {
        None => Ok(None),
        Some(b'\n') => {
            let number = integer(&line[..len]).map_err(|_| invalid)?;
            Ok(Some((number, at + 1 + len + 2)))
        }
        Some(_) => Err(invalid),
    }
}

/// Takes a line off the buffer and splits it into words as a shell would.
fn take_inline(buffer: &mut BytesMut) -> Result<Option<Vec<Vec<u8>>>, ProtocolError> {
    let Some(len) = buffer.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\n') else {
        return if buffer.len() >= MAX_LINE_BYTES {
            Err(ProtocolError::InlineTooBig)
        } else {
            Ok(None)
        };
    };
    let line = buffer.split_to(len + 1);
    split_words(line[..len].strip_suffix(b"\r").unwrap_or(&line[..len])).map(Some)
}

fn split_words(mut line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut words = Vec::new();
    loop {
        line = line.trim_ascii_start();
        if line.is_empty() {
            return Ok(words);
        }
        let (word, rest) = first_word(line)?;
        words.push(word);
        line = rest;
    }
}

fn first_word(mut line: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    let mut quote = None;
    loop {
        line = match (quote, line) {
            (Some(_), []) => return Err(ProtocolError::UnbalancedQuotes),
            (None, []) => return Ok((word, line)),
            (None, [byte, rest @ ..]) if byte.is_ascii_whitespace() => return Ok((word, rest)),
            (None, [byte @ (b'"' | b'\''), rest @ ..]) => {
                quote = Some(*byte);
                rest
            }
            (Some(quoted), [byte, rest @ ..]) if quoted == *byte => {
                // A closing quote ends the word.
                if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                    return Err(ProtocolError::UnbalancedQuotes);
                }
                quote = None;
                rest
            }
            (Some(b'"'), [b'\\', b'x', high, low, rest @ ..])
                if hex(*high).is_some() && hex(*low).is_some() =>
            {
                word.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest
            }
            (Some(b'"'), [b'\\', escaped, rest @ ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest
            }
            (Some(b'\''), [b'\\', b'\'', rest @ ..]) => {
                word.push(b'\'');
                rest
            }
            (_, [byte, rest @ ..]) => {
                word.push(*byte);
                rest
            }
        };
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(input: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        feed_in_steps(input, input.len().max(1))
    }

    fn feed_in_steps(input: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let (mut framer, mut buffer, mut requests) = (Framer::default(), BytesMut::new(), vec![]);
        for chunk in input.chunks(step) {
            buffer.extend_from_slice(chunk);
            loop {
                match framer.next(&mut buffer) {
                    Ok(Some(request)) => {
                        let words = words(&request).expect("the framer hands on requests only");
                        requests.push(words.into_iter().map(<[u8]>::to_vec).collect());
                    }
                    Ok(None) => break,
                    Err(error) => return (requests, Some(error)),
                }
            }
        }
        (requests, None)
    }

    #[test]
    fn arrays_and_inline_commands_mix() {
        let (requests, error) = feed(b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\nPING\r\n\r\n*0\r\n*-1\r\nset k \"a \\x41\\n\" 'b\\''\n*1\r\n$0\r\n\r\n");
        let expected: Vec<Vec<&[u8]>> = vec![
            vec![b"GET", b"\r\n"],
            vec![b"PING"],
            vec![b"set", b"k", b"a A\n", b"b'"],
            vec![b""],
        ];
        assert_eq!(requests, expected);
        assert_eq!(error, None);
    }

    #[test]
    fn hostile_input_is_refused_in_redis_words() {
        let cases: [(&[u8], ProtocolError); 12] = [
            (b"*x\r\n", ProtocolError::ArrayLength),
            (b"*1048577\r\n", ProtocolError::ArrayLength),
            (b"*99999999999999999999\r\n", ProtocolError::ArrayLength),
            (b"*1\rx", ProtocolError::ArrayLength),
            (b"*1\r\n*1\r\n", ProtocolError::NotABulk('*')),
            (b"*1\r\n:1\r\n", ProtocolError::NotABulk(':')),
            (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$16777217\r\n", ProtocolError::BulkLength),
            (b"*2\r\n$16777216\r\n", ProtocolError::TooBig),
            (b"*1\r\n$1\r\nabc", ProtocolError::BulkEnd),
            (b"a \"b\r\n", ProtocolError::UnbalancedQuotes),
            (b"a \"b\"c\r\n", ProtocolError::UnbalancedQuotes),
        ];
        for (input, error) in cases {
            assert_eq!(feed(input), (vec![], Some(error)), "{}", input.escape_ascii());
        }
        assert_eq!(feed(&[b'a'; MAX_LINE_BYTES]).1, Some(ProtocolError::InlineTooBig));
        assert_eq!(
            feed(&[b"*".as_slice(), &[b'1'; MAX_LINE_BYTES]].concat()).1,
            Some(ProtocolError::ArrayLengthTooBig)
        );
    }

    #[test]
    fn a_huge_length_reserves_nothing() {
        let mut buffer = BytesMut::from(&b"*1000000\r\n$16000000\r\nabc"[..]);
        assert_eq!(Framer::default().next(&mut buffer), Ok(None));
        assert!(buffer.capacity() < 1000);
    }

    #[test]
    fn nested_arrays_are_no_request() {
        let nested = "*1\r\n".repeat(1_000_000);
        assert_eq!(words(nested.as_bytes()), Err(CommandError::NotACommand));
        let hidden = format!("*2\r\n$1\r\na\r\n{nested}");
        assert_eq!(words(hidden.as_bytes()), Err(CommandError::NotACommand));
        assert_eq!(words(b"*2\r\n$1\r\na\r\n*0\r\n"), Err(CommandError::NotACommand));
        assert_eq!(words(b"*1\r\n$1\r\na\r\nx"), Err(CommandError::NotACommand));
        assert_eq!(words(b""), Err(CommandError::NotACommand));
    }

    proptest! {
        #[test]
        fn whatever_comes_dribbling_reads_as_at_once(
            input in proptest::collection::vec(prop_oneof![
                4 => Just(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec()),
                1 => Just(b"PING\r\n".to_vec()),
                1 => proptest::collection::vec(proptest::sample::select(b"*$:\r\n01a\"".to_vec()), 0..12),
                1 => proptest::collection::vec(any::<u8>(), 0..40),
            ], 0..8),
            step in 1_usize..9,
        ) {
            let input = input.concat();
            prop_assert_eq!(feed(&input), feed_in_steps(&input, step));
        }

        #[test]
        fn what_is_encoded_reads_back(words_in in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6)) {
            let (requests, error) = feed(&encode(&words_in));
            prop_assert_eq!(error, None);
            prop_assert_eq!(requests, vec![words_in]);
        }
    }
}
