//! A whole data connection at its target, from the first byte on: sniffing for TLS, handshake, operations, end.
//!
//! Without a greeting nobody is let in and not a byte of memory changes. Who was let in changes what its whole writes say,
//! in their order, within the memory and with its rights, and nothing else; what it is answered is the protocol.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use outlive_fabric::tcp::frame::{ANSWER_HEADER_BYTES, Answer, OP_HEADER_BYTES, Op, OpFrame};
use outlive_fabric::tcp::hello::{Hello, Reply};
use outlive_fabric::tcp::{DataCertificate, Encryption, Limits, Listener, TlsPolicy};
use outlive_fabric::testing::{KEY, Memory, TestTarget, raw};
use outlive_fabric::{Admission, Rights, TicketId};

use super::splits::{SPLIT_BYTES, pieces, split};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "connection",
    about: "a data connection, at its target",
    run,
    seeds,
    // Its thread, its buffers of fixed size, the longest operation that is read back, and TLS.
    allowance_bytes: 8 << 20,
};

const MEMORY_BYTES: usize = 16 << 10;
/// The longest operation.
const MAX_OP_BYTES: u32 = 64 << 10;
/// Bounds every wait; only what never ends reaches it.
const PATIENCE: Duration = Duration::from_secs(15);

fn run(input: &[u8]) {
    let Some((&mode, input)) = input.split_first() else {
        return;
    };
    let target = TestTarget::new(Memory::new(MEMORY_BYTES, mode & 8 != 0));
    let admission: Arc<dyn Admission> = Arc::<TestTarget>::clone(&target);
    let limits = Limits {
        max_op_bytes: MAX_OP_BYTES,
        spin: Duration::ZERO,
        ..Limits::default()
    };
    let encryption = (mode & 4 != 0).then(|| Encryption {
        policy: TlsPolicy::Allow,
        certificate: certificate(),
    });
    let listener =
        Listener::bind_with("127.0.0.1:0", admission, limits, encryption).expect("loopback can be bound");
    let mut stream = TcpStream::connect(listener.local_addr()).expect("the listener accepts");
    stream.set_nodelay(true).expect("an option of every socket");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("an option of every socket");
    let rights = match mode % 4 {
        0 => None,
        1 => Some(Rights::Read),
        _ => Some(Rights::ReadWrite),
    };
    if let Some(rights) = rights {
        let greeted = raw::greet(&mut stream, &target.issue(rights));
        assert!(matches!(greeted, Ok(Reply::Welcome { .. })), "{greeted:?}");
    }
    let answers = exchange(stream, input);
    listener.shutdown();
    assert_eq!(
        target.connections().len(),
        usize::from(rights.is_some()),
        "nobody else is let in"
    );
    let stream = &input[input.len().min(SPLIT_BYTES)..];
    let memory = target.memory().placed();
    match rights {
        Some(Rights::ReadWrite) => {
            if let Some(expected) = placed(stream) {
                assert!(memory == expected, "the memory is what whole writes made of it");
            }
        }
        Some(Rights::Read) | None => {
            assert!(memory.iter().all(|byte| *byte == 0), "nothing was to be written")
        }
    }
    if rights.is_some() {
        check_answers(&answers);
    }
}

fn certificate() -> DataCertificate {
    static CERTIFICATE: OnceLock<DataCertificate> = OnceLock::new();
    CERTIFICATE
        .get_or_init(|| DataCertificate::ephemeral().expect("randomness"))
        .clone()
}

/// Sends all pieces, then nothing more; what came back.
fn exchange(mut stream: TcpStream, input: &[u8]) -> Vec<u8> {
    for piece in pieces(input) {
        // Whoever is refused is not listened to any more.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    match stream.read_to_end(&mut answers) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection does not end"),
        _ => answers,
    }
}

/// What a stream of operations makes of the memory; `None` where it is not one up to its end, and may end anywhere.
fn placed(mut stream: &[u8]) -> Option<Vec<u8>> {
    let mut memory = vec![0; MEMORY_BYTES];
    for number in 1_u32.. {
        let Some(frame) = OpFrame::decode(stream).ok()? else {
            break;
        };
        if frame.tag != number {
            return None;
        }
        let (header, rest) = stream.split_at(OP_HEADER_BYTES);
        assert_eq!(header, frame.encode());
        stream = rest;
        match frame.op {
            Op::Write { key, offset, len } => {
                if len > u64::from(MAX_OP_BYTES) {
                    return None;
                }
                let Some((payload, rest)) = stream.split_at_checked(usize::try_from(len).ok()?) else {
                    // The start of a long write may be placed, a short one is placed whole or not at all.
                    return (len < 32 << 10).then_some(memory);
                };
                stream = rest;
                let range = usize::try_from(offset)
                    .ok()
                    .and_then(|at| Some(at..at.checked_add(payload.len())?));
                if let Some(into) = range
                    .filter(|_| key == KEY)
                    .and_then(|range| memory.get_mut(range))
                {
                    into.copy_from_slice(payload);
                }
            }
            Op::Close => break,
            Op::Read { .. } | Op::Persist { .. } | Op::Oversize { .. } => {}
        }
    }
    Some(memory)
}

fn check_answers(mut answers: &[u8]) {
    while answers.len() >= ANSWER_HEADER_BYTES {
        let answer = Answer::decode(answers)
            .expect("the protocol")
            .expect("a whole header");
        let len = match answer {
            Answer::ReadPart { len, .. } | Answer::Refused { len, .. } | Answer::Stopped { len } => len,
            Answer::Placed { .. } | Answer::Persistent { .. } => 0,
        };
        let whole = ANSWER_HEADER_BYTES + usize::try_from(len).expect("bounded");
        answers = answers.get(whole..).unwrap_or_default();
    }
}

fn seeds() -> Vec<Seed> {
    let (key, offset) = (KEY, 64);
    let ops = [
        (Op::Write { key, offset, len: 5 }, &b"abcde"[..]),
        (
            Op::Read {
                key,
                offset: 60,
                len: 16,
            },
            b"",
        ),
        (Op::Persist { key, offset, len: 5 }, b""),
        (
            Op::Write {
                key,
                offset: u64::MAX,
                len: 2,
            },
            b"xy",
        ),
        (
            Op::Read {
                key,
                offset: 0,
                len: 16 << 10,
            },
            b"",
        ),
        (Op::Oversize { len: 1 << 40 }, b""),
        (Op::Close, b""),
    ];
    let mut stream = Vec::new();
    for (tag, (op, payload)) in (1..).zip(ops) {
        stream.extend_from_slice(&OpFrame { tag, op }.encode());
        stream.extend_from_slice(payload);
    }
    let hello = Hello {
        ticket: TicketId([0xa5; 16]),
        nonce: [1; 32],
    }
    .encode();
    let with = |mode: u8, lengths, bytes: &[u8]| [vec![mode], split(lengths, bytes)].concat();
    let long = OpFrame {
        tag: 1,
        op: Op::Write {
            key,
            offset: 0,
            len: 60_000,
        },
    }
    .encode();
    vec![
        ("hello", with(0, [0; 4], &hello)),
        ("hello-dribbling", with(4, [1, 7, 90, 2], &hello)),
        ("tls", with(4, [0; 4], &[22, 3, 1, 0, 5, 1, 0, 0, 1, 3])),
        ("reader", with(1, [0; 4], &stream)),
        ("writer", with(2, [0; 4], &stream)),
        ("writer-dribbling", with(10, [1, 40, 3, 33], &stream)),
        (
            "too-long",
            with(
                2,
                [0; 4],
                &OpFrame {
                    tag: 1,
                    op: Op::Write {
                        key,
                        offset: 0,
                        len: u64::MAX,
                    },
                }
                .encode(),
            ),
        ),
        ("long", with(10, [200; 4], &[&long[..], &[7; 4000]].concat())),
    ]
}
