//! What a target answers: headers and reasons, as the initiator decodes them.

use outlive_fabric::tcp::frame::{ANSWER_HEADER_BYTES, Answer, MAX_ANSWER_PAYLOAD_BYTES};
use outlive_fabric::tcp::reason::{self, MAX_REASON_BYTES};
use outlive_fabric::{PersistMethod, Refusal};

use super::splits::{pieces, split};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "answers",
    about: "answers and reasons of the data connection, at the initiator",
    run,
    seeds,
    allowance_bytes: 64 << 10,
};

fn run(input: &[u8]) {
    let mut inbox = Vec::new();
    for piece in pieces(input) {
        inbox.extend_from_slice(piece);
        while let Ok(Some(answer)) = Answer::decode(&inbox) {
            assert_eq!(answer.encode(), inbox[..ANSWER_HEADER_BYTES], "{answer:?}");
            let len = match answer {
                Answer::ReadPart { len, .. } => {
                    assert!(len <= MAX_ANSWER_PAYLOAD_BYTES);
                    len
                }
                Answer::Refused { len, .. } | Answer::Stopped { len } => {
                    assert!(len <= MAX_REASON_BYTES);
                    len
                }
                Answer::Placed { .. } | Answer::Persistent { .. } => 0,
            };
            let end = ANSWER_HEADER_BYTES + usize::try_from(len).expect("bounded");
            let Some(payload) = inbox.get(ANSWER_HEADER_BYTES..end) else {
                return;
            };
            if !matches!(answer, Answer::ReadPart { .. })
                && let Ok(refusal) = reason::decode(payload)
            {
                check_reason(&refusal);
            }
            inbox.drain(..end);
        }
    }
}

fn check_reason(refusal: &Refusal) {
    let again = reason::decode(&reason::encode(refusal));
    assert_eq!(again.as_ref(), Ok(refusal));
    assert!(refusal.to_string().len() < 4096);
}

fn seeds() -> Vec<Seed> {
    let refusals = [
        Refusal::UnknownKey { key: 1 },
        Refusal::OutOfRange {
            offset: 1,
            len: 2,
            limit: 3,
        },
        Refusal::Fenced { generation: 3 },
        Refusal::Media("a device failed".into()),
        Refusal::Limit {
            what: "bytes".into(),
            limit: 1,
        },
        Refusal::Unencrypted,
    ];
    let mut stream = Answer::Placed { through: 9 }.encode().to_vec();
    let method = PersistMethod::TargetFlush;
    stream.extend_from_slice(&Answer::Persistent { op: 10, method }.encode());
    let part = Answer::ReadPart {
        op: 11,
        len: 3,
        last: true,
    };
    stream.extend_from_slice(&part.encode());
    stream.extend_from_slice(b"abc");
    for refusal in &refusals {
        let text = reason::encode(refusal);
        let len = u32::try_from(text.len()).expect("bounded");
        stream.extend_from_slice(&Answer::Refused { op: 12, len }.encode());
        stream.extend_from_slice(&text);
    }
    vec![
        ("all-at-once", split([0; 4], &stream)),
        ("dribbling", split([1, 15, 2, 40], &stream)),
    ]
}
