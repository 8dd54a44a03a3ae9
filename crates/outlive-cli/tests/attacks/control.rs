//! The control and metrics ports, attacked by whoever reaches them without a certificate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bystander::Bystander;
use crate::session;
use crate::support::{Serve, World, noise};
use crate::vitals::Vitals;
use crate::wire::Control;

const THOUSAND: usize = 1000;
/// A newcomer that is not served within this time is locked out.
const LOCKED_OUT: Duration = Duration::from_secs(5);
const GROWTH_BYTES: u64 = 64 << 20;
/// Control runs on a fixed number of threads.
const THREADS: u64 = 16;

/// The first half of a TLS 1.3 client's hello: enough to make a server wait for the rest.
const HALF_HELLO: [u8; 45] = {
    let mut hello = [7; 45];
    let head = [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    let mut at = 0;
    while at < head.len() {
        hello[at] = head[at];
        at += 1;
    }
    hello
};

fn assert_serves(world: &World) {
    let begun = Instant::now();
    let mut control = Control::of(world);
    let request = outlive_proto::v1::WhoAmIRequest {};
    control
        .runtime
        .block_on(control.client.who_am_i(request))
        .expect("a newcomer is served");
    assert!(begun.elapsed() < LOCKED_OUT, "served after {:?}", begun.elapsed());
}

fn scene() -> (World, Serve, Bystander) {
    let world = World::in_memory();
    let serve = world.serve();
    let bystander = Bystander::start(session(&world));
    (world, serve, bystander)
}

#[test]
fn half_tls_handshakes_by_the_thousand_lock_nobody_out() {
    let (world, serve, bystander) = scene();
    let control = serve.ready["control"].as_str().unwrap();
    let before = Vitals::of(&serve);
    for round in 0..3 {
        let held: Vec<TcpStream> = (0..THOUSAND)
            .map(|number| {
                let mut stream = TcpStream::connect(control).unwrap();
                // Some say nothing at all; it may have been closed on us already.
                let _ = stream.write_all(&HALF_HELLO[..number % HALF_HELLO.len()]);
                stream
            })
            .collect();
        assert_serves(&world);
        bystander.assert_served();
        before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
        assert_eq!(held.len(), THOUSAND, "round {round}");
    }
    bystander.finish();
}

#[test]
fn garbage_on_the_control_port_is_told_nothing() {
    let (world, serve, bystander) = scene();
    let control = serve.ready["control"].as_str().unwrap();
    let garbage: Vec<Vec<u8>> = [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec(),
        // Records of TLS with lengths that cannot be, unknown types, alerts, application data.
        [&[22, 3, 1, 0xff, 0xff][..], &[0; 400]].concat(),
        [&[22, 3, 3, 0, 4, 1, 0xff, 0xff, 0xff][..], &[0; 400]].concat(),
        vec![21, 3, 3, 0, 2, 2, 40],
        vec![23, 3, 3, 0, 4, 1, 2, 3, 4],
        vec![0; 1000],
        vec![0xff; 1000],
    ]
    .into_iter()
    .chain((1..40).map(|seed| noise(seed, seed as usize * 31)))
    .collect();
    for bytes in garbage {
        let mut stream = TcpStream::connect(control).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        // An alert at most.
        assert!(said.len() <= 7, "{said:?} to {bytes:?}");
    }
    assert_serves(&world);
    bystander.finish();
}

/// Requests that never come in whole hold memory before anybody knows what they ask: a server without a bound tells
/// none in its settings.
#[test]
fn requests_that_never_come_in_whole_are_bounded() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (world, _serve, bystander) = scene();
    let context = outlive::Context::load(&world.path("context.json")).unwrap();
    let connector = outlive_identity::connector(context.client_tls(), context.control(), LOCKED_OUT);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = runtime.block_on(async {
        let mut stream = connector.connect().await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], 4, "a server speaks first of its settings");
        let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
        stream.read_exact(&mut settings).await.unwrap();
        settings
    });
    let setting = settings.chunks_exact(6).find_map(|setting| {
        let name = u16::from_be_bytes([setting[0], setting[1]]);
        let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
        (name == MAX_CONCURRENT_STREAMS).then_some(value)
    });
    assert!(
        setting.is_some_and(|streams| (1..=1024).contains(&streams)),
        "{setting:?}"
    );
    bystander.finish();
}

#[test]
fn the_metrics_port_serves_metrics_and_is_held_up_by_nobody() {
    let (world, serve, bystander) = scene();
    let metrics = serve.ready["metrics"].as_str().unwrap();
    let address = metrics.trim_start_matches("http://").trim_end_matches("/metrics");
    let before = Vitals::of(&serve);
    let mut held = Vec::new();
    for number in 0..THOUSAND {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: "),
            _ => stream.write_all(&noise(number as u64, 100)),
        };
        held.push(stream);
    }
    let begun = Instant::now();
    assert!(serve.scrape().contains("outlive_unit_written_bytes_total"));
    assert!(begun.elapsed() < LOCKED_OUT);
    for (request, allowed) in [
        ("GET / HTTP/1.1", "404"),
        ("GET /metrics/../../etc/passwd HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("PRI * HTTP/2.0", "400"),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = write!(stream, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        let status = said.split_whitespace().nth(1).unwrap_or_default();
        assert!(status == allowed || said.is_empty(), "{request}: {said}");
    }
    before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
    assert_serves(&world);
    drop(held);
    bystander.finish();
}
