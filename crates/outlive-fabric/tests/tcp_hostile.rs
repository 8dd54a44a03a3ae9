//! A hostile wire: whatever one client sends, or does not take, the others are served.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use outlive_fabric::proof::UNBOUND;
use outlive_fabric::tcp::frame::{Answer, MAX_ANSWER_PAYLOAD_BYTES, Op, OpFrame};
use outlive_fabric::tcp::hello::{HELLO_BYTES, Hello, Reply, Response};
use outlive_fabric::tcp::{ConnectOptions, Limits, Listener, TcpEndpoint, connect, reason};
use outlive_fabric::testing::{KEY, Memory, TestTarget, raw};
use outlive_fabric::{
    Admission, CloseReason, Connection, Endpoint, FabricError, Outcome, Refusal, RemoteKey, Rights, TicketId,
};

const PATIENCE: Duration = Duration::from_secs(30);
const MEMORY_BYTES: usize = 4 << 20;

struct Bench {
    target: Arc<TestTarget>,
    listener: Listener,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let target = TestTarget::new(Memory::new(MEMORY_BYTES, true));
        let admission: Arc<dyn Admission> = Arc::<TestTarget>::clone(&target);
        let listener = Listener::bind("127.0.0.1:0", admission, limits).expect("loopback can be bound");
        Self { target, listener }
    }

    fn connect(&self) -> Result<TcpEndpoint, FabricError> {
        let ticket = self.target.issue(Rights::ReadWrite);
        connect(
            &self.listener.local_addr().to_string(),
            &ticket,
            &ConnectOptions::default(),
        )
    }

    /// A connection spoken by hand, not yet greeted.
    fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listener.local_addr()).expect("the listener accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time-out can be set");
        stream
    }

    /// A connection spoken by hand, let in.
    fn admitted(&self) -> (TcpStream, Arc<dyn Connection>) {
        let mut stream = self.raw();
        let greeted = raw::greet(&mut stream, &self.target.issue(Rights::ReadWrite));
        assert!(matches!(greeted, Ok(Reply::Welcome { .. })));
        (stream, self.target.newest())
    }

    /// That a connection was ended by the target as broken, with this in its reason, and said so.
    fn assert_broken(&self, mut stream: TcpStream, connection: &dyn Connection, what: &str) {
        assert!(connection.await_stopped(PATIENCE));
        let reason = self.target.await_closed(connection.id(), PATIENCE);
        assert!(
            matches!(&reason, Some(CloseReason::Broken(why)) if why.contains(what)),
            "{reason:?}"
        );
        let told = stopped(&mut stream);
        assert!(
            matches!(&told, Refusal::Protocol(why) if why.contains(what)),
            "{told:?}"
        );
        self.assert_serves();
    }

    /// That a newcomer is served.
    fn assert_serves(&self) {
        let mut endpoint = self.connect().expect("a newcomer is let in");
        assert_eq!(round_trip(&mut endpoint, b"served"), Outcome::Placed);
    }
}

fn round_trip(endpoint: &mut TcpEndpoint, bytes: &[u8]) -> Outcome {
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(bytes)])
        .expect("posted");
    let mut completions = Vec::new();
    assert_eq!(
        endpoint
            .wait(&mut completions, PATIENCE)
            .expect("the connection lives"),
        1
    );
    completions.remove(0).result.expect("let through")
}

fn reply(stream: &mut TcpStream) -> Reply {
    raw::read_reply(stream).expect("a reply comes")
}

/// Reads answers up to the one that says why the connection is stopped.
fn stopped(stream: &mut TcpStream) -> Refusal {
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header).expect("an answer comes");
        let answer = Answer::decode(&header)
            .expect("the protocol")
            .expect("a whole header");
        let len = match answer {
            Answer::ReadPart { len, .. } | Answer::Refused { len, .. } | Answer::Stopped { len } => len,
            Answer::Placed { .. } | Answer::Persistent { .. } => 0,
        };
        let mut payload = vec![0; len as usize];
        stream.read_exact(&mut payload).expect("its payload comes");
        if matches!(answer, Answer::Stopped { .. }) {
            return reason::decode(&payload).expect("a reason");
        }
    }
}

fn frame(tag: u32, op: Op) -> [u8; 32] {
    OpFrame { tag, op }.encode()
}

fn write_op(len: u64) -> Op {
    Op::Write {
        key: KEY,
        offset: 0,
        len,
    }
}

#[test]
fn garbage_instead_of_a_hello_is_refused() {
    let bench = Bench::new(Limits::default());
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; HELLO_BYTES], &[0xff; 4096]] {
        let mut stream = bench.raw();
        stream.write_all(garbage).expect("taken");
        assert!(matches!(reply(&mut stream), Reply::Refused(Refusal::Protocol(_))));
    }
    let mut newer = Hello {
        ticket: TicketId([1; 16]),
        nonce: [0; 32],
    }
    .encode();
    newer[8] = 77;
    let mut stream = bench.raw();
    stream.write_all(&newer).expect("taken");
    let refused = reply(&mut stream);
    assert!(
        matches!(&refused, Reply::Refused(Refusal::Protocol(why)) if why.contains("77")),
        "{refused:?}"
    );
    assert!(bench.target.connections().is_empty(), "nobody was let in");
    bench.assert_serves();
}

/// U5: what was heard of one handshake is of no use in another, be it the same ticket's or another's.
#[test]
fn a_replayed_answer_lets_nobody_in() {
    let bench = Bench::new(Limits::default());
    let ticket = bench.target.issue(Rights::ReadWrite);
    let challenged = |ticket: TicketId| {
        let mut stream = bench.raw();
        match raw::say_hello(&mut stream, ticket) {
            Ok(Reply::Challenge(challenge)) => (stream, challenge),
            other => panic!("{other:?}"),
        }
    };
    // The owner has answered but is not heard yet; who listens replays the answer with the same nonce.
    let (mut owner, challenge) = challenged(ticket.id);
    let response = raw::client_proof(&ticket, &challenge, UNBOUND);
    let (mut eavesdropper, other_challenge) = challenged(ticket.id);
    assert_ne!(challenge.nonce, other_challenge.nonce);
    let outcome = raw::respond(&mut eavesdropper, &response);
    assert!(
        matches!(outcome, Ok(Reply::Refused(Refusal::Ticket))),
        "{outcome:?}"
    );
    // Nor does the target's own proof serve as the initiator's.
    let (mut reflected, other_challenge) = challenged(ticket.id);
    let outcome = raw::respond(
        &mut reflected,
        &Response {
            proof: other_challenge.proof,
        },
    );
    assert!(
        matches!(outcome, Ok(Reply::Refused(Refusal::Ticket))),
        "{outcome:?}"
    );
    let another = bench.target.issue(Rights::ReadWrite);
    let (mut other, _) = challenged(another.id);
    let outcome = raw::respond(&mut other, &response);
    assert!(
        matches!(outcome, Ok(Reply::Refused(Refusal::Ticket))),
        "{outcome:?}"
    );
    assert!(bench.target.connections().is_empty());
    let outcome = raw::respond(&mut owner, &response);
    assert!(matches!(outcome, Ok(Reply::Welcome { .. })), "{outcome:?}");
    // Used now: the same answer again, on a connection that was challenged before.
    let (_, late) = (owner, raw::say_hello(&mut bench.raw(), ticket.id));
    assert!(matches!(late, Ok(Reply::Refused(Refusal::Ticket))), "{late:?}");
    bench.assert_serves();
}

/// U5: two that know the secret, challenged both: the ticket lets one in.
#[test]
fn of_two_right_answers_one_lets_in() {
    let bench = Bench::new(Limits::default());
    for _ in 0..20 {
        let ticket = bench.target.issue(Rights::ReadWrite);
        let both = [(), ()].map(|()| {
            let mut stream = bench.raw();
            let Ok(Reply::Challenge(challenge)) = raw::say_hello(&mut stream, ticket.id) else {
                panic!("not challenged");
            };
            (stream, raw::client_proof(&ticket, &challenge, UNBOUND))
        });
        let both = both.map(|(mut stream, response)| {
            thread::spawn(move || raw::respond(&mut stream, &response).expect("a reply comes"))
        });
        let replies = both.map(|one| one.join().expect("answered"));
        let welcomed = replies
            .iter()
            .filter(|reply| matches!(reply, Reply::Welcome { .. }));
        assert_eq!(welcomed.count(), 1, "{replies:?}");
        assert!(replies.contains(&Reply::Refused(Refusal::Ticket)), "{replies:?}");
    }
}

/// One deadline bounds the whole handshake: dribbling does not stretch it, nor does the step it is in.
#[test]
fn a_handshake_that_dribbles_is_ended_in_time() {
    let bench = Bench::new(Limits {
        handshake_timeout: Duration::from_millis(200),
        ..Limits::default()
    });
    let ticket = bench.target.issue(Rights::ReadWrite);
    let hello = Hello {
        ticket: ticket.id,
        nonce: raw::NONCE,
    };
    let mut dribbling = bench.raw();
    let begun = Instant::now();
    let taken = hello.encode().into_iter().take_while(|byte| {
        thread::sleep(Duration::from_millis(5));
        begun.elapsed() < PATIENCE && dribbling.write_all(&[*byte]).is_ok() && is_silent(&dribbling)
    });
    assert!(taken.count() < HELLO_BYTES, "it was ended before it was through");
    let mut challenged = bench.raw();
    assert!(matches!(
        raw::say_hello(&mut challenged, ticket.id),
        Ok(Reply::Challenge(_))
    ));
    let refused = reply(&mut challenged);
    assert!(matches!(&refused, Reply::Refused(Refusal::Protocol(why)) if why.contains("too long")));
    bench.assert_serves();
}

/// Whether nothing has come yet.
fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let peeked = stream.peek(&mut [0]).map_err(|error| error.kind());
    stream.set_nonblocking(false).expect("an option");
    peeked == Err(ErrorKind::WouldBlock)
}

#[test]
fn garbage_instead_of_an_operation_ends_that_connection() {
    let bench = Bench::new(Limits::default());
    let mut unknown = frame(1, Op::Close);
    unknown[2] = 99;
    let mut flagged = frame(1, write_op(1));
    flagged[3] = 1;
    let cases: [(&[u8], &str); 5] = [
        (&[0xee; 300], "magic"),
        (&unknown, "kind 99"),
        (&flagged, "leaves zero"),
        (&frame(7, write_op(1)), "tagged 7"),
        (&frame(1, write_op(u64::MAX)), "longer than was agreed"),
    ];
    for (bytes, what) in cases {
        let (mut stream, connection) = bench.admitted();
        stream.write_all(bytes).expect("taken");
        bench.assert_broken(stream, connection.as_ref(), what);
    }
}

#[test]
fn operations_before_the_garbage_are_answered() {
    let bench = Bench::new(Limits::default());
    let (mut stream, connection) = bench.admitted();
    stream.write_all(&frame(1, write_op(3))).expect("taken");
    stream.write_all(b"abc").expect("taken");
    let mut header = [0; 16];
    stream.read_exact(&mut header).expect("an answer comes");
    assert_eq!(Answer::decode(&header), Ok(Some(Answer::Placed { through: 1 })));
    stream.write_all(&[1; 40]).expect("taken");
    bench.assert_broken(stream, connection.as_ref(), "magic");
    assert_eq!(&bench.target.memory().placed()[..3], b"serv"[..3].as_ref());
}

#[test]
fn dribbled_bytes_are_understood() {
    let bench = Bench::new(Limits::default());
    let mut stream = bench.raw();
    stream.set_nodelay(true).expect("an option");
    let ticket = bench.target.issue(Rights::ReadWrite);
    let hello = Hello {
        ticket: ticket.id,
        nonce: raw::NONCE,
    };
    for byte in hello.encode() {
        stream.write_all(&[byte]).expect("taken");
    }
    let Reply::Challenge(challenge) = reply(&mut stream) else {
        panic!("not challenged");
    };
    // What comes right behind the response is the first operation.
    let mut bytes = raw::client_proof(&ticket, &challenge, UNBOUND).encode().to_vec();
    bytes.extend(frame(1, write_op(5)));
    bytes.extend(b"drip!");
    bytes.extend(frame(
        2,
        Op::Persist {
            key: KEY,
            offset: 0,
            len: 5,
        },
    ));
    bytes.extend(frame(
        3,
        Op::Read {
            key: KEY,
            offset: 1,
            len: 3,
        },
    ));
    for byte in bytes {
        stream.write_all(&[byte]).expect("taken");
    }
    assert!(matches!(reply(&mut stream), Reply::Welcome { .. }));
    let mut answers = [0; 3 * 16 + 3];
    stream.read_exact(&mut answers).expect("the answers come");
    assert_eq!(Answer::decode(&answers), Ok(Some(Answer::Placed { through: 1 })));
    assert!(matches!(
        Answer::decode(&answers[16..]),
        Ok(Some(Answer::Persistent { op: 2, .. }))
    ));
    let part = Answer::ReadPart {
        op: 3,
        len: 3,
        last: true,
    };
    assert_eq!(Answer::decode(&answers[32..]), Ok(Some(part)));
    assert_eq!(&answers[48..], b"rip");
}

#[test]
fn a_frame_cut_short_places_nothing_of_a_small_write() {
    let bench = Bench::new(Limits::default());
    for cut in [1, 31, 32, 40] {
        let (mut stream, connection) = bench.admitted();
        let mut bytes = frame(1, write_op(100)).to_vec();
        bytes.extend([0xab; 100]);
        stream.write_all(&bytes[..cut]).expect("taken");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        assert!(connection.await_stopped(PATIENCE));
        let reason = bench.target.await_closed(connection.id(), PATIENCE);
        assert_eq!(reason, Some(CloseReason::Closed));
    }
    assert_eq!(bench.target.memory().placed(), vec![0; MEMORY_BYTES]);
}

#[test]
fn silence_inside_a_frame_is_bounded() {
    let bench = Bench::new(Limits {
        frame_timeout: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut idle = bench.connect().expect("let in");
    let (mut stream, connection) = bench.admitted();
    stream.write_all(&frame(1, write_op(1 << 20))).expect("taken");
    bench.assert_broken(stream, connection.as_ref(), "silent");
    assert_eq!(
        round_trip(&mut idle, b"idle between frames is no silence"),
        Outcome::Placed
    );
}

#[test]
fn the_limit_on_connections_is_a_typed_refusal() {
    let bench = Bench::new(Limits {
        connections: 2,
        ..Limits::default()
    });
    let first = bench.connect().expect("let in");
    let _second = bench.connect().expect("let in");
    let error = bench.connect().err().expect("one too many");
    assert!(
        matches!(&error, FabricError::Refused(Refusal::Limit { what, limit: 2 }) if what == "connections"),
        "{error:?}"
    );
    drop(first);
    let begun = Instant::now();
    while let Err(error) = bench.connect() {
        assert!(begun.elapsed() < PATIENCE, "{error}");
        thread::yield_now();
    }
}

#[test]
fn two_hundred_connections_are_served() {
    let bench = Bench::new(Limits::default());
    let mut endpoints: Vec<TcpEndpoint> = (0..200).map(|_| bench.connect().expect("let in")).collect();
    assert_eq!(bench.listener.connections(), 200);
    for (number, endpoint) in (0u64..).zip(&mut endpoints) {
        endpoint
            .post_write(KEY, number * 8, &[IoSlice::new(&number.to_le_bytes())])
            .expect("posted");
        endpoint.flush().expect("sent");
    }
    for endpoint in &mut endpoints {
        let mut completions = Vec::new();
        assert_eq!(endpoint.wait(&mut completions, PATIENCE).expect("alive"), 1);
        assert_eq!(completions[0].result, Ok(Outcome::Placed));
    }
    let placed = bench.target.memory().placed();
    for (number, bytes) in (0u64..200).zip(placed.chunks(8)) {
        assert_eq!(bytes, number.to_le_bytes());
    }
}

#[test]
fn a_flood_and_a_client_that_takes_nothing_leave_others_served() {
    let bench = Bench::new(Limits {
        send_timeout: Duration::from_millis(400),
        ..Limits::default()
    });
    // Asks for 4 GiB and reads none of it.
    let (mut greedy, greedy_connection) = bench.admitted();
    for tag in 1..=1024 {
        greedy
            .write_all(&frame(
                tag,
                Op::Read {
                    key: KEY,
                    offset: 0,
                    len: 4 << 20,
                },
            ))
            .expect("taken");
    }
    // Sends small writes as fast as they are taken.
    let (mut flooding, flooding_connection) = bench.admitted();
    let flood = thread::spawn(move || {
        for tag in 1u32.. {
            let mut bytes = frame(
                tag,
                Op::Write {
                    key: KEY,
                    offset: 4096,
                    len: 8,
                },
            )
            .to_vec();
            bytes.extend([1; 8]);
            if flooding.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let mut endpoint = bench.connect().expect("let in");
    for _ in 0..500 {
        assert_eq!(round_trip(&mut endpoint, b"meanwhile"), Outcome::Placed);
    }
    let reason = bench.target.await_closed(greedy_connection.id(), PATIENCE);
    assert!(
        matches!(&reason, Some(CloseReason::Broken(why)) if why.contains("takes nothing")),
        "{reason:?}"
    );
    flooding_connection.stop(Refusal::Fenced { generation: 2 });
    assert!(flooding_connection.await_stopped(PATIENCE));
    flood.join().expect("the flood ends");
    drop(greedy);
}

#[test]
fn a_client_that_takes_nothing_costs_bounded_memory() {
    let bench = Bench::new(Limits::default());
    let before = resident_bytes();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (mut stream, connection) = bench.admitted();
            for tag in 1..=64 {
                stream
                    .write_all(&frame(
                        tag,
                        Op::Read {
                            key: KEY,
                            offset: 0,
                            len: 4 << 20,
                        },
                    ))
                    .expect("taken");
            }
            (stream, connection)
        })
        .collect();
    bench.assert_serves();
    // What was asked for, buffered, would be 2 GiB; kernel buffers are not counted here.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "grew by {grown} bytes");
    for (_, connection) in &clients {
        connection.stop(Refusal::ShuttingDown);
        assert!(
            connection.await_stopped(PATIENCE),
            "one that is blocked in sending stops too"
        );
    }
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages = status.split(' ').nth(1).expect("the second field");
    pages.parse::<usize>().expect("a number") * 4096
}

/// P3: a client stopped in the middle of a large write does not hold up its fence, and what it sends
/// when it wakes up does not land.
#[test]
fn a_sender_stalled_inside_a_large_write_is_fenced_at_once() {
    let bench = Bench::new(Limits::default());
    let (mut stream, connection) = bench.admitted();
    let half = vec![0x5a; 500_000];
    stream.write_all(&frame(1, write_op(1_000_000))).expect("taken");
    stream.write_all(&half).expect("taken");
    let begun = Instant::now();
    while bench.target.memory().placed()[499_999] != 0x5a {
        assert!(begun.elapsed() < PATIENCE, "the first half lands");
        thread::yield_now();
    }
    connection.stop(Refusal::Fenced { generation: 5 });
    assert!(connection.await_stopped(PATIENCE));
    let confirmed = bench.target.memory().placed();
    let rest = vec![0xa5; 500_000];
    // May fail: the target has closed.
    let _ = stream.write_all(&rest);
    assert_eq!(stopped(&mut stream), Refusal::Fenced { generation: 5 });
    drop(stream);
    bench.listener.shutdown();
    assert!(
        bench.target.memory().placed() == confirmed,
        "nothing of the second half lands"
    );
    assert!(confirmed[500_000..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_large_write_that_is_refused_is_skipped_to_the_byte() {
    let bench = Bench::new(Limits::default());
    let (mut stream, _) = bench.admitted();
    let refused = Op::Write {
        key: RemoteKey(5),
        offset: 0,
        len: 300_000,
    };
    stream.write_all(&frame(1, refused)).expect("taken");
    stream.write_all(&vec![9; 300_000]).expect("taken");
    stream.write_all(&frame(2, write_op(2))).expect("taken");
    stream.write_all(b"ok").expect("taken");
    let mut header = [0; 16];
    stream.read_exact(&mut header).expect("an answer comes");
    let Ok(Some(Answer::Refused { op: 1, len })) = Answer::decode(&header) else {
        panic!("the first is refused");
    };
    let mut text = vec![0; len as usize];
    stream.read_exact(&mut text).expect("its reason comes");
    assert_eq!(reason::decode(&text), Ok(Refusal::UnknownKey { key: 5 }));
    stream.read_exact(&mut header).expect("an answer comes");
    assert_eq!(Answer::decode(&header), Ok(Some(Answer::Placed { through: 2 })));
    assert_eq!(&bench.target.memory().placed()[..3], b"ok\0");
}

#[test]
fn shutting_down_ends_stalled_and_idle_and_half_open_connections() {
    let bench = Bench::new(Limits::default());
    let half_open = bench.raw();
    let (mut stalled, _) = bench.admitted();
    stalled.write_all(&frame(1, write_op(1 << 20))).expect("taken");
    let mut idle = bench.connect().expect("let in");
    bench.listener.shutdown();
    bench.listener.shutdown();
    assert_eq!(stopped(&mut stalled), Refusal::ShuttingDown);
    let error = idle.wait(&mut Vec::new(), PATIENCE).expect_err("it was stopped");
    assert!(
        matches!(error, FabricError::Stopped(Refusal::ShuttingDown)),
        "{error:?}"
    );
    let error = bench.connect().err().expect("nobody listens");
    assert!(matches!(error, FabricError::Connect { .. }), "{error:?}");
    drop(half_open);
}

#[test]
fn answers_are_cut_into_bounded_parts() {
    let bench = Bench::new(Limits::default());
    let (mut stream, _) = bench.admitted();
    let len = u64::from(MAX_ANSWER_PAYLOAD_BYTES) * 2 + 1;
    stream
        .write_all(&frame(
            1,
            Op::Read {
                key: KEY,
                offset: 0,
                len,
            },
        ))
        .expect("taken");
    for expected in [MAX_ANSWER_PAYLOAD_BYTES, MAX_ANSWER_PAYLOAD_BYTES, 1] {
        let mut header = [0; 16];
        stream.read_exact(&mut header).expect("an answer comes");
        let part = Answer::ReadPart {
            op: 1,
            len: expected,
            last: expected == 1,
        };
        assert_eq!(Answer::decode(&header), Ok(Some(part)));
        stream
            .read_exact(&mut vec![0; expected as usize])
            .expect("its payload comes");
    }
    stream.set_nonblocking(true).expect("an option");
    let more = stream.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock));
}
