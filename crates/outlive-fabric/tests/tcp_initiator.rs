//! The initiator's side against a target that misbehaves, falls silent, or is not there.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use outlive_fabric::tcp::frame::Answer;
use outlive_fabric::tcp::hello::{HELLO_BYTES, Reply};
use outlive_fabric::tcp::{ConnectOptions, TcpEndpoint, connect};
use outlive_fabric::testing::KEY;
use outlive_fabric::{
    Completion, Endpoint, FabricError, OpId, Outcome, PersistMethod, SessionInfo, TicketId,
};

const PATIENCE: Duration = Duration::from_secs(30);
const TICKET: TicketId = TicketId([3; 16]);

/// Plays the target by hand for one connection.
fn against(
    options: &ConnectOptions,
    play: impl FnOnce(TcpStream) + Send + 'static,
) -> (TcpEndpoint, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let playing = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection comes");
        stream.read_exact(&mut [0; HELLO_BYTES]).expect("a hello comes");
        let session = SessionInfo {
            incarnation: 4,
            access: Vec::new(),
            persist: None,
        };
        stream
            .write_all(
                &Reply::Welcome {
                    session,
                    max_op_bytes: 1 << 20,
                }
                .encode(),
            )
            .expect("taken");
        play(stream);
    });
    (connect(&address, TICKET, options).expect("welcome"), playing)
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
    let error = connect(&address, TICKET, &ConnectOptions::default())
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
    let error = connect(&address, TICKET, &options)
        .err()
        .expect("no welcome comes");
    let FabricError::Connect { source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
}
