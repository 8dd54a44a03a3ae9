//! The handshake's messages, in both directions. Nobody is let in by bytes: no proof that a fuzzer makes is the right one.

use outlive_fabric::proof::{Transcript, UNBOUND};
use outlive_fabric::tcp::hello::{
    self, Challenge, HELLO_BYTES, Hello, REPLY_HEAD_BYTES, RESPONSE_BYTES, Reply, ReplyHead, Response,
};
use outlive_fabric::{
    AccessInfo, ConnectionId, ExposedPart, PersistMethod, Refusal, RegionId, RemoteKey, Rights, SessionInfo,
    Terms, Ticket, TicketId, TicketSecret,
};

use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "greetings",
    about: "hello, challenge, response and welcome of the data connection",
    run,
    seeds,
    allowance_bytes: 64 << 10,
};

fn run(input: &[u8]) {
    if let Ok(Some(hello)) = Hello::decode(input) {
        assert_eq!(hello.encode(), input[..HELLO_BYTES]);
        assert_eq!(Hello::decode(&input[..HELLO_BYTES - 1]), Ok(None));
    }
    if let Ok(Some(response)) = Response::decode(input) {
        assert_eq!(response.encode(), input[..RESPONSE_BYTES]);
        assert!(!transcript(&ticket()).accepts_client(&response.proof));
    }
    if let Ok(Some(head)) = ReplyHead::decode(input) {
        reply(input, head);
    }
}

fn reply(input: &[u8], head: ReplyHead) {
    assert!(
        head.body_len <= 64 << 10,
        "a body is bounded before it is received"
    );
    let Some(body) = input.get(REPLY_HEAD_BYTES..REPLY_HEAD_BYTES + head.body_len) else {
        return;
    };
    let mut bytes = [0; REPLY_HEAD_BYTES];
    bytes.copy_from_slice(&input[..REPLY_HEAD_BYTES]);
    let ticket = ticket();
    let (parts, seal) = hello::sealed_parts(&bytes, body);
    assert!(!transcript(&ticket).accepts_reply(parts, &seal));
    match head.with_body(body) {
        Ok(Reply::Challenge(challenge)) => assert!(!transcript(&ticket).accepts_unit(&challenge.proof)),
        Ok(said) => {
            let again = said.encode();
            let (head, body) = again.split_at(REPLY_HEAD_BYTES);
            let decoded = ReplyHead::decode(head).map(|head| head.map(|head| head.with_body(body)));
            assert_eq!(decoded, Ok(Some(Ok(said))));
        }
        Err(_) => {}
    }
}

fn ticket() -> Ticket {
    Ticket {
        id: TicketId([1; 16]),
        secret: TicketSecret::new([2; 32]),
        terms: Terms {
            identity: "tester".into(),
            region: RegionId([3; 16]),
            generation: 1,
            rights: Rights::ReadWrite,
            incarnation: 1,
        },
    }
}

fn transcript(ticket: &Ticket) -> Transcript<'_> {
    Transcript {
        version: hello::VERSION,
        ticket,
        client_nonce: [4; 32],
        unit_nonce: [5; 32],
        connection: ConnectionId(6),
        binding: UNBOUND,
    }
}

fn seeds() -> Vec<Seed> {
    let access = AccessInfo {
        region: RegionId([3; 16]),
        part: ExposedPart::Data,
        key: RemoteKey(9),
        len: 1 << 20,
        rights: Rights::Read,
        generation: 4,
    };
    let metadata = AccessInfo {
        part: ExposedPart::Metadata,
        ..access.clone()
    };
    let session = SessionInfo {
        incarnation: 2,
        access: vec![access, metadata],
        persist: Some(PersistMethod::TargetFlush),
    };
    let welcome = Reply::Welcome {
        session,
        max_op_bytes: 1 << 20,
    };
    let challenge = Reply::Challenge(Challenge {
        nonce: [5; 32],
        connection: ConnectionId(6),
        incarnation: 1,
        proof: [7; 32],
    });
    let hello = Hello {
        ticket: TicketId([1; 16]),
        nonce: [4; 32],
    };
    vec![
        ("hello", hello.encode().to_vec()),
        ("response", Response { proof: [8; 32] }.encode().to_vec()),
        ("challenge", challenge.encode()),
        ("welcome", welcome.encode()),
        ("refused", Reply::Refused(Refusal::Protocol("no".into())).encode()),
    ]
}
