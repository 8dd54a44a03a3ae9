//! Floods of connections: whoever comes with a valid ticket gets in meanwhile, and who is in is served.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive_fabric::tcp::hello::{HELLO_BYTES, Reply};
use outlive_fabric::tcp::{ConnectOptions, Limits, Listener, TcpEndpoint, connect};
use outlive_fabric::testing::{KEY, Memory, TestTarget, raw};
use outlive_fabric::{Admission, Endpoint, FabricError, Outcome, Refusal, Rights, Ticket, TicketSecret};

const PATIENCE: Duration = Duration::from_secs(30);
/// More than any bound on handshakes.
const CROWD: usize = 2000;

struct Bench {
    target: Arc<TestTarget>,
    listener: Listener,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let target = TestTarget::new(Memory::new(1 << 20, true));
        let admission: Arc<dyn Admission> = Arc::<TestTarget>::clone(&target);
        let listener = Listener::bind("127.0.0.1:0", admission, limits).expect("loopback can be bound");
        Self { target, listener }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    fn connect(&self) -> Result<TcpEndpoint, FabricError> {
        let ticket = self.target.issue(Rights::ReadWrite);
        let options = ConnectOptions {
            connect_timeout: PATIENCE,
            ..ConnectOptions::default()
        };
        connect(&self.address().to_string(), &ticket, &options)
    }
}

fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the listener accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time-out can be set");
    stream
}

fn write(endpoint: &mut TcpEndpoint, bytes: &[u8]) {
    endpoint
        .post_write(KEY, 0, &[IoSlice::new(bytes)])
        .expect("posted");
    let mut completions = Vec::new();
    while endpoint.wait(&mut completions, PATIENCE).expect("alive") == 0 {}
    assert_eq!(completions[0].result, Ok(Outcome::Placed));
}

/// Whether the target has ended a connection that was never greeted.
fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let waits = stream.read_exact(&mut [0]).map_err(|error| error.kind());
    waits != Err(ErrorKind::WouldBlock)
}

/// The slow loris: handshakes begun and not gone on with, by the thousand, all held open.
#[test]
fn thousands_of_half_handshakes_keep_nobody_out() {
    let bench = Bench::new(Limits {
        // They would not go away by themselves while this runs.
        handshake_timeout: PATIENCE,
        ..Limits::default()
    });
    let mut before = bench.connect().expect("let in");
    let mut held = Vec::new();
    for number in 0..CROWD {
        let mut stream = raw(bench.address());
        match number % 3 {
            0 => {}
            // May fail: it may have been driven out already.
            1 => drop(stream.write_all(b"OUTLIVE>")),
            _ => drop(stream.write_all(&[b'O'; 1])),
        }
        held.push(stream);
        if number % 250 == 0 {
            write(&mut before, &[1; 64]);
            let mut meanwhile = bench.connect().expect("a valid ticket is let in at once");
            write(&mut meanwhile, &[2; 64]);
        }
    }
    let open = held
        .iter_mut()
        .filter_map(|stream| (!is_over(stream)).then_some(()))
        .count();
    assert!(open < CROWD, "the oldest gave way");
    let mut last = bench.connect().expect("a valid ticket is let in at once");
    write(&mut last, &[3; 64]);
    write(&mut before, &[4; 64]);
}

/// Who keeps connecting drives out the oldest, and not those who have named a ticket and owe an answer.
#[test]
fn a_flood_of_newcomers_does_not_drive_out_who_named_a_ticket() {
    let bench = Bench::new(Limits {
        handshake_timeout: PATIENCE,
        ..Limits::default()
    });
    let ticket = bench.target.issue(Rights::ReadWrite);
    let mut slow = raw(bench.address());
    let Ok(Reply::Challenge(challenge)) = raw::say_hello(&mut slow, ticket.id) else {
        panic!("not challenged");
    };
    let flood: Vec<TcpStream> = (0..500).map(|_| raw(bench.address())).collect();
    // Behind all of them.
    bench.connect().expect("let in");
    let response = raw::client_proof(&ticket, &challenge, outlive_fabric::proof::UNBOUND);
    let reply = raw::respond(&mut slow, &response);
    assert!(matches!(reply, Ok(Reply::Welcome { .. })), "{reply:?}");
    drop(flood);
}

/// Half-open handshakes end by themselves as well.
#[test]
fn a_silent_handshake_ends_with_its_time() {
    let bench = Bench::new(Limits {
        handshakes: 4,
        handshake_timeout: Duration::from_millis(100),
        ..Limits::default()
    });
    for _ in 0..3 {
        let reply = raw::read_reply(&mut raw(bench.address()));
        let is_late = |why: &str| why.contains("too long");
        assert!(
            matches!(&reply, Ok(Reply::Refused(Refusal::Protocol(why))) if is_late(why)),
            "{reply:?}"
        );
    }
}

/// A source that fails and fails is no longer told why, costs little, and keeps nobody at the same address out.
#[test]
fn a_source_that_keeps_failing_is_closed_upon_and_its_neighbour_let_in() {
    let bench = Bench::new(Limits::default());
    let (mut told, mut closed) = (0, 0);
    for _ in 0..300 {
        let ticket = bench.target.issue(Rights::Read);
        let guessed = Ticket {
            secret: TicketSecret::new([0; 32]),
            ..ticket
        };
        match raw::greet(&mut raw(bench.address()), &guessed) {
            Ok(Reply::Refused(Refusal::Ticket)) => told += 1,
            Ok(other) => panic!("{other:?}"),
            Err(_) => closed += 1,
        }
    }
    assert!(told > 0 && closed > 0, "{told} told, {closed} closed upon");
    assert_eq!(
        bench.target.wrong_answers(),
        300,
        "each was counted against its ticket"
    );
    write(
        &mut bench.connect().expect("a valid ticket is let in at once"),
        &[1; 64],
    );
}

/// Threads are bounded whatever comes in, garbage included, and the ones that are in are served.
#[test]
fn a_flood_of_garbage_costs_a_bounded_number_of_threads() {
    let bench = Bench::new(Limits::default());
    let mut before = bench.connect().expect("let in");
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = bench.address();
    let most = thread::scope(|scope| {
        // Dropped also where an assertion fails, so that the flood ends.
        let _ending = Ending(&stop);
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let mut stream = raw(address);
                    drop(stream.write_all(&[0xee; HELLO_BYTES]));
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let begun = Instant::now();
        let mut most = 0;
        while sent.load(Ordering::SeqCst) < CROWD && begun.elapsed() < PATIENCE {
            write(&mut before, &[5; 64]);
            most = most.max(serving_threads());
        }
        bench.connect().expect("a valid ticket is let in at once");
        most
    });
    assert!(sent.load(Ordering::SeqCst) >= CROWD, "the flood was a flood");
    // Of this test and of those that run beside it.
    assert!(most < 600, "{most} threads");
}

struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn serving_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux tells");
    threads
        .filter_map(Result::ok)
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
        .filter(|name| name.starts_with("outlive-data"))
        .count()
}
