//! Encrypted data connections: who is refused, what is seen on the way, and what hostile bytes do.

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use outlive_fabric::proof::UNBOUND;
use outlive_fabric::tcp::frame::{Op, OpFrame};
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::tcp::{
    ConnectOptions, DataCertificate, Encryption, Limits, Listener, PinnedCertificate, TcpEndpoint, TlsPolicy,
    connect,
};
use outlive_fabric::testing::{KEY, Memory, TestTarget, raw};
use outlive_fabric::{Admission, Endpoint, FabricError, Outcome, Refusal, Rights};

const PATIENCE: Duration = Duration::from_secs(30);
const MEMORY_BYTES: usize = 4 << 20;

struct Bench {
    target: Arc<TestTarget>,
    listener: Listener,
    certificate: DataCertificate,
}

impl Bench {
    fn new(policy: TlsPolicy) -> Self {
        Self::with(policy, Limits::default())
    }

    fn with(policy: TlsPolicy, limits: Limits) -> Self {
        let target = TestTarget::new(Memory::new(MEMORY_BYTES, true));
        let certificate = DataCertificate::ephemeral().expect("made");
        let admission: Arc<dyn Admission> = Arc::<TestTarget>::clone(&target);
        let encryption = Encryption {
            policy,
            certificate: certificate.clone(),
        };
        let listener = Listener::bind_with("127.0.0.1:0", admission, limits, Some(encryption));
        Self {
            target,
            listener: listener.expect("loopback can be bound"),
            certificate,
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    fn connect(&self, pinned: Option<PinnedCertificate>) -> Result<TcpEndpoint, FabricError> {
        self.connect_through(self.address(), pinned)
    }

    fn connect_through(
        &self,
        address: SocketAddr,
        tls: Option<PinnedCertificate>,
    ) -> Result<TcpEndpoint, FabricError> {
        let ticket = self.target.issue(Rights::ReadWrite);
        let options = ConnectOptions {
            tls,
            ..ConnectOptions::default()
        };
        connect(&address.to_string(), &ticket, &options)
    }

    fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("the listener accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time-out can be set");
        stream
    }

    fn assert_serves(&self) {
        let mut endpoint = self.connect(Some(self.certificate.pinned())).expect("let in");
        write(&mut endpoint, 0, b"served");
    }
}

fn write(endpoint: &mut TcpEndpoint, offset: u64, bytes: &[u8]) {
    endpoint
        .post_write(KEY, offset, &[IoSlice::new(bytes)])
        .expect("posted");
    let mut completions = Vec::new();
    while endpoint.wait(&mut completions, PATIENCE).expect("alive") == 0 {}
    assert_eq!(completions[0].result, Ok(Outcome::Placed));
}

#[test]
fn where_encryption_is_required_a_plain_connection_is_refused_by_name() {
    let bench = Bench::new(TlsPolicy::Require);
    let error = bench.connect(None).err().expect("refused");
    assert!(
        matches!(error, FabricError::Refused(Refusal::Unencrypted)),
        "{error:?}"
    );
    assert!(bench.target.connections().is_empty());
    bench.assert_serves();
}

#[test]
fn where_it_is_allowed_both_ways_lead_in() {
    let bench = Bench::new(TlsPolicy::Allow);
    for pinned in [None, Some(bench.certificate.pinned())] {
        write(&mut bench.connect(pinned).expect("let in"), 0, b"either way");
    }
}

#[test]
fn where_it_is_off_an_encrypted_connection_is_refused() {
    let bench = Bench::new(TlsPolicy::Off);
    let error = bench.connect(Some(bench.certificate.pinned())).err();
    assert!(matches!(error, Some(FabricError::Connect { .. })), "{error:?}");
    write(&mut bench.connect(None).expect("let in"), 0, b"plain");
}

/// X1: another's certificate is another's unit. It gets not even the ticket's id.
#[test]
fn another_certificate_than_the_pinned_one_is_an_impostors() {
    let bench = Bench::new(TlsPolicy::Require);
    let other = DataCertificate::ephemeral().expect("made").pinned();
    let error = bench.connect(Some(other)).err().expect("not believed");
    assert!(matches!(error, FabricError::Impostor { .. }), "{error:?}");
    assert_eq!(bench.target.wrong_answers(), 0);
    bench.assert_serves();
}

/// Proofs are bound to the connection they are for: whoever ends encryption in the middle and passes them on
/// is not let in with them.
#[test]
fn proofs_of_another_channel_let_nobody_in() {
    let bench = Bench::new(TlsPolicy::Allow);
    let pinned = bench.certificate.pinned();
    let (mut other, other_binding) = raw::encrypt(bench.raw(), &pinned).expect("encrypted");
    for binding in [UNBOUND, other_binding] {
        let ticket = bench.target.issue(Rights::ReadWrite);
        let (mut stream, own) = raw::encrypt(bench.raw(), &pinned).expect("encrypted");
        assert_ne!(own, binding);
        let outcome = raw::greet_bound(&mut stream, &ticket, binding);
        assert!(
            matches!(outcome, Ok(Reply::Refused(Refusal::Ticket))),
            "{outcome:?}"
        );
        // Nor do those of an encrypted one on a plain one.
        let outcome = raw::greet_bound(&mut bench.raw(), &ticket, own);
        assert!(
            matches!(outcome, Ok(Reply::Refused(Refusal::Ticket))),
            "{outcome:?}"
        );
    }
    let ticket = bench.target.issue(Rights::ReadWrite);
    let outcome = raw::greet_bound(&mut other, &ticket, other_binding);
    assert!(matches!(outcome, Ok(Reply::Welcome { .. })), "{outcome:?}");
}

/// Passes everything on between an initiator and a target, and keeps what it saw.
fn tapped(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("a connection comes");
        let target = TcpStream::connect(target).expect("the listener accepts");
        let pump = |mut from: TcpStream, mut to: TcpStream, heard: Arc<Mutex<Vec<u8>>>| {
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    heard.lock().expect("not poisoned").extend(&bytes[..count]);
                    if to.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
                // Either side may be gone already.
                let _ = to.shutdown(std::net::Shutdown::Write);
            })
        };
        let (client_too, target_too) = (client.try_clone(), target.try_clone());
        pump(client, target, Arc::clone(&heard));
        pump(target_too.expect("cloned"), client_too.expect("cloned"), heard);
    });
    (address, seen)
}

/// What an eavesdropper gets: without encryption the payload and never the secret, with it neither.
#[test]
fn what_passes_by_shows_no_secret_and_encrypted_no_payload() {
    const PAYLOAD: &[u8] = b"a payload that nobody else is meant to read";
    let bench = Bench::new(TlsPolicy::Allow);
    for pinned in [None, Some(bench.certificate.pinned())] {
        let is_encrypted = pinned.is_some();
        let (address, seen) = tapped(bench.address());
        let ticket = bench.target.issue(Rights::ReadWrite);
        let options = ConnectOptions {
            tls: pinned,
            ..ConnectOptions::default()
        };
        let mut endpoint = connect(&address.to_string(), &ticket, &options).expect("let in");
        write(&mut endpoint, 0, PAYLOAD);
        let seen = seen.lock().expect("not poisoned").clone();
        let shows = |bytes: &[u8]| seen.windows(bytes.len()).any(|window| window == bytes);
        assert!(!shows(ticket.secret.as_bytes()), "the secret never travels");
        assert_eq!(shows(PAYLOAD), !is_encrypted);
        assert_eq!(shows(&ticket.id.0), !is_encrypted);
    }
}

/// A ClientHello of TLS 1.2, as a client of old sends it.
fn old_client_hello() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x30, 1, 0]);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).expect("short")];
    message.extend(hello);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(message.len()).expect("short")];
    record.extend(message);
    record
}

#[test]
fn older_tls_and_garbage_are_closed_upon_and_others_served() {
    let bench = Bench::new(TlsPolicy::Require);
    let cut_short = &old_client_hello()[..20];
    let mut huge = vec![0x16, 3, 1, 0xff, 0xff];
    huge.extend([0xee; 70_000]);
    for hostile in [&old_client_hello()[..], &[0x16; 300], &huge, cut_short] {
        let mut stream = bench.raw();
        // May fail: it may have been closed upon already.
        let _ = stream.write_all(hostile);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // An alert at most, never a hello of the target's.
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
    assert!(bench.target.connections().is_empty());
    bench.assert_serves();
}

/// The slow loris under TLS, at every step of its handshake.
#[test]
fn half_encrypted_handshakes_keep_nobody_out() {
    let bench = Bench::with(
        TlsPolicy::Require,
        Limits {
            handshake_timeout: PATIENCE,
            ..Limits::default()
        },
    );
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = bench.raw();
        let begin = [&[][..], &[0x16], &[0x16, 3, 1, 1, 0]][number % 3];
        // May fail: it may have been driven out already.
        let _ = stream.write_all(begin);
        held.push(stream);
    }
    bench.assert_serves();
    bench.listener.shutdown();
}

/// Who asks and never reads costs bounded memory here as well, and can be stopped while it is blocked.
#[test]
fn an_encrypted_client_that_takes_nothing_costs_bounded_memory_and_stops() {
    let bench = Bench::new(TlsPolicy::Require);
    let before = resident_bytes();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let ticket = bench.target.issue(Rights::ReadWrite);
            let pinned = bench.certificate.pinned();
            let (mut stream, binding) = raw::encrypt(bench.raw(), &pinned).expect("encrypted");
            let greeted = raw::greet_bound(&mut stream, &ticket, binding);
            assert!(matches!(greeted, Ok(Reply::Welcome { .. })), "{greeted:?}");
            for tag in 1..=64 {
                let op = Op::Read {
                    key: KEY,
                    offset: 0,
                    len: 4 << 20,
                };
                stream.write_all(&OpFrame { tag, op }.encode()).expect("taken");
            }
            (stream, bench.target.newest())
        })
        .collect();
    bench.assert_serves();
    // What was asked for, buffered, would be 2 GiB; kernel buffers are not counted here.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "grew by {grown} bytes");
    for (_, connection) in &clients {
        connection.stop(Refusal::ShuttingDown);
        assert!(connection.await_stopped(PATIENCE));
    }
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages = status.split(' ').nth(1).expect("the second field");
    pages.parse::<usize>().expect("a number") * 4096
}

/// P3: a writer that falls silent in the middle of a record does not hold up its fence, and what it sends later
/// does not land.
#[test]
fn an_encrypted_sender_stalled_inside_a_large_write_is_fenced_at_once() {
    let bench = Bench::new(TlsPolicy::Require);
    let ticket = bench.target.issue(Rights::ReadWrite);
    let (mut stream, binding) = raw::encrypt(bench.raw(), &bench.certificate.pinned()).expect("encrypted");
    raw::greet_bound(&mut stream, &ticket, binding).expect("let in");
    let connection = bench.target.newest();
    let op = Op::Write {
        key: KEY,
        offset: 0,
        len: 1_000_000,
    };
    stream.write_all(&OpFrame { tag: 1, op }.encode()).expect("taken");
    stream.write_all(&[0x5a; 500_000]).expect("taken");
    let begun = Instant::now();
    while bench.target.memory().placed()[480_000] != 0x5a {
        assert!(begun.elapsed() < PATIENCE, "the first half lands");
        thread::yield_now();
    }
    connection.stop(Refusal::Fenced { generation: 5 });
    assert!(connection.await_stopped(PATIENCE));
    let confirmed = bench.target.memory().placed();
    // May fail: the target has closed.
    let _ = stream.write_all(&[0xa5; 500_000]);
    drop(stream);
    bench.listener.shutdown();
    assert!(bench.target.memory().placed() == confirmed);
}

/// Large operations both ways at once, and many small ones, come through whole.
#[test]
fn both_directions_at_once_do_not_wait_for_each_other() {
    let bench = Bench::new(TlsPolicy::Require);
    let mut endpoint = bench.connect(Some(bench.certificate.pinned())).expect("let in");
    let payload: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    write(&mut endpoint, 7, &payload);
    let (mut posted, mut completions) = (0, Vec::new());
    for number in 0..24 {
        endpoint.post_read(KEY, 7, 1 << 20).expect("posted");
        endpoint
            .post_write(KEY, 7, &[IoSlice::new(&payload)])
            .expect("posted");
        posted += 2;
        for small in 0..50 {
            let offset = 2_000_000 + number * 1000 + small * 8;
            endpoint
                .post_write(KEY, offset, &[IoSlice::new(&offset.to_le_bytes())])
                .expect("posted");
            posted += 1;
        }
    }
    while completions.len() < posted {
        assert!(endpoint.wait(&mut completions, PATIENCE).expect("alive") > 0);
    }
    for completion in completions {
        match completion.result.expect("let through") {
            Outcome::Read(bytes) => assert!(bytes == payload),
            outcome => assert_eq!(outcome, Outcome::Placed),
        }
    }
    // Nothing that came decrypted is left lying: an external wait on the socket would not be woken for it.
    assert_eq!(endpoint.outstanding(), 0);
}
