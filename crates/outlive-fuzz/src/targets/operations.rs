//! What an initiator sends once it is let in: headers of operations, as the target decodes them. Whatever decodes is what
//! encodes, and nothing is said about a header that is not there whole, but that it may not become one.

use outlive_fabric::RemoteKey;
use outlive_fabric::tcp::frame::{OP_HEADER_BYTES, Op, OpFrame};

use super::splits::{pieces, split};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "operations",
    about: "frames of the data connection, at the target",
    run,
    seeds,
    allowance_bytes: 64 << 10,
};

fn run(input: &[u8]) {
    let mut inbox = Vec::new();
    for piece in pieces(input) {
        inbox.extend_from_slice(piece);
        while let Ok(Some(frame)) = OpFrame::decode(&inbox) {
            let header = &inbox[..OP_HEADER_BYTES];
            assert_eq!(frame.encode(), header, "{frame:?} has another encoding");
            for short in [0, 1, OP_HEADER_BYTES - 1] {
                assert!(matches!(OpFrame::decode(&header[..short]), Ok(None) | Err(_)));
            }
            let payload = match frame.op {
                Op::Write { len, .. } => usize::try_from(len).unwrap_or(usize::MAX),
                _ => 0,
            };
            let whole = payload.saturating_add(OP_HEADER_BYTES).min(inbox.len());
            inbox.drain(..whole);
        }
    }
}

fn seeds() -> Vec<Seed> {
    let (key, offset) = (RemoteKey(7), 4096);
    let ops = [
        Op::Write { key, offset, len: 3 },
        Op::Read { key, offset, len: 9 },
        Op::Persist { key, offset, len: 3 },
        Op::Oversize { len: 1 << 40 },
        Op::Close,
    ];
    let mut stream = Vec::new();
    for (tag, op) in (1..).zip(ops) {
        stream.extend_from_slice(&OpFrame { tag, op }.encode());
        if matches!(op, Op::Write { .. }) {
            stream.extend_from_slice(b"abc");
        }
    }
    vec![
        ("all-at-once", split([0; 4], &stream)),
        ("dribbling", split([1, 30, 3, 7], &stream)),
    ]
}
