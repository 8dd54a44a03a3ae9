//! A tenant whose certificate is good, and whose HTTP/2 is not.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use outlive_proto::v1::WhoAmIRequest;

use crate::bystander::Bystander;
use crate::people::People;
use crate::session;
use crate::stranger::{Channel, PREFACE, call};
use crate::support::{World, noise};
use crate::vitals::Vitals;
use crate::wire::Control;

/// What is sent of each at most, unless the server ends it before.
const MOST_BYTES: usize = 4 << 20;
/// Others are served within this time all the while.
const LOCKED_OUT: Duration = Duration::from_secs(5);
const GROWTH_BYTES: u64 = 64 << 20;
const THREADS: u64 = 16;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call, in HPACK without tables of its own.
fn head() -> Vec<u8> {
    let literal =
        |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    let kind = [&[0x0f, 0x10, 16], &b"application/grpc"[..]].concat();
    [
        vec![0x83, 0x87],
        literal(4, "/outlive.v1.Manager/Status"),
        literal(1, "localhost"),
        kind,
    ]
    .concat()
}

/// What to send, piece by piece; `None` ends it.
type Flood = Box<dyn FnMut(u32) -> Option<Vec<u8>> + Send>;

fn floods() -> Vec<(&'static str, Flood)> {
    vec![
        (
            "noise",
            Box::new(|number| Some(noise(u64::from(number) + 1, 4096))),
        ),
        (
            "streams that are reset at once",
            Box::new(|number| {
                let stream = number * 2 + 1;
                Some(
                    [
                        frame(HEADERS, END_HEADERS, stream, &head()),
                        frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                    ]
                    .concat(),
                )
            }),
        ),
        (
            "a head that never ends",
            Box::new(|number| {
                let part = [&[0x40, 1, b'x', 0x7f, 0x80, 0x7e][..], &[b'y'; 16_000]].concat();
                Some(if number == 0 {
                    frame(HEADERS, 0, 1, &head())
                } else {
                    frame(CONTINUATION, 0, 1, &part)
                })
            }),
        ),
        (
            "settings",
            Box::new(|_| Some(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(200))),
        ),
        (
            "pings whose answers are not read",
            Box::new(|_| Some(frame(PING, 0, 0, &[7; 8]).repeat(200))),
        ),
        (
            "calls that are begun and never ended",
            Box::new(|number| {
                let stream = number * 2 + 1;
                let body = [&[0, 0, 0, 0xff, 0xff][..], &[1; 1000]].concat();
                Some(
                    [
                        frame(HEADERS, END_HEADERS, stream, &head()),
                        frame(DATA, 0, stream, &body),
                    ]
                    .concat(),
                )
            }),
        ),
        (
            "windows that cannot be",
            Box::new(|_| Some(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(10))),
        ),
        (
            "data of no stream",
            Box::new(|number| Some(frame(DATA, 0, number * 2 + 1, &[1; 16_000]))),
        ),
        (
            "frames of unknown kinds",
            Box::new(|number| Some(frame(64 + (number % 100) as u8, 255, 0, &[1; 1000]).repeat(10))),
        ),
    ]
}

/// Sends a flood until it ends, the server ends it, or takes no more for a second.
fn send(mut channel: Channel, mut flood: Flood) -> usize {
    let mut sent = 0;
    if channel.write_all(PREFACE).is_err() {
        return 0;
    }
    for number in 0.. {
        let Some(bytes) = flood(number) else { break };
        if sent > MOST_BYTES || channel.write_all(&bytes).is_err() {
            break;
        }
        sent += bytes.len();
    }
    sent
}

#[test]
fn a_tenants_broken_http2_disturbs_nobody() {
    let world = World::in_memory();
    let serve = world.serve();
    let people = People::of(&world);
    let bystander = Bystander::start(session(&world));
    let mallory = people.credentials("mallory");
    let control = serve.ready["control"].as_str().unwrap();
    let before = Vitals::of(&serve);
    for (what, flood) in floods() {
        let channel = call(control, Some((&mallory.certificate_pem, &mallory.key_pem)));
        let flooding = thread::spawn(move || send(channel, flood));
        loop {
            let is_over = flooding.is_finished();
            let begun = Instant::now();
            let mut others = Control::of(&world);
            let answer = others.runtime.block_on(others.client.who_am_i(WhoAmIRequest {}));
            assert!(answer.is_ok(), "{what}: {answer:?}");
            assert!(
                begun.elapsed() < LOCKED_OUT,
                "{what}: others wait {:?}",
                begun.elapsed()
            );
            before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
            if is_over {
                break;
            }
        }
        let sent = flooding.join().unwrap();
        assert!(sent > 0, "{what}: it was let in");
    }
    bystander.finish();
}
