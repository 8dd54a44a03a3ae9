//! Hostile and clumsy clients.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use redis::Commands;

use crate::support::{Lab, expect, send_and_read_to_end};

#[test]
fn broken_requests_are_told_and_closed() {
    let lab = Lab::start();
    let member = lab.member();
    let long = vec![b'a'; 80 << 10];
    let nested = "*1\r\n".repeat(100_000);
    let cases: [(&[u8], &str); 9] = [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*2000000000\r\n", "invalid multibulk length"),
        (b"*1\r\n$99999999999\r\n", "invalid bulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (nested.as_bytes(), "expected '$', got '*'"),
        (b"*1\r\n$1\r\nabc\r\n", "bulk string does not end"),
        (b"PING \"x\r\n", "unbalanced quotes"),
        (&long, "too big inline request"),
    ];
    for (input, part) in cases {
        let reply = send_and_read_to_end(member.socket(), input);
        // A connection that is closed while input is left may lose its last words on the way.
        if input.len() < 1000 {
            assert_eq!(
                reply,
                format!("-ERR Protocol error: {part}{}", &reply[21 + part.len()..]),
                "{part}"
            );
        }
        assert!(!reply.contains("PONG"));
    }
    // What came before the break is carried out, what comes after is not.
    let reply = send_and_read_to_end(member.socket(), b"PING\r\n*1\r\n$x\r\nPING\r\n");
    assert_eq!(reply, "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n");
    let mut redis = member.connect();
    assert_eq!(redis.incr("alive", 1), Ok(1));
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let lab = Lab::start();
    let member = lab.member();
    let mut socket = member.socket();
    socket.set_nodelay(true).expect("sets");
    for byte in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\nGET k\r\n" {
        socket.write_all(&[*byte]).expect("sends");
    }
    expect(&mut socket, b"+OK\r\n$2\r\n\r\n\r\n");
}

#[test]
fn a_request_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let lab = Lab::start();
    let member = lab.member();
    let mut redis = member.connect();
    let error = redis
        .set::<_, _, ()>("k", vec![b'x'; 8 << 20])
        .expect_err("more than a batch takes");
    assert_eq!(error.code(), Some("TOOLARGE"), "{error}");
    assert_eq!(redis.exists("k"), Ok(false));
    let fits = vec![b'x'; 900 << 10];
    let _: () = redis.set("k", &fits).expect("fits");
    assert_eq!(redis.get("k"), Ok(fits));
}

#[test]
fn a_client_that_does_not_read_is_read_from_no_more() {
    let lab = Lab::start();
    let member = lab.member();
    let mut redis = member.connect();
    let value = vec![b'x'; 256 << 10];
    let _: () = redis.set("k", &value).expect("SET");
    let mut deaf = member.socket();
    deaf.set_write_timeout(Some(Duration::from_secs(1)))
        .expect("sets");
    let mut asked = 0;
    // Each of these asks for 256 KiB. Spaces make it long enough to fill what the kernel takes by itself.
    let get = format!("GET k{}\r\n", " ".repeat(4096));
    let gets = get.repeat(100).into_bytes();
    let refused = loop {
        match deaf.write(&gets) {
            Ok(taken) => asked += taken,
            Err(error) => break error.kind(),
        }
        assert!(asked < 64 << 20, "the server reads on");
        // Others are served meanwhile.
        assert_eq!(redis.incr::<_, _, i64>("others", 1).map(|n| n > 0), Ok(true));
    };
    assert!(
        matches!(refused, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{refused}"
    );
    // Once it reads, it gets everything that it asked for, whole and in order.
    let one = [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    let mut reply = vec![0; one.len()];
    for _ in 0..200 {
        deaf.read_exact(&mut reply).expect("a reply");
        assert!(reply == one);
    }
}

#[test]
fn one_client_too_many_is_told() {
    let lab = Lab::start();
    let member = lab.member_with(|options| options.max_clients = 2);
    let (mut one, mut two) = (member.socket(), member.socket());
    for socket in [&mut one, &mut two] {
        socket.write_all(b"PING\r\n").expect("sends");
        expect(socket, b"+PONG\r\n");
    }
    let mut three = member.socket();
    expect(&mut three, b"-ERR max number of clients reached\r\n");
    assert_eq!(three.read(&mut [0]).expect("an end"), 0);
    // A place becomes free when one goes.
    drop(one);
    crate::support::eventually(|| {
        let mut again = member.socket();
        let _ = again.write_all(b"PING\r\n");
        let mut reply = [0; 7];
        again
            .read_exact(&mut reply)
            .ok()
            .filter(|()| &reply == b"+PONG\r\n")
    });
}
