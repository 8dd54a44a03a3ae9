//! The initiator's side against a target that misbehaves, falls silent, or is not there.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use outlive_fabric::proof::{Transcript, UNBOUND};
use outlive_fabric::tcp::frame::Answer;
use outlive_fabric::tcp::hello::{Challenge, HELLO_BYTES, REPLY_HEAD_BYTES, Reply, VERSION};
use outlive_fabric::tcp::{ConnectOptions, TcpEndpoint, connect};
use outlive_fabric::testing::{KEY, raw};
use outlive_fabric::{
    Completion, ConnectionId, Endpoint, FabricError, OpId, Outcome, PersistMethod, Refusal, RegionId, Rights,
    SessionInfo, Terms, Ticket, TicketId, TicketSecret,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn ticket() -> Ticket {
    Ticket {
        id: TicketId([3; 16]),
        secret: TicketSecret::new([4; 32]),
        terms: Terms {
            identity: "tester".into(),
            region: RegionId([5; 16]),
            generation: 6,
            rights: Rights::ReadWrite,
            incarnation: 4,
        },
    }
}

fn session() -> SessionInfo {
    SessionInfo {
        incarnation: 4,
        access: Vec::new(),
        persist: None,
    }
}

/// Plays the target by hand for one connection.
fn against(
    options: &ConnectOptions,
    play: impl FnOnce(TcpStream) + Send + 'static,
) -> (TcpEndpoint, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let playing = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection comes");
        raw::welcome(&mut stream, &ticket(), session(), 1 << 20).expect("taken");
        play(stream);
    });
    (connect(&address, &ticket(), options).expect("welcome"), playing)
}

fn fails_with(answers: Vec<u8>) -> FabricError {
    let (mut endpoint, playing) = against(&ConnectOptions::default(), move |mut stream| {
        stream.write_all(&answers).expect("taken");
        // Until the initiator hangs up.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"abc")])
        .expect("posted");
    endpoint.post_read(KEY, 0, 10).expect("posted");
    let mut completions = Vec::new();
    let error = loop {
        match endpoint.wait(&mut completions, PATIENCE) {
            Ok(0) => panic!("nothing happened"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    drop(endpoint);
    playing.join().expect("played");
    error
}

#[test]
fn what_is_not_the_protocol_is_an_error() {
    let placed = Answer::Placed { through: 1 }.encode().to_vec();
    let then = |answer: Answer| [placed.clone(), answer.encode().to_vec()].concat();
    let wrong = [
        vec![0xee; 64],
        Answer::Placed { through: 0 }.encode().to_vec(),
        Answer::Placed { through: 2 }.encode().to_vec(),
        Answer::Placed { through: u64::MAX }.encode().to_vec(),
        Answer::ReadPart {
            op: 2,
            len: 10,
            last: true,
        }
        .encode()
        .to_vec(),
        then(Answer::Placed { through: 1 }),
        then(Answer::Persistent {
            op: 2,
            method: PersistMethod::TargetFlush,
        }),
        then(Answer::ReadPart {
            op: 3,
            len: 10,
            last: true,
        }),
        then(Answer::ReadPart {
            op: 2,
            len: 11,
            last: true,
        }),
        then(Answer::ReadPart {
            op: 2,
            len: 9,
            last: true,
        }),
        then(Answer::ReadPart {
            op: 2,
            len: 10,
            last: false,
        }),
        then(Answer::ReadPart {
            op: 2,
            len: 0,
            last: false,
        }),
        [
            Answer::Refused { op: 1, len: 32 }.encode().to_vec(),
            vec![0xff; 32],
        ]
        .concat(),
    ];
    for answers in wrong {
        let error = fails_with(answers.clone());
        assert!(
            matches!(error, FabricError::Protocol(_)),
            "{answers:x?}: {error:?}"
        );
    }
}

#[test]
fn a_broken_connection_delivers_what_arrived_and_then_the_error() {
    let (mut endpoint, playing) = against(&ConnectOptions::default(), |mut stream| {
        stream
            .write_all(&Answer::Placed { through: 1 }.encode())
            .expect("taken");
    });
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"abc")])
        .expect("posted");
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"def")])
        .expect("posted");
    playing.join().expect("played");
    let mut completions = Vec::new();
    assert_eq!(
        endpoint
            .wait(&mut completions, PATIENCE)
            .expect("one had arrived"),
        1
    );
    assert_eq!(
        completions,
        [Completion {
            op: OpId(1),
            result: Ok(Outcome::Placed)
        }]
    );
    for _ in 0..2 {
        let error = endpoint
            .wait(&mut completions, PATIENCE)
            .expect_err("then it is lost");
        assert!(matches!(error, FabricError::Lost(_)), "{error:?}");
    }
    let error = endpoint.post_read(KEY, 0, 1).expect_err("it stays lost");
    assert!(matches!(error, FabricError::Lost(_)), "{error:?}");
}

#[test]
fn a_silent_target_is_given_up() {
    let options = ConnectOptions {
        op_timeout: Duration::from_millis(80),
        ..ConnectOptions::default()
    };
    let (hang_up, wait_for_hang_up) = std::sync::mpsc::channel::<()>();
    let (mut endpoint, playing) = against(&options, move |stream| {
        let _ = wait_for_hang_up.recv();
        drop(stream);
    });
    let mut completions = Vec::new();
    let idle = endpoint.wait(&mut completions, Duration::from_millis(160));
    assert_eq!(idle.expect("nothing is outstanding, so nobody is late"), 0);
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(b"abc")])
        .expect("posted");
    let error = endpoint
        .wait(&mut completions, PATIENCE)
        .expect_err("it gives up");
    assert!(matches!(error, FabricError::TimedOut { ms: 80 }), "{error:?}");
    drop(hang_up);
    playing.join().expect("played");
}

#[test]
fn a_target_that_takes_nothing_is_given_up() {
    let options = ConnectOptions {
        op_timeout: Duration::from_millis(80),
        ..ConnectOptions::default()
    };
    let (hang_up, wait_for_hang_up) = std::sync::mpsc::channel::<()>();
    let (mut endpoint, playing) = against(&options, move |stream| {
        let _ = wait_for_hang_up.recv();
        drop(stream);
    });
    let payload = vec![0; 1 << 20];
    let error = (0..1000).find_map(|_| endpoint.post_write(KEY, 0, &[IoSlice::new(&payload)]).err());
    let error = error.expect("the window and the buffers are bounded");
    assert!(matches!(error, FabricError::TimedOut { ms: 80 }), "{error:?}");
    drop(hang_up);
    playing.join().expect("played");
}

#[test]
fn nobody_there_is_an_error_that_names_the_address() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound").to_string()
    };
    let error = connect(&address, &ticket(), &ConnectOptions::default())
        .err()
        .expect("nobody listens");
    assert!(matches!(&error, FabricError::Connect { address: named, .. } if *named == address));
}

#[test]
fn a_listener_that_never_answers_is_given_up() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("loopback"));
    let address = listener.local_addr().expect("bound").to_string();
    let options = ConnectOptions {
        connect_timeout: Duration::from_millis(80),
        ..ConnectOptions::default()
    };
    let error = connect(&address, &ticket(), &options)
        .err()
        .expect("no welcome comes");
    let FabricError::Connect { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
}

/// What a target does with one connection.
type Play = fn(&mut TcpStream) -> std::io::Result<()>;

/// Connects to a target that is played by hand. What comes of it, and what the target read at the end.
fn greeted_by(play: Play) -> (FabricError, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let playing = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection comes");
        play(&mut stream).expect("played");
        let mut rest = Vec::new();
        // A reset ends it as well.
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    let error = connect(&address, &ticket(), &ConnectOptions::default())
        .err()
        .expect("it does not connect");
    (error, playing.join().expect("played"))
}

/// X1: whoever answers in the unit's place gets the ticket's id and nothing more.
#[test]
fn an_impostor_learns_nothing_and_is_not_believed() {
    let with_other_secret = |stream: &mut TcpStream| {
        let mut other = ticket();
        other.secret = TicketSecret::new([9; 32]);
        stream.read_exact(&mut [0; HELLO_BYTES])?;
        let challenge = Challenge {
            nonce: [1; 32],
            connection: ConnectionId(1),
            incarnation: 4,
            proof: Transcript {
                version: VERSION,
                ticket: &other,
                client_nonce: [0; 32],
                unit_nonce: [1; 32],
                connection: ConnectionId(1),
                binding: UNBOUND,
            }
            .unit_proof(),
        };
        stream.write_all(&Reply::Challenge(challenge).encode())
    };
    // Whoever has not proven anything is not believed that the region was fenced, or the medium broke.
    let says_fenced = |stream: &mut TcpStream| {
        stream.read_exact(&mut [0; HELLO_BYTES])?;
        stream.write_all(&Reply::Refused(Refusal::Fenced { generation: 9 }).encode())
    };
    for impostor in [with_other_secret, says_fenced] {
        let (error, told) = greeted_by(impostor);
        assert!(matches!(error, FabricError::Impostor { .. }), "{error:?}");
        assert!(error.to_string().contains("cannot prove"), "{error}");
        assert_eq!(told, [], "nothing was proven to it");
    }
}

#[test]
fn a_welcome_that_skips_the_proofs_is_not_the_protocol() {
    let (error, told) = greeted_by(|stream| {
        stream.read_exact(&mut [0; HELLO_BYTES])?;
        stream.write_all(
            &Reply::Welcome {
                session: session(),
                max_op_bytes: 1 << 20,
            }
            .encode(),
        )
    });
    assert!(matches!(error, FabricError::Protocol(_)), "{error:?}");
    assert_eq!(told, []);
}

/// The last word of the handshake is sealed: nobody on the way puts a refusal or other access in its place.
#[test]
fn a_last_word_that_is_not_sealed_is_not_believed() {
    let (error, _) = greeted_by(|stream| {
        let mut sealed = Vec::new();
        raw::welcome(&mut Tapped(stream, &mut sealed), &ticket(), session(), 1 << 20)?;
        // Behind the challenge.
        sealed[REPLY_HEAD_BYTES + 20] ^= 1;
        stream.write_all(&sealed[REPLY_HEAD_BYTES..])
    });
    assert!(matches!(error, FabricError::Impostor { .. }), "{error:?}");
    let (error, _) = greeted_by(|stream| raw::refuse(stream, &ticket(), Refusal::Fenced { generation: 9 }));
    assert!(
        matches!(error, FabricError::Refused(Refusal::Fenced { generation: 9 })),
        "{error:?}"
    );
}

/// Lets the challenge through and keeps what is written after it.
struct Tapped<'a>(&'a mut TcpStream, &'a mut Vec<u8>);

impl Read for Tapped<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Tapped<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            self.0.write_all(bytes)?;
        }
        self.1.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
