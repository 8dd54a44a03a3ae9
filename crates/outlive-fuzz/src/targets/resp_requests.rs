//! What a Redis client sends: requests are cut out of the stream alike however it is split, and what is cut out is a request.

use bytes::BytesMut;
use outlive_kv::request::{self, Framer, MAX_REQUEST_BYTES, ProtocolError};

use super::splits::{SPLIT_BYTES, pieces, split};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "resp_requests",
    about: "requests in the Redis protocol, from a stream that is split anywhere",
    run,
    seeds,
    allowance_bytes: 256 << 10,
};

fn run(input: &[u8]) {
    let apart = requests(&pieces(input));
    let stream = &input[input.len().min(SPLIT_BYTES)..];
    assert_eq!(
        requests(&[stream]),
        apart,
        "it does not matter how a stream is split"
    );
    for request in &apart.0 {
        assert!(request.len() <= MAX_REQUEST_BYTES);
        let words = request::words(request).expect("what is cut out is a request");
        let again = request::encode(&words);
        assert_eq!(request::words(&again), Ok(words));
    }
}

/// The requests that the pieces hold, and the error that ends them.
pub(super) fn requests(pieces: &[&[u8]]) -> (Vec<bytes::Bytes>, Option<ProtocolError>) {
    let (mut framer, mut buffer, mut requests) = (Framer::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match framer.next(&mut buffer) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn seeds() -> Vec<Seed> {
    let stream = b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\nPING\r\n\r\n*0\r\n*-1\r\nset k \"a \\x41\\n\" 'b\\''\n*1\r\n$0\r\n\r\n";
    vec![
        ("arrays-and-inline", split([0; 4], stream)),
        ("dribbling", split([1, 2, 1, 5], stream)),
        ("too-many-words", split([0; 4], b"*1048577\r\n$1\r\na\r\n")),
        ("too-long-a-word", split([3; 4], b"*1\r\n$16777217\r\na\r\n")),
        ("not-a-bulk", split([0; 4], b"*1\r\n:1\r\n")),
        ("unbalanced", split([0; 4], b"SET k \"v\n")),
    ]
}
