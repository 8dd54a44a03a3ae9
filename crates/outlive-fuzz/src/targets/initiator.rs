//! A whole data connection at its initiator: handshake, and answers to operations that are under way. Whatever the target
//! says, operations complete in their order, once each, and a read's bytes are as many as were asked for.

use std::io::{IoSlice, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::Duration;

use outlive_fabric::tcp::frame::Answer;
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::{ConnectOptions, connect, reason};
use outlive_fabric::testing::{KEY, raw};
use outlive_fabric::{
    AccessInfo, Completion, Endpoint, ExposedPart, Outcome, PersistMethod, Refusal, RegionId, Rights,
    SessionInfo, Terms, Ticket, TicketId, TicketSecret,
};

use super::splits::{pieces, split};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "initiator",
    about: "a data connection, at its initiator",
    run,
    seeds,
    // Its buffers of fixed size, and what it asked for itself.
    allowance_bytes: 4 << 20,
};

const READ_BYTES: u32 = 5000;
/// Bounds every wait; only what never ends reaches it.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(input: &[u8]) {
    let Some((&mode, input)) = input.split_first() else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::scope(|scope| {
        scope.spawn(move || play_target(&listener, mode, input));
        let options = ConnectOptions {
            connect_timeout: PATIENCE,
            op_timeout: PATIENCE,
            spin: Duration::ZERO,
            ..ConnectOptions::default()
        };
        match connect(&address, &ticket(), &options) {
            Ok(endpoint) => {
                assert!(mode % 2 == 1, "who does not know the secret is not believed");
                operate(endpoint);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

/// Lets it in and says the input, or says the input at once; then ends.
fn play_target(listener: &TcpListener, mode: u8, input: &[u8]) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    if mode % 2 == 1 && raw::welcome(&mut stream, &ticket(), session(), 1 << 20).is_err() {
        return;
    }
    for piece in pieces(input) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    // What it still sends is taken, so that what was said reaches it.
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

fn operate(mut endpoint: impl Endpoint) {
    let mut completions = Vec::new();
    let mut posted = 0;
    let outcome = (|| {
        for _ in 0..2 {
            endpoint.post_write(KEY, 8, &[IoSlice::new(b"payload")])?;
            endpoint.post_read(KEY, 0, READ_BYTES)?;
            endpoint.post_persist(KEY, 8, 7)?;
            posted += 3;
        }
        while endpoint.outstanding() > 0 {
            if endpoint.wait(&mut completions, PATIENCE)? == 0 {
                panic!("waiting does not end");
            }
        }
        // Nothing more may come.
        endpoint.poll(&mut completions)
    })();
    if let Err(error) = outcome {
        assert!(!error.to_string().is_empty());
    }
    check(&completions, posted);
}

fn check(completions: &[Completion], posted: u64) {
    for (completion, number) in completions.iter().zip(1_u64..) {
        assert_eq!(completion.op.0, number, "operations complete in their order");
        match (&completion.result, number % 3) {
            (Err(_), _) | (Ok(Outcome::Placed), 1) | (Ok(Outcome::Persistent(_)), 0) => {}
            (Ok(Outcome::Read(bytes)), 2) => assert_eq!(bytes.len(), READ_BYTES as usize),
            (other, _) => panic!("operation {number} completed as {other:?}"),
        }
    }
    assert!(completions.len() as u64 <= posted.max(6));
}

fn ticket() -> Ticket {
    Ticket {
        id: TicketId([1; 16]),
        secret: TicketSecret::new([2; 32]),
        terms: Terms {
            identity: "tester".into(),
            region: RegionId([7; 16]),
            generation: 1,
            rights: Rights::ReadWrite,
            incarnation: 1,
        },
    }
}

fn session() -> SessionInfo {
    let access = AccessInfo {
        region: RegionId([7; 16]),
        part: ExposedPart::Data,
        key: KEY,
        len: 1 << 20,
        rights: Rights::ReadWrite,
        generation: 1,
    };
    SessionInfo {
        incarnation: 1,
        access: vec![access],
        persist: Some(PersistMethod::TargetFlush),
    }
}

fn seeds() -> Vec<Seed> {
    let method = PersistMethod::TargetFlush;
    let read = |op, len: u32, last| {
        let bytes = vec![9; len as usize];
        [&Answer::ReadPart { op, len, last }.encode()[..], &bytes].concat()
    };
    let refused = |op| {
        let text = reason::encode(&Refusal::ReadOnly);
        let len = u32::try_from(text.len()).expect("bounded");
        [&Answer::Refused { op, len }.encode()[..], &text].concat()
    };
    let good = [
        Answer::Placed { through: 1 }.encode().to_vec(),
        read(2, 4000, false),
        read(2, 1000, true),
        Answer::Persistent { op: 3, method }.encode().to_vec(),
        refused(4),
        refused(5),
        refused(6),
    ]
    .concat();
    let short = [Answer::Placed { through: 1 }.encode().to_vec(), read(2, 10, true)].concat();
    let text = reason::encode(&Refusal::Fenced { generation: 2 });
    let len = u32::try_from(text.len()).expect("bounded");
    let stopped = [&Answer::Stopped { len }.encode()[..], &text].concat();
    let with = |mode: u8, lengths, bytes: &[u8]| [vec![mode], split(lengths, bytes)].concat();
    vec![
        ("answers", with(1, [0; 4], &good)),
        ("answers-dribbling", with(1, [1, 15, 100, 3], &good)),
        ("a-read-too-short", with(1, [0; 4], &short)),
        ("stopped", with(1, [0; 4], &stopped)),
        (
            "refused",
            with(0, [0; 4], &Reply::Refused(Refusal::Ticket).encode()),
        ),
        (
            "placed-too-far",
            with(1, [0; 4], &Answer::Placed { through: u64::MAX }.encode()),
        ),
    ]
}
